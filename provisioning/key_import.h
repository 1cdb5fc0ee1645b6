/* Moving a private key into a token. */
#ifndef TT_PROVISIONING_KEY_IMPORT_H
#define TT_PROVISIONING_KEY_IMPORT_H

#include "provisioning/key_wish.h"

/* Creates both halves of `key` (RSA with all its numbers) in the token, sensitive and not extractable, and proves that
 * it serves. After a failure or an interruption nothing of it is left. Without an id in the wish, its id is the SHA-1
 * of the modulus, as other tools make it. `session` is writable and logged in, by `pin`. */
TT_MUST_USE enum tt_status tt_key_import(struct tt_session *session, const struct tt_key_wish *wish,
                                         const EVP_PKEY *key, const struct tt_secret *pin,
                                         struct tt_key_object *ret_key, struct tt_key_probe *ret_probe,
                                         struct tt_error *err);

#endif
