/*
 * File encryption of the protocol: AES-256-CBC with PKCS#7 padding, a file being its 16-byte IV and then the
 * ciphertext (docs/protocol.md, "Primitives"). Streaming: any sizes in, at most TT_FILE_CIPHER_EXTRA more bytes out.
 */
#ifndef TT_CRYPTO_FILE_CIPHER_H
#define TT_CRYPTO_FILE_CIPHER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"

enum { TT_FILE_KEY_SIZE = 32, TT_FILE_IV_SIZE = 16, TT_FILE_BLOCK_SIZE = 16, TT_FILE_CIPHER_EXTRA = 32 };

struct tt_file_cipher;

/* A cipher for many files under one key, which is copied into OpenSSL's context and wiped there when freed. */
TT_MUST_USE enum tt_status tt_file_cipher_new(const struct tt_secret *key, struct tt_file_cipher **ret_cipher,
                                              struct tt_error *err);
void tt_file_cipher_free(struct tt_file_cipher *cipher);
TT_DEFINE_CLEANUP(struct tt_file_cipher *, tt_file_cipher_free)

/* Starts a file. Encrypting draws a fresh random IV and writes it to iv; decrypting takes it from there. */
TT_MUST_USE enum tt_status tt_file_encrypt_begin(struct tt_file_cipher *cipher, uint8_t iv[TT_FILE_IV_SIZE],
                                                 struct tt_error *err);
TT_MUST_USE enum tt_status tt_file_decrypt_begin(struct tt_file_cipher *cipher, const uint8_t iv[TT_FILE_IV_SIZE],
                                                 struct tt_error *err);

/* out needs length + TT_FILE_CIPHER_EXTRA bytes. */
TT_MUST_USE enum tt_status tt_file_cipher_update(struct tt_file_cipher *cipher, const uint8_t *in, size_t length,
                                                 uint8_t *out, size_t *ret_length, struct tt_error *err);

/* Ends the file: out needs TT_FILE_CIPHER_EXTRA bytes. When decrypting, wrong padding is TT_TAMPERED. */
TT_MUST_USE enum tt_status tt_file_cipher_finish(struct tt_file_cipher *cipher, uint8_t *out, size_t *ret_length,
                                                 struct tt_error *err);

/* Size of the encrypted file for `plain` bytes: 16 + 16 * (plain / 16 + 1). */
uint64_t tt_file_encrypted_size(uint64_t plain);

/* Whether an encrypted file can have this size: at least 32, a multiple of 16. */
int tt_file_encrypted_size_is_valid(uint64_t encrypted);

/* The plaintext's size, known from the last two blocks (the first may be the IV) of a file of a valid size.
 * Wrong padding is TT_TAMPERED. */
TT_MUST_USE enum tt_status tt_file_plain_size(struct tt_file_cipher *cipher, uint64_t encrypted,
                                              const uint8_t last_blocks[32], uint64_t *ret_plain, struct tt_error *err);

#endif
