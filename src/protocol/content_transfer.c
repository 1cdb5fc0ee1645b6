#include "base/cleanup.h"
#include "base/log.h"
#include "protocol/content.h"
#include "protocol/content_reader.h"

static enum tt_status take_decrypted(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct content_transfer *transfer = user;
    transfer->done.bytes += length;
    tt_progress("decrypting", transfer->done.bytes, transfer->total);
    enum tt_status status = content_listing_data(transfer->listing, data, length, err);
    return status == TT_OK ? tt_image_change_data(transfer->change, data, length, err) : status;
}

/* A transfer with room for what was encrypted. */
struct encryption {
    struct content_transfer *transfer;
    uint8_t *encrypted; /* CONTENT_PIECE bytes */
};

static enum tt_status take_for_encryption(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct encryption *encryption = user;
    struct content_transfer *transfer = encryption->transfer;
    size_t written = 0;
    transfer->done.bytes += length;
    tt_progress("encrypting", transfer->done.bytes, transfer->total);
    enum tt_status status = content_listing_data(transfer->listing, data, length, err);
    if (status == TT_OK)
        status = tt_file_cipher_update(transfer->cipher, data, length, encryption->encrypted, &written, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, encryption->encrypted, written, err);
    return status;
}

enum tt_status content_plain_size(const struct tt_file_set *files, size_t index, struct tt_file_cipher *cipher,
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

static enum tt_status decrypt_file(struct content_transfer *transfer, const struct tt_file_set *files, size_t index,
                                   struct content_reader *reader, struct tt_error *err)
{
    struct tt_entry entry = *tt_file_set_entry(files, index);
    transfer->done.files++;
    enum tt_status status = content_plain_size(files, index, transfer->cipher, &entry.size, err);
    if (status == TT_OK)
        status = content_listing_entry(transfer->listing, &entry, err);
    if (status == TT_OK)
        status = tt_image_change_add(transfer->change, &entry, err);
    if (status == TT_OK)
        status = content_read(reader, files, index, transfer->cipher, err);
    return status;
}

/* Hard links come after all files. */
static enum tt_status decrypt_entry(struct content_transfer *transfer, const struct tt_file_set *files, size_t index,
                                    struct content_reader *reader, struct tt_error *err)
{
    const struct tt_entry *entry = tt_file_set_entry(files, index);
    if (entry->type == TT_ENTRY_FILE)
        return decrypt_file(transfer, files, index, reader, err);
    enum tt_status status = content_listing_entry(transfer->listing, entry, err);
    return status != TT_OK || entry->type == TT_ENTRY_HARDLINK ? status
                                                               : tt_image_change_add(transfer->change, entry, err);
}

static enum tt_status encrypt_file(struct encryption *encryption, const struct tt_entry *plain,
                                   struct tt_file_stream *stream, struct content_reader *reader, struct tt_error *err)
{
    struct content_transfer *transfer = encryption->transfer;
    struct tt_entry entry = *plain;
    uint8_t iv[TT_FILE_IV_SIZE];
    size_t rest = 0;
    transfer->done.files++;
    entry.size = tt_file_encrypted_size(plain->size);
    enum tt_status status = tt_image_change_add(transfer->change, &entry, err);
    if (status == TT_OK)
        status = tt_file_encrypt_begin(transfer->cipher, iv, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, iv, sizeof iv, err);
    if (status == TT_OK)
        status = content_read_streamed(reader, stream, plain->size, err);
    if (status == TT_OK)
        status = tt_file_cipher_finish(transfer->cipher, encryption->encrypted, &rest, err);
    if (status == TT_OK)
        status = tt_image_change_data(transfer->change, encryption->encrypted, rest, err);
    return status;
}

/* Hard links come after all files. */
static enum tt_status encrypt_entry(struct encryption *encryption, const struct tt_entry *entry,
                                    struct tt_file_stream *stream, struct content_reader *reader, struct tt_error *err)
{
    struct content_transfer *transfer = encryption->transfer;
    enum tt_status status = content_listing_entry(transfer->listing, entry, err);
    if (status != TT_OK || entry->type == TT_ENTRY_HARDLINK)
        return status;
    return entry->type == TT_ENTRY_FILE ? encrypt_file(encryption, entry, stream, reader, err)
                                        : tt_image_change_add(transfer->change, entry, err);
}

/* Even where there is nothing, what the parent image has there is replaced: nothing rides along. */
static enum tt_status add_root(struct content_transfer *transfer, const struct tt_entry *root, struct tt_error *err)
{
    struct tt_entry missing = {.path = (char *)transfer->folder, .type = TT_ENTRY_FOLDER, .mode = 0755};
    return tt_image_change_replace(transfer->change, root ? root : &missing, err);
}

/* After all files, so that whoever unpacks the archive has what they link to. */
static enum tt_status add_hard_links(struct content_transfer *transfer, const struct tt_file_set *files,
                                     const bool *taken, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        if (entry->type == TT_ENTRY_HARDLINK && !(taken && !taken[i]))
            status = tt_image_change_add(transfer->change, entry, err);
    }
    return status;
}

