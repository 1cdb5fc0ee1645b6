#include "image/layer_scan.h"

#include <string.h>

#include "archive/tar_reader.h"

/* As for the layers of a layout (oci_layer.c): what is unpacked may be so many times as large, and 1 GiB more. */
enum { GROWTH_LIMIT = 200, CHUNK_SIZE = 65536 };

static const uint64_t GROWTH_FREE = UINT64_C(1) << 30;

struct scan {
    const struct layer_scan_input *input;
    struct tt_decompressor *decompressor; /* NULL for a layer that is as it is */
    struct tt_tar_reader *reader;
    struct tt_digest *digest; /* NULL: unhashed */
    uint64_t packed;
    uint64_t unpacked;
    enum tt_status broken; /* what came of the source, or of us: nothing that the layer has to answer for */
    struct tt_error failure;
    uint8_t chunk[CHUNK_SIZE];
};

static void scan_free(struct scan *scan)
{
    if (!scan)
        return;
    tt_tar_reader_free(scan->reader);
    tt_decompressor_free(scan->decompressor);
    tt_digest_free(scan->digest);
    free(scan);
}
TT_DEFINE_CLEANUP(struct scan *, scan_free)

static enum tt_status note(struct scan *scan, enum tt_status status, const struct tt_error *err)
{
    if (status != TT_OK && scan->broken == TT_OK) {
        scan->broken = status;
        if (err)
            scan->failure = *err;
    }
    return status;
}

static enum tt_status read_source(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct scan *scan = user;
    const struct tt_source *source = &scan->input->source;
    enum tt_status status = source->read(source->user, data, capacity, ret_length, err);
    if (status == TT_OK)
        scan->packed += *ret_length;
    return note(scan, status, err);
}

static enum tt_status skip_source(void *user, uint64_t length, struct tt_error *err)
{
    struct scan *scan = user;
    return note(scan, scan->input->source.skip(scan->input->source.user, length, err), err);
}

static enum tt_status check_growth(const struct scan *scan, size_t length, struct tt_error *err)
{
    if (scan->unpacked + length <= GROWTH_FREE ||
        (scan->unpacked + length - GROWTH_FREE) / GROWTH_LIMIT <= scan->packed)
        return TT_OK;
    return tt_error_set(err, TT_MALFORMED, "%s grows beyond all measure when it is unpacked", scan->input->what);
}

/* The bytes of the archive, hashed. */
static enum tt_status read_unpacked(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct scan *scan = user;
    size_t length = 0;
    enum tt_status status = scan->decompressor ? tt_decompressor_read(scan->decompressor, data, capacity, &length, err)
                                               : read_source(scan, data, capacity, &length, err);
    if (status == TT_OK && scan->decompressor)
        status = note(scan, check_growth(scan, length, err), err);
    if (status == TT_OK && scan->digest)
        status = note(scan, tt_digest_update(scan->digest, data, length, err), err);
    if (status != TT_OK)
        return status;
    scan->unpacked += length;
    *ret_length = length;
    return TT_OK;
}

static enum tt_status open_scan(struct scan *scan, struct tt_error *err)
{
    const struct layer_scan_input *input = scan->input;
    struct tt_source packed = {.read = read_source, .user = scan};
    struct tt_source unpacked = {.read = read_unpacked, .user = scan};
    enum tt_status status = input->unhashed ? TT_OK : tt_digest_new(input->algorithm, &scan->digest, err);
    if (status == TT_OK && input->compression == TT_COMPRESSION_NONE && input->unhashed && input->source.skip)
        unpacked.skip = skip_source;
    if (status == TT_OK && input->compression != TT_COMPRESSION_NONE)
        status = tt_decompressor_new(&packed, input->compression, input->what, &scan->decompressor, err);
    return status == TT_OK ? tt_tar_reader_new(&unpacked, input->what, &scan->reader, err) : status;
}

static enum tt_status walk(struct scan *scan, const struct tt_layer_visitor *visitor, struct tt_error *err)
{
    for (;;) {
        const struct tt_entry *entry = NULL;
        enum tt_status status = tt_tar_reader_next(scan->reader, &entry, err);
        if (status != TT_OK || !entry)
            return status;
        if (tt_tar_reader_has_overlay(scan->reader))
            return tt_error_set(err, TT_TAMPERED, "%s: '/%.300s' has extended attributes of an overlay file system",
                                scan->input->what, entry->path);
        status = visitor->entry(visitor->user, entry, err);
        if (status != TT_OK)
            return err ? tt_error_context(err, "%s", scan->input->what) : status;
    }
}

/* The rest belongs to the digest, too. */
static enum tt_status finish(struct scan *scan, struct layer_scan_result *result, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    size_t length = 1;
    while (status == TT_OK && length > 0)
        status = read_unpacked(scan, scan->chunk, sizeof scan->chunk, &length, err);
    if (status == TT_OK)
        status = note(scan, tt_digest_final(scan->digest, result->digest, err), err);
    result->is_hashed = status == TT_OK;
    return status;
}

enum tt_status layer_scan(const struct layer_scan_input *input, const struct tt_layer_visitor *visitor,
                          struct layer_scan_result *ret_result, struct tt_error *err)
{
    struct scan *scan TT_CLEANUP(scan_free_cleanup) = calloc(1, sizeof *scan);
    struct layer_scan_result result = {.status = TT_OK};
    if (!scan)
        return tt_error_memory(err);
    scan->input = input;
    visitor->begin(visitor->user);
    result.status = open_scan(scan, &result.failure);
    bool is_open = result.status == TT_OK;
    if (is_open)
        result.status = walk(scan, visitor, &result.failure);
    /* A failure in here is the same one once more, or damage behind the archive: without its digest it is no layer. */
    struct tt_error after = TT_ERROR_INIT;
    if (is_open && scan->digest && scan->broken == TT_OK && finish(scan, &result, &after) != TT_OK &&
        result.status == TT_OK) {
        result.status = TT_MALFORMED;
        result.failure = after;
    }
    if (scan->broken != TT_OK && err)
        *err = scan->failure;
    if (scan->broken != TT_OK)
        return scan->broken;
    if (result.status == TT_INTERNAL) {
        if (err)
            *err = result.failure;
        return TT_INTERNAL;
    }
    *ret_result = result;
    return TT_OK;
}
