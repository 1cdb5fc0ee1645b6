#include "protocol/content.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/secret.h"

enum { CHUNK_SIZE = CONTENT_PIECE - TT_FILE_CIPHER_EXTRA };

/* Buffers that hold content by turns; wiped when freed. */
struct chunk {
    uint8_t in[CHUNK_SIZE];
    uint8_t out[CHUNK_SIZE + TT_FILE_CIPHER_EXTRA];
};

static void chunk_cleanup(struct chunk **chunk)
{
    if (*chunk)
        tt_wipe(*chunk, sizeof **chunk);
    free(*chunk);
}

/* A file being read: where its plaintext goes. */
struct reading {
    const struct tt_file_set *files;
    struct tt_file_cipher *cipher; /* NULL: the files are plaintext */
    struct content_hash *hash;     /* may be NULL */
    content_take take;             /* may be NULL */
    void *user;
    struct chunk *chunk;
};

static size_t chunk_length(uint64_t left)
{
    return left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
}

/* Where plaintext is to be written: right into the hash's lane, if there is one. */
static enum tt_status plain_room(const struct reading *reading, size_t length, uint8_t **ret_room, struct tt_error *err)
{
    if (reading->hash)
        return content_hash_room(reading->hash, length, ret_room, err);
    *ret_room = reading->chunk->out;
    return TT_OK;
}

static enum tt_status plain_done(const struct reading *reading, const uint8_t *data, size_t length,
                                 struct tt_error *err)
{
    if (reading->hash)
        content_hash_put(reading->hash, length);
    return reading->take && length > 0 ? reading->take(reading->user, data, length, err) : TT_OK;
}

static enum tt_status read_plain(const struct reading *reading, size_t index, struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(reading->files, index)->size;
    for (uint64_t offset = 0; offset < size;) {
        size_t length = chunk_length(size - offset);
        uint8_t *room = NULL;
        enum tt_status status = tt_interrupt_check(err);
        if (status == TT_OK)
            status = plain_room(reading, length, &room, err);
        if (status == TT_OK)
            status = tt_file_set_read(reading->files, index, offset, room, length, err);
        if (status == TT_OK)
            status = plain_done(reading, room, length, err);
        if (status != TT_OK)
            return status;
        offset += length;
    }
    return TT_OK;
}

static enum tt_status decrypt_chunk(const struct reading *reading, size_t index, uint64_t offset, size_t length,
                                    struct tt_error *err)
{
    uint8_t *room = NULL;
    size_t plain = 0;
    enum tt_status status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = tt_file_set_read(reading->files, index, offset, reading->chunk->in, length, err);
    if (status == TT_OK)
        status = plain_room(reading, length + TT_FILE_CIPHER_EXTRA, &room, err);
    if (status == TT_OK)
        status = tt_file_cipher_update(reading->cipher, reading->chunk->in, length, room, &plain, err);
    if (status == TT_OK)
        status = plain_done(reading, room, plain, err);
    return status;
}

static enum tt_status read_encrypted(const struct reading *reading, size_t index, struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(reading->files, index)->size;
    uint8_t iv[TT_FILE_IV_SIZE];
    uint8_t *room = NULL;
    size_t rest = 0;
    enum tt_status status = tt_file_set_read(reading->files, index, 0, iv, sizeof iv, err);
    if (status == TT_OK)
        status = tt_file_decrypt_begin(reading->cipher, iv, err);
    for (uint64_t offset = sizeof iv; status == TT_OK && offset < size;) {
        size_t length = chunk_length(size - offset);
        status = decrypt_chunk(reading, index, offset, length, err);
        offset += length;
    }
    if (status == TT_OK)
        status = plain_room(reading, TT_FILE_CIPHER_EXTRA, &room, err);
    if (status == TT_OK)
        status = tt_file_cipher_finish(reading->cipher, room, &rest, err);
    if (status == TT_OK)
        status = plain_done(reading, room, rest, err);
    return status;
}

static enum tt_status read_content(const struct reading *reading, size_t index, struct tt_error *err)
{
    return reading->cipher ? read_encrypted(reading, index, err) : read_plain(reading, index, err);
}

