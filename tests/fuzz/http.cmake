tt_fuzz_target(credentials KNOWS image json)
