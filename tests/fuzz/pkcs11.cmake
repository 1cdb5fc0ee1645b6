tt_fuzz_target(uri KNOWS pkcs11)
