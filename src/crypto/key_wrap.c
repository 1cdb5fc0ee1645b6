#include "crypto/key_wrap.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

static void context_cleanup(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

enum tt_status tt_key_wrap(EVP_PKEY *recipient, const struct tt_secret *secret, uint8_t *wrapped, size_t *ret_length,
                           struct tt_error *err)
{
    EVP_PKEY_CTX *context TT_CLEANUP(context_cleanup) = EVP_PKEY_CTX_new_from_pkey(NULL, recipient, NULL);
    size_t length = TT_RSA_BYTES_MAX;
    if (!context || EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha512()) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha512()) != 1 ||
        EVP_PKEY_encrypt(context, wrapped, &length, secret->data, secret->length) != 1) {
        ERR_clear_error();
        return tt_error_set(err, TT_INTERNAL, "cannot wrap the symmetric key");
    }
    *ret_length = length;
    return TT_OK;
}
