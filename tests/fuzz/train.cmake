tt_fuzz_target(json KNOWS json)
tt_fuzz_target(train_config KNOWS train)
