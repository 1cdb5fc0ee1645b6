#include "provisioning/key_probe.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/text.h"
#include "crypto/digest.h"
#include "crypto/key_wrap.h"
#include "crypto/signature.h"
#include "pkcs11/ckr.h"

enum { SECRET_SIZE = 32 };

/* An attempt: what the token is to do with which bytes. */
struct attempt {
    bool sign;
    CK_MECHANISM mechanism;
    const uint8_t *in;
    size_t in_length;
};

static bool is_about_pin(CK_RV outcome)
{
    return outcome == CKR_PIN_INCORRECT || outcome == CKR_PIN_LOCKED || outcome == CKR_PIN_EXPIRED ||
           outcome == CKR_PIN_LEN_RANGE || outcome == CKR_PIN_INVALID;
}

/* *ret_login is set to what a login for this one use answered, CKR_OK where none was needed. */
static CK_RV use_key(CK_FUNCTION_LIST *functions, CK_SESSION_HANDLE handle, const struct tt_key_object *key,
                     const struct tt_secret *pin, struct attempt *attempt, struct tt_secret *out, CK_RV *ret_login)
{
    CK_ULONG length = (CK_ULONG)out->capacity;
    CK_RV outcome = attempt->sign ? functions->C_SignInit(handle, &attempt->mechanism, key->private_key)
                                  : functions->C_DecryptInit(handle, &attempt->mechanism, key->private_key);
    if (outcome == CKR_OK && key->always_authenticate == TT_ATTRIBUTE_TRUE) {
        *ret_login =
            functions->C_Login(handle, CKU_CONTEXT_SPECIFIC, pin ? pin->data : NULL, pin ? (CK_ULONG)pin->length : 0);
        outcome = *ret_login;
    }
    if (outcome == CKR_OK)
        outcome = attempt->sign ? functions->C_Sign(handle, (CK_BYTE *)attempt->in, (CK_ULONG)attempt->in_length,
                                                    out->data, &length)
                                : functions->C_Decrypt(handle, (CK_BYTE *)attempt->in, (CK_ULONG)attempt->in_length,
                                                       out->data, &length);
    out->length = outcome == CKR_OK && length <= out->capacity ? length : 0;
    return outcome;
}

/* A padded block is not what was meant to be signed, and the digest in it is its caller's: its own hash tells of it. */
static enum tt_status testify(const struct tt_session *session, const struct tt_key_object *key,
                              const struct attempt *attempt, CK_RV outcome, struct tt_secret *out, struct tt_error *err)
{
    struct tt_error failure = TT_ERROR_INIT;
    uint8_t hash[TT_SHA256_SIZE];
    bool raw = attempt->mechanism.mechanism == CKM_RSA_X_509;
    bool shown = attempt->sign && !raw;
    struct tt_key_event event = {.use = attempt->sign ? TT_USE_SIGN : TT_USE_UNWRAP,
                                 .mechanism = raw             ? "RSA-X.509"
                                              : attempt->sign ? "RSASSA-PSS-SHA512"
                                                              : "RSA-OAEP-SHA512",
                                 .padding_by = raw ? TT_PADDING_RAW : TT_PADDING_NATIVE,
                                 .attempts = 1,
                                 .digest = shown ? attempt->in : hash,
                                 .digest_length = shown ? attempt->in_length : sizeof hash,
                                 .failure = &failure};
    if (!session->witness.used)
        return TT_OK;
    if (outcome != CKR_OK)
        event.status = tt_ckr_error(outcome, &failure, "the token did not do it");
    enum tt_status status = tt_digest_once(TT_SHA256, attempt->in, attempt->in_length, hash, err);
    if (status == TT_OK)
        status = session->witness.used(session->witness.user, key, &event, err);
    if (status != TT_OK) {
        tt_wipe(out->data, out->capacity);
        out->length = 0;
    }
    return status;
}

