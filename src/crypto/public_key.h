/* RSA public keys: as trains name them (PEM SubjectPublicKeyInfo), compared by their DER, shown by fingerprint. */
#ifndef TT_CRYPTO_PUBLIC_KEY_H
#define TT_CRYPTO_PUBLIC_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum {
    TT_RSA_BITS_MIN = 2048,
    TT_RSA_BITS_MAX = 8192,
    TT_RSA_BYTES_MAX = TT_RSA_BITS_MAX / 8,
    TT_PUBLIC_KEY_TEXT_LIMIT = 16384, /* bytes of PEM */
    TT_FINGERPRINT_SIZE = 52          /* "SHA256:" and 43 characters of base64, NUL included */
};

static inline void tt_evp_pkey_cleanup(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

/* Parses PEM text ("-----BEGIN PUBLIC KEY-----"). TT_MALFORMED, naming `what`, when it is not an RSA public key of
 * TT_RSA_BITS_MIN to TT_RSA_BITS_MAX bits with an odd exponent above 1. The caller frees the key. */
TT_MUST_USE enum tt_status tt_public_key_parse(const void *pem, size_t length, const char *what, EVP_PKEY **ret_key,
                                               struct tt_error *err);

/* The checks of tt_public_key_parse on a key from elsewhere: TT_TOKEN where it does not fit. */
TT_MUST_USE enum tt_status tt_public_key_check(const EVP_PKEY *key, const char *what, struct tt_error *err);

/* PEM text in new memory, NUL-terminated. The caller frees. */
TT_MUST_USE enum tt_status tt_public_key_pem(const EVP_PKEY *key, char **ret_pem, struct tt_error *err);

/* The SHA-256 of the DER SubjectPublicKeyInfo as "SHA256:<base64 without padding>". */
TT_MUST_USE enum tt_status tt_public_key_fingerprint(const EVP_PKEY *key, char ret_text[TT_FINGERPRINT_SIZE],
                                                     struct tt_error *err);

bool tt_public_key_equal(const EVP_PKEY *one, const EVP_PKEY *other);

/* Modulus size in bits. */
unsigned tt_public_key_bits(const EVP_PKEY *key);

#endif
