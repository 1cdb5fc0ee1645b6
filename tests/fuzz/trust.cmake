tt_fuzz_target(trust_file KNOWS trust crypto)
