tt_fuzz_target(tar KNOWS archive)
