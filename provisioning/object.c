#include "provisioning/object.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <string.h>

#include "base/buffer.h"
#include "pkcs11/ckr.h"

enum { BATCH = 64, KEY_LIMIT = 4096, NUMBER_LIMIT = 4096 };

void tt_key_object_clear(struct tt_key_object *key)
{
    free(key->label);
    free(key->id);
    EVP_PKEY_free(key->public_half);
    *key = (struct tt_key_object){0};
}

void tt_key_list_clear(struct tt_key_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        tt_key_object_clear(&list->keys[i]);
    free(list->keys);
    *list = (struct tt_key_list){0};
}

/* The value into new memory, followed by a NUL byte; *ret_value stays NULL when the object has none to show. A return
 * value other than CKR_OK is the token's failure. */
static CK_RV get_value(struct tt_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, size_t limit,
                       unsigned char **ret_value, size_t *ret_length)
{
    CK_ATTRIBUTE attribute = {type, NULL, 0};
    CK_FUNCTION_LIST *functions = session->cryptoki->functions;
    CK_RV outcome = functions->C_GetAttributeValue(session->handle, object, &attribute, 1);
    if (outcome == CKR_ATTRIBUTE_SENSITIVE || outcome == CKR_ATTRIBUTE_TYPE_INVALID)
        return CKR_OK;
    if (outcome != CKR_OK || attribute.ulValueLen == (CK_ULONG)-1 || attribute.ulValueLen > limit)
        return outcome;
    unsigned char *value = calloc(1, attribute.ulValueLen + 1);
    if (!value)
        return CKR_HOST_MEMORY;
    CK_ULONG room = attribute.ulValueLen;
    attribute.pValue = value;
    outcome = functions->C_GetAttributeValue(session->handle, object, &attribute, 1);
    if (outcome == CKR_OK && attribute.ulValueLen > room) /* more than it can have filled in */
        outcome = CKR_GENERAL_ERROR;
    if (outcome != CKR_OK) {
        free(value);
        return outcome;
    }
    *ret_value = value;
    *ret_length = attribute.ulValueLen;
    return CKR_OK;
}

bool tt_object_value(struct tt_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, size_t limit,
                     unsigned char **ret_value, size_t *ret_length)
{
    unsigned char *value = NULL;
    size_t length = 0;
    if (get_value(session, object, type, limit, &value, &length) != CKR_OK || !value)
        return false;
    *ret_value = value;
    *ret_length = length;
    return true;
}

static enum tt_status unreadable(CK_RV outcome, struct tt_error *err)
{
    return tt_ckr_error(outcome, err, "the token's keys cannot be read");
}

enum tt_attribute tt_object_flag(struct tt_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE attribute = {type, &value, sizeof value};
    if (session->cryptoki->functions->C_GetAttributeValue(session->handle, object, &attribute, 1) != CKR_OK ||
        attribute.ulValueLen != sizeof value)
        return TT_ATTRIBUTE_UNKNOWN;
    return value ? TT_ATTRIBUTE_TRUE : TT_ATTRIBUTE_FALSE;
}

enum tt_status tt_objects_find(struct tt_session *session, CK_ATTRIBUTE *template, CK_ULONG count,
                               CK_OBJECT_HANDLE *handles, size_t limit, size_t *ret_count, struct tt_error *err)
{
    CK_FUNCTION_LIST *functions = session->cryptoki->functions;
    CK_RV outcome = functions->C_FindObjectsInit(session->handle, template, count);
    CK_ULONG found = 0;
    size_t total = 0;
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the token's objects cannot be listed");
    do {
        CK_ULONG room = limit - total < BATCH ? (CK_ULONG)(limit - total) : BATCH;
        outcome = room ? functions->C_FindObjects(session->handle, handles + total, room, &found) : CKR_OK;
        found = room ? found : 0;
        if (outcome == CKR_OK && found > room) /* more than it can have filled in */
            outcome = CKR_GENERAL_ERROR;
        total += outcome == CKR_OK ? found : 0;
    } while (outcome == CKR_OK && found > 0);
    functions->C_FindObjectsFinal(session->handle);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the token's objects cannot be listed");
    *ret_count = total;
    return TT_OK;
}

