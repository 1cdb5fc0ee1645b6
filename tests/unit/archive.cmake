tt_unit_test(archive KNOWS archive)
