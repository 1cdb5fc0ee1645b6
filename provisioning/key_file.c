#include "provisioning/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/secret.h"

enum { SECURE_HEAP = 1 << 20, SECURE_LEAST = 32, BLOCK = 4096 };

void tt_key_file_clear(struct tt_key_file *file)
{
    EVP_PKEY_free(file->key); /* wipes the private numbers */
    *file = (struct tt_key_file){0};
}

/* OpenSSL's memory. */

static void *take(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return size ? malloc(size) : NULL;
}

static void give_back(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    if (memory)
        tt_wipe(memory, malloc_usable_size(memory));
    free(memory);
}

static void *retake(void *memory, size_t size, const char *file, int line)
{
    size_t before = memory ? malloc_usable_size(memory) : 0;
    void *moved = size ? malloc(size) : NULL;
    if (size && !moved)
        return NULL; /* the old one stays, as with realloc */
    if (memory && moved)
        memcpy(moved, memory, before < size ? before : size);
    give_back(memory, file, line);
    return moved;
}

void tt_key_file_prepare(void)
{
    if (CRYPTO_set_mem_functions(take, retake, give_back) != 1)
        tt_log(TT_LOG_DEBUG, "OpenSSL does not let its memory be wiped");
}

static enum tt_status open_file(const char *path, struct tt_key_file *file, int *ret_descriptor, struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat facts;
    struct stat named;
    if (descriptor < 0 || fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot open the key's file '%s'", path);
    if (S_ISDIR(facts.st_mode))
        return tt_error_set(err, TT_USAGE, "'%s' is a folder, not a file with a private key", path);
    if (S_ISREG(facts.st_mode) && (facts.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        tt_log(TT_LOG_WARNING, "others on this machine may read or change '%s'", path);
    file->device = facts.st_dev;
    file->inode = facts.st_ino;
    file->is_shreddable = lstat(path, &named) == 0 && S_ISREG(named.st_mode);
    *ret_descriptor = descriptor;
    descriptor = -1;
    return TT_OK;
}

static enum tt_status read_all(int descriptor, const char *path, struct tt_secret **ret_content, struct tt_error *err)
{
    struct tt_secret *content TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(TT_KEY_FILE_LIMIT + 1, &content, err);
    if (status != TT_OK)
        return status;
    while (content->length < content->capacity) {
        ssize_t count = read(descriptor, content->data + content->length, content->capacity - content->length);
        if (count < 0 && errno == EINTR && tt_interrupt_check(err) != TT_OK)
            return TT_INTERNAL;
        if (count < 0 && errno != EINTR)
            return tt_error_errno(err, TT_STORE, "cannot read the key's file '%s'", path);
        if (count == 0)
            break;
        content->length += count > 0 ? (size_t)count : 0;
    }
    if (content->length > TT_KEY_FILE_LIMIT)
        return tt_error_set(err, TT_USAGE, "'%s' is too long for a file with a private key", path);
    *ret_content = TT_TAKE(content);
    return TT_OK;
}

/* The decoder asks for the passphrase, perhaps several times; people are asked once. */
struct asking {
    const struct tt_pin_sources *sources;
    struct tt_secret *passphrase;
    enum tt_status status;
    struct tt_error *err;
};

static int give_passphrase(char *buffer, int size, int writing, void *user)
{
    struct asking *asking = user;
    (void)writing;
    if (!asking->passphrase && asking->status == TT_OK)
        asking->status = tt_pin_get(asking->sources, &asking->passphrase, asking->err);
    if (asking->status != TT_OK || size < 0 || asking->passphrase->length > (size_t)size)
        return -1;
    memcpy(buffer, asking->passphrase->data, asking->passphrase->length);
    return (int)asking->passphrase->length;
}

/* What stands in front of the key (a certificate, parameters) is passed over. */
static EVP_PKEY *decode_any(BIO *content, struct asking *asking)
{
    EVP_PKEY *key = NULL;
    OSSL_DECODER_CTX *context = OSSL_DECODER_CTX_new_for_pkey(&key, NULL, NULL, NULL, EVP_PKEY_KEYPAIR, NULL, NULL);
    bool more = context && OSSL_DECODER_CTX_set_pem_password_cb(context, give_passphrase, asking) == 1;
    for (long place = 0; more && OSSL_DECODER_from_bio(context, content) != 1;) {
        long now = (long)BIO_tell(content);
        more = asking->status == TT_OK && !BIO_eof(content) && now > place;
        place = now;
    }
    OSSL_DECODER_CTX_free(context);
    ERR_clear_error(); /* its words could quote the file */
    return key;
}

static enum tt_status decode(const struct tt_secret *content, const char *path, struct asking *asking,
                             EVP_PKEY **ret_key, struct tt_error *err)
{
    BIO *bio = BIO_new_mem_buf(content->data, (int)content->length);
    if (!bio)
        return tt_error_memory(err);
    *ret_key = decode_any(bio, asking);
    BIO_free(bio);
    if (*ret_key)
        return TT_OK;
    if (asking->status != TT_OK)
        return asking->status;
    if (asking->passphrase)
        return tt_error_set(err, TT_PIN, "the passphrase of '%s' is wrong, or the file is damaged", path);
    return tt_error_set(err, TT_USAGE,
                        "'%s' holds no private key in a form that is known (PEM or DER, PKCS#8 or traditional)", path);
}

static enum tt_status check(EVP_PKEY *key, const char *path, struct tt_error *err)
{
    static const char *const needed[] = {OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
                                         OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
                                         OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    if (!EVP_PKEY_is_a(key, "RSA"))
        return tt_error_set(err, TT_USAGE, "the key in '%s' is not an RSA key; the protocol works with RSA only", path);
    int bits = EVP_PKEY_get_bits(key);
    if (bits < TT_IMPORT_BITS_MIN || bits > TT_IMPORT_BITS_MAX)
        return tt_error_set(err, TT_USAGE, "the key in '%s' has %d bits; keys of 2048 to 4096 bits can be imported",
                            path, bits);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        BIGNUM *number = NULL;
        bool there = EVP_PKEY_get_bn_param(key, needed[i], &number) == 1;
        BN_clear_free(number);
        if (!there)
            return tt_error_set(err, TT_USAGE, "the key in '%s' is not a whole private key: it lacks a number", path);
    }
    BIGNUM *third = NULL;
    bool several = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1;
    BN_clear_free(third);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool right = context && EVP_PKEY_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    if (several || !right)
        return tt_error_set(err, TT_USAGE, "the key in '%s' %s", path,
                            several ? "has more than two primes, which tokens do not take"
                                    : "is damaged: its numbers do not fit together");
    return TT_OK;
}

enum tt_status tt_key_file_read(const char *path, const struct tt_pin_sources *passphrase, struct tt_key_file *ret_file,
                                struct tt_error *err)
{
    struct tt_key_file file TT_CLEANUP(tt_key_file_clear) = {0};
    struct tt_secret *content TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    int descriptor TT_CLEANUP(tt_close_cleanup) = -1;
    struct asking asking = {.sources = passphrase, .err = err};
    /* What OpenSSL copies while it decodes goes into memory that is locked, where it can be. */
    if (!CRYPTO_secure_malloc_initialized())
        (void)CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_LEAST);
    enum tt_status status = open_file(path, &file, &descriptor, err);
    if (status == TT_OK)
        status = read_all(descriptor, path, &content, err);
    if (status == TT_OK)
        status = decode(content, path, &asking, &file.key, err);
    tt_secret_free(asking.passphrase);
    if (status == TT_OK)
        status = check(file.key, path, err);
    if (status != TT_OK)
        return status;
    *ret_file = file;
    file = (struct tt_key_file){0};
    return TT_OK;
}

/* Shredding. */

/* The folder, opened, and the name in it. */
static enum tt_status open_folder(const char *path, char **ret_copy, const char **ret_name, int *ret_folder,
                                  struct tt_error *err)
{
    char *copy TT_CLEANUP(tt_free_cleanup) = strdup(path);
    if (!copy)
        return tt_error_memory(err);
    char *slash = strrchr(copy, '/');
    const char *folder = !slash ? "." : slash == copy ? "/" : copy;
    if (slash)
        *slash = '\0';
    *ret_folder = open(slash == copy ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_folder < 0)
        return tt_error_errno(err, TT_STORE, "cannot open the folder of '%s'", path);
    *ret_name = slash ? slash + 1 : copy;
    *ret_copy = TT_TAKE(copy);
    return TT_OK;
}

enum tt_status tt_key_file_can_shred(const char *path, const struct tt_key_file *file, struct tt_error *err)
{
    if (!file->is_shreddable)
        return tt_error_set(err, TT_USAGE,
                            "--shred removes a regular file named by its own path, which '%s' is not; nothing was "
                            "imported",
                            path);
    if (access(path, W_OK) != 0)
        return tt_error_errno(err, TT_USAGE, "--shred cannot write to '%s'; nothing was imported", path);
    return TT_OK;
}

static enum tt_status overwrite(int descriptor, off_t size, const char *path, struct tt_error *err)
{
    uint8_t block[BLOCK];
    enum tt_status status = TT_OK;
    for (off_t done = 0; status == TT_OK && done < size; done += BLOCK) {
        size_t length = size - done < BLOCK ? (size_t)(size - done) : BLOCK;
        if (RAND_bytes(block, (int)length) != 1)
            return tt_error_set(err, TT_INTERNAL, "no random numbers");
        status = tt_file_write_all(descriptor, block, length, path, err);
    }
    if (status == TT_OK && fsync(descriptor) != 0)
        status = tt_error_errno(err, TT_STORE, "'%s' was overwritten, but that may not have reached the disk", path);
    return status;
}

enum tt_status tt_key_file_shred(const char *path, const struct tt_key_file *file, struct tt_error *err)
{
    char *copy TT_CLEANUP(tt_free_cleanup) = NULL;
    const char *name = NULL;
    int folder TT_CLEANUP(tt_close_cleanup) = -1;
    struct stat facts;
    enum tt_status status = open_folder(path, &copy, &name, &folder, err);
    if (status != TT_OK)
        return status;
    int descriptor TT_CLEANUP(tt_close_cleanup) = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0 || fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot open '%s' to overwrite it", path);
    if (!S_ISREG(facts.st_mode) || facts.st_dev != file->device || facts.st_ino != file->inode)
        return tt_error_set(err, TT_STORE, "'%s' is another file now than the one that was read", path);
    if (facts.st_nlink > 1)
        tt_log(TT_LOG_WARNING, "'%s' has %lu other names; they stay, without the key", path,
               (unsigned long)facts.st_nlink - 1);
    status = overwrite(descriptor, facts.st_size, path, err);
    if (status == TT_OK && unlinkat(folder, name, 0) != 0)
        status = tt_error_errno(err, TT_STORE, "'%s' was overwritten, but cannot be removed", path);
    if (status == TT_OK && fsync(folder) != 0)
        status = tt_error_errno(err, TT_STORE, "'%s' was removed, but that may not have reached the disk", path);
    return status;
}
