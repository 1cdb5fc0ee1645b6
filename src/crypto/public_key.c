#include "crypto/public_key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "crypto/digest.h"

static void bio_cleanup(BIO **bio)
{
    BIO_free(*bio);
}

static void bignum_cleanup(BIGNUM **number)
{
    BN_free(*number);
}

unsigned tt_public_key_bits(const EVP_PKEY *key)
{
    int bits = EVP_PKEY_get_bits(key);
    return bits > 0 ? (unsigned)bits : 0;
}

/* NULL when the key can serve, else what is wrong with it. */
static const char *unfit(const EVP_PKEY *key)
{
    if (!EVP_PKEY_is_a(key, "RSA"))
        return "is not an RSA key; the protocol works with RSA only";
    unsigned bits = tt_public_key_bits(key);
    if (bits < TT_RSA_BITS_MIN || bits > TT_RSA_BITS_MAX)
        return "has a size outside 2048 to 8192 bits";
    BIGNUM *exponent TT_CLEANUP(bignum_cleanup) = NULL;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1 || !BN_is_odd(exponent) ||
        BN_is_one(exponent) || BN_num_bits(exponent) > 64)
        return "has an exponent that no honest key has";
    BIGNUM *modulus TT_CLEANUP(bignum_cleanup) = NULL;
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus) != 1 || !BN_is_odd(modulus))
        return "has an even modulus";
    return NULL;
}

/* PEM can say that it is encrypted, and OpenSSL would ask for the passphrase on the terminal: a file of somebody else's
 * making must not make people type a secret. */
static int no_passphrase(char *buffer, int size, int writing, void *user)
{
    (void)buffer, (void)size, (void)writing, (void)user;
    return -1;
}

enum tt_status tt_public_key_parse(const void *pem, size_t length, const char *what, EVP_PKEY **ret_key,
                                   struct tt_error *err)
{
    if (length == 0 || length > TT_PUBLIC_KEY_TEXT_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "%s is empty or too long to be a public key", what);
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new_mem_buf(pem, (int)length);
    if (!bio)
        return tt_error_memory(err);
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    ERR_clear_error();
    if (!key)
        return tt_error_set(err, TT_MALFORMED, "%s is not a PEM public key (\"-----BEGIN PUBLIC KEY-----\")", what);
    const char *fault = unfit(key);
    if (fault)
        return tt_error_set(err, TT_MALFORMED, "%s %s", what, fault);
    *ret_key = TT_TAKE(key);
    return TT_OK;
}

enum tt_status tt_public_key_check(const EVP_PKEY *key, const char *what, struct tt_error *err)
{
    const char *fault = unfit(key);
    ERR_clear_error();
    if (fault)
        return tt_error_set(err, TT_TOKEN, "%s %s", what, fault);
    return TT_OK;
}

/* DER SubjectPublicKeyInfo in new memory, made from modulus and exponent alone, so that a key from a token and one
 * from a file give the same bytes. */
static int public_der(const EVP_PKEY *key, unsigned char **ret_der)
{
    return i2d_PUBKEY((EVP_PKEY *)key, ret_der);
}

enum tt_status tt_public_key_pem(const EVP_PKEY *key, char **ret_pem, struct tt_error *err)
{
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_PUBKEY(bio, (EVP_PKEY *)key) != 1)
        return tt_error_memory(err);
    char *data = NULL;
    long length = BIO_get_mem_data(bio, &data);
    char *pem = strndup(data, (size_t)length);
    if (!pem)
        return tt_error_memory(err);
    *ret_pem = pem;
    return TT_OK;
}

enum tt_status tt_public_key_fingerprint(const EVP_PKEY *key, char ret_text[TT_FINGERPRINT_SIZE], struct tt_error *err)
{
    unsigned char *der = NULL;
    int length = public_der(key, &der);
    if (length <= 0)
        return tt_error_memory(err);
    uint8_t value[TT_SHA256_SIZE];
    enum tt_status status = tt_digest_once(TT_SHA256, der, (size_t)length, value, err);
    OPENSSL_free(der);
    if (status != TT_OK)
        return status;
    unsigned char text[64];
    EVP_EncodeBlock(text, value, sizeof value); /* 44 characters, the last one '=' */
    snprintf(ret_text, TT_FINGERPRINT_SIZE, "SHA256:%.43s", (const char *)text);
    return TT_OK;
}

bool tt_public_key_equal(const EVP_PKEY *one, const EVP_PKEY *other)
{
    unsigned char *der_one = NULL;
    unsigned char *der_other = NULL;
    int length_one = public_der(one, &der_one);
    int length_other = public_der(other, &der_other);
    bool equal = length_one > 0 && length_one == length_other && memcmp(der_one, der_other, (size_t)length_one) == 0;
    OPENSSL_free(der_one);
    OPENSSL_free(der_other);
    return equal;
}
