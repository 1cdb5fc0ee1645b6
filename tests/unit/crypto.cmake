tt_unit_test(crypto KNOWS crypto)
