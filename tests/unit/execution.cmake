tt_unit_test(execution KNOWS cli image)
