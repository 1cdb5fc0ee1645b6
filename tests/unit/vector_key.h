/* The throw-away keys of tests/vectors/basic, in software: they stand in for those of a token. */
#ifndef TT_TESTS_UNIT_VECTOR_KEY_H
#define TT_TESTS_UNIT_VECTOR_KEY_H

#include "crypto/private_key.h"

/* The private key of this name ("station_1", "user", …); the caller frees it. */
EVP_PKEY *vector_key(const char *name);
/* As tt_key_source opens one: with a reference of its own to the key. */
enum tt_status vector_key_open(EVP_PKEY *key, struct tt_private_key **ret_key, struct tt_error *err);

#endif