/* The public half, from a public key's or a private key's own attributes. */
static EVP_PKEY *rsa_key(struct tt_session *session, CK_OBJECT_HANDLE object)
{
    unsigned char *modulus TT_CLEANUP(tt_free_cleanup) = NULL;
    unsigned char *exponent TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t modulus_length = 0;
    size_t exponent_length = 0;
    if (!tt_object_value(session, object, CKA_MODULUS, NUMBER_LIMIT, &modulus, &modulus_length) ||
        !tt_object_value(session, object, CKA_PUBLIC_EXPONENT, NUMBER_LIMIT, &exponent, &exponent_length) ||
        modulus_length == 0 || exponent_length == 0)
        return NULL;
    BIGNUM *n = BN_bin2bn(modulus, (int)modulus_length, NULL);
    BIGNUM *e = BN_bin2bn(exponent, (int)exponent_length, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *parameters = NULL;
    EVP_PKEY *key = NULL;
    if (n && e && builder && context && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) &&
        (parameters = OSSL_PARAM_BLD_to_param(builder)) != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        key = NULL;
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    BN_free(n);
    BN_free(e);
    return key;
}

/* *ret_other tells that the object shows another number. */
static CK_RV compare_number(struct tt_session *session, CK_OBJECT_HANDLE object, const unsigned char *modulus,
                            size_t length, bool *ret_other)
{
    unsigned char *other TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t other_length = 0;
    CK_RV outcome = get_value(session, object, CKA_MODULUS, NUMBER_LIMIT, &other, &other_length);
    *ret_other = !other || other_length != length || memcmp(other, modulus, length) != 0;
    return outcome;
}

/* By the id, or the label of a key without one; where the private key shows its modulus, with the same one. */
static enum tt_status find_public(struct tt_session *session, struct tt_key_object *key, struct tt_error *err)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    bool by_id = key->id_length > 0;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {by_id ? CKA_ID : CKA_LABEL, by_id ? (void *)key->id : key->label,
                                by_id        ? key->id_length
                                : key->label ? strlen(key->label)
                                             : 0}};
    CK_OBJECT_HANDLE found[BATCH];
    unsigned char *modulus TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t length = 0;
    size_t count = 0;
    if (template[1].ulValueLen == 0)
        return TT_OK;
    enum tt_status status = tt_objects_find(session, template, 2, found, BATCH, &count, err);
    if (status != TT_OK)
        return status;
    CK_RV outcome = key->type == CKK_RSA
                        ? get_value(session, key->private_key, CKA_MODULUS, NUMBER_LIMIT, &modulus, &length)
                        : CKR_OK;
    for (size_t i = 0; outcome == CKR_OK && i < count && key->public_key == CK_INVALID_HANDLE; i++) {
        bool is_other = false;
        if (modulus)
            outcome = compare_number(session, found[i], modulus, length, &is_other);
        if (!is_other)
            key->public_key = found[i];
    }
    return outcome == CKR_OK ? TT_OK : unreadable(outcome, err);
}

