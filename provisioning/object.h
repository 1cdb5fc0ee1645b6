/* Keys on a token, as pairs of objects with their attributes. */
#ifndef TT_PROVISIONING_OBJECT_H
#define TT_PROVISIONING_OBJECT_H

#include <openssl/evp.h>

#include "provisioning/session.h"

enum { TT_LABEL_LIMIT = 255, TT_ID_LIMIT = 255 };

/* What is known of a flag: a token may not have the attribute, or not show it. */
enum tt_attribute { TT_ATTRIBUTE_FALSE, TT_ATTRIBUTE_TRUE, TT_ATTRIBUTE_UNKNOWN };

/* A private key; its public half, found by the id, where the token has one. */
struct tt_key_object {
    CK_OBJECT_HANDLE private_key;
    CK_OBJECT_HANDLE public_key; /* CK_INVALID_HANDLE where there is none */
    CK_KEY_TYPE type;
    char *label;
    unsigned char *id;
    size_t id_length;
    EVP_PKEY *public_half; /* from the token's objects; NULL where it shows none, or for other keys than RSA */
    unsigned bits;         /* of the modulus; 0 where not known */
    enum tt_attribute sensitive, always_sensitive, extractable, never_extractable, local, decrypt, sign, unwrap,
        sign_recover, is_private, always_authenticate, modifiable;
};
void tt_key_object_clear(struct tt_key_object *key);

struct tt_key_list {
    struct tt_key_object *keys;
    size_t count;
};
void tt_key_list_clear(struct tt_key_list *list);

/* All private keys that the session sees and the URI (NULL: all) names, with everything about them. */
TT_MUST_USE enum tt_status tt_keys_list(struct tt_session *session, const struct tt_pkcs11_uri *uri,
                                        struct tt_key_list *ret_list, struct tt_error *err);

/* The one that the URI names. TT_TOKEN, listing all, when there is none or several. */
TT_MUST_USE enum tt_status tt_key_find(struct tt_session *session, const struct tt_pkcs11_uri *uri,
                                       struct tt_key_object *ret_key, struct tt_error *err);

/* Handles of all objects that fit the template, at most `limit`. */
TT_MUST_USE enum tt_status tt_objects_find(struct tt_session *session, CK_ATTRIBUTE *template, CK_ULONG count,
                                           CK_OBJECT_HANDLE *handles, size_t limit, size_t *ret_count,
                                           struct tt_error *err);

/* Everything about one private key whose handle is known. *key, empty before, is to be cleared also after a failure. */
TT_MUST_USE enum tt_status tt_key_read(struct tt_session *session, CK_OBJECT_HANDLE handle, struct tt_key_object *key,
                                       struct tt_error *err);

/* One flag of an object. */
TT_MUST_USE enum tt_attribute tt_object_flag(struct tt_session *session, CK_OBJECT_HANDLE object,
                                             CK_ATTRIBUTE_TYPE type);
/* A value of at most `limit` bytes in new memory, followed by a NUL byte. False when the object has none to show. */
bool tt_object_value(struct tt_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, size_t limit,
                     unsigned char **ret_value, size_t *ret_length);

/* Where the key is: its URI without PIN, in new memory. */
char *tt_key_uri(const struct tt_session *session, const struct tt_key_object *key);

#endif
