/* libarchive reads the form; this file says what of it is taken: names byte for byte, and nothing that libarchive had
 * to guess, repair or skip. */
#include "archive/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <string.h>

#include "archive/tar_doubt.h"
#include "base/buffer.h"

enum {
    BUFFER_SIZE = 65536,
    BLOCK = TT_TAR_BLOCK,
    HEADERS_LIMIT = 1 << 18 /* bytes of one entry's headers, give or take a buffer: maps of sparse files use memory */
};

/* A symbolic link that libarchive is given in front of every archive. Up to 3.7 it loses the target of the first one
 * that is in a pax header only, as Go writes targets without any ASCII, unless it has seen a link before. */
static const uint8_t primer[BLOCK] = {
    [0] = '-',   [148] = '0', '0', '2', '0', '3', '3',  '\0', ' ', '2',
    [157] = '-', [257] = 'u', 's', 't', 'a', 'r', '\0', '0',  '0',
};

struct tt_tar_reader {
    struct tt_source source;
    char *what;
    struct archive *archive;
    locale_t locale;
    struct tt_error failure; /* of the source, which libarchive's own words would hide */
    struct tt_entry entry;
    uint64_t offset;          /* in the archive, of the current entry's content */
    uint64_t done;            /* bytes of it that were read */
    uint64_t start;           /* in the archive, of the buffer */
    size_t length;            /* bytes in it */
    struct tt_buffer headers; /* the current entry's */
    uint64_t headers_end;     /* in the archive, of what is in there so far */
    bool is_primed;
    bool is_open;
    bool is_sparse;
    bool is_absolute;
    bool in_headers;
    bool in_entry;
    bool ended;
    uint8_t buffer[BUFFER_SIZE];
};

/* Keeps the headers up to an offset of the archive, as they are in the buffer. */
static enum tt_status keep_headers(struct tt_tar_reader *reader, uint64_t end, struct tt_error *err)
{
    uint64_t from = reader->headers_end;
    if (from < reader->start || end > reader->start + reader->length || end <= from)
        return TT_OK; /* what was kept at the buffer's end is more than the headers were */
    reader->headers_end = end;
    return tt_buffer_append(&reader->headers, reader->buffer + (from - reader->start), (size_t)(end - from), err);
}

/* Before the buffer is filled anew, while headers are read: all that was in it belongs to them. */
static enum tt_status save_headers(struct tt_tar_reader *reader, struct tt_error *err)
{
    enum tt_status status = keep_headers(reader, reader->start + reader->length, err);
    if (status == TT_OK && reader->headers.length > HEADERS_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "%s: an entry has more than %d bytes of headers", reader->what,
                            HEADERS_LIMIT);
    return status;
}

/* At the end: "umoci insert" stops with the last byte of the last file. Neither is its block filled nor are there zeros
 * behind it, and the container world's readers do not mind; libarchive does mind about the block. */
static size_t fill_last_block(struct tt_tar_reader *reader)
{
    bool is_content_whole = !reader->is_sparse && reader->start == reader->offset + reader->entry.size;
    size_t missing = is_content_whole ? (BLOCK - reader->start % BLOCK) % BLOCK : 0;
    memset(reader->buffer, 0, missing);
    reader->length = missing;
    return missing;
}

static la_ssize_t read_source(struct archive *archive, void *user, const void **ret_data)
{
    struct tt_tar_reader *reader = user;
    if (!reader->is_primed) {
        reader->is_primed = true;
        *ret_data = primer;
        return sizeof primer;
    }
    size_t length = 0;
    enum tt_status status = reader->failure.status;
    if (status == TT_OK && reader->in_headers)
        status = save_headers(reader, &reader->failure);
    reader->start += reader->length;
    if (status == TT_OK)
        status = reader->source.read(reader->source.user, reader->buffer, BUFFER_SIZE, &length, &reader->failure);
    reader->length = length;
    reader->failure.status = status;
    if (status != TT_OK) {
        archive_set_error(archive, EIO, "source");
        return ARCHIVE_FATAL;
    }
    if (length == 0)
        length = fill_last_block(reader);
    *ret_data = reader->buffer;
    return (la_ssize_t)length;
}

/* Leaves the last block to be read, so that a skip beyond the archive's end does not pass for its end, and a last block
 * that is not filled does. libarchive reads on after 0, so that read_source tells of a failure. */
