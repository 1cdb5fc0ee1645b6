#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "image/oci.h"
#include "json/json.h"

enum { LAYOUT_FILE_LIMIT = 4096 };

void oci_layout_close(struct oci_layout *layout)
{
    free(layout->path);
    if (layout->folder >= 0)
        close(layout->folder);
    *layout = (struct oci_layout)OCI_LAYOUT_INIT;
}

static enum tt_status check_version(const struct oci_layout *layout, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_file_read(layout->folder, "oci-layout", LAYOUT_FILE_LIMIT, &text, err);
    if (status == TT_STORE)
        return tt_error_context(err, "%s is not an OCI image layout", layout->path);
    if (status == TT_OK)
        status = tt_json_parse((const char *)text.data, text.length, 100, "oci-layout", &root, err);
    if (status != TT_OK)
        return status;
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "imageLayoutVersion");
    if (!cJSON_IsString(version) || strncmp(version->valuestring, "1.", 2) != 0)
        return tt_error_set(err, TT_MALFORMED, "%s is an OCI image layout of a version that is not known",
                            layout->path);
    return TT_OK;
}

enum tt_status oci_layout_check_folders(const struct oci_layout *layout, struct tt_error *err)
{
    static const char *const names[] = {"blobs", "blobs/sha256", "blobs/sha512"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat facts;
        bool found = fstatat(layout->folder, names[i], &facts, AT_SYMLINK_NOFOLLOW) == 0;
        if (!found && errno != ENOENT)
            return tt_error_errno(err, TT_STORE, "cannot look at %s in %s", names[i], layout->path);
        if (found && S_ISLNK(facts.st_mode))
            return tt_error_set(err, TT_MALFORMED,
                                "%s in the OCI image layout %s is a symbolic link: blobs of others could be removed "
                                "through it; copy the image into a layout of its own (skopeo copy)",
                                names[i], layout->path);
    }
    return TT_OK;
}

enum tt_status oci_layout_open(const char *path, struct oci_layout *ret_layout, struct tt_error *err)
{
    struct oci_layout layout TT_CLEANUP(oci_layout_close) = OCI_LAYOUT_INIT;
    layout.path = strdup(path);
    if (!layout.path)
        return tt_error_memory(err);
    layout.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (layout.folder < 0)
        return tt_error_errno(err, TT_STORE, "cannot open the OCI image layout %s", path);
    enum tt_status status = check_version(&layout, err);
    if (status == TT_OK)
        status = oci_layout_check_folders(&layout, err);
    if (status != TT_OK)
        return status;
    *ret_layout = layout;
    layout = (struct oci_layout)OCI_LAYOUT_INIT;
    return TT_OK;
}