static void read_flags(struct tt_session *session, struct tt_key_object *key)
{
    const struct {
        CK_ATTRIBUTE_TYPE type;
        enum tt_attribute *flag;
    } flags[] = {{CKA_SENSITIVE, &key->sensitive},
                 {CKA_ALWAYS_SENSITIVE, &key->always_sensitive},
                 {CKA_EXTRACTABLE, &key->extractable},
                 {CKA_NEVER_EXTRACTABLE, &key->never_extractable},
                 {CKA_LOCAL, &key->local},
                 {CKA_DECRYPT, &key->decrypt},
                 {CKA_SIGN, &key->sign},
                 {CKA_UNWRAP, &key->unwrap},
                 {CKA_SIGN_RECOVER, &key->sign_recover},
                 {CKA_PRIVATE, &key->is_private},
                 {CKA_ALWAYS_AUTHENTICATE, &key->always_authenticate},
                 {CKA_MODIFIABLE, &key->modifiable}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        *flags[i].flag = tt_object_flag(session, key->private_key, flags[i].type);
}

enum tt_status tt_key_read(struct tt_session *session, CK_OBJECT_HANDLE handle, struct tt_key_object *key,
                           struct tt_error *err)
{
    CK_ATTRIBUTE type = {CKA_KEY_TYPE, &key->type, sizeof key->type};
    size_t label_length = 0;
    key->private_key = handle;
    key->public_key = CK_INVALID_HANDLE;
    key->type = CKK_VENDOR_DEFINED;
    CK_RV outcome = session->cryptoki->functions->C_GetAttributeValue(session->handle, handle, &type, 1);
    if (outcome == CKR_OK)
        outcome = get_value(session, handle, CKA_LABEL, TT_LABEL_LIMIT, (unsigned char **)&key->label, &label_length);
    if (outcome == CKR_OK)
        outcome = get_value(session, handle, CKA_ID, TT_ID_LIMIT, &key->id, &key->id_length);
    if (outcome != CKR_OK)
        return unreadable(outcome, err);
    enum tt_status status = find_public(session, key, err);
    if (status != TT_OK)
        return status;
    if (key->type == CKK_RSA && key->public_key != CK_INVALID_HANDLE)
        key->public_half = rsa_key(session, key->public_key);
    if (key->type == CKK_RSA && !key->public_half)
        key->public_half = rsa_key(session, handle);
    key->bits = key->public_half ? (unsigned)EVP_PKEY_get_bits(key->public_half) : 0;
    read_flags(session, key);
    return TT_OK;
}

enum tt_status tt_keys_list(struct tt_session *session, const struct tt_pkcs11_uri *uri, struct tt_key_list *ret_list,
                            struct tt_error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}};
    CK_OBJECT_HANDLE *handles TT_CLEANUP(tt_free_cleanup) = calloc(KEY_LIMIT, sizeof *handles);
    struct tt_key_list list TT_CLEANUP(tt_key_list_clear) = {0};
    size_t count = 0;
    if (!handles)
        return tt_error_memory(err);
    enum tt_status status = tt_objects_find(session, template, 1, handles, KEY_LIMIT, &count, err);
    if (status == TT_OK && !(list.keys = calloc(count + 1, sizeof *list.keys)))
        status = tt_error_memory(err);
    for (size_t i = 0; status == TT_OK && i < count; i++) {
        struct tt_key_object *key = &list.keys[list.count];
        status = tt_key_read(session, handles[i], key, err);
        if (status == TT_OK && (!uri || tt_uri_matches_object(uri, key->label, key->id, key->id_length)))
            list.count++;
        else
            tt_key_object_clear(key);
    }
    if (status != TT_OK)
        return status;
    *ret_list = list;
    list = (struct tt_key_list){0};
    return TT_OK;
}

char *tt_key_uri(const struct tt_session *session, const struct tt_key_object *key)
{
    return tt_token_uri(&session->token, "private", key->label, key->id, key->id_length);
}

static enum tt_status describe(struct tt_session *session, const struct tt_key_list *list, struct tt_buffer *text,
                               struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < list->count; i++) {
        char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(session, &list->keys[i]);
        status = uri ? tt_buffer_printf(text, err, "%s'%s'", text->length ? ", " : "", uri) : tt_error_memory(err);
    }
    return status;
}

enum tt_status tt_key_find(struct tt_session *session, const struct tt_pkcs11_uri *uri, struct tt_key_object *ret_key,
                           struct tt_error *err)
{
    struct tt_key_list list TT_CLEANUP(tt_key_list_clear) = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    char *asked TT_CLEANUP(tt_free_cleanup) = tt_uri_text(uri);
    enum tt_status status = asked ? tt_keys_list(session, uri, &list, err) : tt_error_memory(err);
    if (status != TT_OK)
        return status;
    if (list.count == 1) {
        *ret_key = list.keys[0];
        list.keys[0] = (struct tt_key_object){0};
        return TT_OK;
    }
    bool found = list.count > 0;
    if (!found)
        tt_key_list_clear(&list); /* an empty list has memory, too */
    if (!found)
        status = tt_keys_list(session, NULL, &list, err);
    if (status == TT_OK)
        status = describe(session, &list, &text, err);
    if (status != TT_OK)
        return status;
    return tt_error_set(err, TT_TOKEN,
                        found ? "'%s' names several keys: %.700s; say more of the one that is meant"
                              : "there is no private key '%s' on the token; there are: %.700s",
                        asked, text.data ? (const char *)text.data : "none");
}
