tt_fuzz_target(oci_index KNOWS image json)
