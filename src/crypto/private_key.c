#include "crypto/private_key.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "crypto/key_wrap.h"
#include "crypto/signature.h"

struct tt_private_key {
    EVP_PKEY *key;         /* private half: the loader's; NULL when it was lost */
    EVP_PKEY *public_half; /* software copy of the public half */
    const struct tt_private_key_loader *ways;
    void *loader;
    char *name;
    size_t bytes; /* of the modulus */
    struct tt_key_witness witness;
    const char *purpose;
    unsigned attempts; /* of the operation under way */
};

static void context_cleanup(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

static void bignum_cleanup(BIGNUM **number)
{
    BN_free(*number);
}

static enum tt_status copy_public_half(const EVP_PKEY *key, EVP_PKEY **ret_public, struct tt_error *err)
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY((EVP_PKEY *)key, &der);
    const unsigned char *place = der;
    EVP_PKEY *copy = length > 0 ? d2i_PUBKEY(NULL, &place, length) : NULL;
    OPENSSL_free(der);
    ERR_clear_error();
    if (!copy)
        return tt_error_set(err, TT_TOKEN, "the key's public half cannot be read");
    *ret_public = copy;
    return TT_OK;
}

enum tt_status tt_private_key_new(EVP_PKEY *key, const struct tt_private_key_loader *ways, void *loader,
                                  const char *name, struct tt_private_key **ret_key, struct tt_error *err)
{
    EVP_PKEY *public_half TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = copy_public_half(key, &public_half, err);
    if (status == TT_OK)
        status = tt_public_key_check(public_half, name, err);
    if (status != TT_OK)
        return status;
    char *copy TT_CLEANUP(tt_free_cleanup) = strdup(name);
    struct tt_private_key *made = calloc(1, sizeof *made);
    if (!copy || !made) {
        free(made);
        return tt_error_memory(err);
    }
    made->key = key;
    made->bytes = (size_t)EVP_PKEY_get_size(public_half);
    made->public_half = TT_TAKE(public_half);
    made->ways = ways;
    made->loader = loader;
    made->name = TT_TAKE(copy);
    *ret_key = made;
    return TT_OK;
}

void tt_private_key_free(struct tt_private_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->key); /* before its loader, which the key reaches into */
    EVP_PKEY_free(key->public_half);
    if (key->ways && key->ways->free)
        key->ways->free(key->loader);
    free(key->name);
    free(key);
}

EVP_PKEY *tt_private_key_public(const struct tt_private_key *key)
{
    return key->public_half;
}

const char *tt_private_key_name(const struct tt_private_key *key)
{
    return key->name;
}

void tt_private_key_watch(struct tt_private_key *key, const struct tt_key_witness *witness)
{
    key->witness = *witness;
}

void tt_private_key_purpose(struct tt_private_key *key, const char *purpose)
{
    key->purpose = purpose;
}

/* Lets the witness hear of what came out as event->status, with *failure. What is returned counts. */
static enum tt_status testify(const struct tt_private_key *key, struct tt_key_event *event, struct tt_error *failure)
{
    struct tt_error refusal = TT_ERROR_INIT;
    if (!key->witness.used)
        return event->status;
    event->purpose = key->purpose;
    event->attempts = key->attempts;
    event->failure = failure;
    enum tt_status status = key->witness.used(key->witness.user, event, &refusal);
    if (status == TT_OK)
        return event->status;
    *failure = refusal;
    return status;
}

/* What the two attempts have in common. */

static EVP_PKEY_CTX *attempt(struct tt_private_key *key, enum tt_padding_by way)
{
    ERR_clear_error();
    if (!key->key)
        return NULL;
    EVP_PKEY_CTX *context = key->ways && key->ways->context ? key->ways->context(key->loader, key->key, way)
                                                            : EVP_PKEY_CTX_new(key->key, NULL);
    key->attempts += context != NULL;
    return context;
}

static enum tt_padding_by native_padding_by(const struct tt_private_key *key)
{
    return key->ways && key->ways->padding_by ? key->ways->padding_by(key->loader) : TT_PADDING_UNKNOWN;
}

static enum tt_status token_failed(const struct tt_private_key *key, enum tt_private_key_use use, struct tt_error *err)
{
    struct tt_error said = TT_ERROR_INIT;
    tt_error_set(&said, TT_TOKEN, "the token failed to %s with the key %s",
                 use == TT_USE_SIGN ? "sign" : "unwrap the symmetric key", key->name);
    char text[TT_ERROR_DETAIL_SIZE] = "";
    unsigned long code = ERR_peek_error();
    if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    tt_error_detail(&said, "%s", text);
    if (key->ways && key->ways->explain)
        key->ways->explain(key->loader, use, &said);
    ERR_clear_error();
    if (err)
        *err = said;
    return said.status;
}

