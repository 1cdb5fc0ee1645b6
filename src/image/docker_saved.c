#include "image/docker_saved.h"

#include <string.h>

#include "base/hex.h"
#include "image/layer_scan.h"

enum { HEX_SIZE = 2 * TT_SHA256_SIZE, PREFIX_SIZE = sizeof "sha256:" - 1 };

struct search {
    const struct tt_docker_saved *saved;
    const struct tt_layer_visitor *visitor;
    struct tt_tar_reader *reader;
    uint8_t magic[TT_COMPRESSION_MAGIC_SIZE]; /* the current file's first bytes, read before the rest */
    size_t magic_length;
    size_t magic_given;
    size_t left; /* wanted layers that did not come yet */
    bool *found; /* per layer */
};

static void search_clear(struct search *search)
{
    tt_tar_reader_free(search->reader);
    free(search->found);
}

/* What is wrong with the outer archive is the engine's doing. */
static enum tt_status blame_engine(enum tt_status status, struct tt_error *err)
{
    if (status == TT_MALFORMED && err)
        err->status = TT_STORE;
    return status == TT_MALFORMED ? TT_STORE : status;
}

static enum tt_status read_file(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct search *search = user;
    size_t left = search->magic_length - search->magic_given;
    if (left > 0) {
        *ret_length = left < capacity ? left : capacity;
        memcpy(data, search->magic + search->magic_given, *ret_length);
        search->magic_given += *ret_length;
        return TT_OK;
    }
    return blame_engine(tt_tar_reader_read(search->reader, data, capacity, ret_length, err), err);
}

static enum tt_status read_magic(struct search *search, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    size_t length = 1;
    search->magic_given = search->magic_length = 0;
    while (status == TT_OK && length > 0 && search->magic_length < sizeof search->magic) {
        status = tt_tar_reader_read(search->reader, search->magic + search->magic_length,
                                    sizeof search->magic - search->magic_length, &length, err);
        search->magic_length += status == TT_OK ? length : 0;
    }
    return blame_engine(status, err);
}

/* Whether the name alone tells that this is a layer which nobody wants. A wrong name costs nothing but an error: what
 * is wanted and does not come is missed in the end. */
static bool is_unwanted(const struct search *search, const char *path)
{
    const struct tt_docker_saved *saved = search->saved;
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    bool is_below = false;
    for (size_t i = 0; i < saved->count; i++) {
        const char *hex = saved->layers[i] + PREFIX_SIZE;
        bool same =
            strncmp(name, hex, HEX_SIZE) == 0 && (name[HEX_SIZE] == '\0' || strcmp(name + HEX_SIZE, ".tar") == 0);
        if (same && i >= saved->first)
            return false;
        is_below = is_below || same;
    }
    return is_below;
}

/* The layers that have this digest: an image may have one more than once. */
static enum tt_status take(struct search *search, const struct layer_scan_result *result, struct tt_error *err)
{
    const struct tt_docker_saved *saved = search->saved;
    char hex[HEX_SIZE + 1];
    tt_hex_encode(result->digest, TT_SHA256_SIZE, hex);
    for (size_t i = saved->first; i < saved->count; i++) {
        if (search->found[i] || strcmp(saved->layers[i] + PREFIX_SIZE, hex) != 0)
            continue;
        if (result->status != TT_OK && err)
            *err = result->failure;
        enum tt_status status =
            result->status == TT_OK ? search->visitor->end(search->visitor->user, i, err) : result->status;
        if (status != TT_OK)
            return status;
        search->found[i] = true;
        search->left--;
    }
    return TT_OK;
}

static enum tt_status look_into(struct search *search, const struct tt_entry *entry, struct tt_error *err)
{
    struct layer_scan_result result = {.status = TT_OK};
    char what[2 * TT_ERROR_DETAIL_SIZE];
    if (tt_tar_reader_offset(search->reader) < 0) /* the zeros of its holes would cost time without end */
        return tt_error_set(err, TT_STORE, "%s: the container engine sent a sparse file", search->saved->what);
    snprintf(what, sizeof what, "%.100s in %.300s", entry->path, search->saved->what);
    enum tt_status status = read_magic(search, err);
    if (status != TT_OK)
        return status;
    struct layer_scan_input input = {.what = what,
                                     .source = {.read = read_file, .user = search},
                                     .compression = tt_compression_of(search->magic, search->magic_length),
                                     .algorithm = TT_SHA256};
    status = layer_scan(&input, search->visitor, &result, err);
    return status == TT_OK && result.is_hashed ? take(search, &result, err) : status;
}

static enum tt_status missing(const struct search *search, struct tt_error *err)
{
    size_t index = search->saved->first;
    while (index + 1 < search->saved->count && search->found[index])
        index++;
    return tt_error_set(err, TT_STORE, "%s: the container engine did not send the layer %s; its log may say why",
                        search->saved->what, search->saved->layers[index]);
}

static enum tt_status walk(struct search *search, struct tt_error *err)
{
    for (size_t count = 0; search->left > 0; count++) {
        const struct tt_entry *entry = NULL;
        enum tt_status status = blame_engine(tt_tar_reader_next(search->reader, &entry, err), err);
        if (status != TT_OK)
            return status;
        if (!entry)
            return missing(search, err);
        if (count >= TT_DOCKER_SAVED_LIMIT)
            return tt_error_set(err, TT_STORE, "%s: the container engine sent more than %d files", search->saved->what,
                                TT_DOCKER_SAVED_LIMIT);
        if (entry->type == TT_ENTRY_FILE && !is_unwanted(search, entry->path))
            status = look_into(search, entry, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

enum tt_status tt_docker_saved_visit(const struct tt_docker_saved *saved, const struct tt_source *source,
                                     const struct tt_layer_visitor *visitor, struct tt_error *err)
{
    struct search search TT_CLEANUP(search_clear) = {.saved = saved, .visitor = visitor};
    search.left = saved->count - saved->first;
    search.found = calloc(saved->count + 1, sizeof *search.found);
    if (!search.found)
        return tt_error_memory(err);
    enum tt_status status = tt_tar_reader_new(source, saved->what, &search.reader, err);
    return status == TT_OK ? walk(&search, err) : status;
}
