/* SHA-512 of a train's content on a lane of its own: the slowest necessary step runs beside all others. */
#ifndef TT_PROTOCOL_CONTENT_HASH_H
#define TT_PROTOCOL_CONTENT_HASH_H

#include "crypto/digest.h"

struct content_hash;

TT_MUST_USE enum tt_status content_hash_new(struct content_hash **ret_hash, struct tt_error *err);
void content_hash_free(struct content_hash *hash);
TT_DEFINE_CLEANUP(struct content_hash *, content_hash_free)

TT_MUST_USE enum tt_status content_hash_update(struct content_hash *hash, const void *data, size_t length,
                                               struct tt_error *err);
/* Without a copy, as tt_lane_room and tt_lane_put: at most CONTENT_PIECE bytes at once. */
enum { CONTENT_PIECE = 256 * 1024 + 32 };
TT_MUST_USE enum tt_status content_hash_room(struct content_hash *hash, size_t length, uint8_t **ret_room,
                                             struct tt_error *err);
void content_hash_put(struct content_hash *hash, size_t length);
/* Waits for the lane. */
TT_MUST_USE enum tt_status content_hash_final(struct content_hash *hash, uint8_t ret_value[TT_SHA512_SIZE],
                                              struct tt_error *err);

#endif
