/* Whether the keys that a train names are those of whom they should be: only the trust store can tell. */
#ifndef TT_PROTOCOL_TRUSTED_H
#define TT_PROTOCOL_TRUSTED_H

#include "protocol/keys.h"
#include "protocol/protocol.h"

/* Who we are on the train, in the place of a stop's index. */
#define TRUSTED_NOBODY SIZE_MAX
#define TRUSTED_CREATOR (SIZE_MAX - 1)

/* Holds the creator's key and every stop's against the trust store. Not our own, of stop `own`: that is compared with
 * the token's. Nor the builder's, which is a new one for each train and says nothing of who built it.
 *
 * TT_UNTRUSTED after a warning for each key that is not trusted, with the command that would add it; `source` is what
 * it would take the key from. Where the options believe what the train names, there is a warning instead, and a record
 * in the audit trail (may be NULL): TT_STORE when that cannot be written. */
TT_MUST_USE enum tt_status trusted_check(const struct tt_train *train, const struct train_keys *keys, size_t own,
                                         const struct tt_trust_options *options, const char *source,
                                         struct tt_audit *audit, struct tt_error *err);

#endif
