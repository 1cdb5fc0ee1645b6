
#include "base/file.h"
#include "image/oci.h"

enum { CHUNK_SIZE = 131072 };

void oci_copy_clear(struct oci_copy *copy)
{
    for (size_t i = 0; i < copy->count; i++)
        tt_close_cleanup(&copy->blobs[i].descriptor);
    free(copy->blobs);
    *copy = (struct oci_copy){0};
}

static enum tt_status copy_bytes(struct oci_stream *stream, int to, struct tt_error *err)
{
    uint8_t *chunk TT_CLEANUP(tt_free_cleanup) = malloc(CHUNK_SIZE);
    if (!chunk)
        return tt_error_memory(err);
    for (;;) {
        size_t length = 0;
        enum tt_status status = oci_stream_read(stream, chunk, CHUNK_SIZE, &length, err);
        if (status == TT_OK && length > 0)
            status = tt_file_write_all(to, chunk, length, stream->what, err);
        if (status != TT_OK || length == 0)
            return status;
    }
}

/* Checked while it is copied. */
static enum tt_status copy_blob(const struct oci_layout *from, const struct oci_descriptor *blob, int to,
                                struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) = -1;
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
    uint8_t value[TT_SHA512_SIZE];
    struct oci_digest made;
    enum tt_status status = oci_blob_open(from, blob, &descriptor, err);
    if (status == TT_OK)
        status = tt_digest_new(blob->digest.algorithm, &digest, err);
    struct oci_stream stream = {
        .descriptor = descriptor, .size = blob->size, .digest = digest, .what = blob->digest.text};
    if (status == TT_OK)
        status = copy_bytes(&stream, to, err);
    if (status == TT_OK)
        status = tt_digest_final(digest, value, err);
    if (status != TT_OK)
        return status;
    oci_digest_make(blob->digest.algorithm, value, &made);
    if (!oci_digest_equal(&made, &blob->digest))
        return tt_error_set(err, TT_TAMPERED, "the bytes of the blob %s in %s do not match its digest",
                            blob->digest.text, from->path);
    if (fsync(to) != 0)
        return tt_error_errno(err, TT_STORE, "cannot copy the blob %s", blob->digest.text);
    return TT_OK;
}

/* Whether the target has the blob already; it may not even be a layout yet. The parent's own blobs are verified by
 * whoever opened it, those of another layout never were. */
static bool target_has(const struct oci_layout *parent, const char *target, const struct oci_descriptor *blob)
{
    struct oci_layout layout TT_CLEANUP(oci_layout_close) = OCI_LAYOUT_INIT;
    return oci_layout_open(target, &layout, NULL) == TT_OK && oci_blob_exists(&layout, blob) &&
           (oci_layout_same(parent, &layout) || oci_verify_blob(&layout, blob, NULL, NULL) == TT_OK);
}

enum tt_status oci_copy_layers(const struct oci_image *image, const char *target, size_t extra,
                               struct oci_copy *ret_copy, struct tt_error *err)
{
    struct oci_copy copy TT_CLEANUP(oci_copy_clear) = {0};
    copy.blobs = calloc(image->manifest.layer_count + extra, sizeof *copy.blobs);
    if (!copy.blobs)
        return tt_error_memory(err);
    for (size_t i = 0; i < image->manifest.layer_count; i++) {
        struct oci_blob *blob = &copy.blobs[copy.count++];
        *blob = (struct oci_blob){.self = image->manifest.layers[i].blob, .descriptor = -1};
        if (target_has(&image->layout, target, &blob->self))
            continue;
        enum tt_status status = oci_unnamed(target, &blob->descriptor, err);
        if (status == TT_OK)
            status = copy_blob(&image->layout, &blob->self, blob->descriptor, err);
        if (status != TT_OK)
            return status;
    }
    *ret_copy = copy;
    copy = (struct oci_copy){0};
    return TT_OK;
}
