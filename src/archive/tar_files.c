#include "archive/tar_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "archive/tar_reader.h"
#include "base/file.h"
#include "base/text.h"

/* The entries while they are collected, and what stays of them in the set: where their contents lie. */
struct tar_files {
    int descriptor;
    char *name;
    uint64_t position; /* of the scan */
    uint64_t size;
    struct tt_entry *entries;
    off_t *offsets;
    size_t *order; /* index of the set to index here */
    size_t count;
    size_t capacity;
};

static void tar_files_free(void *store)
{
    struct tar_files *tar = store;
    if (!tar)
        return;
    for (size_t i = 0; tar->entries && i < tar->count; i++)
        tt_entry_clear(&tar->entries[i]);
    free(tar->entries);
    free(tar->offsets);
    free(tar->order);
    free(tar->name);
    if (tar->descriptor >= 0)
        close(tar->descriptor);
    free(tar);
}

static void tar_files_cleanup(struct tar_files **tar)
{
    tar_files_free(*tar);
}

static enum tt_status set_read(void *store, size_t index, uint64_t offset, void *data, size_t length,
                               struct tt_error *err)
{
    struct tar_files *tar = store;
    return tt_file_read_at(tar->descriptor, (uint64_t)tar->offsets[tar->order[index]] + offset, data, length, tar->name,
                           err);
}

static enum tt_status source_read(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct tar_files *tar = user;
    ssize_t count = -1;
    do
        count = pread(tar->descriptor, data, capacity, (off_t)tar->position);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", tar->name);
    tar->position += (uint64_t)count;
    *ret_length = (size_t)count;
    return TT_OK;
}

static enum tt_status source_skip(void *user, uint64_t length, struct tt_error *err)
{
    struct tar_files *tar = user;
    if (length > tar->size - tar->position)
        return tt_error_set(err, TT_MALFORMED, "%s ends too early: it was cut off", tar->name);
    tar->position += length;
    return TT_OK;
}

/* The path in the set for a path in the tar, in new memory; NULL (with *ret_found false) when it is elsewhere. */
static char *map_path(const char *path, const char *from, const char *root, bool *ret_found)
{
    const char *inside = strncmp(path, "opt/", 4) == 0 ? path + 4 : path;
    *ret_found = tt_path_is_under(inside, from);
    return *ret_found ? tt_text_format("%s%s", root, inside + strlen(from)) : NULL;
}

static enum tt_status reserve(struct tar_files *tar, struct tt_error *err)
{
    if (tar->count < tar->capacity)
        return TT_OK;
    if (tar->count >= TT_ENTRY_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "%s has more than %d entries", tar->name, TT_ENTRY_LIMIT);
    size_t capacity = tar->capacity ? 2 * tar->capacity : 64;
    struct tt_entry *entries = realloc(tar->entries, capacity * sizeof *entries);
    if (entries)
        tar->entries = entries;
    off_t *offsets = realloc(tar->offsets, capacity * sizeof *offsets);
    if (offsets)
        tar->offsets = offsets;
    if (!entries || !offsets)
        return tt_error_memory(err);
    tar->capacity = capacity;
    return TT_OK;
}

