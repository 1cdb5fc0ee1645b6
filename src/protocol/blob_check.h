/* Checking the digests of images' blobs on a thread of its own, beside the main work. */
#ifndef TT_PROTOCOL_BLOB_CHECK_H
#define TT_PROTOCOL_BLOB_CHECK_H

#include "image/image.h"

struct blob_check;

/* Starts checking `one`, then `other` (which may be NULL). Both must outlive the check. */
TT_MUST_USE enum tt_status blob_check_start(struct tt_image *one, struct tt_image *other, struct blob_check **ret_check,
                                            struct tt_error *err);
/* Waits for the outcome and frees. */
TT_MUST_USE enum tt_status blob_check_finish(struct blob_check *check, struct tt_error *err);
/* Waits and frees without wanting to know; takes NULL. */
void blob_check_free(struct blob_check *check);
TT_DEFINE_CLEANUP(struct blob_check *, blob_check_free)

#endif
