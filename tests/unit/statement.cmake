tt_unit_test(envelope KNOWS statement)
