/* Moving the content of file sets: hashing it, encrypting and decrypting it, in constant memory. */
#ifndef TT_PROTOCOL_CONTENT_H
#define TT_PROTOCOL_CONTENT_H

#include <stdbool.h>

#include "archive/file_set.h"
#include "crypto/file_cipher.h"
#include "protocol/content_hash.h"
#include "protocol/protocol.h"

/* Takes plaintext in chunks. */
typedef enum tt_status (*content_take)(void *user, const uint8_t *data, size_t length, struct tt_error *err);

/* Gives the plaintext of file `index` to `hash` and to `take` (either may be NULL), decrypting with `cipher` unless
 * that is NULL. A file that does not decrypt is TT_TAMPERED. */
TT_MUST_USE enum tt_status content_read(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                                        struct content_hash *hash, content_take take, void *user, struct tt_error *err);

/* The definition hash (docs/protocol.md, "Hashes") of what is in `files`. */
TT_MUST_USE enum tt_status content_definition_hash(const struct tt_train *train, const struct tt_file_set *files,
                                                   struct tt_file_cipher *cipher, uint8_t ret_hash[TT_SHA512_SIZE],
                                                   struct tt_error *err);

/* Puts a small file that is readable between stations into a change, as it is. */
TT_MUST_USE enum tt_status content_add(struct tt_image_change *change, const char *path, const void *data,
                                       size_t length, struct tt_error *err);

enum content_direction { CONTENT_DECRYPT, CONTENT_ENCRYPT };

/* Puts `folder` with all that is in `files` into a change in the place of what the parent has there, files decrypted or
 * encrypted on the way. `taken` (NULL: all) tells for each entry whether it is taken. Every plaintext byte of regular
 * files goes to `hash` too, in archive order, unless that is NULL. *ret_size sums up. */
TT_MUST_USE enum tt_status content_transfer(const struct tt_file_set *files, const bool *taken, const char *folder,
                                            enum content_direction direction, struct tt_file_cipher *cipher,
                                            struct content_hash *hash, struct tt_image_change *change,
                                            struct tt_content_size *ret_size, struct tt_error *err);

#endif
