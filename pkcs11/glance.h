/*
 * What a module tells of a token while another part of this process uses both, an OpenSSL provider or engine: by
 * Cryptoki itself, with a session of its own, never with a login. Modules that give each caller an instance of its own
 * (p11-kit's client) show nothing here: then nothing is known.
 */
#ifndef TT_PKCS11_GLANCE_H
#define TT_PKCS11_GLANCE_H

#include "pkcs11/candidates.h"
#include "pkcs11/uri.h"

struct tt_glance {
    bool is_token_seen;
    bool is_pin_count_low, is_pin_final_try, is_pin_locked;
    bool is_login_known; /* whether the token is logged in to can be told */
    bool is_logged_in;
    bool are_keys_listed;
    struct tt_candidates matching; /* private keys that the URI names */
    struct tt_candidates all;
    char *key_uri; /* complete one of the last that matches */
    bool has_other_type;
    bool lacks_decrypt, lacks_sign; /* the rights of that key, where it shows them */
};

/* At the token of the module at `path` that is `token` and that the URI names. TT_INTERNAL out of memory only. */
TT_MUST_USE enum tt_status tt_glance_take(const char *path, const PKCS11_TOKEN *token, const struct tt_pkcs11_uri *uri,
                                          struct tt_glance *ret_glance, struct tt_error *err);
void tt_glance_clear(struct tt_glance *glance);

#endif