static la_int64_t skip_source(struct archive *archive, void *user, la_int64_t request)
{
    (void)archive;
    struct tt_tar_reader *reader = user;
    uint64_t length = request > BLOCK ? (uint64_t)request - BLOCK : 0;
    if (length == 0 || reader->failure.status != TT_OK)
        return 0;
    reader->failure.status = reader->source.skip(reader->source.user, length, &reader->failure);
    if (reader->failure.status != TT_OK)
        return 0;
    reader->start += length;
    return (la_int64_t)length;
}

enum tt_status tt_tar_reader_new(const struct tt_source *source, const char *what, struct tt_tar_reader **ret_reader,
                                 struct tt_error *err)
{
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = calloc(1, sizeof *reader);
    if (!reader)
        return tt_error_memory(err);
    reader->source = *source;
    reader->what = strdup(what);
    reader->archive = archive_read_new();
    reader->locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!reader->what || !reader->archive || !reader->locale)
        return tt_error_memory(err);
    *ret_reader = TT_TAKE(reader);
    return TT_OK;
}

void tt_tar_reader_free(struct tt_tar_reader *reader)
{
    if (!reader)
        return;
    archive_read_free(reader->archive);
    if (reader->locale)
        freelocale(reader->locale);
    tt_entry_clear(&reader->entry);
    tt_buffer_clear(&reader->headers);
    free(reader->what);
    free(reader);
}

static enum tt_status failed(struct tt_tar_reader *reader, struct tt_error *err)
{
    if (reader->failure.status != TT_OK) {
        if (err)
            *err = reader->failure;
        return reader->failure.status;
    }
    if (archive_errno(reader->archive) == ENOMEM)
        return tt_error_memory(err);
    enum tt_status status =
        tt_error_set(err, TT_MALFORMED, "%s: not a tar archive, or damaged, or cut off", reader->what);
    const char *words = archive_error_string(reader->archive);
    tt_error_detail(err, "%s", words ? words : "libarchive");
    return status;
}

/* Not in tt_tar_reader_new: opening reads, and the source may not be ready then. */
static enum tt_status open_archive(struct tt_tar_reader *reader, struct tt_error *err)
{
    struct archive *archive = reader->archive;
    struct archive_entry *link = NULL;
    if (archive_read_support_format_tar(archive) != ARCHIVE_OK ||
        archive_read_set_options(archive, "tar:!mac-ext,tar:!read_concatenated_archives") != ARCHIVE_OK ||
        archive_read_set_read_callback(archive, read_source) != ARCHIVE_OK ||
        (reader->source.skip && archive_read_set_skip_callback(archive, skip_source) != ARCHIVE_OK) ||
        archive_read_set_callback_data(archive, reader) != ARCHIVE_OK || archive_read_open1(archive) != ARCHIVE_OK ||
        archive_read_next_header(archive, &link) != ARCHIVE_OK)
        return failed(reader, err);
    reader->is_open = true;
    return TT_OK;
}

/* Strips what leads and trails, and refuses every path that two programs might read in two ways. */
static enum tt_status clean_path(const char *raw, char **ret_path, struct tt_error *err)
{
    for (;;) {
        if (raw[0] == '/')
            raw++;
        else if (raw[0] == '.' && (raw[1] == '/' || raw[1] == '\0'))
            raw += raw[1] == '/' ? 2 : 1;
        else
            break;
    }
    size_t length = strlen(raw);
    while (length > 0 && raw[length - 1] == '/')
        length--;
    if (length > TT_PATH_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "a path has %zu bytes; at most %d are allowed", length, TT_PATH_LIMIT);
    for (size_t start = 0; start < length;) {
        const char *slash = memchr(raw + start, '/', length - start);
        size_t part = slash ? (size_t)(slash - raw) - start : length - start;
        bool dots = (part == 1 && raw[start] == '.') || (part == 2 && raw[start] == '.' && raw[start + 1] == '.');
        if (part == 0 || dots)
            return tt_error_set(err, TT_MALFORMED, "the path '%.300s' has a component that is %s", raw,
                                part == 0 ? "empty" : "'.' or '..'");
        start += part + 1;
    }
    char *path = strndup(raw, length);
    if (!path)
        return tt_error_memory(err);
    *ret_path = path;
    return TT_OK;
}

