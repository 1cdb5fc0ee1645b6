#include "archive/decompress.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

/*
 * gzip by libarchive. zstd by its own library: a frame says how much memory it wants, up to 128 MiB by way of
 * libarchive, and there is no other way to say how much it gets.
 */
enum { INPUT_SIZE = 65536, WINDOW_LOG_LIMIT = 23 /* 8 MiB: the most that zstd uses unless it is asked for more */ };

struct tt_decompressor {
    struct tt_source source;
    char *what;
    struct archive *archive;
    ZSTD_DCtx *zstd; /* instead of `archive` */
    ZSTD_inBuffer unread;
    bool is_frame_done;
    bool may_hold_output;    /* in zstd's own buffer: the last call filled ours */
    struct tt_error failure; /* of the source, which libarchive's own words would hide */
    uint8_t input[INPUT_SIZE];
};

enum tt_compression tt_compression_of(const uint8_t *start, size_t length)
{
    if (length >= 2 && start[0] == 0x1F && start[1] == 0x8B)
        return TT_COMPRESSION_GZIP;
    if (length >= 4 && memcmp(start, "\x28\xB5\x2F\xFD", 4) == 0)
        return TT_COMPRESSION_ZSTD;
    if (length >= 4 && (start[0] & 0xF0) == 0x50 && memcmp(start + 1, "\x2A\x4D\x18", 3) == 0)
        return TT_COMPRESSION_ZSTD; /* a frame to be skipped comes first */
    return TT_COMPRESSION_NONE;
}

static la_ssize_t read_input(struct archive *archive, void *user, const void **ret_data)
{
    struct tt_decompressor *decompressor = user;
    size_t length = 0;
    enum tt_status status = decompressor->source.read(decompressor->source.user, decompressor->input, INPUT_SIZE,
                                                      &length, &decompressor->failure);
    if (status != TT_OK) {
        decompressor->failure.status = status;
        archive_set_error(archive, EIO, "source");
        return ARCHIVE_FATAL;
    }
    *ret_data = decompressor->input;
    return (la_ssize_t)length;
}

static enum tt_status failed(struct tt_decompressor *decompressor, struct tt_error *err)
{
    if (decompressor->failure.status != TT_OK) {
        if (err)
            *err = decompressor->failure;
        return decompressor->failure.status;
    }
    enum tt_status status =
        tt_error_set(err, TT_MALFORMED, "%s: the compressed data is damaged or cut off", decompressor->what);
    const char *words = archive_error_string(decompressor->archive);
    tt_error_detail(err, "%s", words ? words : "libarchive");
    return status;
}

static enum tt_status open_gzip(struct tt_decompressor *decompressor, struct tt_error *err)
{
    struct archive_entry *entry = NULL;
    decompressor->archive = archive_read_new();
    if (!decompressor->archive)
        return tt_error_memory(err);
    if (archive_read_support_format_raw(decompressor->archive) != ARCHIVE_OK ||
        archive_read_support_format_empty(decompressor->archive) != ARCHIVE_OK ||
        archive_read_append_filter(decompressor->archive, ARCHIVE_FILTER_GZIP) != ARCHIVE_OK ||
        archive_read_open(decompressor->archive, decompressor, NULL, read_input, NULL) != ARCHIVE_OK)
        return failed(decompressor, err);
    int result = archive_read_next_header(decompressor->archive, &entry);
    return result == ARCHIVE_OK || result == ARCHIVE_EOF ? TT_OK : failed(decompressor, err);
}

static enum tt_status open_zstd(struct tt_decompressor *decompressor, struct tt_error *err)
{
    decompressor->zstd = ZSTD_createDCtx();
    if (!decompressor->zstd ||
        ZSTD_isError(ZSTD_DCtx_setParameter(decompressor->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_LIMIT)))
        return tt_error_memory(err);
    return TT_OK;
}

