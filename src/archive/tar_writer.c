#include "archive/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdbool.h>

enum { PIECE_SIZE = 65536 }; /* small pieces are gathered: a sink's call may cost a thread's wake-up */

struct tt_tar_writer {
    struct tt_sink sink;
    struct archive *archive;
    struct archive_entry *entry;
    locale_t locale;
    struct tt_error failure; /* of the sink, which libarchive's own words would hide */
    uint64_t left;           /* bytes of the current file that must still come */
};

static la_ssize_t write_sink(struct archive *archive, void *user, const void *data, size_t length)
{
    struct tt_tar_writer *writer = user;
    if (writer->failure.status == TT_OK)
        writer->failure.status = writer->sink.write(writer->sink.user, data, length, &writer->failure);
    if (writer->failure.status == TT_OK)
        return (la_ssize_t)length;
    archive_set_error(archive, EIO, "sink");
    return -1;
}

static enum tt_status failed(struct tt_tar_writer *writer, struct tt_error *err)
{
    if (writer->failure.status != TT_OK) {
        if (err)
            *err = writer->failure;
        return writer->failure.status;
    }
    enum tt_status status = tt_error_set(err, TT_INTERNAL, "cannot write the archive");
    const char *words = archive_error_string(writer->archive);
    tt_error_detail(err, "%s", words ? words : "libarchive");
    return status;
}

enum tt_status tt_tar_writer_new(const struct tt_sink *sink, struct tt_tar_writer **ret_writer, struct tt_error *err)
{
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = calloc(1, sizeof *writer);
    if (!writer)
        return tt_error_memory(err);
    writer->sink = *sink;
    writer->archive = archive_write_new();
    writer->entry = archive_entry_new();
    writer->locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!writer->archive || !writer->entry || !writer->locale)
        return tt_error_memory(err);
    if (archive_write_set_format_pax(writer->archive) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(writer->archive, PIECE_SIZE) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(writer->archive, 1) != ARCHIVE_OK ||
        archive_write_open(writer->archive, writer, NULL, write_sink, NULL) != ARCHIVE_OK)
        return failed(writer, err);
    *ret_writer = TT_TAKE(writer);
    return TT_OK;
}

void tt_tar_writer_free(struct tt_tar_writer *writer)
{
    if (!writer)
        return;
    /* Closing, which alone frees libarchive's buffer, would complete the archive: nobody must hear of that. */
    writer->failure.status = TT_INTERNAL;
    if (writer->archive)
        archive_write_close(writer->archive);
    archive_write_free(writer->archive);
    archive_entry_free(writer->entry);
    if (writer->locale)
        freelocale(writer->locale);
    free(writer);
}

static void describe(const struct tt_entry *entry, struct archive_entry *header)
{
    static const __LA_MODE_T types[] = {[TT_ENTRY_FILE] = AE_IFREG,
                                        [TT_ENTRY_FOLDER] = AE_IFDIR,
                                        [TT_ENTRY_SYMLINK] = AE_IFLNK,
                                        [TT_ENTRY_HARDLINK] = AE_IFREG};
    archive_entry_clear(header);
    archive_entry_copy_pathname(header, entry->path[0] ? entry->path : ".");
    archive_entry_set_mode(header, types[entry->type] | (entry->mode & 07777));
    archive_entry_set_uid(header, entry->uid);
    archive_entry_set_gid(header, entry->gid);
    archive_entry_set_mtime(header, entry->mtime_seconds, entry->mtime_seconds < 0 ? 0 : entry->mtime_nanoseconds);
    archive_entry_set_size(header, entry->type == TT_ENTRY_FILE ? (la_int64_t)entry->size : 0);
    if (entry->type == TT_ENTRY_SYMLINK)
        archive_entry_copy_symlink(header, entry->link_target);
    if (entry->type == TT_ENTRY_HARDLINK)
        archive_entry_copy_hardlink(header, entry->link_target);
}

/* In the C locale libarchive converts no name but ASCII: it warns, and writes the name's bytes as they are into a pax
 * header that says "hdrcharset=BINARY". */
static int write_header(struct tt_tar_writer *writer)
{
    locale_t before = uselocale(writer->locale);
    errno = 0; /* libarchive looks for ENOMEM in it */
    int result = archive_write_header(writer->archive, writer->entry);
    uselocale(before);
    bool unconverted = result == ARCHIVE_WARN && archive_errno(writer->archive) == EILSEQ;
    return unconverted ? ARCHIVE_OK : result;
}

enum tt_status tt_tar_writer_entry(struct tt_tar_writer *writer, const struct tt_entry *entry, struct tt_error *err)
{
    if (writer->left > 0 || entry->type == TT_ENTRY_SPECIAL || entry->size > INT64_MAX)
        return tt_error_set(err, TT_INTERNAL, "%s cannot be written to an archive now", entry->path);
    describe(entry, writer->entry);
    if (write_header(writer) != ARCHIVE_OK)
        return failed(writer, err);
    writer->left = entry->type == TT_ENTRY_FILE ? entry->size : 0;
    return TT_OK;
}

enum tt_status tt_tar_writer_data(struct tt_tar_writer *writer, const void *data, size_t length, struct tt_error *err)
{
    if (length > writer->left)
        return tt_error_set(err, TT_INTERNAL, "more bytes for a file of an archive than were announced");
    if (length > 0 && archive_write_data(writer->archive, data, length) != (la_ssize_t)length)
        return failed(writer, err);
    writer->left -= length;
    return TT_OK;
}

enum tt_status tt_tar_writer_finish(struct tt_tar_writer *writer, struct tt_error *err)
{
    if (writer->left > 0)
        return tt_error_set(err, TT_INTERNAL, "fewer bytes for a file of an archive than were announced");
    return archive_write_close(writer->archive) == ARCHIVE_OK ? TT_OK : failed(writer, err);
}
