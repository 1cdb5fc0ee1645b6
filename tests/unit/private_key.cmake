tt_unit_test(private_key KNOWS crypto)
