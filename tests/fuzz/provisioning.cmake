tt_fuzz_target(policy KNOWS provisioning)
target_sources(fuzz_policy PRIVATE fuzz_folder.c)
