/* Making a token out of an empty slot or card. */
#ifndef TT_PROVISIONING_TOKEN_INIT_H
#define TT_PROVISIONING_TOKEN_INIT_H

#include "pkcs11/pin.h"
#include "provisioning/cryptoki.h"

enum { TT_TOKEN_LABEL_LIMIT = 32 };

/* The token to initialize: the one that the URI (may be NULL) names, or the only one that is not initialized yet. One
 * that is initialized is TT_TOKEN unless `erase`. TT_TOKEN, too, when another token has this label already. */
TT_MUST_USE enum tt_status tt_token_init_choose(struct tt_cryptoki *cryptoki, const struct tt_pkcs11_uri *uri,
                                                const char *label, bool erase, struct tt_token *ret_token,
                                                struct tt_error *err);

/* Initializes it: label, security officer's PIN (that of before, where it was initialized before), user's PIN. Either
 * is NULL at a keypad. Everything on it is lost. TT_PIN when the officer's
 * PIN is wrong, locked, or has one try left and `last_pin_try` is not set. *ret_token is the token as it is then. */
TT_MUST_USE enum tt_status tt_token_init(struct tt_cryptoki *cryptoki, const struct tt_token *token, const char *label,
                                         const struct tt_secret *officer_pin, const struct tt_secret *user_pin,
                                         bool last_pin_try, struct tt_token *ret_token, struct tt_error *err);

#endif
