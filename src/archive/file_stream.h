/*
 * The files at and under one path of an image as they come by, once, in the protocol's archive order: for who needs no
 * second look, so that nothing is kept.
 */
#ifndef TT_ARCHIVE_FILE_STREAM_H
#define TT_ARCHIVE_FILE_STREAM_H

#include "archive/file_set.h"

struct tt_file_stream;

/* What a store provides. */
struct tt_file_stream_ways {
    /* The next entry, the stream's until the following call; NULL at the end. What is left of the one before is
     * skipped. */
    enum tt_status (*next)(void *store, const struct tt_entry **ret_entry, struct tt_error *err);
    /* Exactly the next `length` bytes of the current entry's content. */
    enum tt_status (*read)(void *store, void *data, size_t length, struct tt_error *err);
    void (*free)(void *store);
};

/* Takes over `store` on success only. */
TT_MUST_USE enum tt_status tt_file_stream_new(const struct tt_file_stream_ways *ways, void *store,
                                              struct tt_file_stream **ret_stream, struct tt_error *err);
/* A file set as a stream; the set stays the caller's and must outlive it. */
TT_MUST_USE enum tt_status tt_file_stream_over(const struct tt_file_set *set, struct tt_file_stream **ret_stream,
                                               struct tt_error *err);
/* The same, taking the set over on success. */
TT_MUST_USE enum tt_status tt_file_stream_of(struct tt_file_set *set, struct tt_file_stream **ret_stream,
                                             struct tt_error *err);
void tt_file_stream_free(struct tt_file_stream *stream);
TT_DEFINE_CLEANUP(struct tt_file_stream *, tt_file_stream_free)

/* The next entry, the stream's until the following call; NULL at the end. The entry of the path itself comes first.
 * TT_STORE where the store does not keep to the archive order, TT_MALFORMED above TT_ENTRY_LIMIT entries. */
TT_MUST_USE enum tt_status tt_file_stream_next(struct tt_file_stream *stream, const struct tt_entry **ret_entry,
                                               struct tt_error *err);
/* Exactly `length` bytes of the current file; reading past its end is TT_INTERNAL. */
TT_MUST_USE enum tt_status tt_file_stream_read(struct tt_file_stream *stream, void *data, size_t length,
                                               struct tt_error *err);

/* All entries that came by, as a set for looking only: reading contents is TT_INTERNAL. After the end of the stream. */
TT_MUST_USE enum tt_status tt_file_stream_listing(struct tt_file_stream *stream, struct tt_file_set **ret_listing,
                                                  struct tt_error *err);

#endif
