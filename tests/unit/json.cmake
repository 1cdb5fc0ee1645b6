tt_unit_test(json KNOWS json)
