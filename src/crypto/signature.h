/* Checking the protocol's signatures (docs/protocol.md, "Primitives"). */
#ifndef TT_CRYPTO_SIGNATURE_H
#define TT_CRYPTO_SIGNATURE_H

#include "crypto/digest.h"
#include "crypto/public_key.h"

/* Creator's and builder's: RSASSA-PKCS1-v1_5, SHA-512 over `message`. TT_TAMPERED, naming `what`, when it is wrong. */
TT_MUST_USE enum tt_status tt_signature_verify_pkcs1(EVP_PKEY *key, const uint8_t *message, size_t length,
                                                     const uint8_t *signature, size_t signature_length,
                                                     const char *what, struct tt_error *err);

/* Stations': RSASSA-PSS over a SHA-512 digest, MGF1 SHA-512, salt of exactly emLen - hLen - 2 bytes. */
TT_MUST_USE enum tt_status tt_signature_verify_pss(EVP_PKEY *key, const uint8_t digest[TT_SHA512_SIZE],
                                                   const uint8_t *signature, size_t signature_length, const char *what,
                                                   struct tt_error *err);

/* emLen - hLen - 2 for a key: the salt's bytes, to be given as a number. */
int tt_pss_salt_length(const EVP_PKEY *key);

#endif
