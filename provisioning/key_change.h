/* Removing and renaming a key pair: both halves, or neither. */
#ifndef TT_PROVISIONING_KEY_CHANGE_H
#define TT_PROVISIONING_KEY_CHANGE_H

#include "provisioning/object.h"

/* Destroys the private key, then its public half. `session` is writable. TT_TOKEN. */
TT_MUST_USE enum tt_status tt_key_delete(struct tt_session *session, const struct tt_key_object *key,
                                         struct tt_error *err);

/* Gives both halves another label or id (NULL: stays). TT_TOKEN when another key has it, or when the token does not let
 * it be changed; both halves are as they were then. On success *key says what the token now shows. */
TT_MUST_USE enum tt_status tt_key_rename(struct tt_session *session, struct tt_key_object *key, const char *label,
                                         const unsigned char *id, size_t id_length, struct tt_error *err);

#endif
