#include "protocol/content.h"

#include <limits.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/secret.h"

enum { CHUNK_SIZE = 256 * 1024 };

/* Two buffers that hold plaintext by turns; wiped when freed. */
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

static size_t chunk_length(uint64_t left)
{
    return left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
}

static enum tt_status read_plain(const struct tt_file_set *files, size_t index, struct chunk *chunk, content_take take,
                                 void *user, struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(files, index)->size;
    for (uint64_t offset = 0; offset < size;) {
        size_t length = chunk_length(size - offset);
        enum tt_status status = tt_interrupt_check(err);
        if (status == TT_OK)
            status = tt_file_set_read(files, index, offset, chunk->in, length, err);
        if (status == TT_OK)
            status = take(user, chunk->in, length, err);
        if (status != TT_OK)
            return status;
        offset += length;
    }
    return TT_OK;
}

static enum tt_status read_encrypted(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                                     struct chunk *chunk, content_take take, void *user, struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(files, index)->size;
    uint8_t iv[TT_FILE_IV_SIZE];
    enum tt_status status = tt_file_set_read(files, index, 0, iv, sizeof iv, err);
    if (status == TT_OK)
        status = tt_file_decrypt_begin(cipher, iv, err);
    for (uint64_t offset = sizeof iv; status == TT_OK && offset < size;) {
        size_t length = chunk_length(size - offset);
        size_t plain = 0;
        status = tt_interrupt_check(err);
        if (status == TT_OK)
            status = tt_file_set_read(files, index, offset, chunk->in, length, err);
        if (status == TT_OK)
            status = tt_file_cipher_update(cipher, chunk->in, length, chunk->out, &plain, err);
        if (status == TT_OK && plain > 0)
            status = take(user, chunk->out, plain, err);
        offset += length;
    }
    size_t rest = 0;
    if (status == TT_OK)
        status = tt_file_cipher_finish(cipher, chunk->out, &rest, err);
    if (status == TT_OK && rest > 0)
        status = take(user, chunk->out, rest, err);
    return status;
}

static enum tt_status read_content(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                                   struct chunk *chunk, content_take take, void *user, struct tt_error *err)
{
    if (cipher)
        return read_encrypted(files, index, cipher, chunk, take, user, err);
    return read_plain(files, index, chunk, take, user, err);
}

enum tt_status content_read(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                            content_take take, void *user, struct tt_error *err)
{
    struct chunk *chunk TT_CLEANUP(chunk_cleanup) = malloc(sizeof *chunk);
    if (!chunk)
        return tt_error_memory(err);
    return read_content(files, index, cipher, chunk, take, user, err);
}

enum tt_status content_plain_size(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
                                  uint64_t *ret_size, struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(files, index)->size;
    uint8_t last[2 * TT_FILE_BLOCK_SIZE];
    if (!cipher) {
        *ret_size = size;
        return TT_OK;
    }
    if (!tt_file_encrypted_size_is_valid(size))
        return tt_error_set(err, TT_TAMPERED, "/%s cannot be an encrypted file", tt_file_set_entry(files, index)->path);
    enum tt_status status = tt_file_set_read(files, index, size - sizeof last, last, sizeof last, err);
    if (status == TT_OK)
        status = tt_file_plain_size(cipher, size, last, ret_size, err);
    return status;
}

static enum tt_status take_for_hash(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    return content_hash_update(user, data, length, err);
}

