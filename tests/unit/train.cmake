tt_unit_test(train KNOWS train json)