/* In a session of its own: some tokens stay busy with an operation that failed. */
static enum tt_status try(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                          struct attempt *attempt, struct tt_secret *out, CK_RV *ret_outcome, struct tt_error *err)
{
    CK_FUNCTION_LIST *functions = session->cryptoki->functions;
    CK_SESSION_HANDLE handle = CK_INVALID_HANDLE;
    CK_RV login = CKR_OK;
    CK_RV outcome = functions->C_OpenSession(session->token.slot, CKF_SERIAL_SESSION, NULL, NULL, &handle);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the token gives no session to try the key in");
    *ret_outcome = use_key(functions, handle, key, pin, attempt, out, &login);
    functions->C_CloseSession(handle);
    if (is_about_pin(login))
        return tt_ckr_error(login, err, "the token did not take the PIN for a use of the key");
    return testify(session, key, attempt, *ret_outcome, out, err);
}

/* Raw RSA's outcome may have lost its leading zero bytes. */
static bool pad_left(struct tt_secret *block, size_t size)
{
    if (block->length > size || size > block->capacity)
        return false;
    memmove(block->data + size - block->length, block->data, block->length);
    memset(block->data, 0, size - block->length);
    block->length = size;
    return true;
}

/* Takes OpenSSL's OAEP padding off, in place. */
static bool unpad(struct tt_secret *block, size_t size)
{
    struct tt_secret *plain TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    if (!pad_left(block, size) || tt_secret_new(size, &plain, NULL) != TT_OK)
        return false;
    int length = RSA_padding_check_PKCS1_OAEP_mgf1(plain->data, (int)plain->capacity, block->data, (int)size, (int)size,
                                                   NULL, 0, EVP_sha512(), EVP_sha512());
    ERR_clear_error();
    if (length < 0)
        return false;
    memcpy(block->data, plain->data, (size_t)length);
    block->length = (size_t)length;
    return true;
}

static enum tt_status probe_unwrap(struct tt_session *session, const struct tt_key_object *key,
                                   const struct tt_secret *pin, struct tt_probe_result *result, struct tt_error *err)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *out TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA512, CKG_MGF1_SHA512, CKZ_DATA_SPECIFIED, NULL, 0};
    struct attempt attempt = {.mechanism = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep}, .in = wrapped};
    enum tt_status status = tt_secret_new(SECRET_SIZE, &secret, err);
    if (status == TT_OK)
        status = tt_secret_new(TT_RSA_BYTES_MAX, &out, err);
    if (status == TT_OK && RAND_bytes(secret->data, SECRET_SIZE) != 1)
        status = tt_error_set(err, TT_INTERNAL, "no random numbers");
    if (status != TT_OK)
        return status;
    secret->length = SECRET_SIZE;
    status = tt_key_wrap(key->public_half, secret, wrapped, &attempt.in_length, err);
    if (status == TT_OK)
        status = try(session, key, pin, &attempt, out, &result->native, err);
    for (int raw = 0; status == TT_OK; raw++) {
        CK_RV outcome = raw ? result->raw : result->native;
        if (outcome == CKR_OK && (!raw || unpad(out, attempt.in_length)) && out->length == SECRET_SIZE &&
            CRYPTO_memcmp(out->data, secret->data, SECRET_SIZE) == 0) {
            result->way = raw ? TT_PROBE_RAW : TT_PROBE_NATIVE;
            break;
        }
        result->is_wrong = result->is_wrong || outcome == CKR_OK;
        if (raw)
            break;
        attempt.mechanism = (CK_MECHANISM){CKM_RSA_X_509, NULL, 0};
        status = try(session, key, pin, &attempt, out, &result->raw, err);
    }
    return status;
}

static bool is_signature(const struct tt_key_object *key, const uint8_t *digest, struct tt_secret *out, size_t size)
{
    return pad_left(out, size) &&
           tt_signature_verify_pss(key->public_half, digest, out->data, size, "the probe", NULL) == TT_OK;
}

