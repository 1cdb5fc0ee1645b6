#include "provisioning/key_facts.h"

#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "crypto/public_key.h"
#include "pkcs11/ckr.h"

void tt_facts_add(cJSON *object, const char *name, const char *text)
{
    if (!text) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    bool is_good = tt_text_is_utf8(text, strlen(text));
    size_t size = is_good ? 0 : 4 * strlen(text) + 1;
    char *safe TT_CLEANUP(tt_free_cleanup) = is_good ? NULL : malloc(size);
    if (safe)
        tt_text_printable(text, safe, size);
    cJSON_AddStringToObject(object, name, is_good ? text : safe ? safe : "");
}

static void add_flag(cJSON *object, const char *name, enum tt_attribute flag)
{
    if (flag == TT_ATTRIBUTE_UNKNOWN)
        cJSON_AddNullToObject(object, name);
    else
        cJSON_AddBoolToObject(object, name, flag == TT_ATTRIBUTE_TRUE);
}

static const char *type_name(CK_KEY_TYPE type)
{
    return type == CKK_RSA ? "RSA" : type == CKK_EC ? "EC" : "other";
}

cJSON *tt_key_facts(const struct tt_session *session, const struct tt_key_object *key)
{
    cJSON *object = cJSON_CreateObject();
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(session, key);
    char *token TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    char *serial TT_CLEANUP(tt_free_cleanup) =
        tt_token_text(session->token.info.serialNumber, sizeof session->token.info.serialNumber);
    char *id TT_CLEANUP(tt_free_cleanup) = tt_hex_new(key->id, key->id_length);
    char fingerprint[TT_FINGERPRINT_SIZE] = "";
    if (key->public_half && tt_public_key_fingerprint(key->public_half, fingerprint, NULL) != TT_OK)
        fingerprint[0] = '\0';
    tt_facts_add(object, "uri", uri);
    tt_facts_add(object, "token", token);
    tt_facts_add(object, "serial", serial);
    tt_facts_add(object, "label", key->label);
    tt_facts_add(object, "id", id);
    tt_facts_add(object, "type", type_name(key->type));
    cJSON_AddNumberToObject(object, "bits", key->bits);
    tt_facts_add(object, "fingerprint", fingerprint[0] ? fingerprint : NULL);
    cJSON_AddBoolToObject(object, "has_public_object", key->public_key != CK_INVALID_HANDLE);
    cJSON *attributes = cJSON_AddObjectToObject(object, "attributes");
    add_flag(attributes, "sensitive", key->sensitive);
    add_flag(attributes, "always_sensitive", key->always_sensitive);
    add_flag(attributes, "extractable", key->extractable);
    add_flag(attributes, "never_extractable", key->never_extractable);
    add_flag(attributes, "local", key->local);
    add_flag(attributes, "private", key->is_private);
    add_flag(attributes, "decrypt", key->decrypt);
    add_flag(attributes, "sign", key->sign);
    add_flag(attributes, "unwrap", key->unwrap);
    add_flag(attributes, "sign_recover", key->sign_recover);
    add_flag(attributes, "always_authenticate", key->always_authenticate);
    add_flag(attributes, "modifiable", key->modifiable);
    return object;
}

static void add_way(cJSON *object, const char *name, const struct tt_probe_result *result)
{
    char buffer[32];
    cJSON *operation = cJSON_AddObjectToObject(object, name);
    cJSON_AddStringToObject(operation, "way", tt_probe_way_name(result->way));
    tt_facts_add(operation, "native_refused", result->native ? tt_ckr_name(result->native, buffer) : NULL);
    tt_facts_add(operation, "raw_refused", result->raw ? tt_ckr_name(result->raw, buffer) : NULL);
    cJSON_AddBoolToObject(operation, "wrong_outcome", result->is_wrong);
}

cJSON *tt_probe_facts(const struct tt_key_probe *probe)
{
    cJSON *object = cJSON_CreateObject();
    add_way(object, "unwrap", &probe->unwrap);
    add_way(object, "sign", &probe->sign);
    return object;
}
