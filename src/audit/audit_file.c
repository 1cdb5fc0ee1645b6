#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "audit/audit_inside.h"
#include "base/file.h"
#include "base/interrupt.h"

enum {
    LOCK_PAUSE = 10000000,       /* nanoseconds */
    LOCK_TRIES = 3000,           /* half a minute in all */
    LOCK_TRIES_AT_THE_END = 100, /* a second, once a signal came */
    FIRST_LOOK = 16384,
};

/* The folder. */

/* As mkdir -p. */
static enum tt_status make_folders(const char *path, struct tt_error *err)
{
    char *partial TT_CLEANUP(tt_free_cleanup) = strdup(path);
    if (!partial)
        return tt_error_memory(err);
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        partial[i] = '\0';
        bool is_new = mkdir(partial, 0700) == 0;
        if (!is_new && errno != EEXIST)
            return tt_error_errno(err, TT_STORE, "cannot make the folder %s for the audit trail", partial);
        enum tt_status status = is_new ? tt_file_sync_parent(partial, err) : TT_OK;
        if (status != TT_OK)
            return status;
        partial[i] = path[i];
    }
    return TT_OK;
}

/* Who can put another file in the trail's place makes it say what he likes. */
static enum tt_status check_folder(int folder, const char *path, struct tt_error *err)
{
    struct stat facts;
    if (fstat(folder, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read the folder of the audit trail %s", path);
    if ((facts.st_mode & S_IWOTH) && !(facts.st_mode & S_ISVTX))
        return tt_error_set(
            err, TT_STORE,
            "everybody may write to the folder of the audit trail %s: take that right away (chmod o-w), "
            "or name another file with --audit",
            path);
    if (facts.st_uid != geteuid() && facts.st_uid != 0)
        return tt_error_set(err, TT_STORE,
                            "the folder of the audit trail %s belongs to user %u, who can put another file in its "
                            "place; name one with --audit in a folder of user %u, who runs this, or of root",
                            path, (unsigned)facts.st_uid, (unsigned)geteuid());
    return TT_OK;
}

enum tt_status audit_folder_open(const char *path, enum audit_folder_use use, int *ret_folder, const char **ret_name,
                                 struct tt_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *folder TT_CLEANUP(tt_free_cleanup) = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder)
        return tt_error_memory(err);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return tt_error_set(err, TT_STORE, "the audit trail '%s' is a folder; name a file", path);
    enum tt_status status = use == AUDIT_FOLDER_MAKE ? make_folders(folder, err) : TT_OK;
    if (status != TT_OK)
        return status;
    int descriptor TT_CLEANUP(tt_close_cleanup) = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot open the folder of the audit trail %s", path);
    if (use != AUDIT_FOLDER_READ)
        status = check_folder(descriptor, path, err);
    if (status != TT_OK)
        return status;
    *ret_folder = descriptor;
    *ret_name = name;
    descriptor = -1;
    return TT_OK;
}

/* The file. */

static enum tt_status check_file(int descriptor, const char *path, bool append, struct tt_error *err)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read the audit trail %s", path);
    if (!S_ISREG(facts.st_mode))
        return tt_error_set(err, TT_STORE, "the audit trail %s is not a regular file", path);
    if (!append)
        return TT_OK;
    if (facts.st_uid != geteuid() && facts.st_uid != 0)
        return tt_error_set(err, TT_STORE,
                            "the audit trail %s belongs to user %u, not to user %u who runs this; chown it, or name "
                            "another file with --audit",
                            path, (unsigned)facts.st_uid, (unsigned)geteuid());
    if (facts.st_mode & (S_IWGRP | S_IWOTH))
        return tt_error_set(err, TT_STORE, "others may write to the audit trail %s; run: chmod go-w %s", path, path);
    return TT_OK;
}

enum tt_status audit_file_open(int folder, const char *name, const char *path, bool append, int *ret_descriptor,
                               struct tt_error *err)
{
    int how = append ? O_RDWR | O_APPEND | O_CREAT : O_RDONLY;
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(folder, name, how | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (descriptor < 0 && errno == ELOOP)
        return tt_error_set(err, TT_STORE, "the audit trail %s is a symbolic link; name the file that it leads to",
                            path);
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot %s the audit trail %s", append ? "write" : "read", path);
    enum tt_status status = check_file(descriptor, path, append, err);
    if (status != TT_OK)
        return status;
    *ret_descriptor = descriptor;
    descriptor = -1;
    return TT_OK;
}

enum tt_status audit_file_lock(int descriptor, int folder, const char *name, const char *path, bool *ret_moved,
                               struct tt_error *err)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE};
    struct stat held;
    struct stat named = {0}; /* also where the name is gone */
    for (int left = LOCK_TRIES; flock(descriptor, LOCK_EX | LOCK_NB) != 0; left--) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return tt_error_errno(err, TT_STORE, "cannot lock the audit trail %s", path);
        if (left == 0 || (tt_interrupt_signal() && left < LOCK_TRIES - LOCK_TRIES_AT_THE_END))
            return tt_error_set(err, TT_STORE, "another process keeps the audit trail %s locked; see which (fuser %s)",
                                path, path);
        nanosleep(&pause, NULL);
    }
    if (fstat(descriptor, &held) != 0 || (fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT))
        return tt_error_errno(err, TT_STORE, "cannot read the audit trail %s", path);
    if (held.st_nlink == 0)
        return tt_error_set(err, TT_STORE, "the audit trail %s was removed while it was in use", path);
    *ret_moved = held.st_dev != named.st_dev || held.st_ino != named.st_ino;
    return TT_OK;
}

