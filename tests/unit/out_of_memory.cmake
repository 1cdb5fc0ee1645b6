tt_unit_test(out_of_memory SOURCES tar_bytes.c layout_bytes.c KNOWS protocol image archive json)
tt_failing_memory(test_out_of_memory)
add_test(NAME unit.out_of_memory_sealed COMMAND test_out_of_memory sealed)
set_tests_properties(unit.out_of_memory unit.out_of_memory_sealed PROPERTIES LABELS unit TIMEOUT 900)
