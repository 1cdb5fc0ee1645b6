tt_fuzz_target(state_record KNOWS state)
