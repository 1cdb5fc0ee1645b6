#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <string.h>

#include "crypto/key_wrap.h"
#include "crypto/private_key.h"
#include "crypto/signature.h"
#include "suite.h"

enum { KEY_BYTES = 256 };

static EVP_PKEY *software_key; /* throw-away, made for this run */

static struct tt_private_key *new_key(const struct tt_private_key_loader *ways, void *loader)
{
    struct tt_private_key *key = NULL;
    EVP_PKEY_up_ref(software_key);
    CU_ASSERT_EQUAL_FATAL(tt_private_key_new(software_key, ways, loader, "software", &key, NULL), TT_OK);
    return key;
}

static size_t wrap(const struct tt_private_key *key, size_t size, uint8_t *wrapped)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_secret_new(size, &secret, NULL), TT_OK);
    memset(secret->data, 0x5A, size);
    secret->length = size;
    size_t length = 0;
    CU_ASSERT_EQUAL_FATAL(tt_key_wrap(tt_private_key_public(key), secret, wrapped, &length, NULL), TT_OK);
    return length;
}

/* Asserts that the ciphertext is refused with the one message there is. */
static void refused(struct tt_private_key *key, const uint8_t *wrapped, size_t length, size_t size)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_secret *secret = NULL;
    enum tt_padding_by by;
    CU_ASSERT_EQUAL(tt_private_key_unwrap(key, wrapped, length, size, &secret, &by, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NULL(secret);
    CU_ASSERT_STRING_EQUAL(err.message, "the wrapped symmetric key does not open with this key: it was changed, or "
                                        "made for another key");
    CU_ASSERT_STRING_EQUAL(err.detail, "");
}

static void refuse_all(struct tt_private_key *key)
{
    uint8_t wrapped[TT_RSA_BYTES_MAX + 1] = {0};
    size_t length = wrap(key, 32, wrapped);
    CU_ASSERT_EQUAL(length, KEY_BYTES);
    refused(key, wrapped, length - 1, 32);
    refused(key, wrapped, length + 1, 32);
    refused(key, wrapped, 0, 32);
    wrapped[100] ^= 1;
    refused(key, wrapped, length, 32);
    memset(wrapped, 0xFF, sizeof wrapped); /* above the modulus */
    refused(key, wrapped, length, 32);
    memset(wrapped, 0, sizeof wrapped);
    refused(key, wrapped, length, 32);
    length = wrap(key, 31, wrapped);
    refused(key, wrapped, length, 32);
    length = wrap(key, 33, wrapped);
    refused(key, wrapped, length, 32);
    length = KEY_BYTES;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(tt_private_key_public(key), NULL); /* another padding */
    CU_ASSERT_EQUAL(EVP_PKEY_encrypt_init(context), 1);
    CU_ASSERT_EQUAL(EVP_PKEY_encrypt(context, wrapped, &length, (const uint8_t *)"0123456789abcdef", 16), 1);
    EVP_PKEY_CTX_free(context);
    refused(key, wrapped, length, 16);
}

static void round_trip(struct tt_private_key *key, enum tt_padding_by expected)
{
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    size_t length = wrap(key, 32, wrapped);
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_padding_by by = TT_PADDING_UNKNOWN;
    CU_ASSERT_EQUAL_FATAL(tt_private_key_unwrap(key, wrapped, length, 32, &secret, &by, NULL), TT_OK);
    CU_ASSERT_EQUAL(by, expected);
    CU_ASSERT_EQUAL(secret->length, 32);
    CU_ASSERT_EQUAL(secret->data[31], 0x5A);

    uint8_t digest[TT_SHA512_SIZE] = {7};
    uint8_t signature[TT_RSA_BYTES_MAX];
    CU_ASSERT_EQUAL_FATAL(tt_private_key_sign_pss(key, digest, signature, &length, &by, NULL), TT_OK);
    CU_ASSERT_EQUAL(by, expected);
    CU_ASSERT_EQUAL(length, KEY_BYTES);
    EVP_PKEY *public_half = tt_private_key_public(key);
    CU_ASSERT_EQUAL(tt_signature_verify_pss(public_half, digest, signature, length, "it", NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_private_key_sign_pkcs1(key, digest, 60, signature, &length, &by, NULL), TT_OK);
    CU_ASSERT_EQUAL(by, expected);
    CU_ASSERT_EQUAL(tt_signature_verify_pkcs1(public_half, digest, 60, signature, length, "it", NULL), TT_OK);
}

static void a_software_key_does_everything(void)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = new_key(NULL, NULL);
    CU_ASSERT_STRING_EQUAL(tt_private_key_name(key), "software");
    CU_ASSERT_TRUE(tt_public_key_equal(tt_private_key_public(key), software_key));
    round_trip(key, TT_PADDING_UNKNOWN);
    refuse_all(key);
}

/* A token that cannot do what is switched off: native attempts get no context. */
struct poor_token {
    bool native;
    int freed;
    int attempts;
    enum tt_padding_by now;
    enum tt_private_key_use explained;
};

static EVP_PKEY_CTX *poor_context(void *loader, EVP_PKEY *key, enum tt_padding_by attempt)
{
    struct poor_token *token = loader;
    token->now = attempt;
    token->attempts++;
    return token->native || attempt == TT_PADDING_RAW ? EVP_PKEY_CTX_new(key, NULL) : NULL;
}

static enum tt_padding_by poor_padding_by(void *loader)
{
    const struct poor_token *token = loader;
    return token->now;
}

static void poor_explain(void *loader, enum tt_private_key_use use, struct tt_error *err)
{
    struct poor_token *token = loader;
    token->explained = use;
    tt_error_set(err, TT_TOKEN, "poor token");
    tt_error_detail(err, "CKR_MECHANISM_INVALID");
}

static void poor_free(void *loader)
{
    struct poor_token *token = loader;
    token->freed++;
}

static const struct tt_private_key_loader poor_ways = {
    .context = poor_context,
    .padding_by = poor_padding_by,
    .explain = poor_explain,
    .free = poor_free,
};

static void a_token_with_its_own_padding(void)
{
    struct poor_token token = {.native = true};
    struct tt_private_key *key = new_key(&poor_ways, &token);
    round_trip(key, TT_PADDING_NATIVE);
    refuse_all(key);
    tt_private_key_free(key);
    CU_ASSERT_EQUAL(token.freed, 1);
}

static void a_token_with_raw_rsa_only(void)
{
    struct poor_token token = {.native = false};
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = new_key(&poor_ways, &token);
    round_trip(key, TT_PADDING_RAW);
    CU_ASSERT_EQUAL(token.attempts, 6); /* unwrap, PSS, PKCS#1: native and raw each */
    refuse_all(key);
}

static void small_keys_are_refused(void)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_private_key *key = NULL;
    EVP_PKEY *small TT_CLEANUP(tt_evp_pkey_cleanup) = EVP_RSA_gen(1024);
    CU_ASSERT_EQUAL(tt_private_key_new(small, NULL, NULL, "small", &key, &err), TT_TOKEN);
    EVP_PKEY *curve TT_CLEANUP(tt_evp_pkey_cleanup) = EVP_EC_gen("P-256");
    CU_ASSERT_EQUAL(tt_private_key_new(curve, NULL, NULL, "curve", &key, &err), TT_TOKEN);
    CU_ASSERT_PTR_NULL(key);
}

