#include "protocol/content.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include "protocol/content_reader.h"

static enum tt_status hash_listed(const struct tt_train *train, const struct tt_file_set *files,
                                  struct tt_file_cipher *cipher, struct content_reader *reader, struct tt_error *err)
{
    for (size_t i = 0; i < train->file_count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", TT_TRAIN_DEFINITION, train->files[i]);
        size_t index = tt_file_set_find(files, path);
        if (index == tt_file_set_count(files))
            return tt_error_set(err, TT_TAMPERED, "/%s is in file_list but not in the image", path);
        enum tt_status status = content_read(reader, files, index, cipher, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

enum tt_status content_definition_hash(const struct tt_train *train, const struct tt_file_set *files,
                                       struct tt_file_cipher *cipher, uint8_t ret_hash[TT_SHA512_SIZE],
                                       struct tt_error *err)
{
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = NULL;
    struct content_reader *reader TT_CLEANUP(content_reader_free_cleanup) = NULL;
    enum tt_status status = content_hash_new(&hash, err);
    if (status == TT_OK)
        status = content_reader_new(hash, NULL, NULL, &reader, err);
    if (status == TT_OK)
        status = content_hash_update(hash, train->creator_id, strlen(train->creator_id), err);
    if (status == TT_OK)
        status = hash_listed(train, files, cipher, reader, err);
    if (status == TT_OK)
        status = content_hash_update(hash, train->session_id, sizeof train->session_id, err);
    size_t query = tt_file_set_find(files, TT_TRAIN_DEFINITION "/" TT_TRAIN_QUERY_NAME);
    if (status == TT_OK && query < tt_file_set_count(files) && tt_file_set_entry(files, query)->type == TT_ENTRY_FILE)
        status = content_read(reader, files, query, cipher, err);
    if (status == TT_OK)
        status = content_hash_final(hash, ret_hash, err);
    return status;
}

static enum tt_status take_for_listing(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    return content_listing_data(user, data, length, err);
}

enum tt_status content_list(const struct tt_file_set *files, const char *folder, const bool *taken,
                            struct tt_manifest_list *ret_list, struct tt_error *err)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct content_reader *reader TT_CLEANUP(content_reader_free_cleanup) = NULL;
    enum tt_status status = content_listing_new(folder, &listing, err);
    if (status == TT_OK)
        status = content_reader_new(NULL, take_for_listing, listing, &reader, err);
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        if (taken && !taken[i])
            continue;
        status = content_listing_entry(listing, entry, err);
        if (status == TT_OK && entry->type == TT_ENTRY_FILE)
            status = content_read(reader, files, i, NULL, err);
    }
    return status == TT_OK ? content_listing_end(listing, ret_list, err) : status;
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
