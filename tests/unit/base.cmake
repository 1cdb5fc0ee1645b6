tt_unit_test(base KNOWS base)
