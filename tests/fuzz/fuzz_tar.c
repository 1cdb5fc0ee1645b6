/* Whatever the bytes: the same entries come whether contents are read or skipped, paths keep the rules, contents lie
 * where the reader says, and what is read can be written and read again. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "archive/tar_reader.h"
#include "archive/tar_writer.h"
#include "base/buffer.h"
#include "short_memory.h"

enum { CONTENT_LIMIT = 1 << 20 }; /* holes can be larger than any patience */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
    const uint8_t *data;
    size_t size;
    size_t position;
    size_t piece;
};

static enum tt_status memory_read(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    (void)err;
    struct memory *memory = user;
    size_t length = memory->size - memory->position;
    length = length < capacity ? length : capacity;
    length = length < memory->piece ? length : memory->piece;
    if (length > 0)
        memcpy(data, memory->data + memory->position, length);
    memory->position += length;
    *ret_length = length;
    return TT_OK;
}

static enum tt_status memory_skip(void *user, uint64_t length, struct tt_error *err)
{
    (void)err;
    struct memory *memory = user;
    size_t left = memory->size - memory->position;
    memory->position += length < left ? (size_t)length : left;
    return TT_OK;
}

static enum tt_status buffer_write(void *user, const void *data, size_t length, struct tt_error *err)
{
    return tt_buffer_append(user, data, length, err);
}

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_path(const char *path)
{
    size_t length = strlen(path);
    require(length <= TT_PATH_LIMIT && path[0] != '/' && (length == 0 || path[length - 1] != '/'));
    require(!strstr(path, "//") && strncmp(path, "../", 3) != 0 && !strstr(path, "/../"));
    require(strcmp(path, "..") != 0 && (length < 3 || strcmp(path + length - 3, "/..") != 0));
}

/* Reads the current content; what lies in one piece is compared with the place that the reader names. */
static enum tt_status check_content(struct tt_tar_reader *reader, const struct tt_entry *entry,
                                    const struct memory *memory, struct tt_buffer *content)
{
    off_t offset = tt_tar_reader_offset(reader);
    uint8_t piece[3000];
    size_t got = 1;
    while (got > 0 && content->length < CONTENT_LIMIT) {
        enum tt_status status = tt_tar_reader_read(reader, piece, sizeof piece, &got, NULL);
        if (status != TT_OK)
            return status;
        require(tt_buffer_append(content, piece, got, NULL) == TT_OK);
    }
    require(content->length <= entry->size && (got > 0 || content->length == entry->size));
    if (offset >= 0 && content->length > 0) {
        require((uint64_t)offset <= memory->size && content->length <= memory->size - (uint64_t)offset);
        require(memcmp(memory->data + offset, content->data, content->length) == 0);
    }
    return TT_OK;
}

static void write_entry(struct tt_tar_writer *writer, const struct tt_entry *entry, const struct tt_buffer *content)
{
    struct tt_entry copy = *entry;
    copy.size = content->length;
    if (entry->type == TT_ENTRY_SPECIAL)
        return;
    require(tt_tar_writer_entry(writer, &copy, NULL) == TT_OK);
    require(tt_tar_writer_data(writer, content->data, content->length, NULL) == TT_OK);
}

/* Reads all entries; with a writer, their contents too, which are written. */
static enum tt_status walk(struct memory memory, bool with_skip, struct tt_tar_writer *writer, size_t *ret_count)
{
    struct tt_source source = {.read = memory_read, .skip = with_skip ? memory_skip : NULL, .user = &memory};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    *ret_count = 0;
    enum tt_status status = tt_tar_reader_new(&source, "fuzz", &reader, NULL);
    while (status == TT_OK && (status = tt_tar_reader_next(reader, &entry, NULL)) == TT_OK && entry) {
        struct tt_buffer content TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        check_path(entry->path);
        require((entry->link_target != NULL) == (entry->type == TT_ENTRY_SYMLINK || entry->type == TT_ENTRY_HARDLINK));
        require(entry->type == TT_ENTRY_FILE || entry->size == 0);
        require(entry->mode <= 07777 && entry->mtime_nanoseconds < 1000000000);
        if (writer)
            status = check_content(reader, entry, &memory, &content);
        if (status == TT_OK && writer)
            write_entry(writer, entry, &content);
        *ret_count += status == TT_OK && entry->type != TT_ENTRY_SPECIAL;
    }
    require(status == TT_OK || status == TT_MALFORMED);
    return status;
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct memory memory = {.data = data, .size = size, .piece = 100000};
    struct tt_source source = {.read = memory_read, .skip = memory_skip, .user = &memory};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    uint8_t piece[3000];
    size_t got = 0;
    enum tt_status status = tt_tar_reader_new(&source, "fuzz", &reader, err);
    while (status == TT_OK && (status = tt_tar_reader_next(reader, &entry, err)) == TT_OK && entry)
        status = tt_tar_reader_read(reader, piece, sizeof piece, &got, err);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    short_memory_try(data, size, read_again);
    struct memory memory = {.data = data, .size = size, .piece = size % 3 == 0 ? 511 : 100000};
    struct tt_buffer copy TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_sink sink = {.write = buffer_write, .user = &copy};
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
    require(tt_tar_writer_new(&sink, &writer, NULL) == TT_OK);
    size_t skipped = 0;
    size_t read = 0;
    size_t again = 0;
    enum tt_status quick = walk(memory, true, NULL, &skipped);
    enum tt_status whole = walk(memory, false, writer, &read);
    require(quick != TT_OK || whole != TT_OK || skipped == read);
    require(tt_tar_writer_finish(writer, NULL) == TT_OK);
    struct memory second = {.data = copy.data, .size = copy.length, .piece = 100000};
    require(walk(second, true, NULL, &again) == TT_OK && again == read);
    return 0;
}
