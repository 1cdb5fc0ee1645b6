#include "tar_bytes.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool good)
{
    if (!good)
        abort();
}

static void put(struct tt_buffer *tar, const void *data, size_t length)
{
    must(tt_buffer_append(tar, data, length, NULL) == TT_OK);
}

void tar_put_header(struct tt_buffer *tar, const struct tar_block *block)
{
    char bytes[512] = {0};
    memcpy(bytes, block->name, strnlen(block->name, 100));
    snprintf(bytes + 100, 8, "%07o", block->mode);
    snprintf(bytes + 108, 8, "%07o", 0);
    snprintf(bytes + 116, 8, "%07o", 0);
    snprintf(bytes + 124, 12, "%011llo", (unsigned long long)block->size);
    snprintf(bytes + 136, 12, "%011o", 1700000000);
    memset(bytes + 148, ' ', 8);
    bytes[156] = block->type;
    if (block->link)
        memcpy(bytes + 157, block->link, strnlen(block->link, 100));
    memcpy(bytes + 257,
           block->type == 'S' ? "ustar  "
                              : "ustar\0"
                                "00",
           8);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        sum += (unsigned char)bytes[i];
    snprintf(bytes + 148, 8, "%06o", sum);
    put(tar, bytes, sizeof bytes);
}

void tar_put_data(struct tt_buffer *tar, const void *data, size_t length)
{
    static const char zeros[512];
    put(tar, data, length);
    put(tar, zeros, (512 - length % 512) % 512);
}

void tar_put_end(struct tt_buffer *tar)
{
    static const char zeros[1024];
    put(tar, zeros, sizeof zeros);
}

void tar_put_folder(struct tt_buffer *tar, const char *name)
{
    tar_put_header(tar, &(struct tar_block){.name = name, .type = '5', .mode = 0755});
}

void tar_put_file(struct tt_buffer *tar, const char *name, const char *text)
{
    tar_put_header(tar, &(struct tar_block){.name = name, .type = '0', .mode = 0644, .size = strlen(text)});
    tar_put_data(tar, text, strlen(text));
}

void tar_put_link(struct tt_buffer *tar, const char *name, char type, const char *target)
{
    tar_put_header(tar, &(struct tar_block){.name = name, .type = type, .mode = 0777, .link = target});
}

void tar_put_pax(struct tt_buffer *tar, char type, const char *key, const char *value, size_t length)
{
    size_t rest = strlen(key) + length + 3;
    size_t total = rest + 1;
    char digits[24];
    while ((size_t)snprintf(digits, sizeof digits, "%zu", total) + rest != total)
        total = rest + strlen(digits);
    struct tt_buffer body = {0};
    must(tt_buffer_printf(&body, NULL, "%zu %s=", total, key) == TT_OK);
    put(&body, value, length);
    put(&body, "\n", 1);
    tar_put_header(tar, &(struct tar_block){.name = "pax", .type = type, .size = body.length});
    tar_put_data(tar, body.data, body.length);
    tt_buffer_clear(&body);
}

static enum tt_status read_memory(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct tar_memory *memory = user;
    (void)err;
    size_t left = memory->tar->length - memory->offset;
    size_t length = left < capacity ? left : capacity;
    if (memory->step && length > memory->step)
        length = memory->step;
    if (length > 0)
        memcpy(data, memory->tar->data + memory->offset, length);
    memory->offset += length;
    *ret_length = length;
    return TT_OK;
}

static enum tt_status skip_memory(void *user, uint64_t length, struct tt_error *err)
{
    struct tar_memory *memory = user;
    if (length > memory->tar->length - memory->offset)
        return tt_error_set(err, TT_MALFORMED, "cut off");
    memory->offset += (size_t)length;
    return TT_OK;
}

struct tt_source tar_source(struct tar_memory *memory, bool can_skip)
{
    return (struct tt_source){.read = read_memory, .skip = can_skip ? skip_memory : NULL, .user = memory};
}

static la_ssize_t take_packed(struct archive *archive, void *user, const void *data, size_t length)
{
    (void)archive;
    put(user, data, length);
    return (la_ssize_t)length;
}

void tar_compress(const struct tt_buffer *plain, const char *filter, struct tt_buffer *ret_packed)
{
    struct archive *archive = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    *ret_packed = (struct tt_buffer){0};
    must(archive_write_add_filter_by_name(archive, filter) == ARCHIVE_OK);
    must(archive_write_set_format_raw(archive) == ARCHIVE_OK);
    must(archive_write_set_bytes_in_last_block(archive, 1) == ARCHIVE_OK);
    must(archive_write_open(archive, ret_packed, NULL, take_packed, NULL) == ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    must(archive_write_header(archive, entry) == ARCHIVE_OK);
    must(archive_write_data(archive, plain->data, plain->length) == (la_ssize_t)plain->length);
    must(archive_write_close(archive) == ARCHIVE_OK);
    archive_entry_free(entry);
    archive_write_free(archive);
}