static enum tt_status zstd_failed(const struct tt_decompressor *decompressor, size_t code, struct tt_error *err)
{
    bool too_large = ZSTD_getErrorCode(code) == ZSTD_error_frameParameter_windowTooLarge;
    enum tt_status status =
        too_large
            ? tt_error_set(err, TT_MALFORMED,
                           "%s was compressed so that unpacking it takes more than %d MiB of memory (zstd --long "
                           "or --ultra); compress it again without",
                           decompressor->what, 1 << (WINDOW_LOG_LIMIT - 20))
            : tt_error_set(err, TT_MALFORMED, "%s: the compressed data is damaged or cut off", decompressor->what);
    tt_error_detail(err, "zstd: %s", ZSTD_getErrorName(code));
    return status;
}

/* Fills `unread`. At the end of the source it stays empty, which is an error within a frame. */
static enum tt_status refill(struct tt_decompressor *decompressor, struct tt_error *err)
{
    size_t length = 0;
    enum tt_status status =
        decompressor->source.read(decompressor->source.user, decompressor->input, INPUT_SIZE, &length, err);
    if (status != TT_OK)
        return status;
    decompressor->unread = (ZSTD_inBuffer){.src = decompressor->input, .size = length};
    if (length == 0 && !decompressor->is_frame_done)
        return tt_error_set(err, TT_MALFORMED, "%s: the compressed data is damaged or cut off", decompressor->what);
    return TT_OK;
}

static enum tt_status read_zstd(struct tt_decompressor *decompressor, void *data, size_t capacity, size_t *ret_length,
                                struct tt_error *err)
{
    ZSTD_outBuffer out = {.dst = data, .size = capacity};
    while (out.pos == 0) {
        bool is_empty = decompressor->unread.pos == decompressor->unread.size;
        if (is_empty && !decompressor->may_hold_output) {
            enum tt_status status = refill(decompressor, err);
            if (status != TT_OK)
                return status;
            if (decompressor->unread.size == 0)
                break;
        }
        size_t left = ZSTD_decompressStream(decompressor->zstd, &out, &decompressor->unread);
        if (ZSTD_isError(left))
            return zstd_failed(decompressor, left, err);
        decompressor->is_frame_done = left == 0;
        decompressor->may_hold_output = left != 0 && out.pos == out.size;
    }
    *ret_length = out.pos;
    return TT_OK;
}

enum tt_status tt_decompressor_new(const struct tt_source *source, enum tt_compression compression, const char *what,
                                   struct tt_decompressor **ret_decompressor, struct tt_error *err)
{
    struct tt_decompressor *decompressor TT_CLEANUP(tt_decompressor_free_cleanup) = calloc(1, sizeof *decompressor);
    if (!decompressor)
        return tt_error_memory(err);
    decompressor->source = *source;
    decompressor->what = strdup(what);
    if (!decompressor->what)
        return tt_error_memory(err);
    enum tt_status status =
        compression == TT_COMPRESSION_ZSTD ? open_zstd(decompressor, err) : open_gzip(decompressor, err);
    if (status == TT_OK)
        *ret_decompressor = TT_TAKE(decompressor);
    return status;
}

void tt_decompressor_free(struct tt_decompressor *decompressor)
{
    if (!decompressor)
        return;
    archive_read_free(decompressor->archive);
    ZSTD_freeDCtx(decompressor->zstd);
    free(decompressor->what);
    free(decompressor);
}

enum tt_status tt_decompressor_read(struct tt_decompressor *decompressor, void *data, size_t capacity,
                                    size_t *ret_length, struct tt_error *err)
{
    if (decompressor->zstd)
        return read_zstd(decompressor, data, capacity, ret_length, err);
    la_ssize_t length = archive_read_data(decompressor->archive, data, capacity);
    if (length < 0)
        return failed(decompressor, err);
    *ret_length = (size_t)length;
    return TT_OK;
}
