#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "image/oci.h"
#include "json/json.h"

enum { CHUNK_SIZE = 131072 };

static const char LAYOUT_TEXT[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
static const char INDEX_TEXT[] = "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_INDEX "\",\"manifests\":[]}";

/* One commit under way. */
struct commit {
    struct oci_layout layout;
    int lock;
    bool made_folder;
    bool made_layout;
    mode_t mode; /* of new files: as the index has it */
    struct tt_buffer index;
    struct oci_marker *marker;
};

static void commit_clear(struct commit *commit)
{
    oci_marker_free(commit->marker);
    tt_close_cleanup(&commit->lock);
    oci_layout_close(&commit->layout);
    tt_buffer_clear(&commit->index);
}

static void parent_of(const char *path, char parent[PATH_MAX])
{
    snprintf(parent, PATH_MAX, "%s", path);
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = '\0';
    char *slash = strrchr(parent, '/');
    if (!slash)
        strcpy(parent, ".");
    else
        slash[slash == parent ? 1 : 0] = '\0';
}

enum tt_status oci_unnamed(const char *path, int *ret_descriptor, struct tt_error *err)
{
    char folder[PATH_MAX];
    struct stat facts;
    int length = snprintf(folder, sizeof folder, "%s/blobs/sha256", path);
    if (length < 0 || (size_t)length >= sizeof folder)
        return tt_error_set(err, TT_USAGE, "the folder's name %.200s... is too long", path);
    if (stat(folder, &facts) == 0)
        return tt_file_unnamed(folder, ret_descriptor, err);
    if (stat(path, &facts) == 0)
        return tt_file_unnamed(path, ret_descriptor, err);
    parent_of(path, folder);
    return tt_file_unnamed(folder, ret_descriptor, err);
}

static bool is_empty_but_for_us(int folder)
{
    static const char *const signs[] = {"index.json", "oci-layout", "blobs"};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (faccessat(folder, signs[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return false;
    return true;
}

static enum tt_status open_folder(struct commit *commit, const char *path, struct tt_error *err)
{
    char parent[PATH_MAX];
    commit->made_folder = mkdir(path, 0777) == 0;
    if (!commit->made_folder && errno != EEXIST)
        return tt_error_errno(err, TT_STORE, "cannot make the folder %s for an OCI image layout", path);
    commit->layout.path = strdup(path);
    if (!commit->layout.path)
        return tt_error_memory(err);
    commit->layout.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (commit->layout.folder < 0)
        return tt_error_errno(err, TT_STORE, "cannot open the folder %s", path);
    if (!commit->made_folder)
        return TT_OK;
    parent_of(path, parent);
    int above TT_CLEANUP(tt_close_cleanup) = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (above >= 0)
        (void)fsync(above); /* not all file systems can, and then nothing better is to be had */
    return TT_OK;
}

/* Locks the layout and reads its index, or finds that there is none and one must be made. */
static enum tt_status open_target(struct commit *commit, const char *path, struct tt_error *err)
{
    struct oci_layout checked TT_CLEANUP(oci_layout_close) = OCI_LAYOUT_INIT;
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    struct stat facts;
    enum tt_status status = open_folder(commit, path, err);
    if (status == TT_OK)
        status = oci_lock(&commit->layout, &commit->lock, err);
    if (status != TT_OK)
        return status;
    commit->mode = 0644;
    commit->made_layout = is_empty_but_for_us(commit->layout.folder);
    if (commit->made_layout)
        return tt_buffer_append(&commit->index, INDEX_TEXT, sizeof INDEX_TEXT - 1, err);
    status = oci_layout_open(path, &checked, err);
    if (status == TT_OK)
        status = oci_index_read(&commit->layout, &commit->index, &index, err);
    if (status == TT_OK && fstatat(commit->layout.folder, "index.json", &facts, 0) == 0)
        commit->mode = facts.st_mode & 0666;
    return status;
}

/* What a crash could leave: the new blobs, or those of the images that the tags name now. */
static enum tt_status place_marker(struct commit *commit, const struct oci_tags *tags, const struct oci_blob *blobs,
                                   size_t count, struct tt_error *err)
{
    struct oci_set set TT_CLEANUP(oci_set_clear) = {0};
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = oci_index_parse(&commit->index, &index, err);
    const cJSON *entry = NULL;
    for (size_t i = 0; status == TT_OK && i < count; i++)
        status = oci_set_add(&set, blobs[i].self.digest.text, NULL, err);
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "manifests"))
    {
        if (status == TT_OK &&
            (oci_index_entry_is(entry, tags->tag) || (tags->also && oci_index_entry_is(entry, tags->also))))
            status = oci_reach_entry(&commit->layout, entry, &set, err);
    }
    if (status == TT_OK)
        status = oci_marker_new(&commit->layout, commit->made_layout, commit->made_folder, &set, &commit->marker, err);
    return status;
}

static enum tt_status make_layout(const struct commit *commit, struct tt_error *err)
{
    int folder = commit->layout.folder;
    if (mkdirat(folder, "blobs", 0777) != 0 || mkdirat(folder, "blobs/sha256", 0777) != 0)
        return tt_error_errno(err, TT_STORE, "cannot make folders in %s", commit->layout.path);
    return tt_file_replace(folder, "oci-layout", LAYOUT_TEXT, sizeof LAYOUT_TEXT - 1, 0644, err);
}

static enum tt_status copy_to(int from, uint64_t size, int to, const char *what, struct tt_error *err)
{
    uint8_t *chunk TT_CLEANUP(tt_free_cleanup) = malloc(CHUNK_SIZE);
    if (!chunk)
        return tt_error_memory(err);
    for (uint64_t offset = 0; offset < size;) {
        size_t length = size - offset < CHUNK_SIZE ? (size_t)(size - offset) : CHUNK_SIZE;
        enum tt_status status = tt_interrupt_check(err);
        if (status == TT_OK)
            status = tt_file_read_at(from, offset, chunk, length, what, err);
        if (status == TT_OK)
            status = tt_file_write_all(to, chunk, length, what, err);
        if (status != TT_OK)
            return status;
        offset += length;
    }
    return TT_OK;
}

static mode_t mode_of(const struct commit *commit, const struct oci_blob *blob)
{
    return blob->is_private ? 0600 : commit->mode;
}

/* From memory, or where a file without a name cannot be given one (other file system, no O_TMPFILE). */
static enum tt_status write_blob(const struct commit *commit, const struct oci_blob *blob, const char *path,
                                 struct tt_error *err)
{
    char temporary[OCI_DIGEST_TEXT + 24];
    snprintf(temporary, sizeof temporary, "blobs/%.6s/.traintoken-%.16s", blob->self.digest.text,
             blob->self.digest.text + strlen("sha256:"));
    int folder = commit->layout.folder;
    unlinkat(folder, temporary, 0);
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot make a blob in %s", commit->layout.path);
    enum tt_status status =
        blob->memory ? tt_file_write_all(descriptor, blob->memory, (size_t)blob->self.size, commit->layout.path, err)
                     : copy_to(blob->descriptor, blob->self.size, descriptor, commit->layout.path, err);
    if (status == TT_OK && (fchmod(descriptor, mode_of(commit, blob)) != 0 || fsync(descriptor) != 0 ||
                            renameat(folder, temporary, folder, path) != 0))
        status =
            tt_error_errno(err, TT_STORE, "cannot make the blob %s in %s", blob->self.digest.text, commit->layout.path);
    if (status != TT_OK)
        unlinkat(folder, temporary, 0);
    return status;
}

static bool link_blob(const struct commit *commit, const struct oci_blob *blob, const char *path)
{
    char file[64];
    snprintf(file, sizeof file, "/proc/self/fd/%d", blob->descriptor);
    if (fchmod(blob->descriptor, mode_of(commit, blob)) != 0)
        return false;
    unlinkat(commit->layout.folder, path, 0); /* of other bytes, or no file at all */
    return linkat(AT_FDCWD, file, commit->layout.folder, path, AT_SYMLINK_FOLLOW) == 0;
}

static enum tt_status put_blob(const struct commit *commit, const struct oci_blob *blob, struct tt_error *err)
{
    char path[OCI_DIGEST_TEXT + 8];
    bool is_ours = blob->descriptor >= 0 || blob->memory;
    /* A name and a size are no proof: who knows what will be written could have put other bytes there before. */
    if (oci_blob_exists(&commit->layout, &blob->self) &&
        (!is_ours || oci_verify_blob(&commit->layout, &blob->self, NULL, NULL) == TT_OK))
        return TT_OK;
    oci_digest_path(&blob->self.digest, path);
    if (!is_ours)
        return tt_error_set(err, TT_STORE, "the blob %s is missing in %s", blob->self.digest.text, commit->layout.path);
    if (blob->self.digest.algorithm == TT_SHA512 && mkdirat(commit->layout.folder, "blobs/sha512", 0777) != 0 &&
        errno != EEXIST)
        return tt_error_errno(err, TT_STORE, "cannot make folders in %s", commit->layout.path);
    if (!blob->memory && link_blob(commit, blob, path))
        return TT_OK;
    return write_blob(commit, blob, path, err);
}

static enum tt_status sync_folder(const struct commit *commit, const char *name, struct tt_error *err)
{
    int folder TT_CLEANUP(tt_close_cleanup) = openat(commit->layout.folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno == ENOENT)
        return TT_OK;
    if (folder < 0 || fsync(folder) != 0)
        return tt_error_errno(err, TT_STORE, "cannot write the folder %s in %s", name, commit->layout.path);
    return TT_OK;
}

/* From here the disk changes, in an order that leaves nothing behind: marker, blobs, index. */
static enum tt_status carry_out(struct commit *commit, const struct oci_tags *tags, const struct oci_blob *blobs,
                                size_t count, struct tt_error *err)
{
    enum tt_status status = commit->made_layout ? make_layout(commit, err) : TT_OK;
    for (size_t i = 0; status == TT_OK && i < count; i++)
        status = put_blob(commit, &blobs[i], err);
    if (status == TT_OK)
        status = sync_folder(commit, "blobs/sha256", err);
    if (status == TT_OK)
        status = sync_folder(commit, "blobs/sha512", err);
    if (status == TT_OK)
        status = oci_index_put(&commit->index, tags->tag, &blobs[count - 1].self, err);
    if (status == TT_OK && tags->also)
        status = oci_index_put(&commit->index, tags->also, &blobs[count - 1].self, err);
    if (status == TT_OK)
        status = tt_file_replace(commit->layout.folder, "index.json", commit->index.data, commit->index.length,
                                 commit->mode, err);
    return status;
}

enum tt_status oci_commit(const char *path, const struct oci_tags *tags, const struct oci_blob *blobs, size_t count,
                          struct oci_marker **ret_marker, struct tt_error *err)
{
    struct commit commit TT_CLEANUP(commit_clear) = {.layout = OCI_LAYOUT_INIT, .lock = -1};
    enum tt_status status = open_target(&commit, path, err);
    if (status == TT_OK)
        status = place_marker(&commit, tags, blobs, count, err);
    if (status != TT_OK) {
        if (commit.made_folder)
            rmdir(path);
        return status;
    }
    status = carry_out(&commit, tags, blobs, count, err);
    if (status == TT_OK) {
        *ret_marker = TT_TAKE(commit.marker);
        return TT_OK;
    }
    struct tt_error ignored = TT_ERROR_INIT;
    if (oci_marker_undo(commit.marker, &ignored) != TT_OK) {
        /* The marker's file stays, for the next start to try again. */
        tt_close_cleanup(&commit.marker->descriptor);
        commit.marker->descriptor = -1;
    }
    return status;
}
