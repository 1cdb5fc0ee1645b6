tt_unit_test(trust SOURCES vector_key.c KNOWS trust crypto)
target_link_options(test_trust PRIVATE -Wl,--wrap=readdir64,--wrap=trust_file_parse,--wrap=X509_get0_notBefore)
