tt_fuzz_target(credentials KNOWS image json)
target_sources(fuzz_credentials PRIVATE fuzz_folder.c)
