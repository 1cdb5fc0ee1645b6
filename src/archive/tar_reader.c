/* Why not libarchive here: names must come byte for byte whatever the locale (libarchive converts them, and normalises
 * in UTF-8 locales), contents must be found by their offset, and what is doubtful must be refused instead of repaired.
 */
#include "archive/tar_reader.h"

#include <stdbool.h>
#include <string.h>

#include "archive/tar_format.h"

enum { BUFFER_SIZE = 32768 };

struct tt_tar_reader {
    struct tt_source source;
    char *what;
    uint8_t buffer[BUFFER_SIZE];
    size_t start; /* buffer[start..end) is read but not used */
    size_t end;
    uint64_t position; /* in the archive, of buffer[start] */
    struct tar_extensions extensions;
    struct tt_entry entry;
    uint64_t stored;  /* bytes of the current entry that are still in front of us, */
    uint64_t padding; /* and what fills its last block */
    struct tar_sparse sparse;
    bool is_sparse;
    size_t piece;     /* of a sparse file: where reading is */
    uint64_t logical; /* offset in the file's content */
    bool ended;
};

static enum tt_status truncated(struct tt_error *err)
{
    return tt_error_set(err, TT_MALFORMED, "the archive ends too early: it was cut off");
}

/* Up to `capacity` bytes, through the buffer only when they are few. */
static enum tt_status input_some(struct tt_tar_reader *reader, void *data, size_t capacity, size_t *ret_length,
                                 struct tt_error *err)
{
    if (reader->start == reader->end && capacity < BUFFER_SIZE) {
        size_t length = 0;
        enum tt_status status = reader->source.read(reader->source.user, reader->buffer, BUFFER_SIZE, &length, err);
        if (status != TT_OK)
            return status;
        reader->start = 0;
        reader->end = length;
    }
    size_t length = reader->end - reader->start;
    if (length > 0 || capacity < BUFFER_SIZE) {
        length = length < capacity ? length : capacity;
        memcpy(data, reader->buffer + reader->start, length);
        reader->start += length;
    } else {
        enum tt_status status = reader->source.read(reader->source.user, data, capacity, &length, err);
        if (status != TT_OK)
            return status;
    }
    reader->position += length;
    *ret_length = length;
    return TT_OK;
}

static enum tt_status input(struct tt_tar_reader *reader, void *data, size_t length, struct tt_error *err)
{
    uint8_t *bytes = data;
    while (length > 0) {
        size_t got = 0;
        enum tt_status status = input_some(reader, bytes, length, &got, err);
        if (status != TT_OK)
            return status;
        if (got == 0)
            return truncated(err);
        bytes += got;
        length -= got;
    }
    return TT_OK;
}

static enum tt_status skip(struct tt_tar_reader *reader, uint64_t length, struct tt_error *err)
{
    while (length > 0) {
        uint64_t have = reader->end - reader->start;
        if (have == 0 && reader->source.skip) {
            reader->position += length;
            return reader->source.skip(reader->source.user, length, err);
        }
        if (have == 0) {
            enum tt_status status =
                reader->source.read(reader->source.user, reader->buffer, BUFFER_SIZE, &reader->end, err);
            reader->start = 0;
            if (status != TT_OK) {
                reader->end = 0;
                return status;
            }
            if (reader->end == 0)
                return truncated(err);
            continue;
        }
        uint64_t step = have < length ? have : length;
        reader->start += (size_t)step;
        reader->position += step;
        length -= step;
    }
    return TT_OK;
}

enum tt_status tt_tar_reader_new(const struct tt_source *source, const char *what, struct tt_tar_reader **ret_reader,
                                 struct tt_error *err)
{
    struct tt_tar_reader *reader = calloc(1, sizeof *reader);
    char *name = strdup(what);
    if (!reader || !name) {
        free(reader);
        free(name);
        return tt_error_memory(err);
    }
    reader->source = *source;
    reader->what = name;
    tar_extensions_clear(&reader->extensions);
    *ret_reader = reader;
    return TT_OK;
}

