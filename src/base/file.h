/* Files of this machine: whole reads and writes, and atomic replacement. */
#ifndef TT_BASE_FILE_H
#define TT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

/* Reads a regular file whole. TT_STORE when it cannot be read, TT_MALFORMED above `limit` bytes. `folder` is a
 * directory descriptor or AT_FDCWD. */
TT_MUST_USE enum tt_status tt_file_read(int folder, const char *path, size_t limit, struct tt_buffer *ret_content,
                                        struct tt_error *err);

/* Writes all bytes, through short writes and EINTR. TT_STORE on failure, naming `what`. */
TT_MUST_USE enum tt_status tt_file_write_all(int descriptor, const void *data, size_t length, const char *what,
                                             struct tt_error *err);

/* Reads exactly `length` bytes at `offset`. TT_STORE on failure or when the file ends before, naming `what`. */
TT_MUST_USE enum tt_status tt_file_read_at(int descriptor, uint64_t offset, void *data, size_t length, const char *what,
                                           struct tt_error *err);

/* Makes `name` in `folder` hold exactly these bytes, or leaves it as it was: a temporary file beside it, fsync,
 * rename, fsync of the folder. TT_STORE on failure. */
TT_MUST_USE enum tt_status tt_file_replace(int folder, const char *name, const void *data, size_t length, mode_t mode,
                                           struct tt_error *err);

/* Appends `id` as a file name: RFC 3986 percent-encoding, and of a leading dot too, so that no id leads elsewhere, is
 * hidden or is another one's. False when it is empty, or longer than `limit` bytes or what `name` may hold. */
TT_MUST_USE bool tt_file_name_encode(const char *id, size_t limit, struct tt_buffer *name);
/* The id whose name this is, in new memory; NULL for a name that tt_file_name_encode does not make, or out of memory.
 */
char *tt_file_name_decode(const char *name);

/* A new file without a name in `folder` (O_TMPFILE, or made and unlinked at once where that is missing): gone with
 * its last descriptor, whatever happens. TT_STORE on failure. */
TT_MUST_USE enum tt_status tt_file_unnamed(const char *folder, int *ret_descriptor, struct tt_error *err);

/* A new file or folder outlives a crash only once the folder that it is in is on disk, which this sees to. A folder
 * that may not be read is left to the kernel. TT_STORE. */
TT_MUST_USE enum tt_status tt_file_sync_parent(const char *path, struct tt_error *err);

#endif
