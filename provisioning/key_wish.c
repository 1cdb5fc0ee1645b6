#include "provisioning/key_wish.h"

#include <string.h>
#include <strings.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "pkcs11/ckr.h"

static const struct {
    CK_MECHANISM_TYPE type;
    const char *name;
    const char *brief;
} mechanisms[] = {
    {CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP", "oaep"},
    {CKM_RSA_PKCS_PSS, "CKM_RSA_PKCS_PSS", "pss"},
    {CKM_RSA_X_509, "CKM_RSA_X_509", "raw"},
    {CKM_RSA_PKCS, "CKM_RSA_PKCS", "pkcs1"},
    {CKM_SHA512_RSA_PKCS_PSS, "CKM_SHA512_RSA_PKCS_PSS", "sha512-pss"},
    {CKM_SHA512_RSA_PKCS, "CKM_SHA512_RSA_PKCS", "sha512-pkcs1"},
};
enum { MECHANISMS = sizeof mechanisms / sizeof mechanisms[0] };

const char *tt_mechanism_name(CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < MECHANISMS; i++)
        if (mechanisms[i].type == type)
            return mechanisms[i].name;
    return NULL;
}

static bool is_word(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && strncasecmp(text, word, length) == 0;
}

enum tt_status tt_key_wish_allow(struct tt_key_wish *wish, const char *list, struct tt_error *err)
{
    for (const char *word = list;;) {
        size_t length = strcspn(word, ",");
        size_t found = 0;
        while (found < MECHANISMS && !is_word(word, length, mechanisms[found].name) &&
               !is_word(word, length, mechanisms[found].brief))
            found++;
        if (found == MECHANISMS || wish->allowed_count == TT_ALLOWED_LIMIT)
            return tt_error_set(err, TT_USAGE,
                                "--allow-mechanisms takes oaep, pss, raw, pkcs1, sha512-pss and sha512-pkcs1, or their "
                                "names as CKM_RSA_PKCS_OAEP, separated by commas; '%.*s' is none of them",
                                length > 64 ? 64 : (int)length, word);
        wish->allowed[wish->allowed_count++] = mechanisms[found].type;
        if (word[length] == '\0')
            return TT_OK;
        word += length + 1;
    }
}

/* Uniqueness. */

static char *uri_of(struct tt_session *session, CK_OBJECT_HANDLE handle, bool is_private)
{
    unsigned char *label TT_CLEANUP(tt_free_cleanup) = NULL;
    unsigned char *id TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t label_length = 0;
    size_t id_length = 0;
    (void)tt_object_value(session, handle, CKA_LABEL, TT_LABEL_LIMIT, &label, &label_length);
    (void)tt_object_value(session, handle, CKA_ID, TT_ID_LIMIT, &id, &id_length);
    return tt_token_uri(&session->token, is_private ? "private" : "public", (const char *)label, id, id_length);
}

static enum tt_status is_in_use(struct tt_session *session, CK_OBJECT_HANDLE handle, bool is_private, bool by_label,
                                struct tt_error *err)
{
    char *uri TT_CLEANUP(tt_free_cleanup) = uri_of(session, handle, is_private);
    char *token TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    if (!uri || !token)
        return tt_error_memory(err);
    return tt_error_set(
        err, TT_TOKEN,
        "token '%s' already has a %s key with this %s: '%s'; choose another %s, or remove that key "
        "first (%s)",
        token, is_private ? "private" : "public", by_label ? "label" : "id", uri, by_label ? "label" : "id",
        is_private ? "traintoken key delete"
                   : "the token's own tool can, for instance pkcs11-tool --delete-object --type pubkey");
}

