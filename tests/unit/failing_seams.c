/* Where one part of this project calls another that can fail for reasons of its own: a store that is an engine, a
 * thread that works ahead, a signal that ends everything. */
#include "archive/file_stream.h"
#include "archive/folder_output.h"
#include "base/interrupt.h"
#include "base/lane.h"
#include "failing_calls.h"
#include "image/image.h"

static enum tt_status gone(struct tt_error *err)
{
    return tt_error_set(err, TT_STORE, "the store is gone");
}

static enum tt_status interrupted(struct tt_error *err)
{
    return tt_error_set(err, TT_INTERNAL, "interrupted");
}

FAILING_CALL(enum tt_status, gone(err), tt_image_files,
             (struct tt_image * image, const char *path, struct tt_file_set **ret_files, struct tt_error *err),
             (image, path, ret_files, err))
FAILING_CALL(enum tt_status, gone(err), tt_image_stream,
             (struct tt_image * image, const char *path, struct tt_file_stream **ret_stream, struct tt_error *err),
             (image, path, ret_stream, err))
FAILING_CALL(enum tt_status, gone(err), tt_file_stream_next,
             (struct tt_file_stream * stream, const struct tt_entry **ret_entry, struct tt_error *err),
             (stream, ret_entry, err))
FAILING_CALL(enum tt_status, gone(err), tt_file_stream_read,
             (struct tt_file_stream * stream, void *data, size_t length, struct tt_error *err),
             (stream, data, length, err))
FAILING_CALL(enum tt_status, gone(err), tt_image_verify_blobs, (struct tt_image * image, struct tt_error *err),
             (image, err))
FAILING_CALL(enum tt_status, gone(err), tt_image_change_replace,
             (struct tt_image_change * change, const struct tt_entry *folder, struct tt_error *err),
             (change, folder, err))
FAILING_CALL(enum tt_status, gone(err), tt_image_change_add,
             (struct tt_image_change * change, const struct tt_entry *entry, struct tt_error *err),
             (change, entry, err))
FAILING_CALL(enum tt_status, gone(err), tt_image_change_data,
             (struct tt_image_change * change, const void *data, size_t length, struct tt_error *err),
             (change, data, length, err))
FAILING_CALL(enum tt_status, gone(err), tt_folder_output_data,
             (struct tt_folder_output * output, const void *data, size_t length, struct tt_error *err),
             (output, data, length, err))
FAILING_CALL(enum tt_status, gone(err), tt_lane_write,
             (struct tt_lane * lane, const void *data, size_t length, struct tt_error *err), (lane, data, length, err))
FAILING_CALL(enum tt_status, gone(err), tt_lane_room,
             (struct tt_lane * lane, size_t length, uint8_t **ret_room, struct tt_error *err),
             (lane, length, ret_room, err))
FAILING_CALL(enum tt_status, gone(err), tt_lane_drain, (struct tt_lane * lane, struct tt_error *err), (lane, err))
FAILING_CALL(enum tt_status, interrupted(err), tt_interrupt_check, (struct tt_error * err), (err))
