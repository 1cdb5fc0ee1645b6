tt_unit_test(layers SOURCES tar_bytes.c KNOWS protocol image archive crypto)
