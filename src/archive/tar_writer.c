#include "archive/tar_writer.h"

#include <stdbool.h>
#include <string.h>

#include "base/buffer.h"
#include "base/text.h"

enum {
    BLOCK = 512,
    BUFFER_SIZE = 65536, /* small pieces are gathered: a sink's call may cost a thread's wake-up */
    NAME_SIZE = 100,
    PREFIX_SIZE = 155,
    NUMBER_MOST = 07777777, /* what a short octal field holds */
    PAX_LIMIT = 32768
};

static const uint64_t LONG_NUMBER_MOST = 077777777777;

struct tt_tar_writer {
    struct tt_sink sink;
    uint8_t buffer[BUFFER_SIZE];
    size_t used;
    uint64_t left; /* bytes of the current file that must still come */
    uint64_t padding;
};

enum tt_status tt_tar_writer_new(const struct tt_sink *sink, struct tt_tar_writer **ret_writer, struct tt_error *err)
{
    struct tt_tar_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return tt_error_memory(err);
    writer->sink = *sink;
    *ret_writer = writer;
    return TT_OK;
}

void tt_tar_writer_free(struct tt_tar_writer *writer)
{
    free(writer);
}

static enum tt_status flush(struct tt_tar_writer *writer, struct tt_error *err)
{
    size_t length = writer->used;
    writer->used = 0;
    return length > 0 ? writer->sink.write(writer->sink.user, writer->buffer, length, err) : TT_OK;
}

static enum tt_status put(struct tt_tar_writer *writer, const void *data, size_t length, struct tt_error *err)
{
    if (length > BUFFER_SIZE - writer->used) {
        enum tt_status status = flush(writer, err);
        if (status != TT_OK)
            return status;
    }
    if (length >= BUFFER_SIZE / 2)
        return writer->sink.write(writer->sink.user, data, length, err);
    memcpy(writer->buffer + writer->used, data, length);
    writer->used += length;
    return TT_OK;
}

static enum tt_status put_padding(struct tt_tar_writer *writer, uint64_t length, struct tt_error *err)
{
    static const uint8_t zeros[BLOCK];
    return put(writer, zeros, (size_t)length, err);
}

static void put_octal(uint8_t *field, size_t size, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%0*llo", (int)size - 1, (unsigned long long)value);
    memcpy(field, text, size - 1);
}

/* What a header block can say; the rest goes into a pax header before it. */
struct fields {
    const char *prefix;
    size_t prefix_length;
    const char *name;
    size_t name_length;
    uint64_t mode, uid, gid, size, mtime;
    char type;
    const char *link;
};

