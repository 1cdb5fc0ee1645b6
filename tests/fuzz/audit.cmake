tt_fuzz_target(audit KNOWS audit json)
