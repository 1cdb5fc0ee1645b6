#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/digest.h"
#include "crypto/file_cipher.h"
#include "crypto/key_wrap.h"
#include "crypto/public_key.h"
#include "crypto/signature.h"
#include "suite.h"

/* Throw-away keys that only tests use. */
#define KEYS TT_VECTORS "/basic/keys/"

static EVP_PKEY *read_private(const char *path)
{
    FILE *file = fopen(path, "r");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (file)
        fclose(file);
    return key;
}

static size_t read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    text[length] = '\0';
    return length;
}

static void sha512_of_abc(void)
{
    uint8_t value[TT_SHA512_SIZE];
    char text[2 * TT_SHA512_SIZE + 1];
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_digest_once(TT_SHA512, "abc", 3, value, &err), TT_OK);
    tt_hex_encode(value, sizeof value, text);
    /* FIPS 180-4, example */
    CU_ASSERT_EQUAL(strncmp(text, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2", 48), 0);
}

static struct tt_secret *make_key(uint8_t fill)
{
    struct tt_secret *key = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_secret_new(TT_FILE_KEY_SIZE, &key, &err), TT_OK);
    memset(key->data, fill, TT_FILE_KEY_SIZE);
    key->length = TT_FILE_KEY_SIZE;
    return key;
}

/* Encrypts in[0..length) to out, IV first, in pieces of `step` bytes. */
static size_t encrypt(struct tt_file_cipher *cipher, const uint8_t *in, size_t length, size_t step, uint8_t *out)
{
    struct tt_error err = TT_ERROR_INIT;
    size_t used = TT_FILE_IV_SIZE;
    size_t written = 0;
    CU_ASSERT_EQUAL(tt_file_encrypt_begin(cipher, out, &err), TT_OK);
    for (size_t offset = 0; offset < length; offset += step) {
        size_t count = length - offset < step ? length - offset : step;
        CU_ASSERT_EQUAL(tt_file_cipher_update(cipher, in + offset, count, out + used, &written, &err), TT_OK);
        used += written;
    }
    CU_ASSERT_EQUAL(tt_file_cipher_finish(cipher, out + used, &written, &err), TT_OK);
    return used + written;
}

static enum tt_status decrypt(struct tt_file_cipher *cipher, const uint8_t *in, size_t length, uint8_t *out,
                              size_t *ret_length)
{
    struct tt_error err = TT_ERROR_INIT;
    size_t body = 0;
    size_t rest = 0;
    CU_ASSERT_EQUAL(tt_file_decrypt_begin(cipher, in, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_file_cipher_update(cipher, in + TT_FILE_IV_SIZE, length - TT_FILE_IV_SIZE, out, &body, &err),
                    TT_OK);
    enum tt_status status = tt_file_cipher_finish(cipher, out + body, &rest, &err);
    *ret_length = body + rest;
    return status;
}

static void files_of_every_size_round_trip(void)
{
    struct tt_secret *key TT_CLEANUP(tt_secret_free_cleanup) = make_key(1);
    struct tt_file_cipher *cipher TT_CLEANUP(tt_file_cipher_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_file_cipher_new(key, &cipher, &err), TT_OK);
    uint8_t plain[100];
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i * 7);
    for (size_t size = 0; size <= sizeof plain; size++) {
        uint8_t stored[200];
        uint8_t back[200];
        size_t length = encrypt(cipher, plain, size, 7, stored);
        CU_ASSERT_EQUAL(length, tt_file_encrypted_size(size));
        CU_ASSERT_TRUE(tt_file_encrypted_size_is_valid(length));
        uint64_t known = 0;
        CU_ASSERT_EQUAL(tt_file_plain_size(cipher, length, stored + length - 32, &known, &err), TT_OK);
        CU_ASSERT_EQUAL(known, size);
        size_t got = 0;
        CU_ASSERT_EQUAL(decrypt(cipher, stored, length, back, &got), TT_OK);
        CU_ASSERT_EQUAL(got, size);
        CU_ASSERT_EQUAL(memcmp(back, plain, size), 0);
    }
}

static void equal_files_have_different_ciphertext(void)
{
    struct tt_secret *key TT_CLEANUP(tt_secret_free_cleanup) = make_key(2);
    struct tt_file_cipher *cipher TT_CLEANUP(tt_file_cipher_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_file_cipher_new(key, &cipher, &err), TT_OK);
    uint8_t plain[64] = {0};
    uint8_t one[128];
    uint8_t other[128];
    encrypt(cipher, plain, sizeof plain, 64, one);
    encrypt(cipher, plain, sizeof plain, 64, other);
    CU_ASSERT_NOT_EQUAL(memcmp(one, other, 16), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(one + 16, other + 16, 16), 0);
}