/* Whether what failed is worth another try, with a key that was opened again. */
static bool reopen(struct tt_private_key *key)
{
    return key->ways && key->ways->reopen && key->ways->reopen(key->loader, key->public_half, &key->key);
}

/* Unwrapping. */

/* The same words whatever was wrong with the ciphertext: its sender learns nothing from them. */
static enum tt_status ciphertext_is_bad(struct tt_error *err)
{
    ERR_clear_error();
    return tt_error_set(err, TT_TAMPERED,
                        "the wrapped symmetric key does not open with this key: it was changed, or made for another "
                        "key");
}

/* A token may answer a number that is no ciphertext of its key in its own way: such a number never gets there. */
static bool is_ciphertext(const struct tt_private_key *key, const uint8_t *wrapped, size_t length)
{
    BIGNUM *modulus TT_CLEANUP(bignum_cleanup) = NULL;
    if (length != key->bytes || EVP_PKEY_get_bn_param(key->public_half, "n", &modulus) != 1)
        return false;
    BIGNUM *number TT_CLEANUP(bignum_cleanup) = BN_bin2bn(wrapped, (int)length, NULL);
    return number && BN_cmp(number, modulus) < 0;
}

static bool unwrap_native(struct tt_private_key *key, const uint8_t *wrapped, struct tt_secret *plain)
{
    EVP_PKEY_CTX *context TT_CLEANUP(context_cleanup) = attempt(key, TT_PADDING_NATIVE);
    size_t length = plain->capacity;
    if (!context || EVP_PKEY_decrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha512()) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha512()) != 1 ||
        EVP_PKEY_decrypt(context, plain->data, &length, wrapped, key->bytes) != 1 || length > plain->capacity)
        return false;
    plain->length = length;
    return true;
}

static bool unwrap_raw(struct tt_private_key *key, const uint8_t *wrapped, struct tt_secret *block)
{
    EVP_PKEY_CTX *context TT_CLEANUP(context_cleanup) = attempt(key, TT_PADDING_RAW);
    size_t length = block->capacity;
    if (!context || EVP_PKEY_decrypt_init(context) != 1 || EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) != 1 ||
        EVP_PKEY_decrypt(context, block->data, &length, wrapped, key->bytes) != 1 || length > key->bytes)
        return false;
    block->length = length;
    return true;
}

/* Whether the token's own mechanism opens what we wrapped ourselves. */
static bool native_works(struct tt_private_key *key)
{
    struct tt_secret *sample TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *opened TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    size_t length;
    if (tt_secret_new(32, &sample, NULL) != TT_OK || tt_secret_new(key->bytes, &opened, NULL) != TT_OK ||
        tt_random(sample->data, sample->capacity, NULL) != TT_OK)
        return false;
    sample->length = sample->capacity;
    return tt_key_wrap(key->public_half, sample, wrapped, &length, NULL) == TT_OK && length == key->bytes &&
           unwrap_native(key, wrapped, opened) && opened->length == sample->length &&
           CRYPTO_memcmp(opened->data, sample->data, sample->length) == 0;
}

static enum tt_status unwrap_by_hand(struct tt_private_key *key, const uint8_t *wrapped, struct tt_secret *plain,
                                     enum tt_padding_by *ret_padding_by, struct tt_error *err)
{
    struct tt_secret *block TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(key->bytes, &block, err);
    if (status != TT_OK)
        return status;
    if (!unwrap_raw(key, wrapped, block)) {
        status = token_failed(key, TT_USE_UNWRAP, err);
        bool is_native = status == TT_TOKEN && native_works(key);
        /* A token that does OAEP and forbids raw RSA: its first refusal was about this very ciphertext, or it failed
         * just then, which asking again tells. */
        if (is_native && unwrap_native(key, wrapped, plain)) {
            *ret_padding_by = native_padding_by(key);
            return TT_OK;
        }
        if (status == TT_TAMPERED || is_native)
            return ciphertext_is_bad(err);
        ERR_clear_error();
        return status;
    }
    int length = RSA_padding_check_PKCS1_OAEP_mgf1(plain->data, (int)plain->capacity, block->data, (int)block->length,
                                                   (int)key->bytes, NULL, 0, EVP_sha512(), EVP_sha512());
    if (length < 0)
        return ciphertext_is_bad(err);
    plain->length = (size_t)length;
    *ret_padding_by = TT_PADDING_RAW;
    return TT_OK;
}

