/* Archives made byte by byte, so that tests can say what no honest writer would. */
#ifndef TT_TESTS_UNIT_TAR_BYTES_H
#define TT_TESTS_UNIT_TAR_BYTES_H

#include <stdbool.h>

#include "archive/tar_reader.h"
#include "base/buffer.h"

/* A header block as it is told, with the right checksum. */
struct tar_block {
    const char *name;
    char type;
    const char *link;
    uint64_t size; /* what the header says */
    unsigned mode;
};

void tar_put_header(struct tt_buffer *tar, const struct tar_block *block);
/* Content, padded to whole blocks. */
void tar_put_data(struct tt_buffer *tar, const void *data, size_t length);
void tar_put_end(struct tt_buffer *tar);

/* Shorthands. */
void tar_put_folder(struct tt_buffer *tar, const char *name);
void tar_put_file(struct tt_buffer *tar, const char *name, const char *text);
void tar_put_link(struct tt_buffer *tar, const char *name, char type, const char *target);
/* A pax header with one record; `value` may hold NULs. */
void tar_put_pax(struct tt_buffer *tar, char type, const char *key, const char *value, size_t length);

/* The bytes as a source; with or without the way to skip. */
struct tar_memory {
    const struct tt_buffer *tar;
    size_t offset;
    size_t step; /* most bytes a read gives; 0 for any */
};

struct tt_source tar_source(struct tar_memory *memory, bool can_skip);

/* "gzip", "zstd": compressed by libarchive. */
void tar_compress(const struct tt_buffer *plain, const char *filter, struct tt_buffer *ret_packed);

#endif
