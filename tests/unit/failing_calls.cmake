# Every place takes minutes: TT_MEMORY_STRIDE=1 as scripts/coverage configures does it, otherwise some do.
if(DEFINED ENV{TT_MEMORY_STRIDE})
  set(stride "$ENV{TT_MEMORY_STRIDE}")
elseif(TT_SANITIZE)
  set(stride 47)
else()
  set(stride 19)
endif()
tt_unit_test(failing_calls SOURCES tar_bytes.c layout_bytes.c KNOWS protocol audit image archive json)
tt_failing_calls(test_failing_calls OUTSIDE)
target_link_options(test_failing_calls PRIVATE LINKER:--wrap=tt_image_execute,--wrap=tt_image_change_open)
add_test(NAME unit.failing_calls_second COMMAND test_failing_calls second)
set_tests_properties(unit.failing_calls unit.failing_calls_second PROPERTIES LABELS unit TIMEOUT 1800
                     ENVIRONMENT "TT_MEMORY_STRIDE=${stride}")