static void broken_padding_is_tampering(void)
{
    struct tt_secret *key TT_CLEANUP(tt_secret_free_cleanup) = make_key(3);
    struct tt_secret *wrong TT_CLEANUP(tt_secret_free_cleanup) = make_key(4);
    struct tt_file_cipher *cipher TT_CLEANUP(tt_file_cipher_free_cleanup) = NULL;
    struct tt_file_cipher *other TT_CLEANUP(tt_file_cipher_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_file_cipher_new(key, &cipher, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_file_cipher_new(wrong, &other, &err), TT_OK);
    uint8_t plain[20] = "seventeen or twenty";
    uint8_t stored[64];
    uint8_t back[64];
    size_t length = encrypt(cipher, plain, sizeof plain, 20, stored);
    size_t got = 0;
    stored[length - 17] ^= 0x40; /* the block before the last: changes the last one's padding */
    CU_ASSERT_EQUAL(decrypt(cipher, stored, length, back, &got), TT_TAMPERED);
    uint64_t known = 0;
    CU_ASSERT_EQUAL(tt_file_plain_size(cipher, length, stored + length - 32, &known, &err), TT_TAMPERED);
    CU_ASSERT_FALSE(tt_file_encrypted_size_is_valid(16));
    CU_ASSERT_FALSE(tt_file_encrypted_size_is_valid(33));
    CU_ASSERT_FALSE(tt_file_encrypted_size_is_valid(0));
}

static void public_keys_compare_by_der(void)
{
    char text[2000];
    struct tt_error err = TT_ERROR_INIT;
    size_t length = read_text(KEYS "station_1.pub.pem", text, sizeof text);
    EVP_PKEY *one TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    EVP_PKEY *same TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    EVP_PKEY *other TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    EVP_PKEY *private TT_CLEANUP(tt_evp_pkey_cleanup) = read_private(KEYS "station_1.pem");
    CU_ASSERT_EQUAL_FATAL(tt_public_key_parse(text, length, "key", &one, &err), TT_OK);
    char spaced[2100];
    snprintf(spaced, sizeof spaced, "\r\n%s\n\n", text);
    CU_ASSERT_EQUAL_FATAL(tt_public_key_parse(spaced, strlen(spaced), "key", &same, &err), TT_OK);
    length = read_text(KEYS "station_2.pub.pem", text, sizeof text);
    CU_ASSERT_EQUAL_FATAL(tt_public_key_parse(text, length, "key", &other, &err), TT_OK);
    CU_ASSERT_TRUE(tt_public_key_equal(one, same));
    CU_ASSERT_TRUE(tt_public_key_equal(one, private));
    CU_ASSERT_FALSE(tt_public_key_equal(one, other));
    char print[TT_FINGERPRINT_SIZE];
    CU_ASSERT_EQUAL(tt_public_key_fingerprint(one, print, &err), TT_OK);
    CU_ASSERT_EQUAL(strlen(print), TT_FINGERPRINT_SIZE - 2);
    CU_ASSERT_EQUAL(strncmp(print, "SHA256:", 7), 0);
}

static void unfit_public_keys_are_refused(void)
{
    struct tt_error err = TT_ERROR_INIT;
    EVP_PKEY *key = NULL;
    /* A throw-away P-256 key. */
    static const char elliptic[] = "-----BEGIN PUBLIC KEY-----\n"
                                   "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n"
                                   "6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n"
                                   "-----END PUBLIC KEY-----\n";
    CU_ASSERT_EQUAL(tt_public_key_parse(elliptic, strlen(elliptic), "the key", &key, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "not an RSA key"));
    CU_ASSERT_EQUAL(tt_public_key_parse("nonsense", 8, "the key", &key, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the key is not a PEM public key"));
    EVP_PKEY *small TT_CLEANUP(tt_evp_pkey_cleanup) = EVP_RSA_gen(1024);
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_public_key_pem(small, &pem, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_public_key_parse(pem, strlen(pem), "the key", &key, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "2048"));
    CU_ASSERT_EQUAL(tt_public_key_check(small, "the key", &err), TT_TOKEN);
}

static void signatures_of_other_salts_are_refused(void)
{
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = read_private(KEYS "station_1.pem");
    uint8_t digest[TT_SHA512_SIZE] = {1, 2, 3};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_pss_salt_length(key), 190);
    for (int salt = 64; salt <= 190; salt += 126) {
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        uint8_t signature[256];
        size_t length = sizeof signature;
        EVP_PKEY_sign_init(context);
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_signature_md(context, EVP_sha512());
        EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt);
        CU_ASSERT_EQUAL(EVP_PKEY_sign(context, signature, &length, digest, sizeof digest), 1);
        EVP_PKEY_CTX_free(context);
        enum tt_status expected = salt == 190 ? TT_OK : TT_TAMPERED;
        CU_ASSERT_EQUAL(tt_signature_verify_pss(key, digest, signature, length, "it", &err), expected);
        digest[0] ^= 1;
        CU_ASSERT_EQUAL(tt_signature_verify_pss(key, digest, signature, length, "it", &err), TT_TAMPERED);
        digest[0] ^= 1;
    }
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"SHA-512 of abc", sha512_of_abc},
        {"files of every size round trip", files_of_every_size_round_trip},
        {"equal files have different ciphertext", equal_files_have_different_ciphertext},
        {"broken padding is tampering", broken_padding_is_tampering},
        {"public keys compare by DER", public_keys_compare_by_der},
        {"unfit public keys are refused", unfit_public_keys_are_refused},
        {"signatures of other salts are refused", signatures_of_other_salts_are_refused},
    };
    return SUITE_RUN("crypto", tests);
}
