#include "statement/envelope.h"

#include <limits.h>
#include <string.h>

#include "base/base64.h"
#include "base/text.h"
#include "crypto/signature.h"
#include "json/json.h"

/* An envelope has seven values; room for one that has a few more, so that the message can say what is wrong with it. */
enum { VALUE_LIMIT = 32, KEY_ID_LIMIT = 256 };

void tt_envelope_clear(struct tt_envelope *envelope)
{
    tt_buffer_clear(&envelope->payload);
    tt_buffer_clear(&envelope->signature);
    free(envelope->key_id);
    *envelope = (struct tt_envelope){0};
}

/* Base64 with its padding, in new memory. */
static enum tt_status encode(const void *data, size_t length, char **ret_text, struct tt_error *err)
{
    if (length > INT_MAX / 2)
        return tt_error_set(err, TT_INTERNAL, "%zu bytes are too many for a signed statement", length);
    char *text = malloc((length + 2) / 3 * 4 + 1);
    if (!text)
        return tt_error_memory(err);
    EVP_EncodeBlock((unsigned char *)text, data, (int)length);
    *ret_text = text;
    return TT_OK;
}

/* Only the one spelling that an encoder makes: with its padding, and no bits left over. */
static enum tt_status decode(const char *text, const char *member, const char *what, struct tt_buffer *ret_data,
                             struct tt_error *err)
{
    size_t length = strlen(text);
    struct tt_buffer data TT_CLEANUP(tt_buffer_clear) = {.capacity = length / 4 * 3 + 3};
    char *again TT_CLEANUP(tt_free_cleanup) = NULL;
    data.data = malloc(data.capacity);
    if (!data.data)
        return tt_error_memory(err);
    bool good = length > 0 && tt_base64_decode(text, length, data.data, &data.length);
    enum tt_status status = good ? encode(data.data, data.length, &again, err) : TT_OK;
    if (status != TT_OK)
        return status;
    if (!good || strcmp(text, again) != 0)
        return tt_error_set(err, TT_MALFORMED, "%s: \"%s\" is empty or not plain base64", what, member);
    data.data[data.length] = '\0';
    *ret_data = data;
    data = (struct tt_buffer){0};
    return TT_OK;
}

/* The text of a member, or NULL. */
static const char *text_of(const cJSON *object, const char *member)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, member);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static enum tt_status take_apart(const cJSON *root, const char *what, struct tt_envelope *envelope,
                                 struct tt_error *err)
{
    const cJSON *signatures = cJSON_GetObjectItemCaseSensitive(root, "signatures");
    const cJSON *signature = cJSON_IsArray(signatures) ? signatures->child : NULL;
    const char *type = text_of(root, "payloadType");
    const char *payload = text_of(root, "payload");
    const char *key_id = signature ? text_of(signature, "keyid") : NULL;
    const char *value = signature ? text_of(signature, "sig") : NULL;
    if (!cJSON_IsObject(root) || !type || !payload || !cJSON_IsArray(signatures))
        return tt_error_set(err, TT_MALFORMED,
                            "%s is not a signed statement: \"payloadType\", \"payload\" and \"signatures\" are not "
                            "all there",
                            what);
    if (strcmp(type, TT_STATEMENT_PAYLOAD_TYPE) != 0)
        return tt_error_set(err, TT_MALFORMED, "%s is a signed %.100s, and not a %s", what, type,
                            TT_STATEMENT_PAYLOAD_TYPE);
    if (!key_id || !value || signature->next || strlen(key_id) > KEY_ID_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "%s has something else than one signature with \"keyid\" and \"sig\"",
                            what);
    /* Nothing signs what else an envelope might say. */
    if (cJSON_GetArraySize(root) != 3 || cJSON_GetArraySize(signature) != 2)
        return tt_error_set(err, TT_MALFORMED, "%s has members that are no part of a signed statement", what);
    envelope->key_id = strdup(key_id);
    if (!envelope->key_id)
        return tt_error_memory(err);
    enum tt_status status = decode(payload, "payload", what, &envelope->payload, err);
    if (status == TT_OK)
        status = decode(value, "sig", what, &envelope->signature, err);
    return status;
}

enum tt_status tt_envelope_parse(const void *json, size_t length, const char *what, struct tt_envelope *ret_envelope,
                                 struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    enum tt_status status = tt_json_parse(json, length, VALUE_LIMIT, what, &root, err);
    if (status == TT_OK)
        status = take_apart(root, what, &envelope, err);
    if (status != TT_OK)
        return status;
    *ret_envelope = envelope;
    envelope = (struct tt_envelope){0};
    return TT_OK;
}

/* DSSE v1: "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload, lengths in decimal. */
static enum tt_status hash_encoding(const void *payload, size_t length, uint8_t ret_hash[TT_SHA256_SIZE],
                                    struct tt_error *err)
{
    static const char type[] = TT_STATEMENT_PAYLOAD_TYPE;
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
    char start[sizeof type + 64];
    int start_length = snprintf(start, sizeof start, "DSSEv1 %zu %s %zu ", sizeof type - 1, type, length);
    enum tt_status status = tt_digest_new(TT_SHA256, &digest, err);
    if (status == TT_OK)
        status = tt_digest_update(digest, start, (size_t)start_length, err);
    if (status == TT_OK)
        status = tt_digest_update(digest, payload, length, err);
    return status == TT_OK ? tt_digest_final(digest, ret_hash, err) : status;
}

/* A station signs the SHA-512 of results and session id, all of which others choose; but never of so few bytes. */
enum tt_status tt_envelope_digest(const void *payload, size_t length, uint8_t ret_digest[TT_SHA512_SIZE],
                                  struct tt_error *err)
{
    uint8_t hash[TT_SHA256_SIZE];
    enum tt_status status = hash_encoding(payload, length, hash, err);
    return status == TT_OK ? tt_digest_once(TT_SHA512, hash, sizeof hash, ret_digest, err) : status;
}

enum tt_status tt_envelope_verify(const struct tt_envelope *envelope, EVP_PKEY *key, const char *what,
                                  struct tt_error *err)
{
    uint8_t digest[TT_SHA512_SIZE];
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = tt_envelope_digest(envelope->payload.data, envelope->payload.length, digest, err);
    if (status == TT_OK && !(name = tt_text_format("the signature of %s", what)))
        status = tt_error_memory(err);
    if (status == TT_OK)
        status = tt_signature_verify_pss(key, digest, envelope->signature.data, envelope->signature.length, name, err);
    return status;
}

enum tt_status tt_envelope_write(const void *payload, size_t length, const char *key_id, const uint8_t *signature,
                                 size_t signature_length, struct tt_buffer *ret_json, struct tt_error *err)
{
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    char *payload_text TT_CLEANUP(tt_free_cleanup) = NULL;
    char *signature_text TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = encode(payload, length, &payload_text, err);
    if (status == TT_OK)
        status = encode(signature, signature_length, &signature_text, err);
    if (status == TT_OK)
        status = tt_buffer_printf(&json, err, "{\"payloadType\":\"%s\",\"payload\":\"%s\",\"signatures\":[{\"keyid\":",
                                  TT_STATEMENT_PAYLOAD_TYPE, payload_text);
    if (status == TT_OK)
        status = tt_json_quote(&json, key_id, err);
    if (status == TT_OK)
        status = tt_buffer_printf(&json, err, ",\"sig\":\"%s\"}]}", signature_text);
    if (status == TT_OK)
        status = tt_buffer_append(ret_json, json.data, json.length, err);
    return status;
}
