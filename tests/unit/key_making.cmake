tt_unit_test(key_making KNOWS provisioning)