/* A key whose private half refuses raw RSA, as tokens of some makers do: RSA_METHOD is the way to play one. */
static int no_raw_decrypt(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    (void)length, (void)from, (void)to, (void)rsa, (void)padding;
    return -1;
}

static void a_token_that_can_do_neither(void)
{
    RSA_METHOD *method = RSA_meth_dup(RSA_PKCS1_OpenSSL());
    RSA_meth_set_priv_dec(method, no_raw_decrypt);
    RSA_meth_set_priv_enc(method, no_raw_decrypt);
    RSA *rsa = RSAPrivateKey_dup((RSA *)EVP_PKEY_get0_RSA(software_key));
    RSA_set_method(rsa, method);
    EVP_PKEY *refusing = EVP_PKEY_new();
    EVP_PKEY_assign_RSA(refusing, rsa);
    struct poor_token token = {.native = false};
    struct tt_private_key *key = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_private_key_new(refusing, &poor_ways, &token, "software", &key, NULL), TT_OK);

    uint8_t wrapped[TT_RSA_BYTES_MAX];
    size_t length = wrap(key, 32, wrapped);
    struct tt_secret *secret = NULL;
    enum tt_padding_by by;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_private_key_unwrap(key, wrapped, length, 32, &secret, &by, &err), TT_TOKEN);
    CU_ASSERT_STRING_EQUAL(err.message, "poor token");
    CU_ASSERT_STRING_EQUAL(err.detail, "CKR_MECHANISM_INVALID");
    CU_ASSERT_EQUAL(token.explained, TT_USE_UNWRAP);
    CU_ASSERT_EQUAL(tt_private_key_sign_pss(key, wrapped, wrapped, &length, &by, &err), TT_TOKEN);
    CU_ASSERT_EQUAL(token.explained, TT_USE_SIGN);
    tt_private_key_free(key);
    RSA_meth_free(method);
}

/* What a witness heard last, and what it answers. */
struct heard {
    int count;
    struct tt_key_event event;
    uint8_t digest[TT_SHA512_SIZE];
    enum tt_status answer;
};