/* Both ways of signing a digest, the second only where the first did not serve. */
static enum tt_status sign(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                           const uint8_t *digest, struct tt_probe_result *result, struct tt_secret *out,
                           struct tt_error *err)
{
    uint8_t block[TT_RSA_BYTES_MAX];
    int salt = tt_pss_salt_length(key->public_half);
    size_t size = (size_t)EVP_PKEY_get_size(key->public_half);
    CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA512, CKG_MGF1_SHA512, (CK_ULONG)salt};
    struct attempt attempt = {true, {CKM_RSA_PKCS_PSS, &pss, sizeof pss}, digest, TT_SHA512_SIZE};
    if (RSA_padding_add_PKCS1_PSS_mgf1((RSA *)EVP_PKEY_get0_RSA(key->public_half), block, digest, EVP_sha512(),
                                       EVP_sha512(), salt) != 1)
        return tt_error_set(err, TT_INTERNAL, "the signature cannot be prepared");
    enum tt_status status = try(session, key, pin, &attempt, out, &result->native, err);
    for (int raw = 0; status == TT_OK; raw++) {
        CK_RV outcome = raw ? result->raw : result->native;
        if (outcome == CKR_OK && is_signature(key, digest, out, size)) {
            result->way = raw ? TT_PROBE_RAW : TT_PROBE_NATIVE;
            break;
        }
        result->is_wrong = result->is_wrong || outcome == CKR_OK;
        if (raw)
            break;
        attempt = (struct attempt){true, {CKM_RSA_X_509, NULL, 0}, block, size};
        status = try(session, key, pin, &attempt, out, &result->raw, err);
    }
    return status;
}

static enum tt_status check_public_half(const struct tt_key_object *key, struct tt_error *err)
{
    if (!key->public_half)
        return tt_error_set(err, TT_TOKEN,
                            "the token shows no public half of the RSA key, so nothing can be tried with it");
    return tt_public_key_check(key->public_half, "the key", err);
}

enum tt_status tt_key_sign(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                           const uint8_t digest[TT_SHA512_SIZE], uint8_t *signature, size_t *ret_length,
                           struct tt_probe_result *ret_result, struct tt_error *err)
{
    struct tt_secret *out TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_probe_result result = {0};
    enum tt_status status = check_public_half(key, err);
    if (status == TT_OK)
        status = tt_secret_new(TT_RSA_BYTES_MAX, &out, err);
    if (status == TT_OK)
        status = sign(session, key, pin, digest, &result, out, err);
    ERR_clear_error();
    if (status != TT_OK)
        return status;
    *ret_length = result.way == TT_PROBE_NO ? 0 : out->length;
    memcpy(signature, out->data, *ret_length);
    *ret_result = result;
    return TT_OK;
}

static enum tt_status probe_sign(struct tt_session *session, const struct tt_key_object *key,
                                 const struct tt_secret *pin, struct tt_probe_result *ret_result, struct tt_error *err)
{
    uint8_t digest[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length = 0;
    enum tt_status status = tt_random(digest, sizeof digest, err);
    if (status == TT_OK)
        status = tt_key_sign(session, key, pin, digest, signature, &length, ret_result, err);
    return status;
}

enum tt_status tt_key_probe(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                            struct tt_key_probe *ret_probe, struct tt_error *err)
{
    struct tt_key_probe probe = {0};
    enum tt_status status = check_public_half(key, err);
    if (status == TT_OK)
        status = probe_unwrap(session, key, pin, &probe.unwrap, err);
    if (status == TT_OK)
        status = probe_sign(session, key, pin, &probe.sign, err);
    if (status == TT_OK)
        *ret_probe = probe;
    return status;
}

bool tt_key_probe_is_good(const struct tt_key_probe *probe)
{
    return probe->unwrap.way != TT_PROBE_NO && probe->sign.way != TT_PROBE_NO;
}

const char *tt_probe_way_name(enum tt_probe_way way)
{
    return way == TT_PROBE_NATIVE ? "native" : way == TT_PROBE_RAW ? "raw" : "no";
}

char *tt_probe_reason(const struct tt_probe_result *result, const char *native_name)
{
    char native[32];
    char raw[32];
    return tt_text_format("its own %s: %s, raw RSA: %s", native_name,
                          result->native ? tt_ckr_name(result->native, native) : "a wrong outcome",
                          result->raw ? tt_ckr_name(result->raw, raw) : "a wrong outcome");
}
