#include "provisioning/attest_inside.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "statement/envelope.h"
#include "json/json.h"

enum { VALUE_LIMIT = 1000 };

enum tt_status attest_subject_digest(const EVP_PKEY *key, char ret_hex[2 * TT_SHA256_SIZE + 1], struct tt_error *err)
{
    unsigned char *der = NULL;
    uint8_t value[TT_SHA256_SIZE];
    int length = i2d_PUBKEY((EVP_PKEY *)key, &der);
    enum tt_status status =
        length > 0 ? tt_digest_once(TT_SHA256, der, (size_t)length, value, err) : tt_error_memory(err);
    OPENSSL_free(der);
    if (status == TT_OK)
        tt_hex_encode(value, sizeof value, ret_hex);
    return status;
}

void tt_attested_clear(struct tt_attested *attested)
{
    cJSON_Delete(attested->statement);
    EVP_PKEY_free(attested->key);
    *attested = (struct tt_attested){0};
}

/* Text at the end of a path of members and (NULL) first elements, or "". */
static const char *text_at(const cJSON *root, const char *const *path, size_t count)
{
    for (size_t i = 0; i < count; i++)
        root = path[i] ? cJSON_GetObjectItemCaseSensitive(root, path[i]) : cJSON_GetArrayItem(root, 0);
    return cJSON_IsString(root) ? root->valuestring : "";
}

#define TEXT_AT(root, ...)                                                                                             \
    text_at((root), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static enum tt_status read_statement(const struct tt_envelope *envelope, const char *what, struct tt_attested *attested,
                                     struct tt_error *err)
{
    enum tt_status status = tt_json_parse((const char *)envelope->payload.data, envelope->payload.length, VALUE_LIMIT,
                                          what, &attested->statement, err);
    if (status != TT_OK)
        return status;
    if (strcmp(TEXT_AT(attested->statement, "_type"), ATTEST_STATEMENT_TYPE) != 0 ||
        strcmp(TEXT_AT(attested->statement, "predicateType"), TT_ATTEST_TYPE) != 0)
        return tt_error_set(err, TT_MALFORMED, "%s is a signed statement, but no record of a key (%s)", what,
                            TT_ATTEST_TYPE);
    const char *pem = TEXT_AT(attested->statement, "predicate", "key", "public_key");
    char *name TT_CLEANUP(tt_free_cleanup) = tt_text_format("the public key in %s", what);
    if (!name)
        return tt_error_memory(err);
    return tt_public_key_parse(pem, strlen(pem), name, &attested->key, err);
}

/* What it says of the key in other words has to be about the same key. */
static enum tt_status check_words(const struct tt_envelope *envelope, const struct tt_attested *attested,
                                  const char *what, struct tt_error *err)
{
    const cJSON *subject = cJSON_GetObjectItemCaseSensitive(attested->statement, "subject");
    const cJSON *key =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(attested->statement, "predicate"), "key");
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    char digest[2 * TT_SHA256_SIZE + 1];
    int64_t bits = 0;
    enum tt_status status = attest_subject_digest(attested->key, digest, err);
    if (status == TT_OK)
        status = tt_public_key_pem(attested->key, &pem, err);
    if (status != TT_OK)
        return status;
    bool fits =
        cJSON_IsArray(subject) && cJSON_GetArraySize(subject) == 1 && strcmp(TEXT_AT(key, "public_key"), pem) == 0 &&
        strcmp(TEXT_AT(subject, NULL, "digest", "sha256"), digest) == 0 &&
        strcmp(TEXT_AT(key, "fingerprint"), attested->fingerprint) == 0 &&
        tt_json_integer(cJSON_GetObjectItemCaseSensitive(key, "bits"), 1, INT32_MAX, &bits) &&
        bits == (int64_t)tt_public_key_bits(attested->key) && strcmp(envelope->key_id, attested->fingerprint) == 0;
    if (!fits)
        return tt_error_set(err, TT_TAMPERED, "%s says of its key what does not fit it: that key is %s", what,
                            attested->fingerprint);
    return TT_OK;
}

static enum tt_status check_expected(const struct tt_attested *attested, const EVP_PKEY *expected, const char *what,
                                     struct tt_error *err)
{
    char wanted[TT_FINGERPRINT_SIZE];
    if (!expected || tt_public_key_equal(expected, attested->key))
        return TT_OK;
    enum tt_status status = tt_public_key_fingerprint(expected, wanted, err);
    if (status != TT_OK)
        return status;
    return tt_error_set(err, TT_UNTRUSTED, "%s is about the key %s, and not about %s", what, attested->fingerprint,
                        wanted);
}

enum tt_status tt_attest_verify(const void *json, size_t length, const char *what, const EVP_PKEY *expected,
                                struct tt_attested *ret_attested, struct tt_error *err)
{
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    struct tt_attested attested TT_CLEANUP(tt_attested_clear) = {0};
    enum tt_status status = tt_envelope_parse(json, length, what, &envelope, err);
    if (status == TT_OK)
        status = read_statement(&envelope, what, &attested, err);
    if (status == TT_OK)
        status = tt_envelope_verify(&envelope, attested.key, what, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(attested.key, attested.fingerprint, err);
    if (status == TT_OK)
        status = check_words(&envelope, &attested, what, err);
    if (status == TT_OK)
        status = check_expected(&attested, expected, what, err);
    if (status != TT_OK)
        return status;
    *ret_attested = attested;
    attested = (struct tt_attested){0};
    return TT_OK;
}
