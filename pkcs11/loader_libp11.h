/* The libp11 loader: a key on a token, logged in, as an EVP_PKEY in a struct tt_private_key. */
#ifndef TT_PKCS11_LOADER_LIBP11_H
#define TT_PKCS11_LOADER_LIBP11_H

#include "crypto/private_key.h"
#include "pkcs11/module.h"

/* Takes over `module` and `pin` (which may be NULL) on success only; `key` lies in `slot`, and this in `module`. `name`
 * is the key's URI. TT_TOKEN when the key does not fit the protocol, TT_UNTRUSTED when it is not `expected` (may be
 * NULL). */
TT_MUST_USE enum tt_status tt_libp11_key_new(struct tt_pkcs11_module *module, PKCS11_SLOT *slot, PKCS11_KEY *key,
                                             struct tt_secret *pin, const char *name, const EVP_PKEY *expected,
                                             struct tt_private_key **ret_key, struct tt_error *err);

#endif
