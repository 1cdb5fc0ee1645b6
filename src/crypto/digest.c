#include "crypto/digest.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

struct tt_digest {
    EVP_MD_CTX *context;
    const EVP_MD *type;
};

static const EVP_MD *digest_type(enum tt_digest_algorithm algorithm)
{
    return algorithm == TT_SHA512 ? EVP_sha512() : EVP_sha256();
}

/* What OpenSSL's configuration takes away, nobody finds by "cannot hash". */
static enum tt_status cannot_hash(struct tt_error *err)
{
    bool is_lacking = false;
    for (unsigned long code; (code = ERR_get_error()) != 0;)
        is_lacking = is_lacking || ERR_GET_REASON(code) == ERR_R_UNSUPPORTED;
    if (!is_lacking)
        return tt_error_set(err, TT_INTERNAL, "cannot hash");
    return tt_error_set(err, TT_INTERNAL,
                        "OpenSSL has no SHA-256 or SHA-512 to hash with: its configuration (openssl.cnf, or what "
                        "OPENSSL_CONF names) leaves out the default provider, or wants what that has not");
}

enum tt_status tt_digest_new(enum tt_digest_algorithm algorithm, struct tt_digest **ret_digest, struct tt_error *err)
{
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = calloc(1, sizeof *digest);
    if (!digest)
        return tt_error_memory(err);
    digest->type = digest_type(algorithm);
    digest->context = EVP_MD_CTX_new();
    if (!digest->context || EVP_DigestInit_ex(digest->context, digest->type, NULL) != 1)
        return cannot_hash(err);
    *ret_digest = TT_TAKE(digest);
    return TT_OK;
}

void tt_digest_free(struct tt_digest *digest)
{
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

enum tt_status tt_digest_update(struct tt_digest *digest, const void *data, size_t length, struct tt_error *err)
{
    if (EVP_DigestUpdate(digest->context, data, length) != 1)
        return cannot_hash(err);
    return TT_OK;
}

enum tt_status tt_digest_final(struct tt_digest *digest, uint8_t *ret_value, struct tt_error *err)
{
    if (EVP_DigestFinal_ex(digest->context, ret_value, NULL) != 1 ||
        EVP_DigestInit_ex(digest->context, digest->type, NULL) != 1)
        return cannot_hash(err);
    return TT_OK;
}

enum tt_status tt_digest_once(enum tt_digest_algorithm algorithm, const void *data, size_t length, uint8_t *ret_value,
                              struct tt_error *err)
{
    if (EVP_Digest(data, length, ret_value, NULL, digest_type(algorithm), NULL) != 1)
        return cannot_hash(err);
    return TT_OK;
}

bool tt_digest_equal(const uint8_t *one, const uint8_t *other, size_t length)
{
    return CRYPTO_memcmp(one, other, length) == 0;
}

enum tt_status tt_random(uint8_t *data, size_t length, struct tt_error *err)
{
    if (length > INT32_MAX || RAND_priv_bytes(data, (int)length) != 1)
        return tt_error_set(err, TT_INTERNAL, "the random number generator failed");
    return TT_OK;
}