enum tt_status tt_key_is_new(struct tt_session *session, const char *label, const unsigned char *id, size_t id_length,
                             const struct tt_key_pair *except, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (int i = 0; status == TT_OK && i < 4; i++) {
        bool is_private = i < 2;
        bool by_label = i % 2 == 0;
        CK_OBJECT_CLASS class = is_private ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY;
        CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                                   {by_label ? CKA_LABEL : CKA_ID, by_label ? (void *)label : (void *)id,
                                    by_label ? (CK_ULONG)(label ? strlen(label) : 0) : (CK_ULONG)id_length}};
        CK_OBJECT_HANDLE found[4];
        size_t count = 0;
        if (!template[1].pValue)
            continue;
        status = tt_objects_find(session, template, 2, found, 4, &count, err);
        for (size_t j = 0; status == TT_OK && j < count; j++)
            if (!except || (found[j] != except->private_key && found[j] != except->public_key))
                status = is_in_use(session, found[j], is_private, by_label, err);
    }
    return status;
}

/* What came out. */

struct demand {
    const char *name;
    enum tt_attribute got, wanted;
    bool may_hide; /* a token that does not show it is believed */
};

/* NSS keeps no CKA_LOCAL. The pair was made by its C_GenerateKeyPair a moment ago, and these two are never true of a
 * key that came from outside. */
static bool is_local_after_all(const struct tt_key_object *key)
{
    return key->local == TT_ATTRIBUTE_FALSE && key->always_sensitive == TT_ATTRIBUTE_TRUE &&
           key->never_extractable == TT_ATTRIBUTE_TRUE;
}

static enum tt_status check_flags(const struct tt_key_object *key, const struct tt_key_wish *wish, bool local,
                                  const char *token, struct tt_error *err)
{
    const struct demand demands[] = {
        {"CKA_SENSITIVE", key->sensitive, TT_ATTRIBUTE_TRUE, false},
        {"CKA_EXTRACTABLE", key->extractable, TT_ATTRIBUTE_FALSE, false},
        {"CKA_PRIVATE", key->is_private, TT_ATTRIBUTE_TRUE, true},
        {"CKA_DECRYPT", key->decrypt, TT_ATTRIBUTE_TRUE, true},
        {"CKA_SIGN", key->sign, TT_ATTRIBUTE_TRUE, true},
        {"CKA_ALWAYS_AUTHENTICATE", key->always_authenticate, wish->always_authenticate, !wish->always_authenticate},
        {"CKA_LOCAL", key->local, TT_ATTRIBUTE_TRUE, true},
        {"CKA_ALWAYS_SENSITIVE", key->always_sensitive, TT_ATTRIBUTE_TRUE, true},
        {"CKA_NEVER_EXTRACTABLE", key->never_extractable, TT_ATTRIBUTE_TRUE, true},
    };
    /* The last three can only be true of a key that never was outside. */
    size_t count = sizeof demands / sizeof demands[0] - (local ? 0 : 3);
    for (size_t i = 0; i < count; i++) {
        const struct demand *demand = &demands[i];
        if (demand->got == demand->wanted)
            continue;
        if (demand->got == TT_ATTRIBUTE_UNKNOWN && demand->may_hide) {
            if (demand->wanted == TT_ATTRIBUTE_TRUE)
                tt_log(TT_LOG_WARNING, "token '%s' does not show %s of the key", token, demand->name);
            continue;
        }
        if (strcmp(demand->name, "CKA_LOCAL") == 0 && is_local_after_all(key)) {
            tt_log(TT_LOG_WARNING, "token '%s' made the key, but does not keep that it did (CKA_LOCAL is FALSE)",
                   token);
            continue;
        }
        return tt_error_set(err, TT_TOKEN,
                            "token '%s' did not make the key as it was asked to: %s is %s, not %s; the key was "
                            "refused",
                            token, demand->name,
                            demand->got == TT_ATTRIBUTE_UNKNOWN ? "not shown"
                            : demand->got                       ? "TRUE"
                                                                : "FALSE",
                            demand->wanted ? "TRUE" : "FALSE");
    }
    if (key->unwrap == TT_ATTRIBUTE_TRUE || key->sign_recover == TT_ATTRIBUTE_TRUE)
        tt_log(TT_LOG_WARNING, "token '%s' also gave the key the right %s, which was not asked for", token,
               key->unwrap == TT_ATTRIBUTE_TRUE ? "CKA_UNWRAP" : "CKA_SIGN_RECOVER");
    return TT_OK;
}

