#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "image/oci.h"
#include "json/json.h"

enum { MARKER_LIMIT = OCI_BLOB_LIMIT * OCI_DIGEST_TEXT, RANDOM_SIZE = 8, LOCK_PAUSE = 20 * 1000 * 1000 };

static const char PREFIX[] = ".traintoken-pending-";
/* What tt_file_replace leaves when it is killed. */
static const char INDEX_TEMPORARY[] = ".index.json.traintoken";
static const char LAYOUT_TEMPORARY[] = ".oci-layout.traintoken";
static const char MADE_LAYOUT[] = "made layout";
static const char MADE_FOLDER[] = "made folder";

enum tt_status oci_lock(const struct oci_layout *layout, int *ret_lock, struct tt_error *err)
{
    /* A descriptor of its own: locks belong to open files, and layout->folder may be shared. */
    int lock TT_CLEANUP(tt_close_cleanup) = openat(layout->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool told = false;
    while (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
        if (lock < 0 || (errno != EWOULDBLOCK && errno != EINTR))
            return tt_error_errno(err, TT_STORE, "cannot lock the OCI image layout %s", layout->path);
        /* Whoever may read the folder can hold its lock for ever: so wait in a way that can be interrupted. */
        enum tt_status status = tt_interrupt_check(err);
        if (status != TT_OK)
            return status;
        if (!told)
            tt_log(TT_LOG_WARNING, "waiting for another program that holds the lock on %s", layout->path);
        told = true;
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE}, NULL);
    }
    *ret_lock = lock;
    lock = -1;
    return TT_OK;
}

static enum tt_status write_marker(struct oci_marker *marker, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(MARKER_LIMIT);
    enum tt_status status = TT_OK;
    if (marker->made_layout)
        status = tt_buffer_printf(&text, err, "%s\n", MADE_LAYOUT);
    if (status == TT_OK && marker->made_folder)
        status = tt_buffer_printf(&text, err, "%s\n", MADE_FOLDER);
    for (size_t i = 0; status == TT_OK && i < marker->digests.count; i++)
        status = tt_buffer_printf(&text, err, "%s\n", marker->digests.digests[i]);
    if (status != TT_OK)
        return status;
    marker->descriptor =
        openat(marker->layout.folder, marker->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (marker->descriptor < 0 || flock(marker->descriptor, LOCK_EX | LOCK_NB) != 0)
        return tt_error_errno(err, TT_STORE, "cannot write in the OCI image layout %s", marker->layout.path);
    status = tt_file_write_all(marker->descriptor, text.data, text.length, marker->layout.path, err);
    if (status == TT_OK && (fsync(marker->descriptor) != 0 || fsync(marker->layout.folder) != 0))
        status = tt_error_errno(err, TT_STORE, "cannot write in the OCI image layout %s", marker->layout.path);
    return status;
}

static enum tt_status copy_set(const struct oci_set *from, struct oci_set *to, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < from->count; i++)
        status = oci_set_add(to, from->digests[i], NULL, err);
    return status;
}

static enum tt_status hold_layout(const struct oci_layout *layout, struct oci_layout *ret_layout, struct tt_error *err)
{
    ret_layout->path = strdup(layout->path);
    ret_layout->folder = fcntl(layout->folder, F_DUPFD_CLOEXEC, 3);
    if (!ret_layout->path || ret_layout->folder < 0)
        return tt_error_memory(err);
    return TT_OK;
}

enum tt_status oci_marker_new(const struct oci_layout *layout, bool made_layout, bool made_folder,
                              const struct oci_set *digests, struct oci_marker **ret_marker, struct tt_error *err)
{
    struct oci_marker *marker TT_CLEANUP(oci_marker_free_cleanup) = calloc(1, sizeof *marker);
    if (!marker)
        return tt_error_memory(err);
    *marker = (struct oci_marker){
        .layout = OCI_LAYOUT_INIT, .descriptor = -1, .made_layout = made_layout, .made_folder = made_folder};
    uint8_t random[RANDOM_SIZE];
    char text[2 * RANDOM_SIZE + 1];
    enum tt_status status = tt_random(random, sizeof random, err);
    if (status == TT_OK)
        status = hold_layout(layout, &marker->layout, err);
    if (status == TT_OK)
        status = copy_set(digests, &marker->digests, err);
    if (status != TT_OK)
        return status;
    tt_hex_encode(random, sizeof random, text);
    snprintf(marker->name, sizeof marker->name, "%s%s", PREFIX, text);
    status = write_marker(marker, err);
    if (status == TT_OK)
        *ret_marker = TT_TAKE(marker);
    return status;
}

