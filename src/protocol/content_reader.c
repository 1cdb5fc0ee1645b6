#include "protocol/content_reader.h"

#include "base/interrupt.h"
#include "base/secret.h"

enum { CHUNK_SIZE = CONTENT_PIECE - TT_FILE_CIPHER_EXTRA };

/* The buffers hold content by turns, and are wiped when freed. */
struct content_reader {
    struct content_hash *hash;
    content_take take;
    void *user;
    uint8_t in[CHUNK_SIZE];
    uint8_t out[CHUNK_SIZE + TT_FILE_CIPHER_EXTRA];
};

/* Where a file's bytes come from. */
struct source {
    const struct tt_file_set *files; /* and the place in it; or */
    size_t index;
    struct tt_file_stream *stream;
    uint64_t size;
};

enum tt_status content_reader_new(struct content_hash *hash, content_take take, void *user,
                                  struct content_reader **ret_reader, struct tt_error *err)
{
    struct content_reader *reader = malloc(sizeof *reader);
    if (!reader)
        return tt_error_memory(err);
    reader->hash = hash;
    reader->take = take;
    reader->user = user;
    *ret_reader = reader;
    return TT_OK;
}

void content_reader_free(struct content_reader *reader)
{
    if (reader)
        tt_wipe(reader, sizeof *reader);
    free(reader);
}

static size_t chunk_length(uint64_t left)
{
    return left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
}

static enum tt_status read_source(const struct source *source, uint64_t offset, void *data, size_t length,
                                  struct tt_error *err)
{
    return source->stream ? tt_file_stream_read(source->stream, data, length, err)
                          : tt_file_set_read(source->files, source->index, offset, data, length, err);
}

/* Where plaintext is to be written: right into the hash's lane, if there is one. */
static enum tt_status plain_room(struct content_reader *reader, size_t length, uint8_t **ret_room, struct tt_error *err)
{
    if (reader->hash)
        return content_hash_room(reader->hash, length, ret_room, err);
    *ret_room = reader->out;
    return TT_OK;
}

static enum tt_status plain_done(const struct content_reader *reader, const uint8_t *data, size_t length,
                                 struct tt_error *err)
{
    if (reader->hash)
        content_hash_put(reader->hash, length);
    return reader->take && length > 0 ? reader->take(reader->user, data, length, err) : TT_OK;
}

static enum tt_status read_plain(struct content_reader *reader, const struct source *source, struct tt_error *err)
{
    for (uint64_t offset = 0; offset < source->size;) {
        size_t length = chunk_length(source->size - offset);
        uint8_t *room = NULL;
        enum tt_status status = tt_interrupt_check(err);
        if (status == TT_OK)
            status = plain_room(reader, length, &room, err);
        if (status == TT_OK)
            status = read_source(source, offset, room, length, err);
        if (status == TT_OK)
            status = plain_done(reader, room, length, err);
        if (status != TT_OK)
            return status;
        offset += length;
    }
    return TT_OK;
}

static enum tt_status decrypt_chunk(struct content_reader *reader, const struct source *source, uint64_t offset,
                                    size_t length, struct tt_file_cipher *cipher, struct tt_error *err)
{
    uint8_t *room = NULL;
    size_t plain = 0;
    enum tt_status status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = read_source(source, offset, reader->in, length, err);
    if (status == TT_OK)
        status = plain_room(reader, length + TT_FILE_CIPHER_EXTRA, &room, err);
    if (status == TT_OK)
        status = tt_file_cipher_update(cipher, reader->in, length, room, &plain, err);
    if (status == TT_OK)
        status = plain_done(reader, room, plain, err);
    return status;
}

static enum tt_status read_encrypted(struct content_reader *reader, const struct source *source,
                                     struct tt_file_cipher *cipher, struct tt_error *err)
{
    uint8_t iv[TT_FILE_IV_SIZE];
    uint8_t *room = NULL;
    size_t rest = 0;
    enum tt_status status = read_source(source, 0, iv, sizeof iv, err);
    if (status == TT_OK)
        status = tt_file_decrypt_begin(cipher, iv, err);
    for (uint64_t offset = sizeof iv; status == TT_OK && offset < source->size;) {
        size_t length = chunk_length(source->size - offset);
        status = decrypt_chunk(reader, source, offset, length, cipher, err);
        offset += length;
    }
    if (status == TT_OK)
        status = plain_room(reader, TT_FILE_CIPHER_EXTRA, &room, err);
    if (status == TT_OK)
        status = tt_file_cipher_finish(cipher, room, &rest, err);
    if (status == TT_OK)
        status = plain_done(reader, room, rest, err);
    return status;
}

enum tt_status content_read(struct content_reader *reader, const struct tt_file_set *files, size_t index,
                            struct tt_file_cipher *cipher, struct tt_error *err)
{
    struct source source = {.files = files, .index = index, .size = tt_file_set_entry(files, index)->size};
    return cipher ? read_encrypted(reader, &source, cipher, err) : read_plain(reader, &source, err);
}

enum tt_status content_read_streamed(struct content_reader *reader, struct tt_file_stream *stream, uint64_t size,
                                     struct tt_error *err)
{
    struct source source = {.stream = stream, .size = size};
    return read_plain(reader, &source, err);
}