static enum tt_entry_type type_of(struct archive_entry *read)
{
    if (archive_entry_hardlink(read)) /* some tools give these the type of what they lead to */
        return TT_ENTRY_HARDLINK;
    switch (archive_entry_filetype(read)) {
    case AE_IFREG:
        return TT_ENTRY_FILE;
    case AE_IFDIR:
        return TT_ENTRY_FOLDER;
    case AE_IFLNK:
        return TT_ENTRY_SYMLINK;
    default:
        return TT_ENTRY_SPECIAL;
    }
}

static enum tt_status take_link(struct archive_entry *read, struct tt_entry *entry, struct tt_error *err)
{
    if (entry->type != TT_ENTRY_SYMLINK && entry->type != TT_ENTRY_HARDLINK)
        return TT_OK;
    const char *link = entry->type == TT_ENTRY_SYMLINK ? archive_entry_symlink(read) : archive_entry_hardlink(read);
    if (!link || !link[0] || strlen(link) > TT_PATH_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the target of the link '%.300s' is missing or too long", entry->path);
    if (entry->type == TT_ENTRY_HARDLINK)
        return clean_path(link, &entry->link_target, err);
    entry->link_target = strdup(link);
    return entry->link_target ? TT_OK : tt_error_memory(err);
}

static enum tt_status take_numbers(struct archive_entry *read, struct tt_entry *entry, struct tt_error *err)
{
    int64_t uid = archive_entry_uid(read);
    int64_t gid = archive_entry_gid(read);
    int64_t size = archive_entry_size(read);
    if (uid < 0 || uid > UINT32_MAX || gid < 0 || gid > UINT32_MAX)
        return tt_error_set(err, TT_MALFORMED, "the owner of '%.300s' is no number of 32 bits", entry->path);
    if (size < 0 || size > INT64_MAX - BUFFER_SIZE || (size > 0 && entry->type != TT_ENTRY_FILE))
        return tt_error_set(err, TT_MALFORMED, "the %s '%.300s' has a size that cannot be",
                            tt_entry_type_name(entry->type), entry->path);
    entry->mode = archive_entry_mode(read) & 07777;
    entry->uid = (uint32_t)uid;
    entry->gid = (uint32_t)gid;
    entry->size = (uint64_t)size;
    entry->mtime_seconds = archive_entry_mtime(read);
    /* libarchive takes the fraction of a negative number for a positive one. */
    entry->mtime_nanoseconds = entry->mtime_seconds < 0 ? 0 : (uint32_t)archive_entry_mtime_nsec(read);
    return TT_OK;
}

static enum tt_status take_entry(struct archive_entry *read, struct tt_entry *entry, struct tt_error *err)
{
    const char *path = archive_entry_pathname(read);
    if (!path)
        return tt_error_set(err, TT_MALFORMED, "an entry has no name");
    entry->type = type_of(read);
    enum tt_status status = clean_path(path, &entry->path, err);
    if (status != TT_OK)
        return status;
    if (entry->type == TT_ENTRY_FILE && path[0] && path[strlen(path) - 1] == '/')
        return tt_error_set(err, TT_MALFORMED, "the file '%.300s' has the name of a folder", path);
    status = take_numbers(read, entry, err);
    return status == TT_OK ? take_link(read, entry, err) : status;
}

/* In the archive, of what comes next. */
static uint64_t position(const struct tt_tar_reader *reader)
{
    return (uint64_t)archive_filter_bytes(reader->archive, 0) - sizeof primer;
}

/* Passes the current entry's content. It must end where its size says: else others would find other entries, or what
 * reads at tt_tar_reader_offset other bytes. */
static enum tt_status leave_entry(struct tt_tar_reader *reader, struct tt_error *err)
{
    if (!reader->in_entry)
        return TT_OK;
    reader->in_entry = false;
    if (archive_read_data_skip(reader->archive) != ARCHIVE_OK)
        return failed(reader, err);
    uint64_t end = reader->offset + (reader->entry.size + BLOCK - 1) / BLOCK * BLOCK;
    if (!reader->is_sparse && position(reader) != end)
        return tt_error_set(err, TT_MALFORMED, "%s: the size of '%.300s' is ambiguous", reader->what,
                            reader->entry.path);
    return TT_OK;
}

static enum tt_status check_headers(struct tt_tar_reader *reader, struct archive_entry *read, struct tt_error *err)
{
    const struct tt_entry *entry = &reader->entry;
    const struct tt_buffer *headers = &reader->headers;
    la_int64_t offset = 0;
    la_int64_t length = 0;
    int64_t stored = reader->is_sparse ? 0 : -1;
    for (int count = archive_entry_sparse_reset(read); count > 0; count--) {
        archive_entry_sparse_next(read, &offset, &length);
        stored += length; /* no overflow: libarchive keeps them in order and apart */
    }
    bool tags = tt_tar_has_tags(headers->data, headers->length);
    if (tags && !tt_tar_has_tags(entry->path, strlen(entry->path)) &&
        !(entry->link_target && tt_tar_has_tags(entry->link_target, strlen(entry->link_target))))
        return tt_error_set(err, TT_MALFORMED, "the name of '%.300s' has more characters, invisible ones", entry->path);
    return tt_tar_doubt(headers->data, headers->length, entry->type == TT_ENTRY_FOLDER, stored, err);
}

/* In the C locale libarchive converts no name but ASCII, warns, and leaves the name as it is; in others it would
 * normalise. Every other warning is of something that it did not understand. */
static enum tt_status enter_entry(struct tt_tar_reader *reader, struct archive_entry **ret_read, struct tt_error *err)
{
    locale_t before = uselocale(reader->locale);
    reader->in_headers = true;
    reader->headers.length = 0;
    reader->headers_end = position(reader);
    errno = 0; /* libarchive looks for ENOMEM in it */
    int result = archive_read_next_header(reader->archive, ret_read);
    reader->in_headers = false;
    uselocale(before);
    reader->ended = result == ARCHIVE_EOF && position(reader) > 0; /* nothing at all is not an archive */
    bool unconverted = result == ARCHIVE_WARN && archive_errno(reader->archive) == EILSEQ;
    if (result != ARCHIVE_OK && !reader->ended && !unconverted)
        return failed(reader, err);
    return keep_headers(reader, position(reader), err);
}

enum tt_status tt_tar_reader_next(struct tt_tar_reader *reader, const struct tt_entry **ret_entry, struct tt_error *err)
{
    struct archive_entry *read = NULL;
    enum tt_status status = reader->is_open ? leave_entry(reader, err) : open_archive(reader, err);
    if (status == TT_OK && !reader->ended)
        status = enter_entry(reader, &read, err);
    if (status != TT_OK)
        return status;
    tt_entry_clear(&reader->entry);
    if (reader->ended) {
        *ret_entry = NULL;
        return TT_OK;
    }
    status = take_entry(read, &reader->entry, err);
    reader->is_sparse = archive_entry_sparse_count(read) > 0;
    const char *path = archive_entry_pathname(read);
    const char *link = archive_entry_hardlink(read);
    reader->is_absolute = (path && path[0] == '/') || (link && link[0] == '/');
    if (status == TT_OK)
        status = check_headers(reader, read, err);
    if (status != TT_OK) {
        tt_error_context(err, "%s", reader->what);
        return status;
    }
    reader->in_entry = true;
    reader->offset = position(reader);
    reader->done = 0;
    *ret_entry = &reader->entry;
    return TT_OK;
}

enum tt_status tt_tar_reader_read(struct tt_tar_reader *reader, void *data, size_t capacity, size_t *ret_length,
                                  struct tt_error *err)
{
    uint64_t left = reader->in_entry ? reader->entry.size - reader->done : 0;
    size_t length = left < capacity ? (size_t)left : capacity;
    la_ssize_t got = length > 0 ? archive_read_data(reader->archive, data, length) : 0;
    if (got < 0 || (got == 0 && length > 0 && !reader->is_sparse))
        return failed(reader, err);
    if (got == 0) { /* a hole at the end is not told */
        memset(data, 0, length);
        got = (la_ssize_t)length;
    }
    reader->done += (uint64_t)got;
    *ret_length = (size_t)got;
    return TT_OK;
}

bool tt_tar_reader_is_absolute(const struct tt_tar_reader *reader)
{
    return reader->is_absolute;
}

bool tt_tar_reader_has_overlay(const struct tt_tar_reader *reader)
{
    return tt_tar_has_overlay(reader->headers.data, reader->headers.length);
}

off_t tt_tar_reader_offset(const struct tt_tar_reader *reader)
{
    return reader->is_sparse ? -1 : (off_t)reader->offset;
}