static void fill_header(const struct fields *fields, uint8_t block[BLOCK])
{
    memset(block, 0, BLOCK);
    memcpy(block, fields->name, fields->name_length);
    put_octal(block + 100, 8, fields->mode);
    put_octal(block + 108, 8, fields->uid);
    put_octal(block + 116, 8, fields->gid);
    put_octal(block + 124, 12, fields->size);
    put_octal(block + 136, 12, fields->mtime);
    memset(block + 148, ' ', 8);
    block[156] = (uint8_t)fields->type;
    if (fields->link)
        memcpy(block + 157, fields->link, strnlen(fields->link, NAME_SIZE));
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    put_octal(block + 329, 8, 0);
    put_octal(block + 337, 8, 0);
    if (fields->prefix)
        memcpy(block + 345, fields->prefix, fields->prefix_length);
    uint64_t sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += block[i];
    put_octal(block + 148, 7, sum);
    block[154] = '\0';
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts its own digits too. */
static enum tt_status add_record(struct tt_buffer *pax, const char *key, const char *value, struct tt_error *err)
{
    size_t rest = strlen(key) + strlen(value) + 3;
    size_t length = rest;
    for (size_t before = 0; before != length;) {
        before = length;
        length = rest + (size_t)snprintf(NULL, 0, "%zu", before);
    }
    return tt_buffer_printf(pax, err, "%zu %s=%s\n", length, key, value);
}

static enum tt_status add_number(struct tt_buffer *pax, const char *key, uint64_t value, uint64_t most, uint64_t *field,
                                 struct tt_error *err)
{
    char text[24];
    *field = value;
    if (value <= most)
        return TT_OK;
    *field = 0;
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return add_record(pax, key, text, err);
}

/* Times before 1970 and parts of a second: a sign and decimal digits, without trailing zeros. */
static enum tt_status add_time(struct tt_buffer *pax, const struct tt_entry *entry, uint64_t *field,
                               struct tt_error *err)
{
    int64_t seconds = entry->mtime_seconds;
    uint32_t nanoseconds = entry->mtime_nanoseconds;
    *field = seconds >= 0 && (uint64_t)seconds <= LONG_NUMBER_MOST ? (uint64_t)seconds : 0;
    if (nanoseconds == 0 && *field == (uint64_t)seconds)
        return TT_OK;
    bool negative = seconds < 0;
    uint64_t whole = negative ? -(uint64_t)seconds : (uint64_t)seconds;
    if (negative && nanoseconds > 0) {
        whole--;
        nanoseconds = 1000000000 - nanoseconds;
    }
    char text[48];
    int length =
        snprintf(text, sizeof text, "%s%llu.%09u", negative ? "-" : "", (unsigned long long)whole, nanoseconds);
    while (text[length - 1] == '0')
        text[--length] = '\0';
    if (text[length - 1] == '.')
        text[--length] = '\0';
    return add_record(pax, "mtime", text, err);
}

static enum tt_status add_text(struct tt_buffer *pax, const char *key, const char *value, struct tt_error *err)
{
    if (tt_text_is_utf8(value, strlen(value)))
        return add_record(pax, key, value, err);
    enum tt_status status = add_record(pax, "hdrcharset", "BINARY", err);
    return status == TT_OK ? add_record(pax, key, value, err) : status;
}

/* Splits at a slash so that both halves fit the header; false where there is none. */
static bool split_path(const char *path, size_t length, struct fields *fields)
{
    fields->name = path;
    fields->name_length = length;
    if (length <= NAME_SIZE)
        return true;
    for (size_t i = length - NAME_SIZE - 1; i < length - 1 && i <= PREFIX_SIZE; i++)
        if (i > 0 && path[i] == '/') {
            fields->prefix = path;
            fields->prefix_length = i;
            fields->name = path + i + 1;
            fields->name_length = length - i - 1;
            return true;
        }
    fields->name_length = NAME_SIZE;
    return false;
}

static char type_letter(enum tt_entry_type type)
{
    static const char letters[] = {
        [TT_ENTRY_FILE] = '0', [TT_ENTRY_FOLDER] = '5', [TT_ENTRY_SYMLINK] = '2', [TT_ENTRY_HARDLINK] = '1'};
    return letters[type];
}

/* Collects the header's fields, and in `pax` what they cannot hold. */
static enum tt_status describe(const struct tt_entry *entry, const char *path, struct fields *fields,
                               struct tt_buffer *pax, struct tt_error *err)
{
    *fields =
        (struct fields){.mode = entry->mode & 07777, .type = type_letter(entry->type), .link = entry->link_target};
    enum tt_status status = TT_OK;
    if (!split_path(path, strlen(path), fields))
        status = add_text(pax, "path", path, err);
    if (status == TT_OK && entry->link_target && strlen(entry->link_target) > NAME_SIZE)
        status = add_text(pax, "linkpath", entry->link_target, err);
    if (status == TT_OK)
        status = add_number(pax, "size", entry->type == TT_ENTRY_FILE ? entry->size : 0, LONG_NUMBER_MOST,
                            &fields->size, err);
    if (status == TT_OK)
        status = add_number(pax, "uid", entry->uid, NUMBER_MOST, &fields->uid, err);
    if (status == TT_OK)
        status = add_number(pax, "gid", entry->gid, NUMBER_MOST, &fields->gid, err);
    if (status == TT_OK)
        status = add_time(pax, entry, &fields->mtime, err);
    return status;
}

static enum tt_status put_pax(struct tt_tar_writer *writer, const struct tt_buffer *pax, struct tt_error *err)
{
    static const char name[] = "././@PaxHeader";
    uint8_t block[BLOCK];
    struct fields fields = {
        .name = name, .name_length = sizeof name - 1, .mode = 0644, .size = pax->length, .type = 'x'};
    fill_header(&fields, block);
    enum tt_status status = put(writer, block, sizeof block, err);
    if (status == TT_OK)
        status = put(writer, pax->data, pax->length, err);
    if (status == TT_OK)
        status = put_padding(writer, (BLOCK - pax->length % BLOCK) % BLOCK, err);
    return status;
}

enum tt_status tt_tar_writer_entry(struct tt_tar_writer *writer, const struct tt_entry *entry, struct tt_error *err)
{
    if (writer->left > 0 || entry->type == TT_ENTRY_SPECIAL || entry->size > INT64_MAX)
        return tt_error_set(err, TT_INTERNAL, "%s cannot be written to an archive now", entry->path);
    char *path TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("%s%s", entry->path[0] ? entry->path : ".", entry->type == TT_ENTRY_FOLDER ? "/" : "");
    if (!path)
        return tt_error_memory(err);
    struct tt_buffer pax TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(PAX_LIMIT);
    struct fields fields;
    enum tt_status status = describe(entry, path, &fields, &pax, err);
    if (status == TT_OK && pax.length > 0)
        status = put_pax(writer, &pax, err);
    if (status != TT_OK)
        return status;
    uint8_t block[BLOCK];
    fill_header(&fields, block);
    writer->left = entry->type == TT_ENTRY_FILE ? entry->size : 0;
    writer->padding = (BLOCK - writer->left % BLOCK) % BLOCK;
    return put(writer, block, sizeof block, err);
}

enum tt_status tt_tar_writer_data(struct tt_tar_writer *writer, const void *data, size_t length, struct tt_error *err)
{
    if (length > writer->left)
        return tt_error_set(err, TT_INTERNAL, "more bytes for a file of an archive than were announced");
    enum tt_status status = put(writer, data, length, err);
    if (status != TT_OK)
        return status;
    writer->left -= length;
    if (writer->left > 0 || writer->padding == 0)
        return TT_OK;
    uint64_t padding = writer->padding;
    writer->padding = 0;
    return put_padding(writer, padding, err);
}

enum tt_status tt_tar_writer_finish(struct tt_tar_writer *writer, struct tt_error *err)
{
    if (writer->left > 0)
        return tt_error_set(err, TT_INTERNAL, "fewer bytes for a file of an archive than were announced");
    enum tt_status status = put_padding(writer, BLOCK, err);
    if (status == TT_OK)
        status = put_padding(writer, BLOCK, err);
    return status == TT_OK ? flush(writer, err) : status;
}
