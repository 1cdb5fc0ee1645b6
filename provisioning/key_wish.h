/* What making a key and importing one share: what is wanted, that nothing is in its way, and that it came out so. */
#ifndef TT_PROVISIONING_KEY_WISH_H
#define TT_PROVISIONING_KEY_WISH_H

#include "provisioning/key_probe.h"

enum { TT_ALLOWED_LIMIT = 16 };

struct tt_key_wish {
    const char *label;
    const unsigned char *id; /* NULL: random bytes */
    size_t id_length;
    bool always_authenticate;
    CK_MECHANISM_TYPE allowed[TT_ALLOWED_LIMIT]; /* CKA_ALLOWED_MECHANISMS; none: the token's default */
    size_t allowed_count;
};

/* A pair being made; CK_INVALID_HANDLE for what is not there (yet). */
struct tt_key_pair {
    CK_OBJECT_HANDLE private_key;
    CK_OBJECT_HANDLE public_key;
};

/* What the private half is asked to be, however it comes about: in the token, out of reach, for decrypting and signing
 * only. `detailed` also rules out in words what some tokens cannot be told. Appends to `attributes`, which needs room
 * for TT_WISH_ATTRIBUTES more; they point into *wish. */
enum { TT_WISH_ATTRIBUTES = 12 };
void tt_key_wish_attributes(const struct tt_key_wish *wish, bool detailed, CK_ATTRIBUTE *attributes, CK_ULONG *count);

/* Names of mechanisms, separated by commas ("CKM_RSA_PKCS_OAEP,CKM_RSA_PKCS_PSS"; "oaep", "pss", "raw", "pkcs1" for
 * short). TT_USAGE. */
TT_MUST_USE enum tt_status tt_key_wish_allow(struct tt_key_wish *wish, const char *list, struct tt_error *err);
/* "CKM_RSA_PKCS_OAEP"; NULL for one without a name here. */
const char *tt_mechanism_name(CK_MECHANISM_TYPE type);

/* TT_TOKEN, naming the other object, when the token has one with this label or id (NULL: not asked), private or public.
 * `except` is left out of it. Some tokens would overwrite it silently. */
TT_MUST_USE enum tt_status tt_key_is_new(struct tt_session *session, const char *label, const unsigned char *id,
                                         size_t id_length, const struct tt_key_pair *except, struct tt_error *err);

/* Reads the pair back and does both operations of a station with it. `bits` and, for a key made in the token, `local`
 * are what must have come out. TT_TOKEN when the token did otherwise than was asked, or cannot serve the protocol. */
TT_MUST_USE enum tt_status tt_key_accept(struct tt_session *session, const struct tt_key_pair *pair,
                                         const struct tt_key_wish *wish, unsigned bits, bool local,
                                         const struct tt_secret *pin, struct tt_key_object *ret_key,
                                         struct tt_key_probe *ret_probe, struct tt_error *err);

/* Destroys what is there of the pair, if need be in a new session and by the label and id of `wish`, which nothing else
 * has; a warning when it does not work. `pin` served before, so that it is at no risk. */
void tt_key_pair_remove(struct tt_session *session, const struct tt_key_pair *pair, const struct tt_key_wish *wish,
                        const struct tt_secret *pin);

#endif
