tt_fuzz_target(envelope KNOWS statement)
