#include "archive/folder_files.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "archive/tar_reader.h"
#include "base/file.h"
#include "base/text.h"

struct folder_file {
    struct tt_entry entry;
    char *source; /* where it lies on this machine */
};

struct folder {
    struct folder_file *files;
    size_t count;
    size_t capacity;
    char **sources; /* once sorted: by index of the set */
};

static void folder_free(void *store)
{
    struct folder *folder = store;
    if (!folder)
        return;
    for (size_t i = 0; i < folder->count; i++) {
        if (folder->files) {
            tt_entry_clear(&folder->files[i].entry);
            free(folder->files[i].source);
        }
        if (folder->sources)
            free(folder->sources[i]);
    }
    free(folder->files);
    free(folder->sources);
    free(folder);
}

static void folder_cleanup(struct folder **folder)
{
    folder_free(*folder);
}

static enum tt_status folder_read(void *store, size_t index, uint64_t offset, void *data, size_t length,
                                  struct tt_error *err)
{
    const char *source = ((struct folder *)store)->sources[index];
    int descriptor TT_CLEANUP(tt_close_cleanup) = open(source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", source);
    return tt_file_read_at(descriptor, offset, data, length, source, err);
}

static enum tt_entry_type type_of(mode_t mode)
{
    if (S_ISREG(mode))
        return TT_ENTRY_FILE;
    if (S_ISDIR(mode))
        return TT_ENTRY_FOLDER;
    return S_ISLNK(mode) ? TT_ENTRY_SYMLINK : TT_ENTRY_SPECIAL;
}

/* Adds what lies at `source` under `path`; takes over `path`. */
static enum tt_status add(struct folder *folder, char *path, const char *source, const struct stat *facts,
                          struct tt_error *err)
{
    if (path && folder->count == folder->capacity && folder->count < TT_ENTRY_LIMIT) {
        size_t capacity = folder->capacity ? 2 * folder->capacity : 64;
        struct folder_file *grown = realloc(folder->files, capacity * sizeof *grown);
        if (grown) {
            folder->files = grown;
            folder->capacity = capacity;
        }
    }
    if (path && folder->count >= TT_ENTRY_LIMIT) {
        free(path);
        return tt_error_set(err, TT_USAGE, "%s has more than %d files", source, TT_ENTRY_LIMIT);
    }
    char *copy = strdup(source);
    if (!path || !copy || folder->count == folder->capacity) {
        free(path);
        free(copy);
        return tt_error_memory(err);
    }
    enum tt_entry_type type = type_of(facts->st_mode);
    folder->files[folder->count++] = (struct folder_file){
        .entry = {.path = path,
                  .type = type,
                  .mode = facts->st_mode & 07777,
                  .mtime_seconds = facts->st_mtim.tv_sec,
                  .mtime_nanoseconds = (uint32_t)facts->st_mtim.tv_nsec,
                  .size = type == TT_ENTRY_FILE ? (uint64_t)facts->st_size : 0,
                  .link_target = type == TT_ENTRY_SYMLINK ? strdup("") : NULL},
        .source = copy,
    };
    return TT_OK;
}

static enum tt_status add_tree(struct folder *folder, FTS *tree, const char *top, const char *root,
                               const char *extra_path, struct tt_error *err)
{
    for (FTSENT *node; (errno = 0, node = fts_read(tree));) {
        if (node->fts_info == FTS_DP)
            continue;
        if (node->fts_info == FTS_DNR || node->fts_info == FTS_ERR || node->fts_info == FTS_NS) {
            errno = node->fts_errno;
            return tt_error_errno(err, TT_USAGE, "cannot read %s", node->fts_path);
        }
        char *path = tt_text_format("%s%s", root, node->fts_path + strlen(top));
        if (path && extra_path && strcmp(path, extra_path) == 0) {
            free(path);
            return tt_error_set(err, TT_USAGE, "%s is there already: it cannot come from another file too",
                                node->fts_path);
        }
        enum tt_status status = add(folder, path, node->fts_path, node->fts_statp, err);
        if (status != TT_OK)
            return status;
    }
    return errno ? tt_error_errno(err, TT_USAGE, "cannot read %s", top) : TT_OK;
}

static void fts_cleanup(FTS **tree)
{
    if (*tree)
        fts_close(*tree);
}

static enum tt_status list(struct folder *folder, const char *top, const char *root, const char *extra,
                           const char *extra_name, struct tt_error *err)
{
    struct stat facts;
    char *extra_path TT_CLEANUP(tt_free_cleanup) = extra ? tt_text_format("%s/%s", root, extra_name) : NULL;
    if (stat(top, &facts) != 0)
        return tt_error_errno(err, TT_USAGE, "cannot read the folder %s", top);
    if (!S_ISDIR(facts.st_mode))
        return tt_error_set(err, TT_USAGE, "%s is not a folder", top);
    char *tops[] = {(char *)top, NULL};
    FTS *tree TT_CLEANUP(fts_cleanup) = fts_open(tops, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    if (!tree)
        return tt_error_errno(err, TT_USAGE, "cannot read the folder %s", top);
    enum tt_status status = add_tree(folder, tree, top, root, extra_path, err);
    if (status != TT_OK || !extra)
        return status;
    if (stat(extra, &facts) != 0)
        return tt_error_errno(err, TT_USAGE, "cannot read %s", extra);
    if (!S_ISREG(facts.st_mode))
        return tt_error_set(err, TT_USAGE, "%s is not a file", extra);
    return add(folder, TT_TAKE(extra_path), extra, &facts, err);
}

static int compare(const void *one, const void *other)
{
    return tt_path_compare(((const struct folder_file *)one)->entry.path,
                           ((const struct folder_file *)other)->entry.path);
}

/* Splits the sorted list into the entries that the set takes over and the sources that stay. */
static enum tt_status split(struct folder *folder, struct tt_entry **ret_entries, struct tt_error *err)
{
    struct tt_entry *entries = calloc(folder->count + 1, sizeof *entries);
    folder->sources = calloc(folder->count + 1, sizeof *folder->sources);
    if (!entries || !folder->sources) {
        free(entries);
        return tt_error_memory(err);
    }
    for (size_t i = 0; i < folder->count; i++) {
        entries[i] = folder->files[i].entry;
        folder->sources[i] = folder->files[i].source;
    }
    free(folder->files);
    folder->files = NULL;
    *ret_entries = entries;
    return TT_OK;
}

enum tt_status tt_folder_files(const char *folder, const char *root, const char *extra, const char *extra_name,
                               struct tt_file_set **ret_files, struct tt_error *err)
{
    static const struct tt_file_set_ways ways = {.read = folder_read, .free = folder_free};
    struct folder *listed TT_CLEANUP(folder_cleanup) = calloc(1, sizeof *listed);
    if (!listed)
        return tt_error_memory(err);
    char *top TT_CLEANUP(tt_free_cleanup) = strdup(folder);
    if (!top)
        return tt_error_memory(err);
    for (size_t length = strlen(top); length > 1 && top[length - 1] == '/'; length--)
        top[length - 1] = '\0';
    enum tt_status status = list(listed, top, root, extra, extra_name, err);
    if (status != TT_OK)
        return status;
    qsort(listed->files, listed->count, sizeof *listed->files, compare);
    struct tt_entry *entries = NULL;
    size_t count = listed->count;
    status = split(listed, &entries, err);
    if (status == TT_OK)
        status = tt_file_set_new(entries, count, &ways, listed, ret_files, err);
    if (status != TT_OK) {
        for (size_t i = 0; entries && i < count; i++)
            tt_entry_clear(&entries[i]);
        free(entries);
        return status;
    }
    listed = NULL;
    return TT_OK;
}
