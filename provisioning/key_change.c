#include "provisioning/key_change.h"

#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "pkcs11/ckr.h"
#include "provisioning/key_wish.h"

enum tt_status tt_key_delete(struct tt_session *session, const struct tt_key_object *key, struct tt_error *err)
{
    CK_FUNCTION_LIST *functions = session->cryptoki->functions;
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(session, key);
    enum tt_status status = uri ? tt_interrupt_check(err) : tt_error_memory(err);
    if (status != TT_OK)
        return status;
    CK_RV outcome = functions->C_DestroyObject(session->handle, key->private_key);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the token does not let the key '%s' be removed; it is as it was", uri);
    outcome = key->public_key ? functions->C_DestroyObject(session->handle, key->public_key) : CKR_OK;
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the private key '%s' was removed, but its public half is still on the token",
                            uri);
    return TT_OK;
}

/* The two attributes of one object. */
struct names {
    const void *label;
    size_t label_length;
    const void *id;
    size_t id_length;
};

static CK_RV set_names(struct tt_session *session, CK_OBJECT_HANDLE object, const struct names *names)
{
    CK_ATTRIBUTE template[2];
    CK_ULONG count = 0;
    if (names->label)
        template[count++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)names->label, names->label_length};
    if (names->id)
        template[count++] = (CK_ATTRIBUTE){CKA_ID, (void *)names->id, names->id_length};
    return session->cryptoki->functions->C_SetAttributeValue(session->handle, object, template, count);
}

static CK_RV set_both(struct tt_session *session, const struct tt_key_object *key, const struct names *names)
{
    CK_RV outcome = set_names(session, key->private_key, names);
    if (outcome == CKR_OK && key->public_key != CK_INVALID_HANDLE)
        outcome = set_names(session, key->public_key, names);
    return outcome;
}

/* Whether both halves have these names now. */
static bool has_names(struct tt_session *session, const struct tt_key_object *key, const struct names *names)
{
    const CK_OBJECT_HANDLE halves[] = {key->private_key, key->public_key};
    bool has = true;
    for (size_t i = 0; i < 4; i++) {
        bool by_label = i % 2 == 0;
        const void *wanted = by_label ? names->label : names->id;
        size_t wanted_length = by_label ? names->label_length : names->id_length;
        unsigned char *value TT_CLEANUP(tt_free_cleanup) = NULL;
        size_t length = 0;
        if (!wanted || halves[i / 2] == CK_INVALID_HANDLE)
            continue;
        has = has &&
              tt_object_value(session, halves[i / 2], by_label ? CKA_LABEL : CKA_ID, TT_LABEL_LIMIT, &value, &length) &&
              length == wanted_length && memcmp(value, wanted, length) == 0;
    }
    return has;
}

static void put_back(struct tt_session *session, const struct tt_key_object *key, const struct names *old,
                     const char *uri)
{
    /* Each half by itself: one that refuses must not keep the other from its old names. */
    struct tt_key_object alone = *key;
    alone.public_key = CK_INVALID_HANDLE;
    (void)set_both(session, &alone, old);
    if (key->public_key != CK_INVALID_HANDLE)
        (void)set_names(session, key->public_key, old);
    if (!has_names(session, key, old))
        tt_log(TT_LOG_WARNING, "the halves of the key '%s' may have different names now: see traintoken key list", uri);
}

enum tt_status tt_key_rename(struct tt_session *session, struct tt_key_object *key, const char *label,
                             const unsigned char *id, size_t id_length, struct tt_error *err)
{
    const struct tt_key_pair pair = {key->private_key, key->public_key};
    const struct names names = {label, label ? strlen(label) : 0, id, id_length};
    const struct names old = {label ? (key->label ? key->label : "") : NULL, key->label ? strlen(key->label) : 0,
                              id ? (key->id ? key->id : (const unsigned char *)"") : NULL, key->id_length};
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(session, key);
    struct tt_key_object now TT_CLEANUP(tt_key_object_clear) = {0};
    enum tt_status status = uri ? tt_key_is_new(session, label, id, id_length, &pair, err) : tt_error_memory(err);
    if (status == TT_OK && key->modifiable == TT_ATTRIBUTE_FALSE)
        status = tt_error_set(err, TT_TOKEN, "the key '%s' cannot be changed: it was made so (CKA_MODIFIABLE)", uri);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status != TT_OK)
        return status;
    CK_RV outcome = set_both(session, key, &names);
    if (outcome != CKR_OK)
        status = tt_ckr_error(outcome, err, "the token does not let the key '%s' be renamed; it is as it was", uri);
    else if (!has_names(session, key, &names))
        status = tt_error_set(err, TT_TOKEN, "the token did not rename the key '%s', though it says so", uri);
    if (status == TT_OK)
        status = tt_key_read(session, key->private_key, &now, err);
    if (status != TT_OK) {
        put_back(session, key, &old, uri);
        return status;
    }
    tt_key_object_clear(key);
    *key = now;
    now = (struct tt_key_object){0};
    return TT_OK;
}
