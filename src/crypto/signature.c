#include "crypto/signature.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

static void context_cleanup(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

int tt_pss_salt_length(const EVP_PKEY *key)
{
    /* RFC 8017, 9.1.1: emLen = ceil((modBits - 1) / 8) */
    int encoded = ((int)tt_public_key_bits(key) - 1 + 7) / 8;
    return encoded - TT_SHA512_SIZE - 2;
}

static EVP_PKEY_CTX *verify_context(EVP_PKEY *key, int padding)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool ready = context && EVP_PKEY_verify_init(context) == 1 && EVP_PKEY_CTX_set_rsa_padding(context, padding) == 1 &&
                 EVP_PKEY_CTX_set_signature_md(context, EVP_sha512()) == 1;
    if (ready && padding == RSA_PKCS1_PSS_PADDING)
        ready = EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha512()) == 1 &&
                EVP_PKEY_CTX_set_rsa_pss_saltlen(context, tt_pss_salt_length(key)) == 1;
    if (ready)
        return context;
    EVP_PKEY_CTX_free(context);
    return NULL;
}

static enum tt_status verify(EVP_PKEY *key, int padding, const uint8_t *digest, const uint8_t *signature,
                             size_t signature_length, const char *what, struct tt_error *err)
{
    EVP_PKEY_CTX *context TT_CLEANUP(context_cleanup) = verify_context(key, padding);
    if (!context)
        return tt_error_set(err, TT_INTERNAL, "cannot check %s", what);
    int outcome = EVP_PKEY_verify(context, signature, signature_length, digest, TT_SHA512_SIZE);
    ERR_clear_error();
    if (outcome != 1)
        return tt_error_set(err, TT_TAMPERED, "%s is wrong: what it covers was changed, or another key made it", what);
    return TT_OK;
}

enum tt_status tt_signature_verify_pkcs1(EVP_PKEY *key, const uint8_t *message, size_t length, const uint8_t *signature,
                                         size_t signature_length, const char *what, struct tt_error *err)
{
    uint8_t digest[TT_SHA512_SIZE];
    enum tt_status status = tt_digest_once(TT_SHA512, message, length, digest, err);
    if (status != TT_OK)
        return status;
    return verify(key, RSA_PKCS1_PADDING, digest, signature, signature_length, what, err);
}

enum tt_status tt_signature_verify_pss(EVP_PKEY *key, const uint8_t digest[TT_SHA512_SIZE], const uint8_t *signature,
                                       size_t signature_length, const char *what, struct tt_error *err)
{
    return verify(key, RSA_PKCS1_PSS_PADDING, digest, signature, signature_length, what, err);
}
