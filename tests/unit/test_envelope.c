#include <openssl/pem.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/private_key.h"
#include "statement/envelope.h"
#include "suite.h"
#include "json/json.h"

/* Throw-away keys that only tests use. */
#define KEYS TT_VECTORS "/basic/keys/"

static const char statement[] = "{\"_type\":\"https://in-toto.io/Statement/v1\"}";

static struct tt_private_key *open_key(const char *path)
{
    struct tt_private_key *key = NULL;
    FILE *file = fopen(path, "r");
    EVP_PKEY *software = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (file)
        fclose(file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(software);
    CU_ASSERT_EQUAL_FATAL(tt_private_key_new(software, NULL, NULL, "throw-away", &key, NULL), TT_OK);
    return key;
}

/* An envelope of `payload`, signed by `key`. */
static struct tt_buffer write_envelope(struct tt_private_key *key, const char *payload, const char *key_id)
{
    struct tt_buffer json = {0};
    uint8_t digest[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length = 0;
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    CU_ASSERT_EQUAL_FATAL(tt_envelope_digest(payload, strlen(payload), digest, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_private_key_sign_pss(key, digest, signature, &length, &padding_by, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_envelope_write(payload, strlen(payload), key_id, signature, length, &json, NULL), TT_OK);
    return json;
}

static enum tt_status parse(const char *json, struct tt_envelope *ret_envelope, struct tt_error *err)
{
    return tt_envelope_parse(json, strlen(json), "record.json", ret_envelope, err);
}

static enum tt_status parse_and_verify(const char *json, EVP_PKEY *key, struct tt_error *err)
{
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    enum tt_status status = parse(json, &envelope, err);
    if (status == TT_OK)
        status = tt_envelope_verify(&envelope, key, "record.json", err);
    return status;
}

/* Made with another implementation's SHA-512 of the SHA-256 of "DSSEv1 28 application/vnd.in-toto+json 2 {}" and the
 * like. */
static void digest_is_that_of_the_encoding(void)
{
    static const struct {
        const char *payload;
        const char *hex;
    } cases[] = {
        {"{}", "507743ec427cc5c38f99a4ac95d7a89f3d6eedfac04ed17ec1f6d4ddfaab83e66e2ea7367281c1b2339cd8a05a"
               "ed60bcacd075067c02c8a162c28308cec05b1f"},
        {statement, "96bb5b7c45ea29b9bab5b7585b844ce8f59036150710195227fedf036183a86b41ec23c3f4d5194b765ab752e0"
                    "990062e43fcd8ea053d58bbfd8eda9364c51bb"},
        {"", "aecbb7c2a7f9686fa93d84acfdf19eea0cabb9eb5dd5c332e5604ab4a2e405be141f01dde1d9700e2b413999b0"
             "f3875ede4fc126843c738ff3c43ef87ea7b512"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t digest[TT_SHA512_SIZE];
        char text[2 * TT_SHA512_SIZE + 1];
        CU_ASSERT_EQUAL(tt_envelope_digest(cases[i].payload, strlen(cases[i].payload), digest, NULL), TT_OK);
        tt_hex_encode(digest, sizeof digest, text);
        CU_ASSERT_STRING_EQUAL(text, cases[i].hex);
    }
}

static void written_envelope_is_read_and_verified(void)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = open_key(KEYS "station_1.pem");
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = write_envelope(key, statement, "SHA256:throw\"away");
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    static const char start[] = "{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"eyJfdHlwZSI6";
    CU_ASSERT_EQUAL(strncmp((const char *)json.data, start, sizeof start - 1), 0);
    CU_ASSERT_EQUAL(strlen((const char *)json.data), json.length);
    CU_ASSERT_EQUAL(json.data[json.length - 1], '}');
    CU_ASSERT_EQUAL_FATAL(parse((const char *)json.data, &envelope, &err), TT_OK);
    CU_ASSERT_EQUAL(envelope.payload.length, sizeof statement - 1);
    CU_ASSERT_STRING_EQUAL((const char *)envelope.payload.data, statement);
    CU_ASSERT_STRING_EQUAL(envelope.key_id, "SHA256:throw\"away");
    CU_ASSERT_EQUAL(envelope.signature.length, 256);
    CU_ASSERT_EQUAL(tt_envelope_verify(&envelope, tt_private_key_public(key), "record.json", &err), TT_OK);
}

static void writing_appends(void)
{
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&json, "[", 1, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_envelope_write("{}", 2, "k", (const uint8_t *)"\xff\xfe", 2, &json, NULL), TT_OK);
    CU_ASSERT_STRING_EQUAL((const char *)json.data,
                           "[{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"e30=\","
                           "\"signatures\":[{\"keyid\":\"k\",\"sig\":\"//4=\"}]}");
}

static void other_keys_do_not_verify(void)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = open_key(KEYS "station_1.pem");
    struct tt_private_key *other TT_CLEANUP(tt_private_key_free_cleanup) = open_key(KEYS "station_2.pem");
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = write_envelope(key, statement, "k");
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(parse_and_verify((const char *)json.data, tt_private_key_public(other), &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the signature of record.json is wrong"));
}

/* Puts `value` (JSON) in the place of what is at the steps. */
static enum tt_status verify_changed(const struct tt_buffer *json, const struct tt_json_step *steps, size_t count,
                                     const char *value, EVP_PKEY *key)
{
    struct tt_buffer changed TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&changed, json->data, json->length, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_json_put(&changed, steps, count, value, NULL), TT_OK);
    enum tt_status status = parse_and_verify((const char *)changed.data, key, &err);
    CU_ASSERT_TRUE(status == TT_OK || strstr(err.message, "record.json"));
    return status;
}

static void each_member_is_looked_at(void)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = open_key(KEYS "station_1.pem");
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = write_envelope(key, "{}", "k");
    static const struct {
        size_t count;
        struct tt_json_step steps[3];
        const char *value;
        enum tt_status status;
    } cases[] = {
        {1, {{.member = "payload"}}, "\"e30=\"", TT_OK},
        {1, {{.member = "payload"}}, "\"e31=\"", TT_MALFORMED}, /* the same bytes, bits left over */
        {1, {{.member = "payload"}}, "\"e30\"", TT_MALFORMED},  /* the same bytes, no padding */
        {1, {{.member = "payload"}}, "\"e30=\\n\"", TT_MALFORMED},
        {1, {{.member = "payload"}}, "\"e30K\"", TT_TAMPERED}, /* "{}\n" */
        {1, {{.member = "payload"}}, "\"e3 0\"", TT_MALFORMED},
        {1, {{.member = "payload"}}, "\"_-==\"", TT_MALFORMED},
        {1, {{.member = "payload"}}, "\"\"", TT_MALFORMED},
        {1, {{.member = "payload"}}, "{}", TT_MALFORMED},
        {1, {{.member = "payloadType"}}, "\"application/json\"", TT_MALFORMED},
        {1, {{.member = "payloadType"}}, "\"application/vnd.in-toto+json \"", TT_MALFORMED},
        {1, {{.member = "payloadType"}}, "null", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "[]", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "{}", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "{\"0\":{\"keyid\":\"k\",\"sig\":\"AAAA\"}}", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "[{\"keyid\":\"k\",\"sig\":\"AAAA\"}]", TT_TAMPERED},
        {1, {{.member = "signatures"}}, "[{\"sig\":\"AAAA\"}]", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "[{\"keyid\":\"k\",\"sig\":\"\"}]", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "[{\"keyid\":\"k\"}]", TT_MALFORMED},
        {1, {{.member = "signatures"}}, "[\"AAAA\"]", TT_MALFORMED},
        {2, {{.member = "signatures"}, {.element = 0}}, "null", TT_MALFORMED},
        {3, {{.member = "signatures"}, {.element = 0}, {.member = "keyid"}}, "\"another\"", TT_OK}, /* a hint */
        {3, {{.member = "signatures"}, {.element = 0}, {.member = "keyid"}}, "7", TT_MALFORMED},
        {3, {{.member = "signatures"}, {.element = 0}, {.member = "cert"}}, "\"x\"", TT_MALFORMED},
        {1, {{.member = "more"}}, "1", TT_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum tt_status status =
            verify_changed(&json, cases[i].steps, cases[i].count, cases[i].value, tt_private_key_public(key));
        if (status != cases[i].status)
            printf("\n    case %zu: %s: status %d", i, cases[i].value, status);
        CU_ASSERT_EQUAL(status, cases[i].status);
    }
}

static void what_is_no_envelope_is_refused(void)
{
    static const char *const cases[] = {
        "",
        "{",
        "{}",
        "[]",
        "null",
        "\"payload\"",
        "7",
        "{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"e30=\"}",
        "{\"payloadType\":\"application/"
        "vnd.in-toto+json\",\"payload\":\"e30=\",\"payload\":\"e30=\",\"signatures\":[]}",
        "{\"payloadType\":\"application/"
        "vnd.in-toto+json\",\"payload\":\"e30=\",\"signatures\":[{\"keyid\":\"k\",\"sig\":"
        "\"AAAA\"},{\"keyid\":\"k\",\"sig\":\"AAAA\"}]}",
        "{\"payloadtype\":\"application/"
        "vnd.in-toto+json\",\"payload\":\"e30=\",\"signatures\":[{\"keyid\":\"k\",\"sig\":"
        "\"AAAA\"}]}",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_envelope envelope = {0};
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(parse(cases[i], &envelope, &err), TT_MALFORMED);
        CU_ASSERT_EQUAL(strncmp(err.message, "record.json", 11), 0);
        CU_ASSERT_PTR_NULL(envelope.payload.data);
        CU_ASSERT_PTR_NULL(envelope.key_id);
    }
}

static void every_changed_bit_of_the_payload_is_noticed(void)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = open_key(KEYS "station_1.pem");
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = write_envelope(key, statement, "k");
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(parse((const char *)json.data, &envelope, NULL), TT_OK);
    struct tt_buffer *parts[] = {&envelope.payload, &envelope.signature};
    for (size_t part = 0; part < 2; part++)
        for (size_t i = 0; i < parts[part]->length; i++) {
            uint8_t bit = (uint8_t)(1U << i % 8);
            parts[part]->data[i] ^= bit;
            CU_ASSERT_EQUAL(tt_envelope_verify(&envelope, tt_private_key_public(key), "it", NULL), TT_TAMPERED);
            parts[part]->data[i] ^= bit;
        }
    envelope.payload.length--;
    CU_ASSERT_EQUAL(tt_envelope_verify(&envelope, tt_private_key_public(key), "it", NULL), TT_TAMPERED);
    envelope.payload.length++;
    CU_ASSERT_EQUAL(tt_envelope_verify(&envelope, tt_private_key_public(key), "it", NULL), TT_OK);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"the digest is that of DSSE's encoding", digest_is_that_of_the_encoding},
        {"a written envelope is read and verified", written_envelope_is_read_and_verified},
        {"writing appends", writing_appends},
        {"other keys do not verify", other_keys_do_not_verify},
        {"each member is looked at", each_member_is_looked_at},
        {"what is no envelope is refused", what_is_no_envelope_is_refused},
        {"every changed byte is noticed", every_changed_bit_of_the_payload_is_noticed},
    };
    return SUITE_RUN("envelope", tests);
}