enum tt_status content_read(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                            struct content_hash *hash, content_take take, void *user, struct tt_error *err)
{
    struct chunk *chunk TT_CLEANUP(chunk_cleanup) = malloc(sizeof *chunk);
    if (!chunk)
        return tt_error_memory(err);
    struct reading reading = {
        .files = files, .cipher = cipher, .hash = hash, .take = take, .user = user, .chunk = chunk};
    return read_content(&reading, index, err);
}

/* Size of the plaintext of an encrypted file. */
static enum tt_status plain_size(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                                 uint64_t *ret_size, struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(files, index)->size;
    uint8_t last[2 * TT_FILE_BLOCK_SIZE];
    if (!tt_file_encrypted_size_is_valid(size))
        return tt_error_set(err, TT_TAMPERED, "/%s cannot be an encrypted file", tt_file_set_entry(files, index)->path);
    enum tt_status status = tt_file_set_read(files, index, size - sizeof last, last, sizeof last, err);
    if (status == TT_OK)
        status = tt_file_plain_size(cipher, size, last, ret_size, err);
    return status;
}

static enum tt_status hash_listed(const struct tt_train *train, const struct reading *reading, struct tt_error *err)
{
    for (size_t i = 0; i < train->file_count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", TT_TRAIN_DEFINITION, train->files[i]);
        size_t index = tt_file_set_find(reading->files, path);
        if (index == tt_file_set_count(reading->files))
            return tt_error_set(err, TT_TAMPERED, "/%s is in file_list but not in the image", path);
        enum tt_status status = read_content(reading, index, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

enum tt_status content_definition_hash(const struct tt_train *train, const struct tt_file_set *files,
                                       struct tt_file_cipher *cipher, uint8_t ret_hash[TT_SHA512_SIZE],
                                       struct tt_error *err)
{
    struct chunk *chunk TT_CLEANUP(chunk_cleanup) = malloc(sizeof *chunk);
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = NULL;
    if (!chunk)
        return tt_error_memory(err);
    enum tt_status status = content_hash_new(&hash, err);
    struct reading reading = {.files = files, .cipher = cipher, .hash = hash, .chunk = chunk};
    if (status == TT_OK)
        status = content_hash_update(hash, train->creator_id, strlen(train->creator_id), err);
    if (status == TT_OK)
        status = hash_listed(train, &reading, err);
    if (status == TT_OK)
        status = content_hash_update(hash, train->session_id, sizeof train->session_id, err);
    size_t query = tt_file_set_find(files, TT_TRAIN_DEFINITION "/" TT_TRAIN_QUERY_NAME);
    if (status == TT_OK && query < tt_file_set_count(files) && tt_file_set_entry(files, query)->type == TT_ENTRY_FILE)
        status = read_content(&reading, query, err);
    if (status == TT_OK)
        status = content_hash_final(hash, ret_hash, err);
    return status;
}

enum tt_status content_add(struct tt_image_change *change, const char *path, const void *data, size_t length,
                           struct tt_error *err)
{
    struct tt_entry entry = {.path = (char *)path,
                             .type = TT_ENTRY_FILE,
                             .mode = 0644,
                             .mtime_seconds = (int64_t)time(NULL),
                             .size = length};
    enum tt_status status = tt_image_change_add(change, &entry, err);
    return status == TT_OK ? tt_image_change_data(change, data, length, err) : status;
}

/* One content_transfer under way. */
struct transfer {
    struct reading reading;
    const bool *taken; /* per entry; NULL: all */
    const char *folder;
    struct tt_file_cipher *cipher;
    const char *what;
    struct tt_image_change *change;
    uint8_t *encrypted; /* CONTENT_PIECE bytes */
    struct tt_content_size done;
    uint64_t total;
};

static void count_plain(struct transfer *transfer, size_t length)
{
    transfer->done.bytes += length;
    tt_progress(transfer->what, transfer->done.bytes, transfer->total);
}

static enum tt_status take_decrypted(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct transfer *transfer = user;
    count_plain(transfer, length);
    return tt_image_change_data(transfer->change, data, length, err);
}

static enum tt_status take_for_encryption(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct transfer *transfer = user;
    size_t written = 0;
    count_plain(transfer, length);
    enum tt_status status = tt_file_cipher_update(transfer->cipher, data, length, transfer->encrypted, &written, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, transfer->encrypted, written, err);
    return status;
}

static enum tt_status decrypt_file(struct transfer *transfer, size_t index, struct tt_error *err)
{
    struct tt_entry entry = *tt_file_set_entry(transfer->reading.files, index);
    enum tt_status status = plain_size(transfer->reading.files, index, transfer->cipher, &entry.size, err);
    if (status == TT_OK)
        status = tt_image_change_add(transfer->change, &entry, err);
    if (status == TT_OK)
        status = read_content(&transfer->reading, index, err);
    return status;
}

static enum tt_status encrypt_file(struct transfer *transfer, size_t index, struct tt_error *err)
{
    struct tt_entry entry = *tt_file_set_entry(transfer->reading.files, index);
    entry.size = tt_file_encrypted_size(entry.size);
    uint8_t iv[TT_FILE_IV_SIZE];
    size_t rest = 0;
    enum tt_status status = tt_image_change_add(transfer->change, &entry, err);
    if (status == TT_OK)
        status = tt_file_encrypt_begin(transfer->cipher, iv, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, iv, sizeof iv, err);
    if (status == TT_OK)
        status = read_content(&transfer->reading, index, err);
    if (status == TT_OK)
        status = tt_file_cipher_finish(transfer->cipher, transfer->encrypted, &rest, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, transfer->encrypted, rest, err);
    return status;
}

static enum tt_status transfer_files(struct transfer *transfer, enum content_direction direction, struct tt_error *err)
{
    /* Even an empty set replaces what the parent image has there: nothing rides along. */
    struct tt_entry missing = {.path = (char *)transfer->folder, .type = TT_ENTRY_FOLDER, .mode = 0755};
    bool empty = tt_file_set_count(transfer->reading.files) == 0;
    const struct tt_entry *root = empty ? &missing : tt_file_set_entry(transfer->reading.files, 0);
    enum tt_status status = tt_image_change_replace(transfer->change, root, err);
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(transfer->reading.files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(transfer->reading.files, i);
        if (entry->type == TT_ENTRY_HARDLINK || (transfer->taken && !transfer->taken[i]))
            continue;
        if (entry->type != TT_ENTRY_FILE) {
            status = tt_image_change_add(transfer->change, entry, err);
            continue;
        }
        transfer->done.files++;
        status = direction == CONTENT_DECRYPT ? decrypt_file(transfer, i, err) : encrypt_file(transfer, i, err);
    }
    return status;
}

/* After all files, so that whoever unpacks the archive has what they link to. */
static enum tt_status transfer_hard_links(struct transfer *transfer, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(transfer->reading.files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(transfer->reading.files, i);
        if (entry->type == TT_ENTRY_HARDLINK && !(transfer->taken && !transfer->taken[i]))
            status = tt_image_change_add(transfer->change, entry, err);
    }
    return status;
}

enum tt_status content_transfer(const struct tt_file_set *files, const bool *taken, const char *folder,
                                enum content_direction direction, struct tt_file_cipher *cipher,
                                struct content_hash *hash, struct tt_image_change *change,
                                struct tt_content_size *ret_size, struct tt_error *err)
{
    struct chunk *chunk TT_CLEANUP(chunk_cleanup) = malloc(sizeof *chunk);
    uint8_t *encrypted TT_CLEANUP(tt_free_cleanup) = malloc(CONTENT_PIECE);
    if (!chunk || !encrypted)
        return tt_error_memory(err);
    bool decrypt = direction == CONTENT_DECRYPT;
    struct transfer transfer = {.taken = taken,
                                .folder = folder,
                                .cipher = cipher,
                                .what = decrypt ? "decrypting" : "encrypting",
                                .change = change,
                                .encrypted = encrypted,
                                .total = tt_file_set_bytes(files)};
    transfer.reading = (struct reading){.files = files,
                                        .cipher = decrypt ? cipher : NULL,
                                        .hash = hash,
                                        .take = decrypt ? take_decrypted : take_for_encryption,
                                        .user = &transfer,
                                        .chunk = chunk};
    enum tt_status status = transfer_files(&transfer, direction, err);
    if (status == TT_OK)
        status = transfer_hard_links(&transfer, err);
    if (status == TT_OK)
        *ret_size = transfer.done;
    return status;
}
