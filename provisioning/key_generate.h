/* Making a key pair inside a token. */
#ifndef TT_PROVISIONING_KEY_GENERATE_H
#define TT_PROVISIONING_KEY_GENERATE_H

#include "provisioning/key_wish.h"

enum { TT_GENERATE_BITS = 3072 };

/* Whether the token says that it makes RSA keys of this size; needs no login. TT_TOKEN when not. */
TT_MUST_USE enum tt_status tt_key_generate_check(struct tt_cryptoki *cryptoki, const struct tt_token *token,
                                                 unsigned bits, struct tt_error *err);

/* Makes the pair: sensitive, not extractable, for decrypting and signing only, and proves that it serves. After a
 * failure or an interruption nothing of it is left. `session` is writable and logged in, by `pin`. */
TT_MUST_USE enum tt_status tt_key_generate(struct tt_session *session, const struct tt_key_wish *wish, unsigned bits,
                                           const struct tt_secret *pin, struct tt_key_object *ret_key,
                                           struct tt_key_probe *ret_probe, struct tt_error *err);

#endif