/* Adds a copy of `entry` under `path`, taking over `path`. */
static enum tt_status add(struct tar_files *tar, const struct tt_entry *entry, char *path, off_t offset,
                          struct tt_error *err)
{
    struct tt_entry renamed = *entry;
    renamed.path = path;
    enum tt_status status = path ? reserve(tar, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = tt_entry_copy(&renamed, &tar->entries[tar->count], err);
    free(path);
    if (status == TT_OK)
        tar->offsets[tar->count++] = offset;
    return status;
}

static enum tt_status add_mapped(struct tar_files *tar, const struct tt_tar_reader *reader,
                                 const struct tt_entry *entry, const char *from, const char *root, struct tt_error *err)
{
    bool found = false;
    if (tt_tar_reader_is_absolute(reader))
        return tt_error_set(err, TT_TAMPERED, "%s: the name '/%s' is absolute", tar->name, entry->path);
    char *path = map_path(entry->path, from, root, &found);
    if (!found)
        return TT_OK;
    off_t offset = entry->type == TT_ENTRY_FILE ? tt_tar_reader_offset(reader) : 0;
    if (offset < 0) {
        free(path);
        return tt_error_set(err, TT_TAMPERED, "%s: '%s' is a sparse file", tar->name, entry->path);
    }
    if (entry->type != TT_ENTRY_HARDLINK)
        return add(tar, entry, path, offset, err);
    struct tt_entry link = *entry;
    char *target TT_CLEANUP(tt_free_cleanup) = map_path(entry->link_target, from, root, &found);
    if (target)
        link.link_target = target;
    return add(tar, &link, path, offset, err);
}

static enum tt_status scan(struct tar_files *tar, const char *from, const char *root, struct tt_error *err)
{
    struct tt_source source = {.read = source_read, .skip = source_skip, .user = tar};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
    enum tt_status status = tt_tar_reader_new(&source, tar->name, &reader, err);
    while (status == TT_OK) {
        const struct tt_entry *entry = NULL;
        status = tt_tar_reader_next(reader, &entry, err);
        if (status != TT_OK || !entry)
            break;
        status = add_mapped(tar, reader, entry, from, root, err);
    }
    return status;
}

static int compare(const void *one, const void *other, void *user)
{
    const struct tar_files *tar = user;
    return tt_path_compare(tar->entries[*(const size_t *)one].path, tar->entries[*(const size_t *)other].path);
}

static enum tt_status add_missing_root(struct tar_files *tar, const char *root, struct tt_error *err)
{
    bool there = tar->count == 0;
    for (size_t i = 0; i < tar->count && !there; i++)
        there = strcmp(tar->entries[i].path, root) == 0;
    if (there)
        return TT_OK;
    struct tt_entry folder = {.type = TT_ENTRY_FOLDER, .mode = 0755};
    return add(tar, &folder, strdup(root), 0, err);
}

/* The sorted entries, moved out of `tar`. */
static enum tt_status sort(struct tar_files *tar, struct tt_entry **ret_entries, struct tt_error *err)
{
    struct tt_entry *entries = calloc(tar->count + 1, sizeof *entries);
    tar->order = calloc(tar->count + 1, sizeof *tar->order);
    if (!entries || !tar->order) {
        free(entries);
        return tt_error_memory(err);
    }
    for (size_t i = 0; i < tar->count; i++)
        tar->order[i] = i;
    qsort_r(tar->order, tar->count, sizeof *tar->order, compare, tar);
    for (size_t i = 1; i < tar->count; i++) {
        const char *path = tar->entries[tar->order[i]].path;
        const struct tt_entry *before = &tar->entries[tar->order[i - 1]];
        bool twice = strcmp(path, before->path) == 0;
        if (twice || (before->type != TT_ENTRY_FOLDER && tt_path_is_under(path, before->path))) {
            free(entries);
            return tt_error_set(err, TT_TAMPERED, "%s has '%s' %s", tar->name, path,
                                twice ? "twice" : "below something that is no folder");
        }
    }
    for (size_t i = 0; i < tar->count; i++)
        entries[i] = tar->entries[tar->order[i]];
    free(tar->entries);
    tar->entries = NULL;
    *ret_entries = entries;
    return TT_OK;
}

static enum tt_status open_tar(const char *path, struct tar_files *tar, struct tt_error *err)
{
    struct stat facts;
    tar->name = strdup(path);
    tar->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (!tar->name)
        return tt_error_memory(err);
    if (tar->descriptor < 0 || fstat(tar->descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", path);
    if (!S_ISREG(facts.st_mode))
        return tt_error_set(err, TT_STORE, "%s is not a regular file", path);
    tar->size = (uint64_t)facts.st_size;
    return TT_OK;
}

enum tt_status tt_tar_files(const char *path, const char *from, const char *root, struct tt_file_set **ret_files,
                            struct tt_error *err)
{
    static const struct tt_file_set_ways ways = {.read = set_read, .free = tar_files_free};
    struct tar_files *tar TT_CLEANUP(tar_files_cleanup) = calloc(1, sizeof *tar);
    if (!tar)
        return tt_error_memory(err);
    struct tt_entry *entries = NULL;
    enum tt_status status = open_tar(path, tar, err);
    if (status == TT_OK)
        status = scan(tar, from, root, err);
    if (status == TT_OK)
        status = add_missing_root(tar, root, err);
    if (status == TT_OK)
        status = sort(tar, &entries, err);
    if (status != TT_OK)
        return status;
    size_t count = tar->count;
    status = tt_file_set_new(entries, count, &ways, tar, ret_files, err);
    if (status != TT_OK) {
        for (size_t i = 0; i < count; i++)
            tt_entry_clear(&entries[i]);
        free(entries);
        return status;
    }
    tar = NULL;
    return TT_OK;
}
