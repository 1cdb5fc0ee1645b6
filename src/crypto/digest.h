/* SHA-512 (every hash of the protocol) and SHA-256 (OCI digests, key fingerprints). */
#ifndef TT_CRYPTO_DIGEST_H
#define TT_CRYPTO_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { TT_SHA512_SIZE = 64, TT_SHA256_SIZE = 32 };

enum tt_digest_algorithm { TT_SHA256, TT_SHA512 };

struct tt_digest;

TT_MUST_USE enum tt_status tt_digest_new(enum tt_digest_algorithm algorithm, struct tt_digest **ret_digest,
                                         struct tt_error *err);
void tt_digest_free(struct tt_digest *digest);
TT_DEFINE_CLEANUP(struct tt_digest *, tt_digest_free)

/* OpenSSL fails here only for want of memory: TT_INTERNAL. */
TT_MUST_USE enum tt_status tt_digest_update(struct tt_digest *digest, const void *data, size_t length,
                                            struct tt_error *err);
/* Writes TT_SHA512_SIZE or TT_SHA256_SIZE bytes. The digest starts anew. */
TT_MUST_USE enum tt_status tt_digest_final(struct tt_digest *digest, uint8_t *ret_value, struct tt_error *err);

/* All at once. */
TT_MUST_USE enum tt_status tt_digest_once(enum tt_digest_algorithm algorithm, const void *data, size_t length,
                                          uint8_t *ret_value, struct tt_error *err);

/* Constant-time comparison. */
bool tt_digest_equal(const uint8_t *one, const uint8_t *other, size_t length);

/* Random bytes fit for keys. */
TT_MUST_USE enum tt_status tt_random(uint8_t *data, size_t length, struct tt_error *err);

#endif