void oci_marker_free(struct oci_marker *marker)
{
    if (!marker)
        return;
    if (marker->descriptor >= 0) {
        unlinkat(marker->layout.folder, marker->name, 0);
        close(marker->descriptor);
    }
    oci_layout_close(&marker->layout);
    oci_set_clear(&marker->digests);
    free(marker);
}

/* What must stay: everything, when there is an index that cannot be read. */
static enum tt_status reachable(const struct oci_layout *layout, struct oci_set *set, bool *ret_has_index,
                                struct tt_error *err)
{
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    *ret_has_index = faccessat(layout->folder, "index.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
    if (!*ret_has_index)
        return TT_OK;
    enum tt_status status = oci_index_read(layout, NULL, &index, err);
    return status == TT_OK ? oci_reach_all(layout, index, set, err) : status;
}

/* Copies that were not renamed yet, where files without names cannot be linked. The layout is locked, so nobody is
 * making one now. */
static void remove_temporary_blobs(const struct oci_layout *layout, const char *folder)
{
    int descriptor = openat(layout->folder, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = descriptor >= 0 ? fdopendir(descriptor) : NULL;
    if (!list) {
        tt_close_cleanup(&descriptor);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list));)
        if (strncmp(entry->d_name, ".traintoken-", strlen(".traintoken-")) == 0)
            unlinkat(descriptor, entry->d_name, 0);
    closedir(list);
}

static void remove_new_layout(const struct oci_marker *marker)
{
    int folder = marker->layout.folder;
    unlinkat(folder, "oci-layout", 0);
    unlinkat(folder, LAYOUT_TEMPORARY, 0);
    unlinkat(folder, "blobs/sha256", AT_REMOVEDIR);
    unlinkat(folder, "blobs/sha512", AT_REMOVEDIR);
    unlinkat(folder, "blobs", AT_REMOVEDIR);
    if (!marker->made_folder)
        return;
    unlinkat(folder, marker->name, 0); /* else the folder is not empty */
    rmdir(marker->layout.path);
}

enum tt_status oci_marker_undo(const struct oci_marker *marker, struct tt_error *err)
{
    const struct oci_layout *layout = &marker->layout;
    struct oci_set used TT_CLEANUP(oci_set_clear) = {0};
    bool has_index = true;
    enum tt_status status = reachable(layout, &used, &has_index, err);
    if (status != TT_OK)
        return status;
    unlinkat(layout->folder, INDEX_TEMPORARY, 0);
    remove_temporary_blobs(layout, "blobs/sha256");
    remove_temporary_blobs(layout, "blobs/sha512");
    for (size_t i = 0; i < marker->digests.count; i++) {
        struct oci_digest digest;
        char path[OCI_DIGEST_TEXT + 8];
        if (oci_set_has(&used, marker->digests.digests[i]) ||
            oci_digest_parse(marker->digests.digests[i], &digest, NULL) != TT_OK)
            continue;
        oci_digest_path(&digest, path);
        if (unlinkat(layout->folder, path, 0) != 0 && errno != ENOENT)
            return tt_error_errno(err, TT_STORE, "cannot remove the blob %s of an unfinished change in %s", digest.text,
                                  layout->path);
    }
    if (!has_index && marker->made_layout)
        remove_new_layout(marker);
    return TT_OK;
}

