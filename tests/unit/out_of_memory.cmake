tt_unit_test(out_of_memory SOURCES failing_memory.c tar_bytes.c layout_bytes.c KNOWS protocol image archive json)
target_link_libraries(test_out_of_memory PRIVATE PkgConfig::CJSON)
target_link_options(test_out_of_memory PRIVATE
                    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=open_memstream)
