tt_unit_test(content KNOWS protocol image archive crypto)
