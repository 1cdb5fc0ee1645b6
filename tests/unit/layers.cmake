tt_unit_test(layers SOURCES tar_bytes.c KNOWS protocol image archive crypto)
tt_failing_calls(test_layers)
