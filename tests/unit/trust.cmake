tt_unit_test(trust KNOWS trust)
