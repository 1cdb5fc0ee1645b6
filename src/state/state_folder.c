#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "state/state_inside.h"

/* Other runs may take back empty folders and lock files under our feet; each time, the work starts over. */
enum { ATTEMPTS = 100 };

/* As mkdir -p, remembering in folder->kept what was there before. */
static enum tt_status make_folders(struct state_folder *folder, bool *ret_again, struct tt_error *err)
{
    char *partial TT_CLEANUP(tt_free_cleanup) = strdup(folder->path);
    if (!partial)
        return tt_error_memory(err);
    size_t length = strlen(partial);
    size_t before = 0;
    for (size_t i = 1; i <= length; i++) {
        if (folder->path[i] != '/' && folder->path[i] != '\0')
            continue;
        partial[i] = '\0';
        if (mkdir(partial, 0700) == 0) {
            folder->kept = before < folder->kept ? before : folder->kept;
            enum tt_status status = tt_file_sync_parent(partial, err);
            if (status != TT_OK)
                return status;
        } else if (errno == ENOENT && before > 0) {
            *ret_again = true;
            return TT_OK;
        } else if (errno != EEXIST) {
            return tt_error_errno(err, TT_STORE, "cannot make the folder %s for the station's memory", partial);
        }
        before = i;
        partial[i] = folder->path[i];
    }
    return TT_OK;
}

/* Who else can write here could make the station forget its stops, or take another configuration for the verified one.
 */
static enum tt_status check_folder(int descriptor, const char *path, struct tt_error *err)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read the folder %s", path);
    if (facts.st_uid != geteuid())
        return tt_error_set(err, TT_STORE,
                            "the folder %s belongs to user %u, not to user %u who runs this; chown it, or name another "
                            "folder for the station's memory",
                            path, (unsigned)facts.st_uid, (unsigned)geteuid());
    if (facts.st_mode & (S_IWGRP | S_IWOTH))
        return tt_error_set(err, TT_STORE, "others may write to the folder %s; run: chmod go-w %s", path, path);
    return TT_OK;
}

static enum tt_status open_folder(int parent, const char *name, const char *path, int *ret_descriptor, bool *ret_again,
                                  struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0) {
        int number = errno;
        struct stat facts;
        if (fstatat(parent, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(facts.st_mode))
            return tt_error_set(err, TT_STORE, "%s is a symbolic link; name the folder that it leads to", path);
        errno = number;
        *ret_again = number == ENOENT;
        return *ret_again ? TT_OK : tt_error_errno(err, TT_STORE, "cannot open the folder %s", path);
    }
    enum tt_status status = check_folder(descriptor, path, err);
    if (status != TT_OK)
        return status;
    *ret_descriptor = descriptor;
    descriptor = -1;
    return TT_OK;
}

static enum tt_status open_folders(struct state_folder *folder, bool *ret_again, struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = strdup(folder->path);
    if (!path)
        return tt_error_memory(err);
    char *session = strrchr(path, '/') + 1;
    int root TT_CLEANUP(tt_close_cleanup) = -1;
    int trains TT_CLEANUP(tt_close_cleanup) = -1;
    path[folder->root] = '\0';
    enum tt_status status = open_folder(AT_FDCWD, folder->root > 0 ? path : "/", path, &root, ret_again, err);
    path[folder->root] = '/';
    session[-1] = '\0';
    if (status == TT_OK && !*ret_again)
        status = open_folder(root, "trains", path, &trains, ret_again, err);
    if (status == TT_OK && !*ret_again)
        status = open_folder(trains, session, folder->path, &folder->descriptor, ret_again, err);
    return status;
}

static enum tt_status lock(struct state_folder *folder, const char *station, bool *ret_again, struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(folder->descriptor, folder->lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    *ret_again = descriptor < 0 && errno == ENOENT;
    if (*ret_again)
        return TT_OK;
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot open the lock file %s/%s", folder->path, folder->lock_name);
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return tt_error_set(err, TT_WRONG_STOP,
                                "another run works on this train at this station ('%s'); let it end first", station);
        return tt_error_errno(err, TT_STORE, "cannot lock %s/%s", folder->path, folder->lock_name);
    }
    /* Who held the lock before may have removed the file: then what we locked is nobody's lock any more. */
    struct stat ours;
    struct stat named;
    *ret_again = fstat(descriptor, &ours) != 0 ||
                 fstatat(folder->descriptor, folder->lock_name, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
                 ours.st_dev != named.st_dev || ours.st_ino != named.st_ino;
    if (!*ret_again) {
        folder->lock = descriptor;
        descriptor = -1;
    }
    return TT_OK;
}

enum tt_status state_folder_open(struct state_folder *folder, const char *station, struct tt_error *err)
{
    /* An empty session folder, left by a killed run, is ours to take back too. */
    folder->kept = (size_t)(strrchr(folder->path, '/') - folder->path);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        bool again = false;
        enum tt_status status = make_folders(folder, &again, err);
        if (status == TT_OK && !again)
            status = open_folders(folder, &again, err);
        if (status == TT_OK && !again)
            status = lock(folder, station, &again, err);
        if (status != TT_OK || !again)
            return status;
        if (folder->descriptor >= 0)
            close(folder->descriptor);
        folder->descriptor = -1;
    }
    return tt_error_set(err, TT_STORE,
                        "cannot keep the folder %s: a part of it is missing, maybe behind a broken symbolic link",
                        folder->path);
}

static void remove_empty(struct state_folder *folder)
{
    for (size_t length = strlen(folder->path); length > folder->kept; length--) {
        if (folder->path[length] != '/' && folder->path[length] != '\0')
            continue;
        folder->path[length] = '\0';
        if (rmdir(folder->path) != 0 && errno != ENOENT)
            return;
    }
}

void state_folder_close(struct state_folder *folder, bool empty)
{
    if (folder->lock >= 0) {
        /* While locked: nobody else can take this file for the lock in between. */
        unlinkat(folder->descriptor, folder->lock_name, 0);
        close(folder->lock);
    }
    if (folder->descriptor >= 0)
        close(folder->descriptor);
    if (empty && folder->path)
        remove_empty(folder);
    free(folder->path);
    free(folder->lock_name);
}
