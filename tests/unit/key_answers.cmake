tt_unit_test(key_answers KNOWS provisioning)
