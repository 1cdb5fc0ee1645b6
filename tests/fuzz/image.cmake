tt_fuzz_target(oci_index KNOWS image json)
tt_fuzz_target(oci_layout KNOWS image json)
target_sources(fuzz_oci_layout PRIVATE fuzz_folder.c)
tt_fuzz_target(image_settings KNOWS image json crypto)
