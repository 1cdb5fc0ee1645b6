/* A private key in a file, on its way into a token: the one place of the program that holds one. */
#ifndef TT_PROVISIONING_KEY_FILE_H
#define TT_PROVISIONING_KEY_FILE_H

#include <openssl/evp.h>
#include <sys/types.h>

#include "base/error.h"
#include "pkcs11/pin.h"

enum { TT_KEY_FILE_LIMIT = 65536, TT_IMPORT_BITS_MIN = 2048, TT_IMPORT_BITS_MAX = 4096 };

struct tt_key_file {
    EVP_PKEY *key; /* RSA, complete, checked */
    /* Which file it was, for shredding it and no other. */
    dev_t device;
    ino_t inode;
    bool is_shreddable; /* a regular file that was opened by its own name */
};
void tt_key_file_clear(struct tt_key_file *file);

/* From now on OpenSSL wipes what it frees: its decoders leave copies of a private key behind otherwise. Has an effect
 * only before OpenSSL, or a module that uses it, has allocated anything. */
void tt_key_file_prepare(void);

/* Reads an RSA private key of 2048 to 4096 bits in any form that OpenSSL knows (PEM or DER; PKCS#8 or traditional;
 * encrypted or not). `passphrase` says where its passphrase comes from; asked only if it has one. TT_STORE when it
 * cannot be read, TT_USAGE when it is no such key, TT_PIN when the passphrase is wrong or missing. No byte of the file
 * gets into a message, and the memory it was in is wiped. */
TT_MUST_USE enum tt_status tt_key_file_read(const char *path, const struct tt_pin_sources *passphrase,
                                            struct tt_key_file *ret_file, struct tt_error *err);

/* Whether tt_key_file_shred has a chance; before anything was done. TT_USAGE. */
TT_MUST_USE enum tt_status tt_key_file_can_shred(const char *path, const struct tt_key_file *file,
                                                 struct tt_error *err);

/* Overwrites the file that was read with random bytes, makes them reach the disk, and removes it. TT_STORE. */
TT_MUST_USE enum tt_status tt_key_file_shred(const char *path, const struct tt_key_file *file, struct tt_error *err);

#endif
