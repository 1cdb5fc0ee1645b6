/*
 * The list of a train's files for a signed manifest, made as they come by, on a lane of its own: the SHA-512 of each
 * file runs beside that of all of them together. Memory does not grow with the files.
 */
#ifndef TT_PROTOCOL_CONTENT_LISTING_H
#define TT_PROTOCOL_CONTENT_LISTING_H

#include "archive/entry.h"
#include "statement/manifest.h"

struct content_listing;

/* Of the files below `folder` ("opt/pht_train"). */
TT_MUST_USE enum tt_status content_listing_new(const char *folder, struct content_listing **ret_listing,
                                               struct tt_error *err);
void content_listing_free(struct content_listing *listing);
TT_DEFINE_CLEANUP(struct content_listing *, content_listing_free)

/* These take NULL for nothing to do. */

/* The next entry in archive order, a file with the size of its plaintext, all of which must follow. Folders are not
 * listed. */
TT_MUST_USE enum tt_status content_listing_entry(struct content_listing *listing, const struct tt_entry *entry,
                                                 struct tt_error *err);
TT_MUST_USE enum tt_status content_listing_data(struct content_listing *listing, const uint8_t *data, size_t length,
                                                struct tt_error *err);

/* Waits for the lane. */
TT_MUST_USE enum tt_status content_listing_end(struct content_listing *listing, struct tt_manifest_list *ret_list,
                                               struct tt_error *err);

#endif
