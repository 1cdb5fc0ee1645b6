/* Wrapping the symmetric key for a stop or the creator: RSA-OAEP, SHA-512, MGF1 SHA-512, empty label. */
#ifndef TT_CRYPTO_KEY_WRAP_H
#define TT_CRYPTO_KEY_WRAP_H

#include "base/secret.h"
#include "crypto/public_key.h"

/* wrapped needs TT_RSA_BYTES_MAX bytes. */
TT_MUST_USE enum tt_status tt_key_wrap(EVP_PKEY *recipient, const struct tt_secret *secret, uint8_t *wrapped,
                                       size_t *ret_length, struct tt_error *err);

#endif
