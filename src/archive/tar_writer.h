/* Streaming tar out (libarchive): ustar, with pax headers only where a name, number or time needs them. The same
 * entries make the same bytes. Names are written as they are; fractions of seconds before 1970 are dropped. */
#ifndef TT_ARCHIVE_TAR_WRITER_H
#define TT_ARCHIVE_TAR_WRITER_H

#include <stddef.h>

#include "archive/entry.h"

/* Takes the archive's bytes in order. */
struct tt_sink {
    enum tt_status (*write)(void *user, const void *data, size_t length, struct tt_error *err);
    void *user;
};

struct tt_tar_writer;

/* `sink` is copied; its user stays the caller's. An error of the sink comes back from all that follow as it was. */
TT_MUST_USE enum tt_status tt_tar_writer_new(const struct tt_sink *sink, struct tt_tar_writer **ret_writer,
                                             struct tt_error *err);
/* Without tt_tar_writer_finish, nothing more is written. */
void tt_tar_writer_free(struct tt_tar_writer *writer);
TT_DEFINE_CLEANUP(struct tt_tar_writer *, tt_tar_writer_free)

/* Starts an entry; a file's entry->size bytes must follow through tt_tar_writer_data. */
TT_MUST_USE enum tt_status tt_tar_writer_entry(struct tt_tar_writer *writer, const struct tt_entry *entry,
                                               struct tt_error *err);
TT_MUST_USE enum tt_status tt_tar_writer_data(struct tt_tar_writer *writer, const void *data, size_t length,
                                              struct tt_error *err);
TT_MUST_USE enum tt_status tt_tar_writer_finish(struct tt_tar_writer *writer, struct tt_error *err);

#endif
