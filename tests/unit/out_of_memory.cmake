tt_unit_test(out_of_memory SOURCES tar_bytes.c layout_bytes.c KNOWS protocol image archive json)
tt_failing_memory(test_out_of_memory)
