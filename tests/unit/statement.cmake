tt_unit_test(envelope KNOWS statement)
tt_unit_test(manifest KNOWS statement protocol)
