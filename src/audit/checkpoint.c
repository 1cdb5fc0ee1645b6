#include "audit/checkpoint.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "audit/audit_inside.h"
#include "base/hex.h"
#include "base/text.h"
#include "statement/envelope.h"

enum { VALUE_LIMIT = 1000 };

#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PLAIN_TYPE "traintoken-audit-checkpoint"

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Writing. */

static enum tt_status put_text(struct tt_buffer *text, const char *name, const char *value, struct tt_error *err)
{
    char printable[TT_AUDIT_TEXT_LIMIT + 1];
    tt_text_printable(value, printable, sizeof printable);
    enum tt_status status = tt_buffer_printf(text, err, ",\"%s\":", name);
    return status == TT_OK ? tt_json_quote(text, printable, err) : status;
}

static enum tt_status put_key(struct tt_buffer *text, const EVP_PKEY *signer, struct tt_error *err)
{
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = tt_public_key_pem(signer, &pem, err);
    if (status == TT_OK)
        status = tt_buffer_printf(text, err, ",\"public_key\":");
    return status == TT_OK ? tt_json_quote(text, pem, err) : status;
}

static enum tt_status put_members(struct tt_buffer *text, const char *trail, const struct tt_trail_mark *mark,
                                  const EVP_PKEY *signer, struct tt_error *err)
{
    char hash[AUDIT_HASH_SIZE];
    char stamp[32];
    char host[256] = "";
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return tt_error_set(err, TT_INTERNAL, "this machine's clock shows no time that can be written down");
    gethostname(host, sizeof host - 1);
    audit_hash_text(mark->hash, hash);
    enum tt_status status = tt_buffer_printf(
        text, err, "{\"type\":\"" PLAIN_TYPE "\",\"records\":%" PRIu64 ",\"last\":\"%s\",\"time\":\"%s\"",
        mark->records, hash, stamp);
    if (status == TT_OK)
        status = put_text(text, "trail", trail, err);
    if (status == TT_OK)
        status = put_text(text, "host", host, err);
    if (status == TT_OK)
        status = put_text(text, "version", TT_VERSION, err);
    if (status == TT_OK && signer)
        status = put_key(text, signer, err);
    return status == TT_OK ? tt_buffer_append(text, "}", 1, err) : status;
}

enum tt_status tt_checkpoint_write(const char *trail, const struct tt_trail_mark *mark, const EVP_PKEY *signer,
                                   struct tt_buffer *ret_text, struct tt_error *err)
{
    char hash[2 * TT_SHA256_SIZE + 1];
    char name[TT_AUDIT_TEXT_LIMIT + 1];
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    if (!signer) {
        enum tt_status status = put_members(&text, trail, mark, NULL, err);
        if (status == TT_OK)
            status = tt_buffer_append(&text, "\n", 1, err);
        return status == TT_OK ? tt_buffer_append(ret_text, text.data, text.length, err) : status;
    }
    tt_hex_encode(mark->hash, sizeof mark->hash, hash);
    tt_text_printable(file_name(trail), name, sizeof name);
    enum tt_status status = tt_buffer_printf(&text, err, "{\"_type\":\"" STATEMENT_TYPE "\",\"subject\":[{\"name\":");
    if (status == TT_OK)
        status = tt_json_quote(&text, name, err);
    if (status == TT_OK)
        status = tt_buffer_printf(
            &text, err,
            ",\"digest\":{\"sha256\":\"%s\"}}],\"predicateType\":\"" TT_CHECKPOINT_TYPE "\",\"predicate\":", hash);
    if (status == TT_OK)
        status = put_members(&text, trail, mark, signer, err);
    if (status == TT_OK)
        status = tt_buffer_append(&text, "}", 1, err);
    return status == TT_OK ? tt_buffer_append(ret_text, text.data, text.length, err) : status;
}

/* Reading. */

static bool is_text(const cJSON *object, const char *name, const char *wanted)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text && strcmp(text, wanted) == 0;
}

static enum tt_status read_members(const cJSON *json, const char *what, struct tt_checkpoint *checkpoint,
                                   struct tt_error *err)
{
    int64_t records = 0;
    const char *last = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "last"));
    const char *time = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "time"));
    if (!is_text(json, "type", PLAIN_TYPE) || !time ||
        !tt_json_integer(cJSON_GetObjectItemCaseSensitive(json, "records"), 1, INT64_MAX - 1, &records) ||
        !audit_hash_parse(last, checkpoint->mark.hash))
        return tt_error_set(err, TT_MALFORMED, "%s is no checkpoint of an audit trail", what);
    checkpoint->mark.records = (uint64_t)records;
    tt_text_printable(time, checkpoint->time, sizeof checkpoint->time);
    return TT_OK;
}

static enum tt_status check_signer(const struct tt_envelope *envelope, const cJSON *predicate, const char *what,
                                   const EVP_PKEY *expected, struct tt_checkpoint *checkpoint, struct tt_error *err)
{
    const char *pem = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(predicate, "public_key"));
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    if (!pem)
        return tt_error_set(err, TT_MALFORMED, "%s does not say which key signed it", what);
    enum tt_status status = tt_public_key_parse(pem, strlen(pem), what, &key, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(key, checkpoint->fingerprint, err);
    if (status == TT_OK && expected && !tt_public_key_equal(expected, key))
        return tt_error_set(err, TT_UNTRUSTED, "%s was signed by another key: %s", what, checkpoint->fingerprint);
    return status == TT_OK ? tt_envelope_verify(envelope, key, what, err) : status;
}

static enum tt_status read_statement(const struct tt_envelope *envelope, const char *what, const EVP_PKEY *expected,
                                     struct tt_checkpoint *checkpoint, struct tt_error *err)
{
    cJSON *json TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status =
        tt_json_parse((const char *)envelope->payload.data, envelope->payload.length, VALUE_LIMIT, what, &json, err);
    if (status != TT_OK)
        return status;
    if (!is_text(json, "_type", STATEMENT_TYPE) || !is_text(json, "predicateType", TT_CHECKPOINT_TYPE))
        return tt_error_set(err, TT_MALFORMED, "%s is no statement about an audit trail", what);
    const cJSON *predicate = cJSON_GetObjectItemCaseSensitive(json, "predicate");
    status = read_members(predicate, what, checkpoint, err);
    return status == TT_OK ? check_signer(envelope, predicate, what, expected, checkpoint, err) : status;
}

enum tt_status tt_checkpoint_parse(const void *text, size_t length, const char *what, const EVP_PKEY *expected,
                                   struct tt_checkpoint *ret_checkpoint, struct tt_error *err)
{
    struct tt_checkpoint checkpoint = {0};
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    cJSON *json TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_json_parse(text, length, VALUE_LIMIT, what, &json, err);
    if (status != TT_OK)
        return status;
    if (cJSON_GetObjectItemCaseSensitive(json, "payloadType")) {
        status = tt_envelope_parse(text, length, what, &envelope, err);
        if (status == TT_OK)
            status = read_statement(&envelope, what, expected, &checkpoint, err);
    } else {
        status = read_members(json, what, &checkpoint, err);
        if (status == TT_OK && expected)
            status = tt_error_set(err, TT_TAMPERED, "%s is not signed", what);
    }
    if (status == TT_OK)
        *ret_checkpoint = checkpoint;
    return status;
}
