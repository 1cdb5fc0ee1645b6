tt_unit_test(image SOURCES tar_bytes.c layout_bytes.c KNOWS image archive json)
