/* How tar lies on disk: header blocks, pax records, sparse maps. Pure parsing; tar_reader.c moves the bytes.
 *
 * The forms and their precedence follow what the tools of the container world (Go's archive/tar) make of an archive,
 * so that nobody who unpacks an image sees other files than we do; where they guess, this is TT_MALFORMED. */
#ifndef TT_ARCHIVE_TAR_FORMAT_H
#define TT_ARCHIVE_TAR_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    TAR_BLOCK = 512,
    TAR_EXTENSION_LIMIT = 1 << 20, /* bytes of a pax or long-name header's body */
    TAR_PIECE_LIMIT = 1 << 15      /* pieces of a sparse file */
};

/* What the header block itself says. */
struct tar_header {
    char path[257];
    char link[101];
    char type;
    bool is_gnu;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    int64_t mtime;
    uint64_t size;
};

bool tar_block_is_zero(const uint8_t block[TAR_BLOCK]);
TT_MUST_USE enum tt_status tar_header_parse(const uint8_t block[TAR_BLOCK], struct tar_header *ret_header,
                                            struct tt_error *err);

/* A number field: octal text, or base 256 with the top bit set. */
TT_MUST_USE enum tt_status tar_number(const uint8_t *field, size_t length, int64_t *ret_value, struct tt_error *err);

/* Data of a sparse file: everything between the pieces is zeros. */
struct tar_piece {
    uint64_t offset;
    uint64_t length;
};

struct tar_sparse {
    struct tar_piece *pieces;
    size_t count;
    size_t capacity;
};

TT_MUST_USE enum tt_status tar_sparse_add(struct tar_sparse *sparse, uint64_t offset, uint64_t length,
                                          struct tt_error *err);
/* Whether the pieces are in order, lie within `size` and hold `stored` bytes in all. */
TT_MUST_USE enum tt_status tar_sparse_check(const struct tar_sparse *sparse, uint64_t size, uint64_t stored,
                                            struct tt_error *err);
/* The pieces in the header of an old GNU sparse file ('S') or in one of the blocks after it. */
TT_MUST_USE enum tt_status tar_sparse_parse_old(struct tar_sparse *sparse, const uint8_t block[TAR_BLOCK],
                                                bool is_first, bool *ret_more, uint64_t *ret_size,
                                                struct tt_error *err);

/* What pax and GNU long-name headers in front of an entry say about it. */
struct tar_extensions {
    char *path;      /* pax */
    char *link;      /* pax */
    char *gnu_path;  /* 'L' */
    char *gnu_link;  /* 'K' */
    char *real_path; /* of a pax sparse file, whose own name is made up */
    bool has_size, has_uid, has_gid, has_mtime, has_real_size;
    uint64_t size;
    uint64_t real_size;
    uint32_t uid;
    uint32_t gid;
    int64_t mtime_seconds;
    uint32_t mtime_nanoseconds;
    int sparse_major; /* -1 when not said */
    int sparse_minor;
    bool has_map; /* forms 0.0 and 0.1: the map is in the header */
    bool has_open_offset;
    uint64_t open_offset;
    struct tar_sparse sparse;
};

void tar_extensions_clear(struct tar_extensions *extensions);

/* Takes over the records of one pax header body. `global` ones may not say where or how long a file is. */
TT_MUST_USE enum tt_status tar_pax_parse(const char *body, size_t length, bool global,
                                         struct tar_extensions *extensions, struct tt_error *err);

/* Decimal digits and nothing else. */
bool tar_decimal(const char *text, size_t length, uint64_t *ret_value);

#endif