enum tt_status content_decrypt(struct content_transfer *transfer, const struct tt_file_set *files, const bool *taken,
                               struct tt_error *err)
{
    struct content_reader *reader TT_CLEANUP(content_reader_free_cleanup) = NULL;
    size_t count = tt_file_set_count(files);
    transfer->total = tt_file_set_bytes(files);
    enum tt_status status = content_reader_new(transfer->hash, take_decrypted, transfer, &reader, err);
    if (status == TT_OK)
        status = add_root(transfer, count > 0 ? tt_file_set_entry(files, 0) : NULL, err);
    for (size_t i = 1; status == TT_OK && i < count; i++) {
        if (taken && !taken[i])
            continue;
        status = decrypt_entry(transfer, files, i, reader, err);
    }
    return status == TT_OK ? add_hard_links(transfer, files, taken, err) : status;
}

static enum tt_status encrypt_stream(struct encryption *encryption, struct tt_file_stream *stream, const bool *taken,
                                     content_check check, struct content_reader *reader, struct tt_error *err)
{
    struct content_transfer *transfer = encryption->transfer;
    const struct tt_entry *entry = NULL;
    for (size_t i = 0;; i++) {
        enum tt_status status = tt_file_stream_next(stream, &entry, err);
        if (status == TT_OK && entry && check)
            status = check(entry, err);
        if (status == TT_OK && i == 0)
            status = add_root(transfer, entry, err);
        else if (status == TT_OK && entry && !(taken && !taken[i]))
            status = encrypt_entry(encryption, entry, stream, reader, err);
        if (status != TT_OK || !entry)
            return status;
    }
}

enum tt_status content_encrypt(struct content_transfer *transfer, struct tt_file_stream *stream, const bool *taken,
                               content_check check, struct tt_file_set **ret_listing, struct tt_error *err)
{
    struct content_reader *reader TT_CLEANUP(content_reader_free_cleanup) = NULL;
    struct tt_file_set *listing TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    uint8_t *encrypted TT_CLEANUP(tt_free_cleanup) = malloc(CONTENT_PIECE);
    if (!encrypted)
        return tt_error_memory(err);
    struct encryption encryption = {.transfer = transfer, .encrypted = encrypted};
    enum tt_status status = content_reader_new(transfer->hash, take_for_encryption, &encryption, &reader, err);
    if (status == TT_OK)
        status = encrypt_stream(&encryption, stream, taken, check, reader, err);
    if (status == TT_OK)
        status = tt_file_stream_listing(stream, &listing, err);
    if (status == TT_OK)
        status = add_hard_links(transfer, listing, taken, err);
    if (status == TT_OK)
        *ret_listing = TT_TAKE(listing);
    return status;
}

enum tt_status content_encrypt_files(struct content_transfer *transfer, const struct tt_file_set *files,
                                     const bool *taken, struct tt_error *err)
{
    struct tt_file_stream *stream TT_CLEANUP(tt_file_stream_free_cleanup) = NULL;
    struct tt_file_set *listing TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    transfer->total = tt_file_set_bytes(files);
    enum tt_status status = tt_file_stream_over(files, &stream, err);
    if (status == TT_OK)
        status = content_encrypt(transfer, stream, taken, NULL, &listing, err);
    return status;
}
