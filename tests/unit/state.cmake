tt_unit_test(state KNOWS state json)