void tt_tar_reader_free(struct tt_tar_reader *reader)
{
    if (!reader)
        return;
    tar_extensions_clear(&reader->extensions);
    tt_entry_clear(&reader->entry);
    free(reader->sparse.pieces);
    free(reader->what);
    free(reader);
}

/* The body of an extension header, with a NUL behind it. */
static enum tt_status read_body(struct tt_tar_reader *reader, uint64_t size, char **ret_body, struct tt_error *err)
{
    if (size > TAR_EXTENSION_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "an extension header has more than %d bytes", TAR_EXTENSION_LIMIT);
    char *body TT_CLEANUP(tt_free_cleanup) = malloc((size_t)size + 1);
    if (!body)
        return tt_error_memory(err);
    enum tt_status status = input(reader, body, (size_t)size, err);
    if (status == TT_OK)
        status = skip(reader, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK, err);
    if (status != TT_OK)
        return status;
    body[size] = '\0';
    *ret_body = TT_TAKE(body);
    return TT_OK;
}

/* A GNU long name is NUL-terminated; what follows the NUL does not count. */
static enum tt_status read_long_name(struct tt_tar_reader *reader, uint64_t size, char **target, struct tt_error *err)
{
    char *body = NULL;
    enum tt_status status = read_body(reader, size, &body, err);
    if (status != TT_OK)
        return status;
    free(*target);
    *target = body;
    return TT_OK;
}