/* Anything but digests and the two words is skipped: a marker that was cut off lists what was to come. */
static enum tt_status read_marker(struct oci_marker *marker, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_file_read(marker->layout.folder, marker->name, MARKER_LIMIT, &text, err);
    char *rest = (char *)text.data;
    for (char *line = NULL; status == TT_OK && rest && (line = strsep(&rest, "\n"));) {
        struct oci_digest digest;
        marker->made_layout = marker->made_layout || strcmp(line, MADE_LAYOUT) == 0;
        marker->made_folder = marker->made_folder || strcmp(line, MADE_FOLDER) == 0;
        if (oci_digest_parse(line, &digest, NULL) == TT_OK)
            status = oci_set_add(&marker->digests, digest.text, NULL, err);
    }
    return status;
}

/* Who wants to know of what is found, and whether it is only looked at. */
struct recovery {
    bool dry_run;
    tt_leftover_sink sink;
    void *user;
    bool recovered;
};

static enum tt_status recover_one(const struct oci_layout *layout, const char *name, struct recovery *recovery,
                                  struct tt_error *err)
{
    struct oci_marker marker = {.layout = *layout, .descriptor = -1};
    snprintf(marker.name, sizeof marker.name, "%s", name);
    struct stat facts;
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(layout->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0 || fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode) ||
        flock(descriptor, LOCK_EX | LOCK_NB) != 0)
        return TT_OK; /* gone, or nothing that was ever put there by this program, or its owner lives */
    if (recovery->sink)
        recovery->sink(recovery->user, "file", name, "of a run that was killed, with the blobs that it wrote");
    if (recovery->dry_run)
        return TT_OK;
    enum tt_status status = read_marker(&marker, err);
    if (status == TT_OK)
        status = oci_marker_undo(&marker, err);
    oci_set_clear(&marker.digests);
    if (status != TT_OK)
        return tt_error_context(err, "cleaning up after a run that was killed");
    unlinkat(layout->folder, name, 0);
    recovery->recovered = true;
    tt_log(TT_LOG_INFO, "cleaned up in %s after a run that was killed", layout->path);
    return TT_OK;
}

static bool is_marker(const char *name)
{
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 && strlen(name) < sizeof((struct oci_marker *)0)->name;
}

/* Calls nothing and takes no lock where there is no marker. */
static enum tt_status recover_all(const struct oci_layout *layout, DIR *list, struct recovery *recovery,
                                  struct tt_error *err)
{
    int lock TT_CLEANUP(tt_close_cleanup) = -1;
    enum tt_status status = TT_OK;
    while (status == TT_OK) {
        errno = 0;
        const struct dirent *entry = readdir(list);
        if (!entry && errno != 0)
            status = tt_error_errno(err, TT_STORE, "cannot list %s", layout->path);
        if (!entry)
            break;
        if (!is_marker(entry->d_name))
            continue;
        if (lock < 0)
            status = oci_lock(layout, &lock, err);
        if (status == TT_OK)
            status = recover_one(layout, entry->d_name, recovery, err);
    }
    /* What a container tool left behind while the train ran was to go with the killed run's own: it may be plaintext.
     */
    if (status == TT_OK && recovery->recovered)
        status = oci_sweep_unreachable(layout, err);
    return status;
}

enum tt_status oci_recover(const char *path, bool dry_run, tt_leftover_sink sink, void *user, struct tt_error *err)
{
    struct recovery recovery = {.dry_run = dry_run, .sink = sink, .user = user};
    struct oci_layout layout = {.path = (char *)path, .folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (layout.folder < 0)
        return TT_OK; /* whoever opens the image says what is wrong */
    int descriptor = fcntl(layout.folder, F_DUPFD_CLOEXEC, 3);
    DIR *list = descriptor >= 0 ? fdopendir(descriptor) : NULL;
    if (!list) {
        tt_close_cleanup(&descriptor);
        close(layout.folder);
        return tt_error_errno(err, TT_STORE, "cannot list the folder %s", path);
    }
    enum tt_status status = oci_layout_check_folders(&layout, err);
    if (status == TT_OK)
        status = recover_all(&layout, list, &recovery, err);
    closedir(list);
    close(layout.folder);
    return status;
}
