/* Who signed what on the way so far: the checks that need nothing but the configuration (docs/protocol.md,
 * 5.3 and 5.4). */
#ifndef TT_PROTOCOL_CHAIN_H
#define TT_PROTOCOL_CHAIN_H

#include "protocol/keys.h"
#include "protocol/protocol.h"

/* Checks the creator's and the builder's signature, every stop's signature before `position`, the last stop's signature
 * of the result hash, and that the last digest is the one of this session, these stops and this result hash. `sink`
 * (may be NULL) hears of each. TT_TAMPERED. */
TT_MUST_USE enum tt_status chain_verify(const struct tt_train *train, const struct train_keys *keys, size_t position,
                                        tt_check_sink sink, void *user, struct tt_error *err);

/* The route digest of stop `index` over `result_hash` (docs/protocol.md, "Hashes"). */
TT_MUST_USE enum tt_status chain_digest(const struct tt_train *train, size_t index,
                                        const uint8_t result_hash[TT_TRAIN_HASH_SIZE],
                                        uint8_t ret_digest[TT_TRAIN_HASH_SIZE], struct tt_error *err);

/* TT_OK when the train is at stop `index` and nowhere else; TT_WRONG_STOP when it is out of order or was here. */
TT_MUST_USE enum tt_status chain_is_at(const struct tt_train *train, size_t index, struct tt_error *err);

#endif
