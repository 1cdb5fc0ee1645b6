#include "archive/folder_output.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"

struct tt_folder_output {
    char *final;
    char *partial;
    int folder; /* descriptor of the partial folder, locked */
    int file;   /* the file being written, or -1 */
    struct tt_entry current;
    mode_t taken; /* permissions that the umask takes away */
    bool committed;
};

static void remove_tree(const char *path)
{
    char *tops[] = {(char *)path, NULL};
    FTS *tree = fts_open(tops, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!tree)
        return;
    for (FTSENT *node; (node = fts_read(tree));) {
        if (node->fts_info == FTS_D)
            (void)chmod(node->fts_accpath, 0700);
        else if (node->fts_info == FTS_DP)
            rmdir(node->fts_accpath);
        else
            unlink(node->fts_accpath);
    }
    fts_close(tree);
}

static enum tt_status name_partial(const char *folder, struct tt_folder_output *output, struct tt_error *err)
{
    char *for_base TT_CLEANUP(tt_free_cleanup) = strdup(folder);
    char *for_parent TT_CLEANUP(tt_free_cleanup) = strdup(folder);
    output->final = strdup(folder);
    if (!for_base || !for_parent || !output->final)
        return tt_error_memory(err);
    output->partial = tt_text_format("%s/.%s.traintoken", dirname(for_parent), basename(for_base));
    return output->partial ? TT_OK : tt_error_memory(err);
}

/* A partial folder that is not locked was left by a killed run. In a folder for everybody, as /tmp, it may be somebody
 * else's, who could put a link into our way while we remove what is in it. */
static enum tt_status claim(struct tt_folder_output *output, struct tt_error *err)
{
    struct stat facts;
    int old TT_CLEANUP(tt_close_cleanup) = open(output->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (old >= 0) {
        if (fstat(old, &facts) != 0 || facts.st_uid != geteuid())
            return tt_error_set(err, TT_STORE, "%s is in the way and belongs to somebody else; name another place",
                                output->partial);
        if (flock(old, LOCK_EX | LOCK_NB) != 0)
            return tt_error_set(err, TT_STORE, "another process is writing %s right now", output->final);
        remove_tree(output->partial);
    }
    if (mkdir(output->partial, 0700) != 0)
        return tt_error_errno(err, TT_STORE, "cannot make a folder beside %s", output->final);
    output->folder = open(output->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (output->folder < 0 || flock(output->folder, LOCK_EX | LOCK_NB) != 0)
        return tt_error_errno(err, TT_STORE, "cannot lock the folder beside %s", output->final);
    return TT_OK;
}

enum tt_status tt_folder_output_new(const char *folder, struct tt_folder_output **ret_output, struct tt_error *err)
{
    struct stat facts;
    if (lstat(folder, &facts) == 0)
        return tt_error_set(err, TT_USAGE, "%s exists already; name a folder that does not", folder);
    struct tt_folder_output *output TT_CLEANUP(tt_folder_output_free_cleanup) = calloc(1, sizeof *output);
    if (!output)
        return tt_error_memory(err);
    output->folder = -1;
    output->file = -1;
    output->taken = umask(0077);
    umask(output->taken);
    enum tt_status status = name_partial(folder, output, err);
    if (status == TT_OK)
        status = claim(output, err);
    if (status != TT_OK)
        return status;
    *ret_output = TT_TAKE(output);
    return TT_OK;
}

static void close_file(struct tt_folder_output *output)
{
    if (output->file >= 0)
        close(output->file);
    output->file = -1;
    tt_entry_clear(&output->current);
}

void tt_folder_output_free(struct tt_folder_output *output)
{
    if (!output)
        return;
    close_file(output);
    if (output->folder >= 0) {
        if (!output->committed)
            remove_tree(output->partial);
        close(output->folder);
    }
    free(output->final);
    free(output->partial);
    free(output);
}

static enum tt_status make_parents(struct tt_folder_output *output, const char *path, struct tt_error *err)
{
    char partial[PATH_MAX];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(partial, sizeof partial, "%.*s", (int)(slash - path), path);
        if (mkdirat(output->folder, partial, 0755) != 0 && errno != EEXIST)
            return tt_error_errno(err, TT_STORE, "cannot make the folder %s/%s", output->final, partial);
    }
    return TT_OK;
}

static enum tt_status end_file(struct tt_folder_output *output, struct tt_error *err)
{
    if (output->file < 0)
        return TT_OK;
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = output->current.mtime_seconds, .tv_nsec = (long)output->current.mtime_nanoseconds}};
    (void)futimens(output->file, times); /* a time that the file system cannot hold is no reason to fail */
    enum tt_status status = TT_OK;
    if (fchmod(output->file, output->current.mode & 0777 & ~output->taken) != 0 || fsync(output->file) != 0)
        status = tt_error_errno(err, TT_STORE, "cannot write %s/%s", output->final, output->current.path);
    close_file(output);
    return status;
}

static enum tt_status begin_file(struct tt_folder_output *output, const struct tt_entry *entry, struct tt_error *err)
{
    enum tt_status status = tt_entry_copy(entry, &output->current, err);
    if (status != TT_OK)
        return status;
    output->file = openat(output->folder, entry->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (output->file >= 0)
        return TT_OK;
    tt_entry_clear(&output->current);
    return tt_error_errno(err, TT_STORE, "cannot make the file %s/%s", output->final, entry->path);
}

enum tt_status tt_folder_output_add(struct tt_folder_output *output, const struct tt_entry *entry, struct tt_error *err)
{
    enum tt_status status = end_file(output, err);
    if (status == TT_OK)
        status = make_parents(output, entry->path, err);
    if (status != TT_OK)
        return status;
    int outcome = -1;
    switch (entry->type) {
    case TT_ENTRY_FILE:
        return begin_file(output, entry, err);
    case TT_ENTRY_FOLDER:
        outcome = mkdirat(output->folder, entry->path, 0700 | (entry->mode & 0777));
        if (outcome != 0 && errno == EEXIST)
            outcome = 0;
        break;
    case TT_ENTRY_SYMLINK:
        outcome = symlinkat(entry->link_target, output->folder, entry->path);
        break;
    case TT_ENTRY_HARDLINK:
        outcome = linkat(output->folder, entry->link_target, output->folder, entry->path, 0);
        break;
    case TT_ENTRY_SPECIAL:
        return tt_error_set(err, TT_TAMPERED, "'%s' is a special file", entry->path);
    }
    if (outcome != 0)
        return tt_error_errno(err, TT_STORE, "cannot make %s/%s", output->final, entry->path);
    return TT_OK;
}

enum tt_status tt_folder_output_data(struct tt_folder_output *output, const void *data, size_t length,
                                     struct tt_error *err)
{
    return tt_file_write_all(output->file, data, length, output->final, err);
}

enum tt_status tt_folder_output_commit(struct tt_folder_output *output, struct tt_error *err)
{
    enum tt_status status = end_file(output, err);
    if (status != TT_OK)
        return status;
    if (fsync(output->folder) != 0 || fchmod(output->folder, 0755 & ~output->taken) != 0 ||
        renameat2(AT_FDCWD, output->partial, AT_FDCWD, output->final, RENAME_NOREPLACE) != 0)
        return tt_error_errno(err, TT_STORE, "cannot make %s appear", output->final);
    output->committed = true;
    return TT_OK;
}
