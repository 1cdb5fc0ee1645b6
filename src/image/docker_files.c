#include <string.h>

#include "archive/spool.h"
#include "image/docker.h"

enum { CHUNK = 65536 };

/* Files for a second look: contents in a spool, in the order in which they came. */
struct files {
    struct tt_spool *spool;
    struct tt_entry *entries;
    uint64_t *offsets; /* of each entry's content in the spool, */
    size_t *order;     /* by this index of each entry in the set */
    size_t count;
    size_t capacity;
};

static void files_free(void *store)
{
    struct files *files = store;
    if (!files)
        return;
    for (size_t i = 0; files->entries && i < files->count; i++)
        tt_entry_clear(&files->entries[i]);
    free(files->entries);
    free(files->offsets);
    free(files->order);
    tt_spool_free(files->spool);
    free(files);
}

static void files_cleanup(struct files **files)
{
    files_free(*files);
}

static enum tt_status files_read(void *store, size_t index, uint64_t offset, void *data, size_t length,
                                 struct tt_error *err)
{
    const struct files *files = store;
    return tt_spool_read(files->spool, files->offsets[files->order[index]] + offset, data, length, err);
}

static enum tt_status reserve(struct files *files, struct tt_error *err)
{
    if (files->count < files->capacity)
        return TT_OK;
    size_t capacity = files->capacity ? 2 * files->capacity : 64;
    struct tt_entry *entries = realloc(files->entries, capacity * sizeof *entries);
    if (entries)
        files->entries = entries;
    uint64_t *offsets = realloc(files->offsets, capacity * sizeof *offsets);
    if (offsets)
        files->offsets = offsets;
    if (!entries || !offsets)
        return tt_error_memory(err);
    files->capacity = capacity;
    return TT_OK;
}

/* Most sets have no content, or little: no file is made for nothing. */
static enum tt_status spool_content(struct files *files, struct docker_stream *stream, uint64_t size, uint8_t *chunk,
                                    struct tt_error *err)
{
    enum tt_status status = files->spool || size == 0 ? TT_OK : tt_spool_new(NULL, &files->spool, err);
    for (uint64_t left = size; status == TT_OK && left > 0;) {
        size_t length = left < CHUNK ? (size_t)left : CHUNK;
        status = docker_stream_read(stream, chunk, length, err);
        if (status == TT_OK)
            status = tt_spool_append(files->spool, chunk, length, err);
        left -= length;
    }
    return status;
}

static enum tt_status collect(struct files *files, struct docker_stream *stream, struct tt_error *err)
{
    uint8_t *chunk TT_CLEANUP(tt_free_cleanup) = malloc(CHUNK);
    enum tt_status status = chunk ? TT_OK : tt_error_memory(err);
    while (status == TT_OK) {
        const struct tt_entry *entry = NULL;
        status = docker_stream_next(stream, &entry, err);
        if (status != TT_OK || !entry)
            break;
        status = reserve(files, err);
        if (status == TT_OK)
            status = tt_entry_copy(entry, &files->entries[files->count], err);
        if (status != TT_OK)
            break;
        files->offsets[files->count++] = files->spool ? tt_spool_length(files->spool) : 0;
        status = spool_content(files, stream, entry->size, chunk, err);
    }
    return status;
}

static int compare(const void *one, const void *other, void *user)
{
    const struct files *files = user;
    return tt_path_compare(files->entries[*(const size_t *)one].path, files->entries[*(const size_t *)other].path);
}

static enum tt_status sort(struct files *files, const char *what, struct tt_error *err)
{
    files->order = calloc(files->count + 1, sizeof *files->order);
    if (!files->order)
        return tt_error_memory(err);
    for (size_t i = 0; i < files->count; i++)
        files->order[i] = i;
    qsort_r(files->order, files->count, sizeof *files->order, compare, files);
    for (size_t i = 1; i < files->count; i++) {
        const struct tt_entry *before = &files->entries[files->order[i - 1]];
        const char *path = files->entries[files->order[i]].path;
        if (strcmp(path, before->path) == 0 ||
            (before->type != TT_ENTRY_FOLDER && tt_path_is_under(path, before->path)))
            return tt_error_set(err, TT_STORE, "%s: the container engine sent '/%.300s' where it cannot be", what,
                                path);
    }
    return TT_OK;
}

static enum tt_status make_set(struct files *files, struct tt_file_set **ret_files, struct tt_error *err)
{
    static const struct tt_file_set_ways ways = {.read = files_read, .free = files_free};
    struct tt_entry *entries = calloc(files->count + 1, sizeof *entries);
    if (!entries)
        return tt_error_memory(err);
    for (size_t i = 0; i < files->count; i++)
        entries[i] = files->entries[files->order[i]];
    enum tt_status status = tt_file_set_new(entries, files->count, &ways, files, ret_files, err);
    if (status != TT_OK) {
        free(entries);
        return status;
    }
    free(TT_TAKE(files->entries));
    return TT_OK;
}

enum tt_status docker_files(void *state, const char *path, struct tt_file_set **ret_files, struct tt_error *err)
{
    struct docker_stream *stream TT_CLEANUP(docker_stream_free_cleanup) = NULL;
    struct files *files TT_CLEANUP(files_cleanup) = calloc(1, sizeof *files);
    enum tt_status status = files ? docker_stream_new(state, path, &stream, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = collect(files, stream, err);
    if (status == TT_OK)
        status = sort(files, docker_stream_what(stream), err);
    if (status == TT_OK)
        status = make_set(files, ret_files, err);
    if (status == TT_OK)
        files = NULL;
    return status;
}