/* Its end. */

/* The last stretch of a file, beginning where a line does or, with *ret_is_whole, where the file does. */
struct stretch {
    uint8_t *data;
    size_t length;
    bool is_whole;
};

static enum tt_status read_stretch(int descriptor, const char *path, uint64_t size, size_t wanted,
                                   struct stretch *ret_stretch, struct tt_error *err)
{
    size_t length = size < wanted ? (size_t)size : wanted;
    uint8_t *data TT_CLEANUP(tt_free_cleanup) = malloc(length + 1);
    if (!data)
        return tt_error_memory(err);
    enum tt_status status = tt_file_read_at(descriptor, size - length, data, length, path, err);
    if (status != TT_OK)
        return status;
    *ret_stretch = (struct stretch){.data = TT_TAKE(data), .length = length, .is_whole = length == size};
    return TT_OK;
}

/* Looks for the last record in the stretch, from its end. One that lacks but its line's end is one, too: it would be
 * read as one as soon as something follows. */
static enum tt_status find_record(const struct stretch *stretch, struct audit_end *end, bool *ret_found,
                                  struct tt_error *err)
{
    size_t stop = stretch->length;
    while (stop > 0) {
        bool is_ended = stretch->data[stop - 1] == '\n';
        size_t finish = stop - is_ended;
        const uint8_t *before = memrchr(stretch->data, '\n', finish);
        size_t start = before ? (size_t)(before - stretch->data) + 1 : 0;
        if (!before && !stretch->is_whole)
            return TT_OK;
        struct audit_line line TT_CLEANUP(audit_line_clear) = {0};
        enum tt_status status = audit_line_parse((const char *)stretch->data + start, finish - start, &line, NULL);
        if (status == TT_INTERNAL) /* what could not be read is no ruin */
            return tt_error_memory(err);
        if (status == TT_OK) {
            end->place.number = line.number;
            end->place.has_previous = true;
            end->ruin = stretch->length - stop;
            *ret_found = true;
            return tt_digest_once(TT_SHA256, stretch->data + start, finish - start, end->place.hash, err);
        }
        stop = start;
    }
    return TT_OK;
}

/* A file of something else is not a trail whose first record was never finished. */
static bool is_begun_trail(const struct stretch *stretch)
{
    static const char head[] = "{\"number\":1,\"previous\":null,";
    size_t length = stretch->length < sizeof head - 1 ? stretch->length : sizeof head - 1;
    size_t zeros = 0;
    while (zeros < stretch->length && stretch->data[zeros] == 0)
        zeros++;
    return zeros == stretch->length || memcmp(stretch->data, head, length) == 0;
}

/* What is there in place of a record becomes what the next one's hash is of: a recovery. */
static enum tt_status judge_ruin(const struct stretch *stretch, bool found, const char *path, struct audit_end *end,
                                 struct tt_error *err)
{
    if (!found && !(stretch->is_whole && is_begun_trail(stretch)))
        return tt_error_set(err, TT_STORE,
                            "%s does not end with a record of an audit trail; see traintoken audit verify, and name "
                            "another file with --audit",
                            path);
    end->lacks_newline = stretch->data[stretch->length - 1] != '\n';
    if (!found)
        end->ruin = stretch->length;
    if (end->ruin == 0)
        return TT_OK;
    const uint8_t *ruin = stretch->data + stretch->length - end->ruin;
    end->place.has_previous = true;
    return tt_digest_once(TT_SHA256, ruin, (size_t)end->ruin - (end->lacks_newline ? 0 : 1), end->place.hash, err);
}

enum tt_status audit_end_read(int descriptor, const char *path, struct audit_end *ret_end, struct tt_error *err)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read the audit trail %s", path);
    struct audit_end end = {.size = (uint64_t)facts.st_size};
    bool found = false;
    for (size_t wanted = FIRST_LOOK; end.size > 0; wanted *= 2) {
        struct stretch stretch = {0};
        enum tt_status status = read_stretch(descriptor, path, end.size, wanted, &stretch, err);
        uint8_t *data TT_CLEANUP(tt_free_cleanup) = stretch.data;
        if (status == TT_OK)
            status = find_record(&stretch, &end, &found, err);
        bool is_last = found || stretch.is_whole || wanted >= AUDIT_RUIN_LIMIT;
        if (status == TT_OK && is_last)
            status = judge_ruin(&stretch, found, path, &end, err);
        (void)data;
        if (status != TT_OK)
            return status;
        if (is_last)
            break;
    }
    *ret_end = end;
    return TT_OK;
}
