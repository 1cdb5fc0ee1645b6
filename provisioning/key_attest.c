#include "provisioning/key_attest.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/text.h"
#include "provisioning/attest_inside.h"
#include "provisioning/key_facts.h"
#include "statement/envelope.h"
#include "json/json.h"

enum tt_status tt_attest_note(cJSON *notes, const char *note, struct tt_error *err)
{
    const char *equals = strchr(note, '=');
    size_t name_length = equals ? (size_t)(equals - note) : 0;
    size_t length = strlen(note);
    bool is_text = tt_text_is_utf8(note, length);
    char name[TT_ATTEST_NAME_LIMIT + 1];
    for (size_t i = 0; i < length; i++)
        is_text = is_text && (unsigned char)note[i] >= ' ' && note[i] != 0x7F;
    if (name_length == 0 || name_length > TT_ATTEST_NAME_LIMIT || strlen(equals + 1) > TT_ATTEST_VALUE_LIMIT ||
        !is_text)
        return tt_error_set(err, TT_USAGE,
                            "a note is NAME=VALUE: one line of UTF-8 text, the name up to %d bytes, the value up to "
                            "%d, not '%.64s'",
                            (int)TT_ATTEST_NAME_LIMIT, (int)TT_ATTEST_VALUE_LIMIT, note);
    memcpy(name, note, name_length);
    name[name_length] = '\0';
    if (cJSON_GetObjectItemCaseSensitive(notes, name))
        return tt_error_set(err, TT_USAGE, "the note '%s' is given twice", name);
    if (cJSON_GetArraySize(notes) == TT_ATTEST_NOTE_LIMIT)
        return tt_error_set(err, TT_USAGE, "there are more than %d notes", (int)TT_ATTEST_NOTE_LIMIT);
    return cJSON_AddStringToObject(notes, name, equals + 1) ? TT_OK : tt_error_memory(err);
}

static void add_fixed(cJSON *object, const char *name, const CK_UTF8CHAR *text, size_t length)
{
    char *value TT_CLEANUP(tt_free_cleanup) = tt_token_text(text, length);
    tt_facts_add(object, name, value);
}

static void add_version(cJSON *object, const char *name, const CK_VERSION *version)
{
    char text[16];
    snprintf(text, sizeof text, "%u.%u", version->major, version->minor);
    cJSON_AddStringToObject(object, name, text);
}

