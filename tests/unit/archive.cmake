tt_unit_test(archive SOURCES tar_bytes.c KNOWS archive)
tt_unit_test(tar KNOWS archive)
tt_unit_test(file_stream KNOWS archive)