static enum tt_status unwrap(struct tt_private_key *key, const uint8_t *wrapped, struct tt_secret *plain,
                             enum tt_padding_by *ret_padding_by, struct tt_error *err)
{
    if (unwrap_native(key, wrapped, plain)) {
        *ret_padding_by = native_padding_by(key);
        return TT_OK;
    }
    return key->ways ? unwrap_by_hand(key, wrapped, plain, ret_padding_by, err) : ciphertext_is_bad(err);
}

static enum tt_status unwrap_with_witness(struct tt_private_key *key, const uint8_t *wrapped, size_t size,
                                          struct tt_secret *plain, struct tt_key_event *event, struct tt_error *said)
{
    uint8_t digest[TT_SHA256_SIZE];
    enum tt_status status = tt_digest_once(TT_SHA256, wrapped, key->bytes, digest, said);
    if (status != TT_OK)
        return status;
    key->attempts = 0;
    event->digest = digest;
    event->digest_length = sizeof digest;
    event->status = unwrap(key, wrapped, plain, &event->padding_by, said);
    if (event->status != TT_OK && reopen(key))
        event->status = unwrap(key, wrapped, plain, &event->padding_by, said);
    if (event->status == TT_OK && plain->length != size)
        event->status = ciphertext_is_bad(said);
    status = testify(key, event, said);
    event->digest = NULL;
    return status;
}

enum tt_status tt_private_key_unwrap(struct tt_private_key *key, const uint8_t *wrapped, size_t length, size_t size,
                                     struct tt_secret **ret_secret, enum tt_padding_by *ret_padding_by,
                                     struct tt_error *err)
{
    if (!is_ciphertext(key, wrapped, length))
        return ciphertext_is_bad(err);
    struct tt_secret *plain TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(key->bytes, &plain, err);
    if (status == TT_OK)
        status = tt_secret_new(size, &secret, err);
    if (status != TT_OK)
        return status;
    struct tt_error said = TT_ERROR_INIT;
    struct tt_key_event event = {.use = TT_USE_UNWRAP, .mechanism = "RSA-OAEP-SHA512"};
    status = unwrap_with_witness(key, wrapped, size, plain, &event, &said);
    ERR_clear_error();
    if (status != TT_OK) {
        if (err)
            *err = said;
        return status;
    }
    memcpy(secret->data, plain->data, size);
    secret->length = size;
    *ret_secret = TT_TAKE(secret);
    *ret_padding_by = event.padding_by;
    return TT_OK;
}

/* Signing. */

struct signing {
    int padding;            /* RSA_PKCS1_PSS_PADDING or RSA_PKCS1_PADDING */
    const uint8_t *digest;  /* SHA-512 */
    const uint8_t *message; /* that the digest is of, where it is known */
    size_t length;
};

static bool sign_native(struct tt_private_key *key, const struct signing *what, uint8_t *signature)
{
    EVP_PKEY_CTX *context TT_CLEANUP(context_cleanup) = attempt(key, TT_PADDING_NATIVE);
    if (!context || EVP_PKEY_sign_init(context) != 1 || EVP_PKEY_CTX_set_rsa_padding(context, what->padding) != 1 ||
        EVP_PKEY_CTX_set_signature_md(context, EVP_sha512()) != 1)
        return false;
    /* The salt's length as a number: "as long as possible" would reach the token as a negative length. */
    if (what->padding == RSA_PKCS1_PSS_PADDING &&
        (EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha512()) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, tt_pss_salt_length(key->public_half)) != 1))
        return false;
    size_t length = TT_RSA_BYTES_MAX;
    return EVP_PKEY_sign(context, signature, &length, what->digest, TT_SHA512_SIZE) == 1 && length == key->bytes;
}

/* What raw RSA is to be applied to: the padded digest, as long as the modulus. */
static bool pad_digest(const struct tt_private_key *key, const struct signing *what, uint8_t *block)
{
    if (what->padding == RSA_PKCS1_PSS_PADDING)
        return RSA_padding_add_PKCS1_PSS_mgf1((RSA *)EVP_PKEY_get0_RSA(key->public_half), block, what->digest,
                                              EVP_sha512(), EVP_sha512(), tt_pss_salt_length(key->public_half)) == 1;
    /* RFC 8017, 9.2, note 1: the DigestInfo of SHA-512 up to its digest */
    static const uint8_t prefix[] = {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                     0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40};
    uint8_t info[sizeof prefix + TT_SHA512_SIZE];
    memcpy(info, prefix, sizeof prefix);
    memcpy(info + sizeof prefix, what->digest, TT_SHA512_SIZE);
    return RSA_padding_add_PKCS1_type_1(block, (int)key->bytes, info, (int)sizeof info) == 1;
}

