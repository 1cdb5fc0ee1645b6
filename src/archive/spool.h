/*
 * A spool: bytes set aside in an unlinked file, encrypted under a key that only this process's locked memory knows
 * (AES-256-CTR), so that what a stream brought once can be read again at any place and no plaintext touches a disk.
 */
#ifndef TT_ARCHIVE_SPOOL_H
#define TT_ARCHIVE_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tt_spool;

/* `folder` is where the unlinked file lies; NULL for TMPDIR or /var/tmp. */
TT_MUST_USE enum tt_status tt_spool_new(const char *folder, struct tt_spool **ret_spool, struct tt_error *err);
void tt_spool_free(struct tt_spool *spool);
TT_DEFINE_CLEANUP(struct tt_spool *, tt_spool_free)

/* Appends. The spool's length before is the offset of these bytes. */
TT_MUST_USE enum tt_status tt_spool_append(struct tt_spool *spool, const void *data, size_t length,
                                           struct tt_error *err);
uint64_t tt_spool_length(const struct tt_spool *spool);
TT_MUST_USE enum tt_status tt_spool_read(struct tt_spool *spool, uint64_t offset, void *data, size_t length,
                                         struct tt_error *err);

#endif
