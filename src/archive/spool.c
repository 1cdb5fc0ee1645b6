#include "archive/spool.h"

#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/secret.h"
#include "crypto/digest.h"

enum { KEY_SIZE = 32, BLOCK = 16, CHUNK = 65536 };

/* The counter block of byte n is n / 16, big-endian: the key is never used for anything else, and no place of the file
 * is written twice, so no counter ever serves two plaintexts. */
struct tt_spool {
    int descriptor;
    struct tt_secret *key;
    EVP_CIPHER_CTX *cipher;
    pthread_mutex_t lock; /* the cipher and the gathering buffer: readers may be on other threads */
    uint64_t written;     /* bytes in the file; always whole chunks, so that a chunk starts a block */
    uint8_t *gathered;    /* plaintext still to be encrypted and written, */
    size_t used;          /* wiped as it goes out */
};

static const char WHAT[] = "the temporary file for contents of the image";

static enum tt_status start_cipher(struct tt_spool *spool, struct tt_error *err)
{
    enum tt_status status = tt_secret_new(KEY_SIZE, &spool->key, err);
    if (status == TT_OK)
        status = tt_random(spool->key->data, KEY_SIZE, err);
    if (status != TT_OK)
        return status;
    spool->key->length = KEY_SIZE;
    spool->cipher = EVP_CIPHER_CTX_new();
    if (!spool->cipher || EVP_EncryptInit_ex(spool->cipher, EVP_aes_256_ctr(), NULL, spool->key->data, NULL) != 1)
        return tt_error_memory(err);
    return TT_OK;
}

static enum tt_status open_file(const char *folder, int *ret_descriptor, struct tt_error *err)
{
    const char *chosen = folder ? folder : secure_getenv("TMPDIR");
    return tt_file_unnamed(chosen && chosen[0] ? chosen : "/var/tmp", ret_descriptor, err);
}

enum tt_status tt_spool_new(const char *folder, struct tt_spool **ret_spool, struct tt_error *err)
{
    struct tt_spool *spool TT_CLEANUP(tt_spool_free_cleanup) = calloc(1, sizeof *spool);
    if (!spool)
        return tt_error_memory(err);
    spool->descriptor = -1;
    pthread_mutex_init(&spool->lock, NULL);
    spool->gathered = malloc(CHUNK);
    if (!spool->gathered)
        return tt_error_memory(err);
    enum tt_status status = start_cipher(spool, err);
    if (status == TT_OK)
        status = open_file(folder, &spool->descriptor, err);
    if (status != TT_OK)
        return status;
    *ret_spool = TT_TAKE(spool);
    return TT_OK;
}

void tt_spool_free(struct tt_spool *spool)
{
    if (!spool)
        return;
    if (spool->descriptor >= 0)
        close(spool->descriptor);
    if (spool->gathered)
        tt_wipe(spool->gathered, CHUNK);
    free(spool->gathered);
    EVP_CIPHER_CTX_free(spool->cipher);
    tt_secret_free(spool->key);
    pthread_mutex_destroy(&spool->lock);
    free(spool);
}

/* Encrypts or decrypts in place the bytes that lie at `offset` of the spool. */
static enum tt_status apply_cipher(struct tt_spool *spool, uint64_t offset, uint8_t *data, size_t length,
                                   struct tt_error *err)
{
    uint8_t counter[BLOCK] = {0};
    uint8_t before[BLOCK] = {0};
    uint64_t number = offset / BLOCK;
    for (size_t i = 0; i < sizeof number; i++)
        counter[BLOCK - 1 - i] = (uint8_t)(number >> (8 * i));
    int done = 0;
    bool good = EVP_EncryptInit_ex(spool->cipher, NULL, NULL, NULL, counter) == 1 &&
                EVP_EncryptUpdate(spool->cipher, before, &done, before, (int)(offset % BLOCK)) == 1;
    tt_wipe(before, sizeof before); /* key stream */
    while (good && length > 0) {
        int step = length < INT_MAX / 2 ? (int)length : INT_MAX / 2;
        good = EVP_EncryptUpdate(spool->cipher, data, &done, data, step) == 1;
        data += step;
        length -= (size_t)step;
    }
    return good ? TT_OK : tt_error_set(err, TT_INTERNAL, "the cipher for temporary files failed");
}

static enum tt_status write_out(struct tt_spool *spool, struct tt_error *err)
{
    enum tt_status status = apply_cipher(spool, spool->written, spool->gathered, spool->used, err);
    if (status == TT_OK)
        status = tt_file_write_all(spool->descriptor, spool->gathered, spool->used, WHAT, err);
    if (status != TT_OK)
        return status;
    spool->written += spool->used;
    spool->used = 0;
    return TT_OK;
}

static enum tt_status append(struct tt_spool *spool, const uint8_t *data, size_t length, struct tt_error *err)
{
    while (length > 0) {
        size_t step = CHUNK - spool->used < length ? CHUNK - spool->used : length;
        memcpy(spool->gathered + spool->used, data, step);
        spool->used += step;
        data += step;
        length -= step;
        if (spool->used < CHUNK)
            continue;
        enum tt_status status = write_out(spool, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

enum tt_status tt_spool_append(struct tt_spool *spool, const void *data, size_t length, struct tt_error *err)
{
    pthread_mutex_lock(&spool->lock);
    enum tt_status status = append(spool, data, length, err);
    pthread_mutex_unlock(&spool->lock);
    return status;
}

uint64_t tt_spool_length(const struct tt_spool *spool)
{
    return spool->written + spool->used;
}

static enum tt_status read_back(struct tt_spool *spool, uint64_t offset, uint8_t *data, size_t length,
                                struct tt_error *err)
{
    if (offset > tt_spool_length(spool) || length > tt_spool_length(spool) - offset)
        return tt_error_set(err, TT_INTERNAL, "reading past the end of a temporary file");
    size_t from_file = 0;
    if (offset < spool->written) {
        uint64_t in_file = spool->written - offset;
        from_file = in_file < length ? (size_t)in_file : length;
        enum tt_status status = tt_file_read_at(spool->descriptor, offset, data, from_file, WHAT, err);
        if (status == TT_OK)
            status = apply_cipher(spool, offset, data, from_file, err);
        if (status != TT_OK)
            return status;
    }
    if (from_file < length)
        memcpy(data + from_file, spool->gathered + (offset + from_file - spool->written), length - from_file);
    return TT_OK;
}

enum tt_status tt_spool_read(struct tt_spool *spool, uint64_t offset, void *data, size_t length, struct tt_error *err)
{
    pthread_mutex_lock(&spool->lock);
    enum tt_status status = read_back(spool, offset, data, length, err);
    pthread_mutex_unlock(&spool->lock);
    return status;
}
