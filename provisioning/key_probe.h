/* Whether a key serves the protocol: both operations of a station are really done and checked, no attribute believed.
 */
#ifndef TT_PROVISIONING_KEY_PROBE_H
#define TT_PROVISIONING_KEY_PROBE_H

#include "crypto/digest.h"
#include "provisioning/object.h"

enum tt_probe_way {
    TT_PROBE_NO,     /* neither */
    TT_PROBE_NATIVE, /* the token's own mechanism */
    TT_PROBE_RAW,    /* raw RSA, with OpenSSL's padding around it */
};

/* An operation. The return values are those that said no: CKR_OK where a way served, was not tried, or where the token
 * claimed success and the outcome was wrong. */
struct tt_probe_result {
    enum tt_probe_way way;
    CK_RV native, raw;
    bool is_wrong; /* the token gave a wrong outcome by one way or both */
};

struct tt_key_probe {
    struct tt_probe_result unwrap; /* RSA-OAEP, SHA-512, MGF1 SHA-512 */
    struct tt_probe_result sign;   /* RSASSA-PSS, SHA-512, MGF1 SHA-512, the longest salt */
};

/* Tries them, each attempt in a session of its own. `pin` is the one of the login: keys with CKA_ALWAYS_AUTHENTICATE
 * ask for it at each use; NULL at a keypad. A key that cannot serve is no failure of this function. TT_TOKEN when the
 * key shows no public half or is not RSA, TT_PIN when the token did not take the PIN for the key (nothing is tried
 * after that). */
TT_MUST_USE enum tt_status tt_key_probe(struct tt_session *session, const struct tt_key_object *key,
                                        const struct tt_secret *pin, struct tt_key_probe *ret_probe,
                                        struct tt_error *err);

/* Signs a SHA-512 digest as a station does (RSASSA-PSS, MGF1 SHA-512, the longest salt), by the first way that serves,
 * and checks the signature; `signature` needs TT_RSA_BYTES_MAX bytes. *ret_length is 0 where no way serves, which
 * *ret_result explains. Fails as tt_key_probe does. */
TT_MUST_USE enum tt_status tt_key_sign(struct tt_session *session, const struct tt_key_object *key,
                                       const struct tt_secret *pin, const uint8_t digest[TT_SHA512_SIZE],
                                       uint8_t *signature, size_t *ret_length, struct tt_probe_result *ret_result,
                                       struct tt_error *err);

/* Whether both can be done. */
bool tt_key_probe_is_good(const struct tt_key_probe *probe);

/* "native", "raw" or "no". */
const char *tt_probe_way_name(enum tt_probe_way way);

/* Why not, in new memory: "its own OAEP: CKR_ARGUMENTS_BAD, raw RSA: CKR_MECHANISM_INVALID". NULL when out of memory.
 */
char *tt_probe_reason(const struct tt_probe_result *result, const char *native_name);

#endif
