#include "archive/file_set.h"

#include <stdbool.h>

struct tt_file_set {
    struct tt_entry *entries;
    size_t count;
    uint64_t bytes;
    const struct tt_file_set_ways *ways;
    void *store;
};

static bool add_size(const struct tt_entry *entry, uint64_t *total)
{
    if (entry->type != TT_ENTRY_FILE)
        return true;
    return !__builtin_add_overflow(*total, entry->size, total);
}

enum tt_status tt_file_set_new(struct tt_entry *entries, size_t count, const struct tt_file_set_ways *ways, void *store,
                               struct tt_file_set **ret_set, struct tt_error *err)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && tt_path_compare(entries[i - 1].path, entries[i].path) >= 0)
            return tt_error_set(err, TT_INTERNAL, "the file list is not in order at %s", entries[i].path);
        if (!add_size(&entries[i], &bytes))
            return tt_error_set(err, TT_MALFORMED, "the sizes of the files add up to more than any disk holds");
    }
    struct tt_file_set *set = calloc(1, sizeof *set);
    if (!set)
        return tt_error_memory(err);
    *set = (struct tt_file_set){entries, count, bytes, ways, store};
    *ret_set = set;
    return TT_OK;
}

void tt_file_set_free(struct tt_file_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++)
        tt_entry_clear(&set->entries[i]);
    free(set->entries);
    if (set->ways->free)
        set->ways->free(set->store);
    free(set);
}

size_t tt_file_set_count(const struct tt_file_set *set)
{
    return set->count;
}

const struct tt_entry *tt_file_set_entry(const struct tt_file_set *set, size_t index)
{
    return &set->entries[index];
}

size_t tt_file_set_find(const struct tt_file_set *set, const char *path)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = tt_path_compare(set->entries[middle].path, path);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return set->count;
}

uint64_t tt_file_set_bytes(const struct tt_file_set *set)
{
    return set->bytes;
}

enum tt_status tt_file_set_read(const struct tt_file_set *set, size_t index, uint64_t offset, void *data, size_t length,
                                struct tt_error *err)
{
    if (index >= set->count || set->entries[index].type != TT_ENTRY_FILE || offset > set->entries[index].size ||
        length > set->entries[index].size - offset)
        return tt_error_set(err, TT_INTERNAL, "reading past the end of a file of the image");
    if (length == 0)
        return TT_OK;
    return set->ways->read(set->store, index, offset, data, length, err);
}

enum tt_status tt_file_set_read_whole(const struct tt_file_set *set, size_t index, struct tt_buffer *content,
                                      struct tt_error *err)
{
    uint64_t size = tt_file_set_entry(set, index)->size;
    enum tt_status status = TT_OK;
    uint8_t chunk[16384];
    for (uint64_t offset = 0; offset < size && status == TT_OK;) {
        size_t length = size - offset < sizeof chunk ? (size_t)(size - offset) : sizeof chunk;
        status = tt_file_set_read(set, index, offset, chunk, length, err);
        if (status == TT_OK)
            status = tt_buffer_append(content, chunk, length, err);
        offset += length;
    }
    return status;
}
