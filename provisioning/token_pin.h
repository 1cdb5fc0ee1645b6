/* A token's PINs: changing them, and giving the user a new one. */
#ifndef TT_PROVISIONING_TOKEN_PIN_H
#define TT_PROVISIONING_TOKEN_PIN_H

#include "provisioning/session.h"

/* TT_PIN when the token says that it takes no PIN of this length; `what` names it. NULL (a keypad) is fine. */
TT_MUST_USE enum tt_status tt_token_pin_fits(const struct tt_token *token, const struct tt_secret *pin,
                                             const char *what, struct tt_error *err);

/* Changes the PIN of who is logged in, the user or the security officer. Both NULL at a keypad. */
TT_MUST_USE enum tt_status tt_token_set_pin(struct tt_session *session, const struct tt_secret *old_pin,
                                            const struct tt_secret *new_pin, struct tt_error *err);

/* The security officer, logged in, gives the user a PIN: the first one, or a new one for one that is locked. */
TT_MUST_USE enum tt_status tt_token_unlock(struct tt_session *session, const struct tt_secret *new_pin,
                                           struct tt_error *err);

#endif
