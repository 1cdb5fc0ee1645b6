#include "archive/decompress.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>

enum { INPUT_SIZE = 65536 };

struct tt_decompressor {
    struct tt_source source;
    char *what;
    struct archive *archive;
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

static enum tt_status open_archive(struct tt_decompressor *decompressor, enum tt_compression compression,
                                   struct tt_error *err)
{
    int filter = compression == TT_COMPRESSION_ZSTD ? ARCHIVE_FILTER_ZSTD : ARCHIVE_FILTER_GZIP;
    struct archive_entry *entry = NULL;
    decompressor->archive = archive_read_new();
    if (!decompressor->archive)
        return tt_error_memory(err);
    if (archive_read_support_format_raw(decompressor->archive) != ARCHIVE_OK ||
        archive_read_support_format_empty(decompressor->archive) != ARCHIVE_OK ||
        archive_read_append_filter(decompressor->archive, filter) != ARCHIVE_OK ||
        archive_read_open(decompressor->archive, decompressor, NULL, read_input, NULL) != ARCHIVE_OK)
        return failed(decompressor, err);
    int result = archive_read_next_header(decompressor->archive, &entry);
    return result == ARCHIVE_OK || result == ARCHIVE_EOF ? TT_OK : failed(decompressor, err);
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
    enum tt_status status = open_archive(decompressor, compression, err);
    if (status == TT_OK)
        *ret_decompressor = TT_TAKE(decompressor);
    return status;
}

void tt_decompressor_free(struct tt_decompressor *decompressor)
{
    if (!decompressor)
        return;
    archive_read_free(decompressor->archive);
    free(decompressor->what);
    free(decompressor);
}

enum tt_status tt_decompressor_read(struct tt_decompressor *decompressor, void *data, size_t capacity,
                                    size_t *ret_length, struct tt_error *err)
{
    la_ssize_t length = archive_read_data(decompressor->archive, data, capacity);
    if (length < 0)
        return failed(decompressor, err);
    *ret_length = (size_t)length;
    return TT_OK;
}
