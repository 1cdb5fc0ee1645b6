/* A session with a token, perhaps logged in. Wrong PINs are never tried twice. */
#ifndef TT_PROVISIONING_SESSION_H
#define TT_PROVISIONING_SESSION_H

#include "crypto/private_key.h"
#include "pkcs11/pin.h"
#include "provisioning/cryptoki.h"

struct tt_key_object;

/* Hears of every use of a private key through the session, before its outcome is handed out. When it fails, the outcome
 * is wiped, and that failure is the operation's. */
struct tt_session_witness {
    enum tt_status (*used)(void *user, const struct tt_key_object *key, const struct tt_key_event *event,
                           struct tt_error *err);
    void *user;
};

struct tt_session {
    struct tt_cryptoki *cryptoki; /* not owned */
    struct tt_token token;
    CK_SESSION_HANDLE handle;
    bool is_logged_in;
    struct tt_session_witness witness; /* set by whoever opened it; `used` NULL: nobody */
};

TT_MUST_USE enum tt_status tt_session_open(struct tt_cryptoki *cryptoki, const struct tt_token *token, bool writable,
                                           struct tt_session **ret_session, struct tt_error *err);
/* Logs out and closes. */
void tt_session_free(struct tt_session *session);
TT_DEFINE_CLEANUP(struct tt_session *, tt_session_free)

/* Logs in the user (CKU_USER) or the security officer (CKU_SO), once. `sources` (token filled in here) says where the
 * PIN comes from. *ret_pin (may be NULL) is the PIN that was used, NULL at a keypad or where none is needed. TT_PIN
 * when there is none, a wrong one, or when one wrong try would lock and `last_pin_try` is not set. */
TT_MUST_USE enum tt_status tt_session_login(struct tt_session *session, CK_USER_TYPE user,
                                            const struct tt_pin_sources *sources, bool last_pin_try,
                                            struct tt_secret **ret_pin, struct tt_error *err);

#endif
