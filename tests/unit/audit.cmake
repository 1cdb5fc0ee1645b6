tt_unit_test(audit KNOWS audit json crypto statement)
