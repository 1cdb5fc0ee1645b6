/* Records of keys, from a stranger: the envelope, and the words in it, which a stranger can sign with a key of their
 * own. Signatures are therefore taken as good here; that one was asked about, and by which key, is seen to. What is
 * accepted says of its key what is so. */
#include <string.h>

#include "base/hex.h"
#include "provisioning/key_attest.h"
#include "short_memory.h"
#include "statement/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
enum tt_status __wrap_tt_envelope_verify(const struct tt_envelope *envelope, EVP_PKEY *key, const char *what,
                                         struct tt_error *err);

static const char OURS[] = "-----BEGIN PUBLIC KEY-----\n"
                           "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAmo2kOzLgG08SRtLUTDdG\n"
                           "PcqbOf1RWOP2FLqi8Z5p38bdVN6p9uGFSqOObnvgRgrtfPo9P2vcRFXVnx+tSnIA\n"
                           "fSUkWuumKqdCsEtKHYT0ceENb+6ed3DTTlm2qSojNG+bxn953mI4whbpC0iGJU9l\n"
                           "Qry1kBVc+dpG4wE3sUwOjpUloCk72K1DnEkg+JFkft6J65l6YvsuFqH5i1QQ8VoM\n"
                           "n/cyTPEXOqZbJuC5zZPQJFiXHlmal++0dYzHY4XeO6Bumo6fQR6TAzS7J1NAkFSM\n"
                           "su35jwbxPTXRazU19RJDdYroSDyqgdH4OdoRVjexd5hjlHHDVsJZWKoK89IwpAUw\n"
                           "awIDAQAB\n"
                           "-----END PUBLIC KEY-----\n";

static EVP_PKEY *ours;
static char ours_fingerprint[TT_FINGERPRINT_SIZE];
static bool good;                       /* what signatures are */
static EVP_PKEY *asked;                 /* the key that one was asked about */
static struct tt_buffer payload_signed; /* and the payload */

static void require(bool holds)
{
    if (!holds)
        abort();
}

enum tt_status __wrap_tt_envelope_verify(const struct tt_envelope *envelope, EVP_PKEY *key, const char *what,
                                         struct tt_error *err)
{
    require(key != NULL);
    EVP_PKEY_free(asked);
    EVP_PKEY_up_ref(key);
    asked = key;
    tt_buffer_clear(&payload_signed);
    enum tt_status status = tt_buffer_append(&payload_signed, envelope->payload.data, envelope->payload.length, err);
    if (status == TT_OK && !good)
        status = tt_error_set(err, TT_TAMPERED, "%s is not signed by its key", what);
    return status;
}

static void forget(void)
{
    EVP_PKEY_free(asked);
    asked = NULL;
    tt_buffer_clear(&payload_signed);
}

/* A member's text, looked for with other means than the parser's. */
static void require_text(const cJSON *object, const char *name, const char *text)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    require(cJSON_IsString(item) && strcmp(item->valuestring, text) == 0);
}

static void require_words(const struct tt_attested *attested)
{
    char fingerprint[TT_FINGERPRINT_SIZE];
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    require(attested->key && asked && EVP_PKEY_eq(attested->key, asked) == 1);
    require(tt_public_key_fingerprint(attested->key, fingerprint, NULL) == TT_OK);
    require(tt_public_key_pem(attested->key, &pem, NULL) == TT_OK);
    require(strcmp(fingerprint, attested->fingerprint) == 0);
    require_text(attested->statement, "predicateType", TT_ATTEST_TYPE);
    const cJSON *key =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(attested->statement, "predicate"), "key");
    require_text(key, "public_key", pem);
    require_text(key, "fingerprint", fingerprint);
    const cJSON *bits = cJSON_GetObjectItemCaseSensitive(key, "bits");
    require(cJSON_IsNumber(bits) && bits->valuedouble == tt_public_key_bits(attested->key));
}

/* The statement that is handed out is what was signed, and nothing else. */
static void require_signed(const struct tt_attested *attested)
{
    cJSON *again = cJSON_ParseWithLength((const char *)payload_signed.data, payload_signed.length);
    require(again && cJSON_Compare(again, attested->statement, true));
    cJSON_Delete(again);
}

static enum tt_status verify(const void *json, size_t length, const EVP_PKEY *expected, struct tt_error *err)
{
    struct tt_attested attested TT_CLEANUP(tt_attested_clear) = {0};
    forget();
    enum tt_status status = tt_attest_verify(json, length, "fuzz", expected, &attested, err);
    require((status == TT_OK) == (attested.statement && attested.key));
    require(status != TT_OK || (good && asked));
    return status;
}

static void try_record(const void *json, size_t length)
{
    struct tt_attested attested TT_CLEANUP(tt_attested_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    good = true;
    forget();
    enum tt_status status = tt_attest_verify(json, length, "fuzz", NULL, &attested, &err);
    require(status == TT_OK || status == TT_MALFORMED || status == TT_TAMPERED);
    require(status == TT_OK || err.message[0]);
    if (status != TT_OK)
        return;
    require_words(&attested);
    require_signed(&attested);
    bool same = EVP_PKEY_eq(attested.key, ours) == 1;
    require(verify(json, length, ours, &err) == (same ? TT_OK : TT_UNTRUSTED));
    require(same || strstr(err.message, ours_fingerprint));
    good = false;
    require(verify(json, length, NULL, NULL) == TT_TAMPERED);
}

static enum tt_status wrap(const uint8_t *data, size_t size, struct tt_buffer *json, struct tt_error *err)
{
    static const uint8_t signature[4] = "any";
    return tt_envelope_write(data, size, ours_fingerprint, signature, sizeof signature, json, err);
}

static enum tt_status read_payload(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    good = true;
    enum tt_status status = wrap(data, size, &json, err);
    return status == TT_OK ? verify(json.data, json.length, ours, err) : status;
}

static enum tt_status read_record(const uint8_t *data, size_t size, struct tt_error *err)
{
    good = true;
    return verify(data, size, NULL, err);
}

/* The input is an envelope, or what is in one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    if (!ours) {
        require(tt_public_key_parse(OURS, strlen(OURS), "ours", &ours, NULL) == TT_OK);
        require(tt_public_key_fingerprint(ours, ours_fingerprint, NULL) == TT_OK);
    }
    try_record(data, size);
    require(wrap(data, size, &json, NULL) == TT_OK);
    try_record(json.data, json.length);
    short_memory_try(data, size, read_record);
    short_memory_try(data, size, read_payload);
    forget();
    return 0;
}
