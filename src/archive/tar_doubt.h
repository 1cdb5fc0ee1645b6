/*
 * Headers of tar archives that programs read in different ways. An image is unpacked by others (Go's archive/tar, as a
 * rule): a file that they see and we do not would escape every check. What is known to be read differently is refused.
 */
#ifndef TT_ARCHIVE_TAR_DOUBT_H
#define TT_ARCHIVE_TAR_DOUBT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { TT_TAR_BLOCK = 512 };

/* `headers` are all blocks of an entry in front of its content; `is_folder` is whether it was understood as one, and
 * `stored` how many bytes the pieces of a sparse file have, -1 for one that was not understood as sparse. TT_MALFORMED
 * says what is in doubt. */
TT_MUST_USE enum tt_status tt_tar_doubt(const uint8_t *headers, size_t length, bool is_folder, int64_t stored,
                                        struct tt_error *err);

/* Whether Unicode's invisible tag characters (U+E0000 to U+E007F) are in the headers: the conversion to ASCII that
 * libarchive tries on names drops them without a word. */
bool tt_tar_has_tags(const void *headers, size_t length);

/* Whether an extended attribute is in the headers that overlay file systems take for a word of their own, and engines
 * set as it comes: that a folder hides what lies below it, or shows another one instead, or whose a file is. */
bool tt_tar_has_overlay(const void *headers, size_t length);

#endif
