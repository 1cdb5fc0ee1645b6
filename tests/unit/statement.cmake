tt_unit_test(envelope KNOWS statement)
tt_unit_test(manifest SOURCES vector_key.c KNOWS statement protocol archive crypto)
target_link_options(test_manifest PRIVATE -Wl,--wrap=time)
