/*
 * A bounded pipe of bytes between two threads. The writer waits while it is full, the reader while it is empty; either
 * side can break it off, which wakes both. What went through is wiped when it is freed.
 */
#ifndef TT_BASE_PIPE_H
#define TT_BASE_PIPE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct tt_pipe;

enum tt_pipe_state {
    TT_PIPE_DATA,   /* bytes came */
    TT_PIPE_EMPTY,  /* none came in the time that was given; more may */
    TT_PIPE_ENDED,  /* the writer is done and everything was read */
    TT_PIPE_BROKEN, /* broken off; what was still in it does not count */
};

TT_MUST_USE enum tt_status tt_pipe_new(size_t capacity, struct tt_pipe **ret_pipe, struct tt_error *err);
/* No thread may be in it any more. Takes NULL. */
void tt_pipe_free(struct tt_pipe *pipe);
TT_DEFINE_CLEANUP(struct tt_pipe *, tt_pipe_free)

/* Writes all bytes. False when the pipe was broken. */
TT_MUST_USE bool tt_pipe_write(struct tt_pipe *pipe, const void *data, size_t length);
/* The writer will write no more. */
void tt_pipe_end(struct tt_pipe *pipe);

/* Waits for bytes, at most `milliseconds` (negative: however long), and reads up to `capacity` of those there are. */
enum tt_pipe_state tt_pipe_read(struct tt_pipe *pipe, void *data, size_t capacity, int milliseconds,
                                size_t *ret_length);
/* Whether tt_pipe_read would return at once. */
bool tt_pipe_is_readable(struct tt_pipe *pipe);

void tt_pipe_break(struct tt_pipe *pipe);

#endif
