/* Compressed layers, streaming: gzip by libarchive, zstd by libzstd, which can be told how much memory it gets. One
 * compression and no more: a gzip within a gzip is not a layer. */
#ifndef TT_ARCHIVE_DECOMPRESS_H
#define TT_ARCHIVE_DECOMPRESS_H

#include "archive/tar_reader.h"

enum tt_compression { TT_COMPRESSION_NONE, TT_COMPRESSION_GZIP, TT_COMPRESSION_ZSTD };

enum { TT_COMPRESSION_MAGIC_SIZE = 4 };

/* By the first bytes, as the tools of the container world do it, whatever the media type says. */
enum tt_compression tt_compression_of(const uint8_t *start, size_t length);

struct tt_decompressor;

/* `source` brings the compressed bytes; it is copied, its user stays the caller's. */
TT_MUST_USE enum tt_status tt_decompressor_new(const struct tt_source *source, enum tt_compression compression,
                                               const char *what, struct tt_decompressor **ret_decompressor,
                                               struct tt_error *err);
void tt_decompressor_free(struct tt_decompressor *decompressor);
TT_DEFINE_CLEANUP(struct tt_decompressor *, tt_decompressor_free)

/* Up to `capacity` bytes; *ret_length 0 at the end. TT_MALFORMED where the compressed data is damaged or cut off,
 * or wants a window above 8 MiB (docs/protocol.md, "Sizes"). */
TT_MUST_USE enum tt_status tt_decompressor_read(struct tt_decompressor *decompressor, void *data, size_t capacity,
                                                size_t *ret_length, struct tt_error *err);

#endif
