# Every place takes minutes: TT_MEMORY_STRIDE=1 as scripts/coverage configures does it, otherwise some do.
if(DEFINED ENV{TT_MEMORY_STRIDE})
  set(stride "$ENV{TT_MEMORY_STRIDE}")
elseif(TT_SANITIZE)
  set(stride 17)
else()
  set(stride 7)
endif()
tt_unit_test(out_of_memory SOURCES tar_bytes.c layout_bytes.c KNOWS protocol image archive json)
tt_failing_memory(test_out_of_memory)
add_test(NAME unit.out_of_memory_sealed COMMAND test_out_of_memory sealed)
set_tests_properties(unit.out_of_memory unit.out_of_memory_sealed PROPERTIES LABELS unit TIMEOUT 900
                     ENVIRONMENT "TT_MEMORY_STRIDE=${stride}")
