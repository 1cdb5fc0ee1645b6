/*
 * Memory for symmetric keys and PINs: locked against swapping, left out of core dumps and of forked children,
 * wiped over its whole capacity when freed.
 */
#ifndef TT_BASE_SECRET_H
#define TT_BASE_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tt_secret {
    uint8_t *data;
    size_t length;   /* bytes in use; the caller sets it after writing */
    size_t capacity; /* bytes there are */
};

/* A new secret of `capacity` zero bytes (length 0). Where the limit on locked memory forbids locking it is made all
 * the same, and a warning is logged once. TT_INTERNAL out of memory. */
TT_MUST_USE enum tt_status tt_secret_new(size_t capacity, struct tt_secret **ret_secret, struct tt_error *err);

/* Wipes and frees; takes NULL. */
void tt_secret_free(struct tt_secret *secret);
TT_DEFINE_CLEANUP(struct tt_secret *, tt_secret_free)

/* Wipes any memory in a way that the compiler keeps. */
void tt_wipe(void *data, size_t length);

#endif