/* A second pax header in a row replaces the first one; GNU long names stay. */
static enum tt_status read_pax(struct tt_tar_reader *reader, uint64_t size, bool global, struct tt_error *err)
{
    char *body TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = read_body(reader, size, &body, err);
    if (status != TT_OK)
        return status;
    if (!global) {
        char *path = TT_TAKE(reader->extensions.gnu_path);
        char *link = TT_TAKE(reader->extensions.gnu_link);
        tar_extensions_clear(&reader->extensions);
        reader->extensions.gnu_path = path;
        reader->extensions.gnu_link = link;
    }
    return tar_pax_parse(body, (size_t)size, global, &reader->extensions, err);
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

static enum tt_entry_type type_of(const struct tar_header *header)
{
    size_t length = strlen(header->path);
    switch (header->type) {
    case '\0':
        return length > 0 && header->path[length - 1] == '/' ? TT_ENTRY_FOLDER : TT_ENTRY_FILE;
    case '0':
    case '7':
    case 'S':
        return TT_ENTRY_FILE;
    case '1':
        return TT_ENTRY_HARDLINK;
    case '2':
        return TT_ENTRY_SYMLINK;
    case '5':
        return TT_ENTRY_FOLDER;
    default:
        return TT_ENTRY_SPECIAL;
    }
}

static enum tt_status name_entry(const struct tar_header *header, const struct tar_extensions *said,
                                 struct tt_entry *entry, struct tt_error *err)
{
    const char *path = said->gnu_path ? said->gnu_path : said->real_path ? said->real_path : said->path;
    enum tt_status status = clean_path(path ? path : header->path, &entry->path, err);
    if (status != TT_OK)
        return status;
    const char *link = said->gnu_link ? said->gnu_link : said->link ? said->link : header->link;
    if (entry->type == TT_ENTRY_HARDLINK)
        return clean_path(link, &entry->link_target, err);
    if (entry->type != TT_ENTRY_SYMLINK)
        return TT_OK;
    if (strlen(link) > TT_PATH_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the target of the link '%.300s' is too long", entry->path);
    entry->link_target = strdup(link);
    return entry->link_target ? TT_OK : tt_error_memory(err);
}

/* Form 1.0: the map is decimal lines in front of the data, padded to a block. */
static enum tt_status read_number_line(struct tt_tar_reader *reader, uint64_t *used, uint64_t *ret_value,
                                       struct tt_error *err)
{
    char digits[20];
    size_t length = 0;
    for (;;) {
        char byte = 0;
        if (*used == reader->stored)
            return truncated(err);
        enum tt_status status = input(reader, &byte, 1, err);
        if (status != TT_OK)
            return status;
        *used += 1;
        if (byte == '\n')
            break;
        if (length == sizeof digits)
            return tt_error_set(err, TT_MALFORMED, "the map of a sparse file is damaged");
        digits[length++] = byte;
    }
    if (!tar_decimal(digits, length, ret_value))
        return tt_error_set(err, TT_MALFORMED, "the map of a sparse file is damaged");
    return TT_OK;
}

static enum tt_status read_map(struct tt_tar_reader *reader, struct tt_error *err)
{
    uint64_t used = 0;
    uint64_t count = 0;
    enum tt_status status = read_number_line(reader, &used, &count, err);
    for (uint64_t i = 0; status == TT_OK && i < count; i++) {
        uint64_t offset = 0;
        uint64_t length = 0;
        status = read_number_line(reader, &used, &offset, err);
        if (status == TT_OK)
            status = read_number_line(reader, &used, &length, err);
        if (status == TT_OK)
            status = tar_sparse_add(&reader->sparse, offset, length, err);
    }
    uint64_t rest = (TAR_BLOCK - used % TAR_BLOCK) % TAR_BLOCK;
    if (status == TT_OK && rest > reader->stored - used)
        return truncated(err);
    if (status == TT_OK)
        status = skip(reader, rest, err);
    if (status == TT_OK)
        reader->stored -= used + rest;
    return status;
}

static enum tt_status read_old_map(struct tt_tar_reader *reader, const uint8_t first[TAR_BLOCK], struct tt_error *err)
{
    uint8_t block[TAR_BLOCK];
    bool more = false;
    enum tt_status status = tar_sparse_parse_old(&reader->sparse, first, true, &more, &reader->entry.size, err);
    while (status == TT_OK && more) {
        status = input(reader, block, sizeof block, err);
        if (status == TT_OK)
            status = tar_sparse_parse_old(&reader->sparse, block, false, &more, NULL, err);
    }
    return status;
}

/* Finds out whether the file is sparse in one of four forms, and reads its map. */
static enum tt_status prepare_sparse(struct tt_tar_reader *reader, const struct tar_header *header,
                                     const uint8_t block[TAR_BLOCK], struct tt_error *err)
{
    struct tar_extensions *said = &reader->extensions;
    reader->sparse.count = 0;
    bool in_data = said->sparse_major == 1 && said->sparse_minor == 0;
    if (!in_data && (said->sparse_major > 0 || said->sparse_minor > 1))
        return tt_error_set(err, TT_MALFORMED, "a sparse file is in a form that is not known");
    reader->is_sparse = header->type == 'S' || in_data || said->has_map;
    if (!reader->is_sparse)
        return TT_OK;
    if (reader->entry.type != TT_ENTRY_FILE || (header->type == 'S' && (in_data || said->has_map || !header->is_gnu)))
        return tt_error_set(err, TT_MALFORMED, "a sparse map belongs to no file");
    if (header->type != 'S' && !said->has_real_size)
        return tt_error_set(err, TT_MALFORMED, "a sparse file does not say its size");
    enum tt_status status = TT_OK;
    reader->entry.size = said->real_size;
    if (header->type == 'S') {
        status = read_old_map(reader, block, err);
    } else if (in_data) {
        status = read_map(reader, err);
    } else {
        struct tar_sparse map = reader->sparse;
        reader->sparse = said->sparse;
        said->sparse = map;
    }
    if (status != TT_OK)
        return status;
    return tar_sparse_check(&reader->sparse, reader->entry.size, reader->stored, err);
}

static enum tt_status build_entry(struct tt_tar_reader *reader, const struct tar_header *header,
                                  const uint8_t block[TAR_BLOCK], struct tt_error *err)
{
    const struct tar_extensions *said = &reader->extensions;
    struct tt_entry *entry = &reader->entry;
    tt_entry_clear(entry);
    entry->type = type_of(header);
    entry->mode = header->mode;
    entry->uid = said->has_uid ? said->uid : header->uid;
    entry->gid = said->has_gid ? said->gid : header->gid;
    entry->mtime_seconds = said->has_mtime ? said->mtime_seconds : header->mtime;
    entry->mtime_nanoseconds = said->has_mtime ? said->mtime_nanoseconds : 0;
    enum tt_status status = name_entry(header, said, entry, err);
    if (status != TT_OK)
        return status;
    uint64_t size = said->has_size ? said->size : header->size;
    bool header_only =
        header->type >= '1' && header->type <= '6'; /* links, devices, folders, pipes: whatever is said */
    reader->stored = header_only ? 0 : size;
    reader->padding = (TAR_BLOCK - reader->stored % TAR_BLOCK) % TAR_BLOCK;
    entry->size = entry->type == TT_ENTRY_FILE ? size : 0;
    reader->piece = 0;
    reader->logical = 0;
    return prepare_sparse(reader, header, block, err);
}

/* As many of `length` bytes as there are before the end. */
static enum tt_status input_rest(struct tt_tar_reader *reader, uint8_t *data, size_t length, size_t *ret_length,
                                 struct tt_error *err)
{
    size_t have = 0;
    while (have < length) {
        size_t got = 0;
        enum tt_status status = input_some(reader, data + have, length - have, &got, err);
        if (status != TT_OK)
            return status;
        if (got == 0)
            break;
        have += got;
    }
    *ret_length = have;
    return TT_OK;
}

/* A block of zeros ends the archive, if nothing but the end or another such block follows. */
static enum tt_status check_end(struct tt_tar_reader *reader, struct tt_error *err)
{
    uint8_t block[TAR_BLOCK];
    size_t length = 0;
    enum tt_status status = input_rest(reader, block, sizeof block, &length, err);
    if (status != TT_OK)
        return status;
    if (length == sizeof block && !tar_block_is_zero(block))
        return tt_error_set(err, TT_MALFORMED, "a header is missing: the archive is damaged");
    reader->ended = true;
    return TT_OK;
}

/* Past what fills the last block of the entry before. Some writers (umoci insert) leave that out at the very end. */
static enum tt_status skip_padding(struct tt_tar_reader *reader, struct tt_error *err)
{
    uint8_t padding[TAR_BLOCK];
    size_t want = (size_t)reader->padding;
    size_t length = 0;
    reader->padding = 0;
    enum tt_status status = input_rest(reader, padding, want, &length, err);
    if (status != TT_OK)
        return status;
    if (length < want && length > 0)
        return truncated(err);
    reader->ended = length < want;
    return TT_OK;
}

/* The next header, or the end: zeros, or nothing more at all, as the same writers leave the zeros out too. */
static enum tt_status next_header(struct tt_tar_reader *reader, bool may_end, uint8_t block[TAR_BLOCK],
                                  struct tar_header *header, struct tt_error *err)
{
    size_t length = 0;
    enum tt_status status = input_rest(reader, block, TAR_BLOCK, &length, err);
    if (status != TT_OK)
        return status;
    if (length == 0 && may_end && reader->position > 0) {
        reader->ended = true;
        return TT_OK;
    }
    if (length < TAR_BLOCK)
        return truncated(err);
    if (tar_block_is_zero(block))
        return may_end ? check_end(reader, err) : truncated(err);
    return tar_header_parse(block, header, err);
}

static bool is_extension(char type)
{
    return type == 'x' || type == 'g' || type == 'L' || type == 'K';
}

static enum tt_status read_extension(struct tt_tar_reader *reader, const struct tar_header *header,
                                     struct tt_error *err)
{
    struct tar_extensions *extensions = &reader->extensions;
    if (header->type == 'x' || header->type == 'g')
        return read_pax(reader, header->size, header->type == 'g', err);
    return read_long_name(reader, header->size, header->type == 'L' ? &extensions->gnu_path : &extensions->gnu_link,
                          err);
}

static enum tt_status next(struct tt_tar_reader *reader, struct tt_error *err)
{
    uint8_t block[TAR_BLOCK];
    struct tar_header header = {.type = 'g'};
    bool announced = false; /* an extension header must be followed by its entry */
    enum tt_status status = skip(reader, reader->stored, err);
    reader->stored = 0;
    if (status == TT_OK)
        status = skip_padding(reader, err);
    while (status == TT_OK && !reader->ended && is_extension(header.type)) {
        status = next_header(reader, !announced, block, &header, err);
        if (status != TT_OK || reader->ended || !is_extension(header.type))
            break;
        announced = announced || header.type != 'g';
        status = read_extension(reader, &header, err);
    }
    if (status == TT_OK && !reader->ended)
        status = build_entry(reader, &header, block, err);
    tar_extensions_clear(&reader->extensions);
    return status;
}

enum tt_status tt_tar_reader_next(struct tt_tar_reader *reader, const struct tt_entry **ret_entry, struct tt_error *err)
{
    enum tt_status status = reader->ended ? TT_OK : next(reader, err);
    if (status == TT_MALFORMED)
        tt_error_context(err, "%s", reader->what);
    if (status != TT_OK)
        return status;
    *ret_entry = reader->ended ? NULL : &reader->entry;
    return TT_OK;
}

static enum tt_status read_plain(struct tt_tar_reader *reader, void *data, size_t capacity, size_t *ret_length,
                                 struct tt_error *err)
{
    size_t length = reader->stored < capacity ? (size_t)reader->stored : capacity;
    size_t got = 0;
    if (length > 0) {
        enum tt_status status = input_some(reader, data, length, &got, err);
        if (status != TT_OK)
            return status;
        if (got == 0)
            return truncated(err);
    }
    reader->stored -= got;
    reader->logical += got;
    *ret_length = got;
    return TT_OK;
}

static enum tt_status read_sparse(struct tt_tar_reader *reader, void *data, size_t capacity, size_t *ret_length,
                                  struct tt_error *err)
{
    const struct tar_sparse *map = &reader->sparse;
    while (reader->piece < map->count &&
           map->pieces[reader->piece].offset + map->pieces[reader->piece].length <= reader->logical)
        reader->piece++;
    bool in_map = reader->piece < map->count;
    uint64_t data_start = in_map ? map->pieces[reader->piece].offset : reader->entry.size;
    if (reader->logical >= data_start && in_map) {
        uint64_t left = data_start + map->pieces[reader->piece].length - reader->logical;
        return read_plain(reader, data, left < capacity ? (size_t)left : capacity, ret_length, err);
    }
    uint64_t hole = data_start - reader->logical;
    size_t length = hole < capacity ? (size_t)hole : capacity;
    memset(data, 0, length);
    reader->logical += length;
    *ret_length = length;
    return TT_OK;
}

enum tt_status tt_tar_reader_read(struct tt_tar_reader *reader, void *data, size_t capacity, size_t *ret_length,
                                  struct tt_error *err)
{
    if (reader->entry.type != TT_ENTRY_FILE || capacity == 0) {
        *ret_length = 0;
        return TT_OK;
    }
    enum tt_status status = reader->is_sparse ? read_sparse(reader, data, capacity, ret_length, err)
                                              : read_plain(reader, data, capacity, ret_length, err);
    if (status == TT_MALFORMED)
        tt_error_context(err, "%s", reader->what);
    return status;
}

off_t tt_tar_reader_offset(const struct tt_tar_reader *reader)
{
    return reader->is_sparse || reader->position > INT64_MAX ? -1 : (off_t)reader->position;
}