bool oci_layout_same(const struct oci_layout *one, const struct oci_layout *other)
{
    struct stat first;
    struct stat second;
    return fstat(one->folder, &first) == 0 && fstat(other->folder, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

enum tt_status oci_blob_open(const struct oci_layout *layout, const struct oci_descriptor *blob, int *ret_descriptor,
                             struct tt_error *err)
{
    char path[OCI_DIGEST_TEXT + 8];
    struct stat facts;
    oci_digest_path(&blob->digest, path);
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(layout->folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0 && errno == ENOENT)
        return tt_error_set(err, TT_STORE, "the blob %s is missing in %s", blob->digest.text, layout->path);
    if (descriptor < 0 || fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read the blob %s in %s", blob->digest.text, layout->path);
    if (!S_ISREG(facts.st_mode))
        return tt_error_set(err, TT_TAMPERED, "the blob %s in %s is not a regular file", blob->digest.text,
                            layout->path);
    if ((uint64_t)facts.st_size != blob->size)
        return tt_error_set(err, TT_TAMPERED, "the blob %s in %s has %lld bytes where its descriptor says %llu",
                            blob->digest.text, layout->path, (long long)facts.st_size, (unsigned long long)blob->size);
    *ret_descriptor = descriptor;
    descriptor = -1;
    return TT_OK;
}

enum tt_status oci_blob_look(const struct oci_layout *layout, const struct oci_descriptor *blob, bool *ret_is_there,
                             struct tt_error *err)
{
    char path[OCI_DIGEST_TEXT + 8];
    struct stat facts;
    oci_digest_path(&blob->digest, path);
    bool found = fstatat(layout->folder, path, &facts, AT_SYMLINK_NOFOLLOW) == 0;
    if (!found && errno != ENOENT)
        return tt_error_errno(err, TT_STORE, "cannot look for the blob %s in %s", blob->digest.text, layout->path);
    *ret_is_there = found && S_ISREG(facts.st_mode) && (uint64_t)facts.st_size == blob->size;
    return TT_OK;
}

bool oci_blob_exists(const struct oci_layout *layout, const struct oci_descriptor *blob)
{
    bool is_there = false;
    return oci_blob_look(layout, blob, &is_there, NULL) == TT_OK && is_there;
}

static enum tt_status read_whole(int descriptor, const struct oci_descriptor *blob, struct tt_buffer *text,
                                 struct tt_error *err)
{
    uint8_t chunk[16384];
    for (uint64_t offset = 0; offset < blob->size;) {
        size_t length = blob->size - offset < sizeof chunk ? (size_t)(blob->size - offset) : sizeof chunk;
        enum tt_status status = tt_file_read_at(descriptor, offset, chunk, length, blob->digest.text, err);
        if (status == TT_OK)
            status = tt_buffer_append(text, chunk, length, err);
        if (status != TT_OK)
            return status;
        offset += length;
    }
    return TT_OK;
}

static enum tt_status check_digest(const struct oci_layout *layout, const struct oci_descriptor *blob,
                                   const struct tt_buffer *text, struct tt_error *err)
{
    uint8_t value[TT_SHA512_SIZE] = {0};
    struct oci_digest digest;
    enum tt_status status =
        tt_digest_once(blob->digest.algorithm, text->length ? text->data : value, text->length, value, err);
    if (status != TT_OK)
        return status;
    oci_digest_make(blob->digest.algorithm, value, &digest);
    if (!oci_digest_equal(&digest, &blob->digest))
        return tt_error_set(err, TT_TAMPERED, "the bytes of the blob %s in %s do not match its digest",
                            blob->digest.text, layout->path);
    return TT_OK;
}

enum tt_status oci_blob_read(const struct oci_layout *layout, const struct oci_descriptor *blob,
                             struct tt_buffer *ret_text, cJSON **ret_root, struct tt_error *err)
{
    if (blob->size > OCI_JSON_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the JSON blob %s has %llu bytes; at most %d are allowed",
                            blob->digest.text, (unsigned long long)blob->size, OCI_JSON_LIMIT);
    int descriptor TT_CLEANUP(tt_close_cleanup) = -1;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(OCI_JSON_LIMIT);
    enum tt_status status = oci_blob_open(layout, blob, &descriptor, err);
    if (status == TT_OK)
        status = read_whole(descriptor, blob, &text, err);
    if (status == TT_OK)
        status = check_digest(layout, blob, &text, err);
    if (status == TT_OK)
        status = tt_json_parse(text.data ? (const char *)text.data : "", text.length, OCI_VALUE_LIMIT,
                               blob->digest.text, ret_root, err);
    if (status != TT_OK || !ret_text)
        return status;
    *ret_text = text;
    text = (struct tt_buffer){0};
    return TT_OK;
}

enum tt_status oci_stream_read(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct oci_stream *stream = user;
    uint64_t left = stream->size - stream->offset;
    size_t length = left < capacity ? (size_t)left : capacity;
    enum tt_status status = tt_interrupt_check(err);
    if (status == TT_OK && length > 0)
        status = tt_file_read_at(stream->descriptor, stream->offset, data, length, stream->what, err);
    if (status == TT_OK && stream->digest)
        status = tt_digest_update(stream->digest, data, length, err);
    if (status != TT_OK)
        return status;
    stream->offset += length;
    *ret_length = length;
    return TT_OK;
}

enum tt_status oci_stream_skip(void *user, uint64_t length, struct tt_error *err)
{
    struct oci_stream *stream = user;
    if (length > stream->size - stream->offset)
        return tt_error_set(err, TT_MALFORMED, "the archive ends too early: it was cut off");
    stream->offset += length;
    return TT_OK;
}
