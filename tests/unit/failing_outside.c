/* Everything outside of this project that its code calls and that can fail, but for memory. */
#include <archive.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <locale.h>
#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "failing_calls.h"

/* --- the disk --- */

static int broken(void)
{
    return failing_calls_errno(EIO);
}

static int full(void)
{
    return failing_calls_errno(ENOSPC);
}

static void *none(int number)
{
    (void)failing_calls_errno(number);
    return NULL;
}

/* Offsets and facts are those of large files, as the project is built: the linker knows them under these names. */
FAILING_CALL(ssize_t, broken(), read, (int file, void *data, size_t size), (file, data, size))
FAILING_CALL(ssize_t, broken(), pread64, (int file, void *data, size_t size, int64_t offset),
             (file, data, size, offset))
FAILING_CALL(ssize_t, full(), write, (int file, const void *data, size_t size), (file, data, size))
FAILING_CALL(int, full(), mkostemp64, (char *name, int flags), (name, flags))
FAILING_CALL(int, broken(), fstat64, (int file, void *facts), (file, facts))
FAILING_CALL(int, broken(), lstat64, (const char *path, void *facts), (path, facts))
FAILING_CALL(int, broken(), stat64, (const char *path, void *facts), (path, facts))
FAILING_CALL(int, broken(), fstatat64, (int folder, const char *name, void *facts, int flags),
             (folder, name, facts, flags))
FAILING_CALL(int, broken(), access, (const char *path, int mode), (path, mode))
FAILING_CALL(int, broken(), faccessat, (int folder, const char *name, int mode, int flags), (folder, name, mode, flags))
FAILING_CALL(DIR *, none(ENOMEM), fdopendir, (int folder), (folder))
FAILING_CALL(struct dirent *, none(EIO), readdir64, (DIR * folder), (folder))
FAILING_CALL(FTS *, none(EIO), fts64_open,
             (char *const *paths, int how, int (*compare)(const FTSENT **, const FTSENT **)), (paths, how, compare))
FAILING_CALL(FTSENT *, none(EIO), fts64_read, (FTS * walk), (walk))
FAILING_CALL(int, full(), mkdir, (const char *path, mode_t mode), (path, mode))
FAILING_CALL(int, full(), mkdirat, (int folder, const char *name, mode_t mode), (folder, name, mode))
FAILING_CALL(int, full(), symlinkat, (const char *target, int folder, const char *name), (target, folder, name))
FAILING_CALL(int, broken(), linkat, (int from, const char *old, int to, const char *name, int flags),
             (from, old, to, name, flags))
FAILING_CALL(int, broken(), renameat, (int from, const char *old, int to, const char *name), (from, old, to, name))
FAILING_CALL(int, broken(), renameat2, (int from, const char *old, int to, const char *name, unsigned flags),
             (from, old, to, name, flags))
FAILING_CALL(int, broken(), unlink, (const char *path), (path))
FAILING_CALL(int, broken(), unlinkat, (int folder, const char *name, int flags), (folder, name, flags))
FAILING_CALL(int, broken(), rmdir, (const char *path), (path))
FAILING_CALL(int, broken(), fsync, (int file), (file))
FAILING_CALL(int, broken(), chmod, (const char *path, mode_t mode), (path, mode))
FAILING_CALL(int, broken(), fchmod, (int file, mode_t mode), (file, mode))
FAILING_CALL(int, broken(), fchmodat, (int folder, const char *name, mode_t mode, int flags),
             (folder, name, mode, flags))
FAILING_CALL(int, broken(), futimens, (int file, const struct timespec *times), (file, times))
FAILING_CALL(int, broken(), flock, (int file, int how), (file, how))
FAILING_CALL(int64_t, broken(), lseek64, (int file, int64_t offset, int from), (file, offset, from))
FAILING_CALL(int, failing_calls_errno(EMFILE), dup, (int file), (file))

