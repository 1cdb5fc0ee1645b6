#include <string.h>

#include "base/file.h"
#include "image/layer_scan.h"
#include "image/oci.h"

/* Reading layers once more for all of their entries: what opening the image kept are the protocol's paths only. */

static enum tt_status detect(const struct oci_stream *stream, enum tt_compression *ret_compression,
                             struct tt_error *err)
{
    uint8_t magic[TT_COMPRESSION_MAGIC_SIZE];
    size_t length = stream->size < sizeof magic ? (size_t)stream->size : sizeof magic;
    enum tt_status status = tt_file_read_at(stream->descriptor, 0, magic, length, stream->what, err);
    if (status == TT_OK)
        *ret_compression = tt_compression_of(magic, length);
    return status;
}

/* What is compressed is hashed on the way: the file may have changed. What is not was hashed by oci_verify_layers, and
 * its contents are passed over now. */
static enum tt_status visit_layer(const struct oci_layout *layout, const struct oci_layer *layer,
                                  const struct tt_layer_visitor *visitor, struct tt_error *err)
{
    char what[OCI_DIGEST_TEXT + 8];
    int descriptor TT_CLEANUP(tt_close_cleanup) = -1;
    struct layer_scan_result result = {.status = TT_OK};
    snprintf(what, sizeof what, "layer %s", layer->blob.digest.text);
    enum tt_status status = oci_blob_open(layout, &layer->blob, &descriptor, err);
    if (status != TT_OK)
        return status;
    struct oci_stream stream = {.descriptor = descriptor, .size = layer->blob.size, .what = what};
    struct layer_scan_input input = {
        .what = what,
        .source = {.read = oci_stream_read, .skip = oci_stream_skip, .user = &stream},
        .algorithm = layer->diff_id.algorithm,
    };
    status = detect(&stream, &input.compression, err);
    input.unhashed = input.compression == TT_COMPRESSION_NONE;
    if (status == TT_OK)
        status = layer_scan(&input, visitor, &result, err);
    if (status != TT_OK)
        return status;
    if (result.status != TT_OK && err)
        *err = result.failure;
    if (result.status != TT_OK)
        return result.status;
    struct oci_digest found;
    oci_digest_make(layer->diff_id.algorithm, result.digest, &found);
    if (!input.unhashed && !oci_digest_equal(&found, &layer->diff_id))
        return tt_error_set(err, TT_TAMPERED, "%s, unpacked, does not match its diff_id", what);
    return TT_OK;
}

enum tt_status oci_visit_layers(struct tt_image *image, size_t first, const struct tt_layer_visitor *visitor,
                                struct tt_error *err)
{
    struct oci_image *own = image->state;
    enum tt_status status = oci_verify_layers(&own->layout, &own->manifest, err);
    for (size_t i = first; status == TT_OK && i < own->manifest.layer_count; i++) {
        status = visit_layer(&own->layout, &own->manifest.layers[i], visitor, err);
        if (status == TT_OK)
            status = visitor->end(visitor->user, i, err);
    }
    return status;
}
