tt_unit_test(uri KNOWS pkcs11)
tt_unit_test(pin KNOWS pkcs11)
