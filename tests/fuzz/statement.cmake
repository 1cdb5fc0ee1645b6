tt_fuzz_target(envelope KNOWS statement)
tt_fuzz_target(manifest KNOWS statement)