static enum tt_status hash_listed(const struct tt_train *train, const struct tt_file_set *files,
                                  struct tt_file_cipher *cipher, struct chunk *chunk, struct content_hash *hash,
                                  struct tt_error *err)
{
    for (size_t i = 0; i < train->file_count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", TT_TRAIN_DEFINITION, train->files[i]);
        size_t index = tt_file_set_find(files, path);
        if (index == tt_file_set_count(files))
            return tt_error_set(err, TT_TAMPERED, "/%s is in file_list but not in the image", path);
        enum tt_status status = read_content(files, index, cipher, chunk, take_for_hash, hash, err);
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
    if (status == TT_OK)
        status = content_hash_update(hash, train->creator_id, strlen(train->creator_id), err);
    if (status == TT_OK)
        status = hash_listed(train, files, cipher, chunk, hash, err);
    if (status == TT_OK)
        status = content_hash_update(hash, train->session_id, sizeof train->session_id, err);
    size_t query = tt_file_set_find(files, TT_TRAIN_DEFINITION "/" TT_TRAIN_QUERY_NAME);
    if (status == TT_OK && query < tt_file_set_count(files))
        status = read_content(files, query, cipher, chunk, take_for_hash, hash, err);
    if (status == TT_OK)
        status = content_hash_final(hash, ret_hash, err);
    return status;
}

enum tt_status content_result_hash(const struct tt_train *train, const struct tt_file_set *files,
                                   struct tt_file_cipher *cipher, uint8_t ret_hash[TT_SHA512_SIZE],
                                   struct tt_error *err)
{
    struct chunk *chunk TT_CLEANUP(chunk_cleanup) = malloc(sizeof *chunk);
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = NULL;
    if (!chunk)
        return tt_error_memory(err);
    enum tt_status status = content_hash_new(&hash, err);
    for (size_t i = 0; status == TT_OK && i < tt_file_set_count(files); i++)
        if (tt_file_set_entry(files, i)->type == TT_ENTRY_FILE)
            status = read_content(files, i, cipher, chunk, take_for_hash, hash, err);
    if (status == TT_OK)
        status = content_hash_update(hash, train->session_id, sizeof train->session_id, err);
    if (status == TT_OK)
        status = content_hash_final(hash, ret_hash, err);
    return status;
}

/* One content_transfer under way. */
struct transfer {
    const struct tt_file_set *files;
    const char *folder;
    struct tt_file_cipher *cipher;
    struct content_hash *hash;
    const char *what;
    struct tt_image_change *change;
    struct chunk *chunk;
    struct tt_content_size done;
    uint64_t total;
};

static enum tt_status count_plain(struct transfer *transfer, const uint8_t *data, size_t length, struct tt_error *err)
{
    transfer->done.bytes += length;
    tt_progress(transfer->what, transfer->done.bytes, transfer->total);
    return transfer->hash ? content_hash_update(transfer->hash, data, length, err) : TT_OK;
}

static enum tt_status take_decrypted(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct transfer *transfer = user;
    enum tt_status status = count_plain(transfer, data, length, err);
    return status == TT_OK ? tt_image_change_data(transfer->change, data, length, err) : status;
}

static enum tt_status take_for_encryption(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct transfer *transfer = user;
    size_t written = 0;
    enum tt_status status = count_plain(transfer, data, length, err);
    if (status == TT_OK)
        status = tt_file_cipher_update(transfer->cipher, data, length, transfer->chunk->out, &written, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, transfer->chunk->out, written, err);
    return status;
}

static enum tt_status decrypt_file(struct transfer *transfer, size_t index, struct tt_error *err)
{
    struct tt_entry entry = *tt_file_set_entry(transfer->files, index);
    enum tt_status status = content_plain_size(transfer->files, index, transfer->cipher, &entry.size, err);
    if (status == TT_OK)
        status = tt_image_change_add(transfer->change, &entry, err);
    if (status == TT_OK)
        status =
            read_encrypted(transfer->files, index, transfer->cipher, transfer->chunk, take_decrypted, transfer, err);
    return status;
}

static enum tt_status encrypt_file(struct transfer *transfer, size_t index, struct tt_error *err)
{
    struct tt_entry entry = *tt_file_set_entry(transfer->files, index);
    entry.size = tt_file_encrypted_size(entry.size);
    uint8_t iv[TT_FILE_IV_SIZE];
    size_t rest = 0;
    enum tt_status status = tt_image_change_add(transfer->change, &entry, err);
    if (status == TT_OK)
        status = tt_file_encrypt_begin(transfer->cipher, iv, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, iv, sizeof iv, err);
    if (status == TT_OK)
        status = read_plain(transfer->files, index, transfer->chunk, take_for_encryption, transfer, err);
    if (status == TT_OK)
        status = tt_file_cipher_finish(transfer->cipher, transfer->chunk->out, &rest, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, transfer->chunk->out, rest, err);
    return status;
}

static enum tt_status transfer_files(struct transfer *transfer, enum content_direction direction, struct tt_error *err)
{
    /* Even an empty set replaces what the parent image has there: nothing rides along. */
    struct tt_entry missing = {.path = (char *)transfer->folder, .type = TT_ENTRY_FOLDER, .mode = 0755};
    bool empty = tt_file_set_count(transfer->files) == 0;
    const struct tt_entry *root = empty ? &missing : tt_file_set_entry(transfer->files, 0);
    enum tt_status status = tt_image_change_replace(transfer->change, root, err);
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(transfer->files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(transfer->files, i);
        if (entry->type == TT_ENTRY_HARDLINK)
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
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(transfer->files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(transfer->files, i);
        if (entry->type == TT_ENTRY_HARDLINK)
            status = tt_image_change_add(transfer->change, entry, err);
    }
    return status;
}

enum tt_status content_transfer(const struct tt_file_set *files, const char *folder, enum content_direction direction,
                                struct tt_file_cipher *cipher, struct content_hash *hash,
                                struct tt_image_change *change, struct tt_content_size *ret_size, struct tt_error *err)
{
    struct chunk *chunk TT_CLEANUP(chunk_cleanup) = malloc(sizeof *chunk);
    if (!chunk)
        return tt_error_memory(err);
    struct transfer transfer = {.files = files,
                                .folder = folder,
                                .cipher = cipher,
                                .hash = hash,
                                .what = direction == CONTENT_DECRYPT ? "decrypting" : "encrypting",
                                .change = change,
                                .chunk = chunk,
                                .total = tt_file_set_bytes(files)};
    enum tt_status status = transfer_files(&transfer, direction, err);
    if (status == TT_OK)
        status = transfer_hard_links(&transfer, err);
    if (status == TT_OK)
        *ret_size = transfer.done;
    return status;
}
