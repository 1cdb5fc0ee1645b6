/*
 * A lane: one thread that consumes a stream of bytes through a few slots that are filled by turns, so that hashing or
 * writing runs beside the work that makes the bytes. Memory is the slots' capacity, however long the stream.
 *
 * One producer thread calls the functions below; `consume` runs on the lane's own thread.
 */
#ifndef TT_BASE_LANE_H
#define TT_BASE_LANE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tt_lane;

/* Takes the next bytes, in order. A failure stops the lane; the producer sees it at its next write or at the end. */
typedef enum tt_status (*tt_lane_consume)(void *user, const uint8_t *data, size_t length, struct tt_error *err);

/* `capacity`: bytes of all TT_LANE_SLOTS slots together. */
enum { TT_LANE_SLOTS = 16 };
TT_MUST_USE enum tt_status tt_lane_start(size_t capacity, tt_lane_consume consume, void *user,
                                         struct tt_lane **ret_lane, struct tt_error *err);

/* Copies data into the lane, waiting while it is full. */
TT_MUST_USE enum tt_status tt_lane_write(struct tt_lane *lane, const void *data, size_t length, struct tt_error *err);

/* Without the copy: room for `length` bytes (at most capacity / TT_LANE_SLOTS) to be written in place, then the number
 * of those that are to be consumed. What was put stays readable in place until the next call. */
TT_MUST_USE enum tt_status tt_lane_room(struct tt_lane *lane, size_t length, uint8_t **ret_room, struct tt_error *err);
void tt_lane_put(struct tt_lane *lane, size_t length);

/* Waits until everything written so far was consumed. The lane can be written to again. */
TT_MUST_USE enum tt_status tt_lane_drain(struct tt_lane *lane, struct tt_error *err);

/* Drains, ends the thread and frees the lane; takes NULL. tt_lane_free is the same without hearing of failures, and
 * without waiting for what is still in the slots. */
TT_MUST_USE enum tt_status tt_lane_finish(struct tt_lane *lane, struct tt_error *err);
void tt_lane_free(struct tt_lane *lane);
TT_DEFINE_CLEANUP(struct tt_lane *, tt_lane_free)

#endif