static enum tt_status check_allowed(struct tt_session *session, const struct tt_key_object *key,
                                    const struct tt_key_wish *wish, const char *token, struct tt_error *err)
{
    unsigned char *value TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t length = 0;
    if (wish->allowed_count == 0)
        return TT_OK;
    bool same =
        tt_object_value(session, key->private_key, CKA_ALLOWED_MECHANISMS, sizeof wish->allowed, &value, &length) &&
        length == wish->allowed_count * sizeof wish->allowed[0];
    for (size_t i = 0; same && i < wish->allowed_count; i++) {
        bool found = false; /* a token may keep them in another order */
        for (size_t j = 0; j < wish->allowed_count; j++)
            found =
                found || memcmp(value + j * sizeof wish->allowed[0], &wish->allowed[i], sizeof wish->allowed[0]) == 0;
        same = found;
    }
    if (!same)
        return tt_error_set(err, TT_TOKEN,
                            "token '%s' did not limit the key to the mechanisms of --allow-mechanisms; the key was "
                            "refused, leave the option out if that is fine",
                            token);
    return TT_OK;
}

static enum tt_status cannot_serve(const struct tt_key_probe *probe, const char *token, struct tt_error *err)
{
    bool unwrap = probe->unwrap.way == TT_PROBE_NO;
    char *reason TT_CLEANUP(tt_free_cleanup) =
        unwrap ? tt_probe_reason(&probe->unwrap, "OAEP with SHA-512") : tt_probe_reason(&probe->sign, "PSS");
    if (!reason)
        return tt_error_memory(err);
    tt_error_set(
        err, TT_TOKEN,
        "token '%s' cannot serve the protocol with this key: it can %s neither by its own mechanism nor by raw "
        "RSA; the key was refused",
        token, unwrap ? "unwrap RSA-OAEP with SHA-512" : "sign RSA-PSS with SHA-512 and the longest salt");
    tt_error_detail(err, "%s", reason);
    return TT_TOKEN;
}

enum tt_status tt_key_accept(struct tt_session *session, const struct tt_key_pair *pair, const struct tt_key_wish *wish,
                             unsigned bits, bool local, const struct tt_secret *pin, struct tt_key_object *ret_key,
                             struct tt_key_probe *ret_probe, struct tt_error *err)
{
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_key_probe probe = {0};
    char *token TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    if (!token)
        return tt_error_memory(err);
    enum tt_status status = tt_key_read(session, pair->private_key, &key, err);
    if (status == TT_OK &&
        (key.bits != bits || key.public_key == CK_INVALID_HANDLE || !key.label || strcmp(key.label, wish->label) != 0))
        status = tt_error_set(err, TT_TOKEN,
                              "token '%s' did not make the key pair as it was asked to: its size, label or id came out "
                              "otherwise; the key was refused",
                              token);
    if (status == TT_OK) /* somebody else may have made one at the same time */
        status = tt_key_is_new(session, wish->label, wish->id, wish->id_length, pair, err);
    if (status == TT_OK)
        status = check_flags(&key, wish, local, token, err);
    if (status == TT_OK)
        status = check_allowed(session, &key, wish, token, err);
    if (status == TT_OK)
        status = tt_key_probe(session, &key, pin, &probe, err);
    if (status == TT_OK && !tt_key_probe_is_good(&probe))
        status = cannot_serve(&probe, token, err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status != TT_OK)
        return status;
    *ret_key = key;
    key = (struct tt_key_object){0};
    *ret_probe = probe;
    return TT_OK;
}

/* Removing. */

static bool remove_by_handle(struct tt_session *session, const struct tt_key_pair *pair)
{
    const CK_OBJECT_HANDLE handles[] = {pair->private_key, pair->public_key};
    bool removed = true;
    for (size_t i = 0; i < 2; i++)
        if (handles[i] != CK_INVALID_HANDLE)
            removed = session->cryptoki->functions->C_DestroyObject(session->handle, handles[i]) == CKR_OK && removed;
    return removed;
}

