tt_unit_test(against SOURCES tar_bytes.c layout_bytes.c KNOWS protocol image archive crypto)
