#include "crypto/file_cipher.h"

#include <limits.h>
#include <openssl/evp.h>

#include "crypto/digest.h"

struct tt_file_cipher {
    EVP_CIPHER_CTX *encrypt;
    EVP_CIPHER_CTX *decrypt;
    EVP_CIPHER_CTX *active; /* the one of the file that is under way */
};

enum tt_status tt_file_cipher_new(const struct tt_secret *key, struct tt_file_cipher **ret_cipher, struct tt_error *err)
{
    if (key->length != TT_FILE_KEY_SIZE)
        return tt_error_set(err, TT_INTERNAL, "a symmetric key must have %d bytes", TT_FILE_KEY_SIZE);
    struct tt_file_cipher *cipher TT_CLEANUP(tt_file_cipher_free_cleanup) = calloc(1, sizeof *cipher);
    if (!cipher)
        return tt_error_memory(err);
    cipher->encrypt = EVP_CIPHER_CTX_new();
    cipher->decrypt = EVP_CIPHER_CTX_new();
    static const uint8_t no_iv[TT_FILE_IV_SIZE];
    if (!cipher->encrypt || !cipher->decrypt ||
        EVP_EncryptInit_ex(cipher->encrypt, EVP_aes_256_cbc(), NULL, key->data, no_iv) != 1 ||
        EVP_DecryptInit_ex(cipher->decrypt, EVP_aes_256_cbc(), NULL, key->data, no_iv) != 1)
        return tt_error_memory(err);
    *ret_cipher = TT_TAKE(cipher);
    return TT_OK;
}

void tt_file_cipher_free(struct tt_file_cipher *cipher)
{
    if (!cipher)
        return;
    /* OpenSSL wipes the key schedules as it frees them. */
    EVP_CIPHER_CTX_free(cipher->encrypt);
    EVP_CIPHER_CTX_free(cipher->decrypt);
    free(cipher);
}

enum tt_status tt_file_encrypt_begin(struct tt_file_cipher *cipher, uint8_t iv[TT_FILE_IV_SIZE], struct tt_error *err)
{
    enum tt_status status = tt_random(iv, TT_FILE_IV_SIZE, err);
    if (status != TT_OK)
        return status;
    cipher->active = cipher->encrypt;
    if (EVP_EncryptInit_ex(cipher->encrypt, NULL, NULL, NULL, iv) != 1)
        return tt_error_set(err, TT_INTERNAL, "cannot encrypt");
    return TT_OK;
}

enum tt_status tt_file_decrypt_begin(struct tt_file_cipher *cipher, const uint8_t iv[TT_FILE_IV_SIZE],
                                     struct tt_error *err)
{
    cipher->active = cipher->decrypt;
    if (EVP_DecryptInit_ex(cipher->decrypt, NULL, NULL, NULL, iv) != 1)
        return tt_error_set(err, TT_INTERNAL, "cannot decrypt");
    return TT_OK;
}

enum tt_status tt_file_cipher_update(struct tt_file_cipher *cipher, const uint8_t *in, size_t length, uint8_t *out,
                                     size_t *ret_length, struct tt_error *err)
{
    int written = 0;
    if (length > INT_MAX - TT_FILE_CIPHER_EXTRA ||
        EVP_CipherUpdate(cipher->active, out, &written, in, (int)length) != 1)
        return tt_error_set(err, TT_INTERNAL, "the cipher failed");
    *ret_length = (size_t)written;
    return TT_OK;
}

enum tt_status tt_file_cipher_finish(struct tt_file_cipher *cipher, uint8_t *out, size_t *ret_length,
                                     struct tt_error *err)
{
    int written = 0;
    if (EVP_CipherFinal_ex(cipher->active, out, &written) != 1)
        return tt_error_set(err, TT_TAMPERED,
                            "it does not decrypt: it was changed, or the symmetric key is not its own");
    *ret_length = (size_t)written;
    return TT_OK;
}

uint64_t tt_file_encrypted_size(uint64_t plain)
{
    return TT_FILE_IV_SIZE + TT_FILE_BLOCK_SIZE * (plain / TT_FILE_BLOCK_SIZE + 1);
}

int tt_file_encrypted_size_is_valid(uint64_t encrypted)
{
    return encrypted >= TT_FILE_IV_SIZE + TT_FILE_BLOCK_SIZE && encrypted % TT_FILE_BLOCK_SIZE == 0;
}

enum tt_status tt_file_plain_size(struct tt_file_cipher *cipher, uint64_t encrypted, const uint8_t last_blocks[32],
                                  uint64_t *ret_plain, struct tt_error *err)
{
    enum tt_status status = tt_file_decrypt_begin(cipher, last_blocks, err);
    uint8_t plain[TT_FILE_BLOCK_SIZE + TT_FILE_CIPHER_EXTRA];
    size_t length = 0;
    size_t rest = 0;
    if (status == TT_OK)
        status = tt_file_cipher_update(cipher, last_blocks + TT_FILE_IV_SIZE, TT_FILE_BLOCK_SIZE, plain, &length, err);
    if (status == TT_OK)
        status = tt_file_cipher_finish(cipher, plain + length, &rest, err);
    tt_wipe(plain, sizeof plain);
    if (status != TT_OK)
        return status;
    *ret_plain = encrypted - TT_FILE_IV_SIZE - TT_FILE_BLOCK_SIZE + length + rest;
    return TT_OK;
}