/* The session may have been lost, and the handles with it. */
static bool begin_again(struct tt_session *session, const struct tt_secret *pin)
{
    CK_FUNCTION_LIST *functions = session->cryptoki->functions;
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    if (!pin && (session->token.info.flags & CKF_LOGIN_REQUIRED)) /* nobody is asked to type it once more */
        return false;
    if (functions->C_OpenSession(session->token.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &handle) !=
        CKR_OK)
        return false;
    functions->C_CloseSession(session->handle);
    session->handle = handle;
    CK_RV outcome = pin ? functions->C_Login(handle, CKU_USER, pin->data, (CK_ULONG)pin->length) : CKR_OK;
    return outcome == CKR_OK || outcome == CKR_USER_ALREADY_LOGGED_IN;
}

static bool remove_by_name(struct tt_session *session, const struct tt_key_wish *wish)
{
    CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    bool removed = true;
    for (size_t i = 0; i < 2; i++) {
        CK_ATTRIBUTE template[] = {{CKA_CLASS, &classes[i], sizeof classes[i]},
                                   {CKA_LABEL, (void *)wish->label, strlen(wish->label)},
                                   {CKA_ID, (void *)wish->id, wish->id_length}};
        CK_OBJECT_HANDLE found = CK_INVALID_HANDLE;
        size_t count = 0;
        if (tt_objects_find(session, template, 3, &found, 1, &count, NULL) != TT_OK)
            return false;
        if (count > 0)
            removed = session->cryptoki->functions->C_DestroyObject(session->handle, found) == CKR_OK && removed;
    }
    return removed;
}

void tt_key_pair_remove(struct tt_session *session, const struct tt_key_pair *pair, const struct tt_key_wish *wish,
                        const struct tt_secret *pin)
{
    if (remove_by_handle(session, pair) || (begin_again(session, pin) && remove_by_name(session, wish)))
        return;
    char *uri TT_CLEANUP(tt_free_cleanup) =
        tt_token_uri(&session->token, "private", wish->label, wish->id, wish->id_length);
    tt_log(TT_LOG_WARNING,
           "the half-made key '%s' could not be removed from the token: see traintoken key list, and "
           "remove it",
           uri ? uri : wish->label);
}

void tt_key_wish_attributes(const struct tt_key_wish *wish, bool detailed, CK_ATTRIBUTE *attributes, CK_ULONG *count)
{
    static const CK_BBOOL yes = CK_TRUE;
    static const CK_BBOOL no = CK_FALSE;
    const CK_ATTRIBUTE always[] = {{CKA_TOKEN, (void *)&yes, sizeof yes},
                                   {CKA_PRIVATE, (void *)&yes, sizeof yes},
                                   {CKA_SENSITIVE, (void *)&yes, sizeof yes},
                                   {CKA_EXTRACTABLE, (void *)&no, sizeof no},
                                   {CKA_DECRYPT, (void *)&yes, sizeof yes},
                                   {CKA_SIGN, (void *)&yes, sizeof yes},
                                   {CKA_LABEL, (void *)wish->label, strlen(wish->label)},
                                   {CKA_ID, (void *)wish->id, wish->id_length}};
    memcpy(attributes + *count, always, sizeof always);
    *count += sizeof always / sizeof always[0];
    if (wish->always_authenticate)
        attributes[(*count)++] = (CK_ATTRIBUTE){CKA_ALWAYS_AUTHENTICATE, (void *)&yes, sizeof yes};
    if (wish->allowed_count > 0)
        attributes[(*count)++] = (CK_ATTRIBUTE){CKA_ALLOWED_MECHANISMS, (void *)wish->allowed,
                                                wish->allowed_count * sizeof wish->allowed[0]};
    if (!detailed)
        return;
    attributes[(*count)++] = (CK_ATTRIBUTE){CKA_UNWRAP, (void *)&no, sizeof no};
    attributes[(*count)++] = (CK_ATTRIBUTE){CKA_SIGN_RECOVER, (void *)&no, sizeof no};
}
