/* The public keys that a train names, parsed once. */
#ifndef TT_PROTOCOL_KEYS_H
#define TT_PROTOCOL_KEYS_H

#include "crypto/public_key.h"
#include "train/train.h"

struct train_keys {
    EVP_PKEY *creator;
    EVP_PKEY *builder;
    EVP_PKEY **stops; /* by index of the route */
    size_t stop_count;
};

/* TT_MALFORMED names the member whose key cannot be one. */
TT_MUST_USE enum tt_status train_keys_parse(const struct tt_train *train, struct train_keys *ret_keys,
                                            struct tt_error *err);
void train_keys_clear(struct train_keys *keys);

#endif