static cJSON *token_facts(const struct tt_session *session)
{
    const CK_TOKEN_INFO *info = &session->token.info;
    cJSON *object = cJSON_CreateObject();
    add_fixed(object, "label", info->label, sizeof info->label);
    add_fixed(object, "serial", info->serialNumber, sizeof info->serialNumber);
    add_fixed(object, "model", info->model, sizeof info->model);
    add_fixed(object, "manufacturer", info->manufacturerID, sizeof info->manufacturerID);
    add_version(object, "hardware_version", &info->hardwareVersion);
    add_version(object, "firmware_version", &info->firmwareVersion);
    cJSON_AddBoolToObject(object, "login_required", (info->flags & CKF_LOGIN_REQUIRED) != 0);
    cJSON_AddBoolToObject(object, "keypad", (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0);
    return object;
}

static cJSON *module_facts(const struct tt_session *session)
{
    CK_INFO info = {0};
    cJSON *object = cJSON_CreateObject();
    tt_facts_add(object, "path", session->cryptoki->path);
    if (session->cryptoki->functions->C_GetInfo(&info) != CKR_OK)
        return object;
    add_fixed(object, "description", info.libraryDescription, sizeof info.libraryDescription);
    add_fixed(object, "manufacturer", info.manufacturerID, sizeof info.manufacturerID);
    add_version(object, "version", &info.libraryVersion);
    add_version(object, "cryptoki_version", &info.cryptokiVersion);
    return object;
}

static cJSON *made_facts(void)
{
    struct utsname host = {0};
    struct tm parts;
    char text[32] = "";
    time_t now = time(NULL);
    cJSON *object = cJSON_CreateObject();
    if (gmtime_r(&now, &parts))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    tt_facts_add(object, "time", text);
    tt_facts_add(object, "host", uname(&host) == 0 ? host.nodename : NULL);
    tt_facts_add(object, "traintoken", TT_VERSION);
    tt_facts_add(object, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
    return object;
}

static enum tt_status make_payload(struct tt_session *session, const struct tt_key_object *key,
                                   const struct tt_key_probe *probe, const cJSON *notes, char **ret_payload,
                                   struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(session, key);
    char digest[2 * TT_SHA256_SIZE + 1];
    enum tt_status status = uri ? tt_public_key_pem(key->public_half, &pem, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = attest_subject_digest(key->public_half, digest, err);
    if (status != TT_OK)
        return status;
    cJSON_AddStringToObject(root, "_type", ATTEST_STATEMENT_TYPE);
    cJSON *subject = cJSON_CreateObject();
    tt_facts_add(subject, "name", uri);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(subject, "digest"), "sha256", digest);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(root, "subject"), subject);
    cJSON_AddStringToObject(root, "predicateType", TT_ATTEST_TYPE);
    cJSON *predicate = cJSON_AddObjectToObject(root, "predicate");
    cJSON *facts = tt_key_facts(session, key);
    cJSON_AddStringToObject(facts, "public_key", pem);
    cJSON_AddItemToObject(predicate, "key", facts);
    cJSON_AddItemToObject(predicate, "probe", tt_probe_facts(probe));
    cJSON_AddItemToObject(predicate, "token", token_facts(session));
    cJSON_AddItemToObject(predicate, "module", module_facts(session));
    cJSON_AddItemToObject(predicate, "made", made_facts());
    cJSON_AddItemToObject(predicate, "notes", notes ? cJSON_Duplicate(notes, true) : cJSON_CreateObject());
    *ret_payload = cJSON_PrintUnformatted(root);
    return *ret_payload ? TT_OK : tt_error_memory(err);
}

static enum tt_status sign(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                           const char *payload, struct tt_buffer *ret_json, struct tt_error *err)
{
    struct tt_probe_result result = {0};
    char fingerprint[TT_FINGERPRINT_SIZE];
    uint8_t digest[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length = 0;
    enum tt_status status = tt_envelope_digest(payload, strlen(payload), digest, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(key->public_half, fingerprint, err);
    if (status == TT_OK)
        status = tt_key_sign(session, key, pin, digest, signature, &length, &result, err);
    if (status != TT_OK)
        return status;
    if (result.way == TT_PROBE_NO) {
        char *reason TT_CLEANUP(tt_free_cleanup) = tt_probe_reason(&result, "PSS");
        tt_error_set(err, TT_TOKEN, "the key does not sign; traintoken key check says more");
        tt_error_detail(err, "%s", reason ? reason : "");
        return TT_TOKEN;
    }
    return tt_envelope_write(payload, strlen(payload), fingerprint, signature, length, ret_json, err);
}

enum tt_status tt_attest_make(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                              const cJSON *notes, struct tt_buffer *ret_json, struct tt_key_probe *ret_probe,
                              struct tt_error *err)
{
    struct tt_key_probe probe = {0};
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_attested attested TT_CLEANUP(tt_attested_clear) = {0};
    char *payload TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = tt_key_probe(session, key, pin, &probe, err);
    if (status == TT_OK)
        status = make_payload(session, key, &probe, notes, &payload, err);
    if (status == TT_OK)
        status = sign(session, key, pin, payload, &json, err);
    if (status == TT_OK)
        status = tt_attest_verify(json.data, json.length, "the record", key->public_half, &attested, err);
    if (status == TT_OK)
        status = tt_buffer_append(ret_json, json.data, json.length, err);
    if (status == TT_OK)
        *ret_probe = probe;
    return status;
}
