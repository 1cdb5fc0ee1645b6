/* Reading the plaintext of files, one after another, in constant memory: into a hash, to who takes it, or both. */
#ifndef TT_PROTOCOL_CONTENT_READER_H
#define TT_PROTOCOL_CONTENT_READER_H

#include "archive/file_set.h"
#include "archive/file_stream.h"
#include "crypto/file_cipher.h"
#include "protocol/content_hash.h"

/* Takes plaintext in chunks. */
typedef enum tt_status (*content_take)(void *user, const uint8_t *data, size_t length, struct tt_error *err);

struct content_reader;

/* `hash` and `take` may be NULL. */
TT_MUST_USE enum tt_status content_reader_new(struct content_hash *hash, content_take take, void *user,
                                              struct content_reader **ret_reader, struct tt_error *err);
void content_reader_free(struct content_reader *reader);
TT_DEFINE_CLEANUP(struct content_reader *, content_reader_free)

/* Reads file `index`, decrypting with `cipher` unless that is NULL. A file that does not decrypt is TT_TAMPERED. */
TT_MUST_USE enum tt_status content_read(struct content_reader *reader, const struct tt_file_set *files, size_t index,
                                        struct tt_file_cipher *cipher, struct tt_error *err);

/* Reads the stream's current file of `size` bytes, which is plaintext. */
TT_MUST_USE enum tt_status content_read_streamed(struct content_reader *reader, struct tt_file_stream *stream,
                                                 uint64_t size, struct tt_error *err);

#endif