static bool sign_raw(struct tt_private_key *key, const struct signing *what, uint8_t *signature)
{
    uint8_t block[TT_RSA_BYTES_MAX];
    EVP_PKEY_CTX *context TT_CLEANUP(context_cleanup) = attempt(key, TT_PADDING_RAW);
    size_t length = TT_RSA_BYTES_MAX;
    return context && pad_digest(key, what, block) && EVP_PKEY_sign_init(context) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) == 1 &&
           EVP_PKEY_sign(context, signature, &length, block, key->bytes) == 1 && length == key->bytes;
}

static enum tt_status check_signature(const struct tt_private_key *key, const struct signing *what,
                                      const uint8_t *signature, struct tt_error *err)
{
    static const char *const name = "the token's signature";
    enum tt_status status =
        what->padding == RSA_PKCS1_PSS_PADDING
            ? tt_signature_verify_pss(key->public_half, what->digest, signature, key->bytes, name, NULL)
            : tt_signature_verify_pkcs1(key->public_half, what->message, what->length, signature, key->bytes, name,
                                        NULL);
    if (status != TT_OK)
        return tt_error_set(err, TT_TOKEN, "the token made a wrong signature with the key %s; it was thrown away",
                            key->name);
    return TT_OK;
}

/* `made` has TT_RSA_BYTES_MAX bytes. */
static enum tt_status make_signature(struct tt_private_key *key, const struct signing *what, uint8_t *made,
                                     enum tt_padding_by *ret_padding_by, struct tt_error *err)
{
    /* A token that quietly chose another salt length is as good as one that refused: hence the check inside. */
    if (sign_native(key, what, made) && check_signature(key, what, made, NULL) == TT_OK) {
        *ret_padding_by = native_padding_by(key);
        return TT_OK;
    }
    if (!key->ways || !sign_raw(key, what, made))
        return token_failed(key, TT_USE_SIGN, err);
    *ret_padding_by = TT_PADDING_RAW;
    return check_signature(key, what, made, err);
}

static enum tt_status sign(struct tt_private_key *key, const struct signing *what, uint8_t *signature,
                           size_t *ret_length, enum tt_padding_by *ret_padding_by, struct tt_error *err)
{
    uint8_t made[TT_RSA_BYTES_MAX];
    struct tt_error said = TT_ERROR_INIT;
    struct tt_key_event event = {.use = TT_USE_SIGN,
                                 .mechanism = what->padding == RSA_PKCS1_PSS_PADDING ? "RSASSA-PSS-SHA512"
                                                                                     : "RSASSA-PKCS1-v1_5-SHA512",
                                 .digest = what->digest,
                                 .digest_length = TT_SHA512_SIZE};
    key->attempts = 0;
    event.status = make_signature(key, what, made, &event.padding_by, &said);
    if (event.status != TT_OK && reopen(key))
        event.status = make_signature(key, what, made, &event.padding_by, &said);
    ERR_clear_error();
    enum tt_status status = testify(key, &event, &said);
    if (status != TT_OK) {
        tt_wipe(made, sizeof made); /* perhaps a good one that nobody may have */
        if (err)
            *err = said;
        return status;
    }
    memcpy(signature, made, key->bytes);
    *ret_length = key->bytes;
    *ret_padding_by = event.padding_by;
    return TT_OK;
}

enum tt_status tt_private_key_sign_pss(struct tt_private_key *key, const uint8_t digest[TT_SHA512_SIZE],
                                       uint8_t *signature, size_t *ret_length, enum tt_padding_by *ret_padding_by,
                                       struct tt_error *err)
{
    const struct signing what = {.padding = RSA_PKCS1_PSS_PADDING, .digest = digest};
    return sign(key, &what, signature, ret_length, ret_padding_by, err);
}

enum tt_status tt_private_key_sign_pkcs1(struct tt_private_key *key, const uint8_t *message, size_t length,
                                         uint8_t *signature, size_t *ret_length, enum tt_padding_by *ret_padding_by,
                                         struct tt_error *err)
{
    uint8_t digest[TT_SHA512_SIZE];
    enum tt_status status = tt_digest_once(TT_SHA512, message, length, digest, err);
    if (status != TT_OK)
        return status;
    const struct signing what = {.padding = RSA_PKCS1_PADDING, .digest = digest, .message = message, .length = length};
    return sign(key, &what, signature, ret_length, ret_padding_by, err);
}
