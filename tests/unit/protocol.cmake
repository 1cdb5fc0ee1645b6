tt_unit_test(protocol KNOWS protocol archive train crypto)
