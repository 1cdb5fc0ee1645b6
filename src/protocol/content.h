/* Moving the content of trains: hashing it, encrypting and decrypting it, in constant memory. */
#ifndef TT_PROTOCOL_CONTENT_H
#define TT_PROTOCOL_CONTENT_H

#include <stdbool.h>

#include "archive/file_set.h"
#include "archive/file_stream.h"
#include "crypto/file_cipher.h"
#include "protocol/content_hash.h"
#include "protocol/content_listing.h"
#include "protocol/protocol.h"

/* The definition hash (docs/protocol.md, "Hashes") of what is in `files`, decrypted unless `cipher` is NULL. */
TT_MUST_USE enum tt_status content_definition_hash(const struct tt_train *train, const struct tt_file_set *files,
                                                   struct tt_file_cipher *cipher, uint8_t ret_hash[TT_SHA512_SIZE],
                                                   struct tt_error *err);

/* The list of what is in `files`, which are plaintext, for a manifest. `taken` as below. */
TT_MUST_USE enum tt_status content_list(const struct tt_file_set *files, const char *folder, const bool *taken,
                                        struct tt_manifest_list *ret_list, struct tt_error *err);

/* Size of the plaintext of an encrypted file, by its last blocks. TT_TAMPERED. */
TT_MUST_USE enum tt_status content_plain_size(const struct tt_file_set *files, size_t index,
                                              struct tt_file_cipher *cipher, uint64_t *ret_size, struct tt_error *err);

/* Puts a small file that is readable between stations into a change, as it is. */
TT_MUST_USE enum tt_status content_add(struct tt_image_change *change, const char *path, const void *data,
                                       size_t length, struct tt_error *err);

/* One folder of a train on its way into a change, where it takes the place of what the parent has there. */
struct content_transfer {
    const char *folder;
    struct tt_file_cipher *cipher;
    struct content_hash *hash;       /* gets every plaintext byte of regular files, in archive order; may be NULL */
    struct content_listing *listing; /* hears of every entry that is taken; may be NULL */
    struct tt_image_change *change;  /* where to */
    uint64_t total;                  /* bytes, for the progress; 0 where not known */
    struct tt_content_size done;
};

/* Decrypts the files of the set. `taken` (NULL: all) tells for each entry whether it is taken. */
TT_MUST_USE enum tt_status content_decrypt(struct content_transfer *transfer, const struct tt_file_set *files,
                                           const bool *taken, struct tt_error *err);

/* Encrypts the files that come by in the stream; `taken` as above, by the place in it. Before an entry is added `check`
 * (may be NULL) may refuse it. *ret_listing is what came by. */
typedef enum tt_status (*content_check)(const struct tt_entry *entry, struct tt_error *err);
TT_MUST_USE enum tt_status content_encrypt(struct content_transfer *transfer, struct tt_file_stream *stream,
                                           const bool *taken, content_check check, struct tt_file_set **ret_listing,
                                           struct tt_error *err);
/* The same for a set. */
TT_MUST_USE enum tt_status content_encrypt_files(struct content_transfer *transfer, const struct tt_file_set *files,
                                                 const bool *taken, struct tt_error *err);

#endif
