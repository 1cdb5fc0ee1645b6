/* From a module's slots to one token, logged in, and one key on it. Messages list the candidates as URIs. */
#ifndef TT_PKCS11_TOKEN_H
#define TT_PKCS11_TOKEN_H

#include <stdbool.h>

#include "crypto/public_key.h"
#include "pkcs11/module.h"
#include "pkcs11/pin.h"

/* The one token that the URI names. TT_TOKEN when there is none or several. */
TT_MUST_USE enum tt_status tt_token_choose(const struct tt_pkcs11_module *module, const struct tt_pkcs11_uri *uri,
                                           PKCS11_SLOT **ret_slot, struct tt_error *err);

/* Loads the module and chooses. Where the module shows no such token, it looks again some times within half a second:
 * some (SoftHSM) hide a token for the moment in which another process writes to it, as each login does. */
TT_MUST_USE enum tt_status tt_token_load(const char *path, const struct tt_pkcs11_uri *uri,
                                         struct tt_pkcs11_module **ret_module, PKCS11_SLOT **ret_slot,
                                         struct tt_error *err);

/* What the token shows without a PIN of the public half of the URI's key: TT_TOKEN when it cannot serve the protocol,
 * TT_UNTRUSTED when it is not `expected` (may be NULL). Silence proves nothing: TT_OK. */
TT_MUST_USE enum tt_status tt_token_check_shown(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri,
                                                const EVP_PKEY *expected, struct tt_error *err);

/* TT_UNTRUSTED, with both fingerprints, when the keys differ. `expected` may be NULL. */
TT_MUST_USE enum tt_status tt_token_compare(const EVP_PKEY *held, const EVP_PKEY *expected, struct tt_error *err);

/* The PIN to log in with, asked for only when a try may be spent. *ret_pin stays NULL where the token needs none or
 * takes it on its own keypad. TT_PIN when there is no PIN, or too few tries are left. */
TT_MUST_USE enum tt_status tt_token_get_pin(const PKCS11_TOKEN *token, const struct tt_pin_sources *sources,
                                            bool last_pin_try, struct tt_secret **ret_pin, struct tt_error *err);

/* Logs in with it, once, where the token wants a login. TT_PIN when the PIN is wrong. */
TT_MUST_USE enum tt_status tt_token_login(const struct tt_pkcs11_module *module, PKCS11_SLOT *slot,
                                          const struct tt_secret *pin, struct tt_error *err);

/* What a token's flags after a wrong PIN mean: the end of a message, or "". */
const char *tt_token_tries_left(bool is_locked, bool is_final_try, bool is_count_low);

/* The one private key that the URI names. TT_TOKEN when there is none or several; *ret_gave_up then tells whether it
 * was libp11 that could not list the keys, with nothing wrong with the token. */
TT_MUST_USE enum tt_status tt_token_find_key(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri, PKCS11_KEY **ret_key,
                                             bool *ret_gave_up, struct tt_error *err);

#endif
