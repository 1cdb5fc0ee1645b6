#include "archive/file_stream.h"

#include <stdbool.h>

#include "archive/tar_reader.h"

/* The entries that came by are kept: their names are needed for the order, and afterwards for the listing. */
struct tt_file_stream {
    const struct tt_file_stream_ways *ways;
    void *store;
    struct tt_entry *entries;
    size_t count;
    size_t capacity;
    uint64_t left; /* bytes of the current file */
};

enum tt_status tt_file_stream_new(const struct tt_file_stream_ways *ways, void *store,
                                  struct tt_file_stream **ret_stream, struct tt_error *err)
{
    struct tt_file_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return tt_error_memory(err);
    stream->ways = ways;
    stream->store = store;
    *ret_stream = stream;
    return TT_OK;
}

void tt_file_stream_free(struct tt_file_stream *stream)
{
    if (!stream)
        return;
    for (size_t i = 0; i < stream->count; i++)
        tt_entry_clear(&stream->entries[i]);
    free(stream->entries);
    stream->ways->free(stream->store);
    free(stream);
}

static enum tt_status reserve(struct tt_file_stream *stream, struct tt_error *err)
{
    if (stream->count < stream->capacity)
        return TT_OK;
    if (stream->count >= TT_ENTRY_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "there are more than %d files and folders under /%s", TT_ENTRY_LIMIT,
                            stream->entries[0].path);
    size_t capacity = stream->capacity ? 2 * stream->capacity : 64;
    struct tt_entry *entries = realloc(stream->entries, capacity * sizeof *entries);
    if (!entries)
        return tt_error_memory(err);
    stream->entries = entries;
    stream->capacity = capacity;
    return TT_OK;
}

/* The hash of the results is one of their order too: a store that sends them in another would break the train. */
static enum tt_status check_order(const struct tt_file_stream *stream, const struct tt_entry *entry,
                                  struct tt_error *err)
{
    const struct tt_entry *before = stream->count > 0 ? &stream->entries[stream->count - 1] : NULL;
    if (!before)
        return TT_OK;
    if (before->type != TT_ENTRY_FOLDER && tt_path_is_under(entry->path, before->path))
        return tt_error_set(err, TT_STORE, "the image store sends /%s, which lies below something that is no folder",
                            entry->path);
    if (tt_path_compare(before->path, entry->path) < 0)
        return TT_OK;
    return tt_error_set(err, TT_STORE,
                        "the image store sends files in an order that the protocol does not have: /%s came after /%s",
                        entry->path, before->path);
}

enum tt_status tt_file_stream_next(struct tt_file_stream *stream, const struct tt_entry **ret_entry,
                                   struct tt_error *err)
{
    const struct tt_entry *entry = NULL;
    enum tt_status status = stream->ways->next(stream->store, &entry, err);
    if (status != TT_OK)
        return status;
    if (entry) {
        status = check_order(stream, entry, err);
        if (status == TT_OK)
            status = reserve(stream, err);
        if (status == TT_OK)
            status = tt_entry_copy(entry, &stream->entries[stream->count], err);
        if (status != TT_OK)
            return status;
        stream->left = entry->type == TT_ENTRY_FILE ? entry->size : 0;
        entry = &stream->entries[stream->count++];
    }
    *ret_entry = entry;
    return TT_OK;
}

enum tt_status tt_file_stream_read(struct tt_file_stream *stream, void *data, size_t length, struct tt_error *err)
{
    if (length > stream->left)
        return tt_error_set(err, TT_INTERNAL, "reading past the end of a file of the image");
    if (length == 0)
        return TT_OK;
    stream->left -= length;
    return stream->ways->read(stream->store, data, length, err);
}

static enum tt_status listing_read(void *store, size_t index, uint64_t offset, void *data, size_t length,
                                   struct tt_error *err)
{
    (void)store, (void)index, (void)offset, (void)data, (void)length;
    return tt_error_set(err, TT_INTERNAL, "a listing has no contents");
}

enum tt_status tt_file_stream_listing(struct tt_file_stream *stream, struct tt_file_set **ret_listing,
                                      struct tt_error *err)
{
    static const struct tt_file_set_ways ways = {.read = listing_read};
    enum tt_status status = tt_file_set_new(stream->entries, stream->count, &ways, NULL, ret_listing, err);
    if (status != TT_OK)
        return status;
    stream->entries = NULL;
    stream->count = stream->capacity = 0;
    return TT_OK;
}

/* A file set that is walked through. */
struct walk {
    const struct tt_file_set *set;
    struct tt_file_set *owned;
    size_t next;
    uint64_t offset;
};

static enum tt_status walk_next(void *store, const struct tt_entry **ret_entry, struct tt_error *err)
{
    struct walk *walk = store;
    (void)err;
    bool more = walk->next < tt_file_set_count(walk->set);
    *ret_entry = more ? tt_file_set_entry(walk->set, walk->next++) : NULL;
    walk->offset = 0;
    return TT_OK;
}

static enum tt_status walk_read(void *store, void *data, size_t length, struct tt_error *err)
{
    struct walk *walk = store;
    enum tt_status status = tt_file_set_read(walk->set, walk->next - 1, walk->offset, data, length, err);
    walk->offset += length;
    return status;
}

static void walk_free(void *store)
{
    struct walk *walk = store;
    tt_file_set_free(walk->owned);
    free(walk);
}

static enum tt_status walk_new(const struct tt_file_set *set, struct tt_file_set *owned,
                               struct tt_file_stream **ret_stream, struct tt_error *err)
{
    static const struct tt_file_stream_ways ways = {.next = walk_next, .read = walk_read, .free = walk_free};
    struct walk *walk = calloc(1, sizeof *walk);
    if (!walk)
        return tt_error_memory(err);
    walk->set = set;
    enum tt_status status = tt_file_stream_new(&ways, walk, ret_stream, err);
    if (status != TT_OK)
        free(walk);
    else
        walk->owned = owned;
    return status;
}

enum tt_status tt_file_stream_over(const struct tt_file_set *set, struct tt_file_stream **ret_stream,
                                   struct tt_error *err)
{
    return walk_new(set, NULL, ret_stream, err);
}

enum tt_status tt_file_stream_of(struct tt_file_set *set, struct tt_file_stream **ret_stream, struct tt_error *err)
{
    return walk_new(set, set, ret_stream, err);
}
