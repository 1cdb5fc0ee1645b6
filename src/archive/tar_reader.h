/* Streaming tar in (ustar, pax and GNU forms; libarchive), with the caps that hostile archives call for. */
#ifndef TT_ARCHIVE_TAR_READER_H
#define TT_ARCHIVE_TAR_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "archive/entry.h"

enum {
    TT_PATH_LIMIT = 4095,   /* bytes of a path in an archive */
    TT_ENTRY_LIMIT = 100000 /* entries under the protocol's paths, of one image */
};

/* Where the archive's bytes come from: an uncompressed tar. */
struct tt_source {
    /* Up to `capacity` bytes; *ret_length 0 at the end. */
    enum tt_status (*read)(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err);
    /* Skips `length` bytes without reading them, perhaps beyond the end; NULL where that cannot be done. */
    enum tt_status (*skip)(void *user, uint64_t length, struct tt_error *err);
    void *user;
};

struct tt_tar_reader;

/* `what` names the archive in messages ("layer sha256:..."). `source` is copied; its user stays the caller's. */
TT_MUST_USE enum tt_status tt_tar_reader_new(const struct tt_source *source, const char *what,
                                             struct tt_tar_reader **ret_reader, struct tt_error *err);
void tt_tar_reader_free(struct tt_tar_reader *reader);
TT_DEFINE_CLEANUP(struct tt_tar_reader *, tt_tar_reader_free)

/* The next entry (the reader's until the following call), NULL at the end of the archive. Paths come without leading
 * "/" or "./" and without trailing "/"; the root folder itself comes as "". A path with a ".." or empty component, a
 * NUL, or above TT_PATH_LIMIT is TT_MALFORMED, as is a broken or truncated archive. Only the padding and zeros at the
 * very end may be missing: "umoci insert" leaves them out, and the container world's readers do not mind. What other
 * programs would read in another way is TT_MALFORMED too. Fractions of seconds before 1970 are dropped. An error of the
 * source comes back as it was. */
TT_MUST_USE enum tt_status tt_tar_reader_next(struct tt_tar_reader *reader, const struct tt_entry **ret_entry,
                                              struct tt_error *err);

/* Whether the current entry's path or hard-link target was written as an absolute one. Layers of images may have such
 * paths; archives that people hand around have no reason to. */
bool tt_tar_reader_is_absolute(const struct tt_tar_reader *reader);

/* Whether the current entry comes with what only an overlay file system should write (tar_doubt.h). */
bool tt_tar_reader_has_overlay(const struct tt_tar_reader *reader);

/* Up to `capacity` bytes of the current entry's content; *ret_length 0 at its end. Holes of sparse files are zeros. */
TT_MUST_USE enum tt_status tt_tar_reader_read(struct tt_tar_reader *reader, void *data, size_t capacity,
                                              size_t *ret_length, struct tt_error *err);

/* Where the current entry's content starts in the archive, when it lies there in one piece as it is; -1 when it does
 * not (sparse files). Ask before reading. */
off_t tt_tar_reader_offset(const struct tt_tar_reader *reader);

#endif