static enum tt_status hear(void *user, const struct tt_key_event *event, struct tt_error *err)
{
    struct heard *heard = user;
    heard->count++;
    heard->event = *event;
    memcpy(heard->digest, event->digest, event->digest_length);
    return heard->answer == TT_OK ? TT_OK : tt_error_set(err, heard->answer, "the witness cannot write");
}

static void a_witness_hears_of_everything(void)
{
    struct poor_token token = {0};
    static const struct tt_private_key_loader ways = {.context = poor_context};
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = new_key(&ways, &token);
    struct heard heard = {0};
    const struct tt_key_witness witness = {.used = hear, .user = &heard};
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    uint8_t wanted[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length = wrap(key, 32, wrapped);
    struct tt_secret *secret = NULL;
    enum tt_padding_by by;
    struct tt_error err = TT_ERROR_INIT;
    tt_private_key_watch(key, &witness);
    CU_ASSERT_EQUAL(tt_private_key_unwrap(key, wrapped, length, 32, &secret, &by, NULL), TT_OK);
    tt_secret_free(TT_TAKE(secret));
    CU_ASSERT_EQUAL(tt_digest_once(TT_SHA256, wrapped, length, wanted, NULL), TT_OK);
    CU_ASSERT_EQUAL(heard.count, 1);
    CU_ASSERT_EQUAL(heard.event.use, TT_USE_UNWRAP);
    CU_ASSERT_STRING_EQUAL(heard.event.mechanism, "RSA-OAEP-SHA512");
    CU_ASSERT_EQUAL(heard.event.padding_by, TT_PADDING_RAW);
    CU_ASSERT_EQUAL(heard.event.attempts, 1);
    CU_ASSERT_PTR_NULL(heard.event.purpose);
    CU_ASSERT_EQUAL(heard.event.digest_length, TT_SHA256_SIZE);
    CU_ASSERT_EQUAL(memcmp(heard.digest, wanted, TT_SHA256_SIZE), 0);
    /* Of what fails, too; but not of what never reaches the token. */
    CU_ASSERT_EQUAL(tt_private_key_unwrap(key, wrapped, length, 31, &secret, &by, NULL), TT_TAMPERED);
    CU_ASSERT_EQUAL(heard.count, 2);
    CU_ASSERT_EQUAL(heard.event.status, TT_TAMPERED);
    CU_ASSERT_EQUAL(tt_private_key_unwrap(key, wrapped, length - 1, 32, &secret, &by, NULL), TT_TAMPERED);
    CU_ASSERT_EQUAL(heard.count, 2);
    tt_private_key_purpose(key, "sign-it");
    CU_ASSERT_EQUAL(tt_private_key_sign_pss(key, wanted, signature, &length, &by, NULL), TT_OK);
    CU_ASSERT_STRING_EQUAL(heard.event.mechanism, "RSASSA-PSS-SHA512");
    CU_ASSERT_STRING_EQUAL(heard.event.purpose, "sign-it");
    CU_ASSERT_EQUAL(memcmp(heard.digest, wanted, TT_SHA512_SIZE), 0);
    CU_ASSERT_EQUAL(tt_private_key_sign_pkcs1(key, wanted, 9, signature, &length, &by, NULL), TT_OK);
    CU_ASSERT_STRING_EQUAL(heard.event.mechanism, "RSASSA-PKCS1-v1_5-SHA512");
    CU_ASSERT_EQUAL(heard.count, 4);
    /* A witness that cannot write takes the outcome away. */
    heard.answer = TT_STORE;
    memset(signature, 0x11, sizeof signature);
    CU_ASSERT_EQUAL(tt_private_key_sign_pss(key, wanted, signature, &length, &by, &err), TT_STORE);
    CU_ASSERT_STRING_EQUAL(err.message, "the witness cannot write");
    CU_ASSERT_EQUAL(signature[0], 0x11);
    CU_ASSERT_EQUAL(tt_private_key_unwrap(key, wrapped, KEY_BYTES, 32, &secret, &by, &err), TT_STORE);
    CU_ASSERT_PTR_NULL(secret);
    CU_ASSERT_EQUAL(heard.count, 6);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"a software key does everything", a_software_key_does_everything},
        {"a token with its own padding", a_token_with_its_own_padding},
        {"a token with raw RSA only", a_token_with_raw_rsa_only},
        {"a token that can do neither", a_token_that_can_do_neither},
        {"small keys are refused", small_keys_are_refused},
        {"a witness hears of everything", a_witness_hears_of_everything},
    };
    software_key = EVP_RSA_gen(8 * KEY_BYTES);
    int failed = SUITE_RUN("private_key", tests);
    EVP_PKEY_free(software_key);
    return failed;
}
