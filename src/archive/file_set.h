/*
 * The files at and under one path of an image, in the protocol's archive order, with random access to their contents.
 * What each store keeps differs; who reads cannot tell.
 */
#ifndef TT_ARCHIVE_FILE_SET_H
#define TT_ARCHIVE_FILE_SET_H

#include <stddef.h>

#include "archive/entry.h"
#include "base/buffer.h"

struct tt_file_set;

/* What a store provides. */
struct tt_file_set_ways {
    /* Reads exactly `length` bytes at `offset` of the content of entry `index`. */
    enum tt_status (*read)(void *store, size_t index, uint64_t offset, void *data, size_t length, struct tt_error *err);
    void (*free)(void *store);
};

/* Takes over `entries` (malloc'ed, sorted by tt_path_compare, no path twice) and `store` on success only. */
TT_MUST_USE enum tt_status tt_file_set_new(struct tt_entry *entries, size_t count, const struct tt_file_set_ways *ways,
                                           void *store, struct tt_file_set **ret_set, struct tt_error *err);
void tt_file_set_free(struct tt_file_set *set);
TT_DEFINE_CLEANUP(struct tt_file_set *, tt_file_set_free)

size_t tt_file_set_count(const struct tt_file_set *set);
const struct tt_entry *tt_file_set_entry(const struct tt_file_set *set, size_t index);

/* Finds an entry by its whole path; count (one past the last) when there is none. */
size_t tt_file_set_find(const struct tt_file_set *set, const char *path);

/* Sum of the sizes of all regular files. */
uint64_t tt_file_set_bytes(const struct tt_file_set *set);

/* Reads exactly `length` bytes; reading past the end is TT_INTERNAL. */
TT_MUST_USE enum tt_status tt_file_set_read(const struct tt_file_set *set, size_t index, uint64_t offset, void *data,
                                            size_t length, struct tt_error *err);

/* Appends the whole content of a small file to `content`, as far as its limit allows. */
TT_MUST_USE enum tt_status tt_file_set_read_whole(const struct tt_file_set *set, size_t index,
                                                  struct tt_buffer *content, struct tt_error *err);

#endif
