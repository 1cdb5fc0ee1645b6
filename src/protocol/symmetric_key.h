/* The train's symmetric key: made anew at every post-run, wrapped for everybody on the route. */
#ifndef TT_PROTOCOL_SYMMETRIC_KEY_H
#define TT_PROTOCOL_SYMMETRIC_KEY_H

#include "base/secret.h"
#include "protocol/keys.h"

/* TT_FILE_KEY_SIZE random bytes. */
TT_MUST_USE enum tt_status symmetric_key_new(struct tt_secret **ret_key, struct tt_error *err);

/* Wraps it for every stop and for the creator, and puts that into the configuration. */
TT_MUST_USE enum tt_status symmetric_key_wrap_for_all(const struct tt_secret *key, const struct train_keys *keys,
                                                      struct tt_train *train, struct tt_error *err);

#endif