static mode_t mode_of(int flags, va_list rest)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define FAILING_CALL_WITH_MODE(type, failure, name, parameters, arguments)                                             \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = mode_of(flags, rest);                                                                            \
        va_end(rest);                                                                                                  \
        if (failing_calls_now(#name, __builtin_return_address(0)))                                                     \
            return (failure);                                                                                          \
        return __real_##name arguments;                                                                                \
    }

FAILING_CALL_WITH_MODE(int, broken(), openat64, (int folder, const char *path, int flags, ...),
                       (folder, path, flags, mode))
FAILING_CALL_WITH_MODE(int, broken(), open64, (const char *path, int flags, ...), (path, flags, mode))

/* --- the rest of the machine --- */

static void *no_mapping(void)
{
    errno = ENOMEM;
    return MAP_FAILED;
}

FAILING_CALL(int, EAGAIN, pthread_create,
             (pthread_t * thread, const pthread_attr_t *how, void *(*run)(void *), void *user),
             (thread, how, run, user))
FAILING_CALL(int, failing_calls_errno(ENOMEM), mlock, (const void *data, size_t size), (data, size))
FAILING_CALL(void *, no_mapping(), mmap64, (void *at, size_t size, int rights, int flags, int file, int64_t offset),
             (at, size, rights, flags, file, offset))
FAILING_CALL(locale_t, none(ENOMEM), newlocale, (int mask, const char *name, locale_t base), (mask, name, base))
FAILING_CALL(struct tm *, none(EOVERFLOW), gmtime_r, (const time_t *time, struct tm *parts), (time, parts))
FAILING_CALL(size_t, 0, strftime, (char *text, size_t size, const char *format, const struct tm *parts),
             (text, size, format, parts))
FAILING_CALL(int, broken(), gethostname, (char *name, size_t size), (name, size))

/* --- libarchive --- */

FAILING_CALL(struct archive *, NULL, archive_read_new, (void), ())
FAILING_CALL(struct archive *, NULL, archive_write_new, (void), ())
FAILING_CALL(struct archive_entry *, NULL, archive_entry_new, (void), ())

/* --- libcrypto --- */

FAILING_CALL(EVP_MD_CTX *, NULL, EVP_MD_CTX_new, (void), ())
FAILING_CALL(int, 0, EVP_DigestInit_ex, (EVP_MD_CTX * context, const EVP_MD *type, ENGINE *engine),
             (context, type, engine))
FAILING_CALL(int, 0, EVP_DigestUpdate, (EVP_MD_CTX * context, const void *data, size_t length), (context, data, length))
FAILING_CALL(int, 0, EVP_DigestFinal_ex, (EVP_MD_CTX * context, unsigned char *value, unsigned *length),
             (context, value, length))
FAILING_CALL(int, 0, EVP_Digest,
             (const void *data, size_t length, unsigned char *value, unsigned *size, const EVP_MD *type,
              ENGINE *engine),
             (data, length, value, size, type, engine))
FAILING_CALL(EVP_CIPHER_CTX *, NULL, EVP_CIPHER_CTX_new, (void), ())
FAILING_CALL(int, 0, EVP_EncryptInit_ex,
             (EVP_CIPHER_CTX * context, const EVP_CIPHER *type, ENGINE *engine, const unsigned char *key,
              const unsigned char *iv),
             (context, type, engine, key, iv))
FAILING_CALL(int, 0, EVP_DecryptInit_ex,
             (EVP_CIPHER_CTX * context, const EVP_CIPHER *type, ENGINE *engine, const unsigned char *key,
              const unsigned char *iv),
             (context, type, engine, key, iv))
FAILING_CALL(int, 0, EVP_EncryptUpdate,
             (EVP_CIPHER_CTX * context, unsigned char *out, int *size, const unsigned char *in, int length),
             (context, out, size, in, length))
FAILING_CALL(int, 0, EVP_CipherUpdate,
             (EVP_CIPHER_CTX * context, unsigned char *out, int *size, const unsigned char *in, int length),
             (context, out, size, in, length))
FAILING_CALL(int, 0, EVP_CipherFinal_ex, (EVP_CIPHER_CTX * context, unsigned char *out, int *size),
             (context, out, size))
FAILING_CALL(int, 0, RAND_priv_bytes, (unsigned char *data, int length), (data, length))

FAILING_CALL(EVP_PKEY_CTX *, NULL, EVP_PKEY_CTX_new, (EVP_PKEY * key, ENGINE *engine), (key, engine))
FAILING_CALL(EVP_PKEY_CTX *, NULL, EVP_PKEY_CTX_new_from_pkey,
             (OSSL_LIB_CTX * library, EVP_PKEY *key, const char *properties), (library, key, properties))
FAILING_CALL(int, 0, EVP_PKEY_CTX_set_rsa_padding, (EVP_PKEY_CTX * context, int padding), (context, padding))
FAILING_CALL(int, 0, EVP_PKEY_CTX_set_rsa_oaep_md, (EVP_PKEY_CTX * context, const EVP_MD *type), (context, type))
FAILING_CALL(int, 0, EVP_PKEY_CTX_set_rsa_mgf1_md, (EVP_PKEY_CTX * context, const EVP_MD *type), (context, type))
FAILING_CALL(int, 0, EVP_PKEY_CTX_set_rsa_pss_saltlen, (EVP_PKEY_CTX * context, int length), (context, length))
FAILING_CALL(int, 0, EVP_PKEY_CTX_set_signature_md, (EVP_PKEY_CTX * context, const EVP_MD *type), (context, type))
FAILING_CALL(int, 0, EVP_PKEY_sign_init, (EVP_PKEY_CTX * context), (context))
FAILING_CALL(int, 0, EVP_PKEY_sign,
             (EVP_PKEY_CTX * context, unsigned char *out, size_t *size, const unsigned char *in, size_t length),
             (context, out, size, in, length))
FAILING_CALL(int, 0, EVP_PKEY_verify_init, (EVP_PKEY_CTX * context), (context))
FAILING_CALL(int, 0, EVP_PKEY_verify,
             (EVP_PKEY_CTX * context, const unsigned char *signature, size_t size, const unsigned char *in,
              size_t length),
             (context, signature, size, in, length))
FAILING_CALL(int, 0, EVP_PKEY_encrypt_init, (EVP_PKEY_CTX * context), (context))
FAILING_CALL(int, 0, EVP_PKEY_encrypt,
             (EVP_PKEY_CTX * context, unsigned char *out, size_t *size, const unsigned char *in, size_t length),
             (context, out, size, in, length))
FAILING_CALL(int, 0, EVP_PKEY_decrypt_init, (EVP_PKEY_CTX * context), (context))
FAILING_CALL(int, 0, EVP_PKEY_decrypt,
             (EVP_PKEY_CTX * context, unsigned char *out, size_t *size, const unsigned char *in, size_t length),
             (context, out, size, in, length))
FAILING_CALL(int, 0, EVP_PKEY_get_bn_param, (const EVP_PKEY *key, const char *name, BIGNUM **number),
             (key, name, number))
FAILING_CALL(BIGNUM *, NULL, BN_bin2bn, (const unsigned char *data, int length, BIGNUM *number), (data, length, number))
FAILING_CALL(EVP_PKEY *, NULL, d2i_PUBKEY, (EVP_PKEY * *key, const unsigned char **data, long length),
             (key, data, length))
FAILING_CALL(int, -1, i2d_PUBKEY, (const EVP_PKEY *key, unsigned char **data), (key, data))

FAILING_CALL(BIO *, NULL, BIO_new, (const BIO_METHOD *kind), (kind))
FAILING_CALL(BIO *, NULL, BIO_new_mem_buf, (const void *data, int length), (data, length))
FAILING_CALL(int, 0, PEM_read_bio, (BIO * bio, char **name, char **header, unsigned char **data, long *length),
             (bio, name, header, data, length))
FAILING_CALL(EVP_PKEY *, NULL, PEM_read_bio_PUBKEY, (BIO * bio, EVP_PKEY **key, pem_password_cb *ask, void *user),
             (bio, key, ask, user))
FAILING_CALL(int, 0, PEM_write_bio_PUBKEY, (BIO * bio, const EVP_PKEY *key), (bio, key))
FAILING_CALL(int, 0, PEM_write_bio_X509, (BIO * bio, const X509 *certificate), (bio, certificate))

FAILING_CALL(X509 *, NULL, d2i_X509, (X509 * *certificate, const unsigned char **data, long length),
             (certificate, data, length))
FAILING_CALL(EVP_PKEY *, NULL, X509_get_pubkey, (X509 * certificate), (certificate))
FAILING_CALL(void *, NULL, X509_get_ext_d2i, (const X509 *certificate, int which, int *critical, int *index),
             (certificate, which, critical, index))
FAILING_CALL(int, -1, X509_NAME_print_ex, (BIO * bio, const X509_NAME *name, int indent, unsigned long flags),
             (bio, name, indent, flags))
FAILING_CALL(int, -1, ASN1_STRING_to_UTF8, (unsigned char **text, const ASN1_STRING *string), (text, string))
FAILING_CALL(int, 0, ASN1_TIME_to_tm, (const ASN1_TIME *time, struct tm *parts), (time, parts))
FAILING_CALL(int, 0, X509_check_ca, (X509 * certificate), (certificate))
FAILING_CALL(OPENSSL_STACK *, NULL, OPENSSL_sk_new_null, (void), ())
FAILING_CALL(int, 0, OPENSSL_sk_push, (OPENSSL_STACK * stack, const void *item), (stack, item))
FAILING_CALL(X509_STORE *, NULL, X509_STORE_new, (void), ())
FAILING_CALL(int, 0, X509_STORE_add_cert, (X509_STORE * store, X509 *certificate), (store, certificate))
FAILING_CALL(X509_STORE_CTX *, NULL, X509_STORE_CTX_new, (void), ())
FAILING_CALL(int, 0, X509_STORE_CTX_init,
             (X509_STORE_CTX * context, X509_STORE *store, X509 *certificate, STACK_OF(X509) * more),
             (context, store, certificate, more))
FAILING_CALL(int, 0, X509_VERIFY_PARAM_set_flags, (X509_VERIFY_PARAM * how, unsigned long flags), (how, flags))
FAILING_CALL(int, 0, X509_VERIFY_PARAM_set_purpose, (X509_VERIFY_PARAM * how, int purpose), (how, purpose))
FAILING_CALL(int, 0, X509_verify_cert, (X509_STORE_CTX * context), (context))
