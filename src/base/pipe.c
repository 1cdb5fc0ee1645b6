#include "base/pipe.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/secret.h"

/* A ring. `written` and `read` only grow; the bytes between them are the reader's, the others the writer's, so that
 * both copy without holding the lock. */
struct tt_pipe {
    pthread_mutex_t lock;
    pthread_cond_t more; /* for the reader */
    pthread_cond_t room; /* for the writer */
    uint64_t written;
    uint64_t read;
    bool ended;
    bool broken;
    size_t capacity;
    uint8_t *data;
};

enum tt_status tt_pipe_new(size_t capacity, struct tt_pipe **ret_pipe, struct tt_error *err)
{
    struct tt_pipe *pipe = calloc(1, sizeof *pipe);
    uint8_t *data = malloc(capacity);
    if (!pipe || !data) {
        free(pipe);
        free(data);
        return tt_error_memory(err);
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&pipe->lock, NULL);
    pthread_cond_init(&pipe->more, &monotonic);
    pthread_cond_init(&pipe->room, NULL);
    pthread_condattr_destroy(&monotonic);
    pipe->capacity = capacity;
    pipe->data = data;
    *ret_pipe = pipe;
    return TT_OK;
}

void tt_pipe_free(struct tt_pipe *pipe)
{
    if (!pipe)
        return;
    pthread_cond_destroy(&pipe->room);
    pthread_cond_destroy(&pipe->more);
    pthread_mutex_destroy(&pipe->lock);
    tt_wipe(pipe->data, pipe->written < pipe->capacity ? (size_t)pipe->written : pipe->capacity);
    free(pipe->data);
    free(pipe);
}

/* The part of the ring from `position` that is in one piece, at most `length` bytes. */
static uint8_t *piece(const struct tt_pipe *pipe, uint64_t position, size_t *length)
{
    size_t start = (size_t)(position % pipe->capacity);
    if (*length > pipe->capacity - start)
        *length = pipe->capacity - start;
    return pipe->data + start;
}

bool tt_pipe_write(struct tt_pipe *pipe, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    pthread_mutex_lock(&pipe->lock);
    while (length > 0) {
        while (pipe->written - pipe->read == pipe->capacity && !pipe->broken)
            pthread_cond_wait(&pipe->room, &pipe->lock);
        if (pipe->broken)
            break;
        size_t run = pipe->capacity - (size_t)(pipe->written - pipe->read);
        run = run < length ? run : length;
        uint8_t *place = piece(pipe, pipe->written, &run);
        pthread_mutex_unlock(&pipe->lock);
        memcpy(place, bytes, run);
        bytes += run;
        length -= run;
        pthread_mutex_lock(&pipe->lock);
        pipe->written += run;
        pthread_cond_signal(&pipe->more);
    }
    bool whole = !pipe->broken;
    pthread_mutex_unlock(&pipe->lock);
    return whole;
}

void tt_pipe_end(struct tt_pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->ended = true;
    pthread_cond_signal(&pipe->more);
    pthread_mutex_unlock(&pipe->lock);
}

void tt_pipe_break(struct tt_pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->broken = true;
    pthread_cond_signal(&pipe->more);
    pthread_cond_signal(&pipe->room);
    pthread_mutex_unlock(&pipe->lock);
}

static bool must_wait(const struct tt_pipe *pipe)
{
    return pipe->written == pipe->read && !pipe->ended && !pipe->broken;
}

static void wait_for_more(struct tt_pipe *pipe, int milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    while (must_wait(pipe)) {
        int outcome = milliseconds < 0 ? pthread_cond_wait(&pipe->more, &pipe->lock)
                                       : pthread_cond_timedwait(&pipe->more, &pipe->lock, &until);
        if (outcome == ETIMEDOUT)
            return;
    }
}

enum tt_pipe_state tt_pipe_read(struct tt_pipe *pipe, void *data, size_t capacity, int milliseconds, size_t *ret_length)
{
    pthread_mutex_lock(&pipe->lock);
    if (must_wait(pipe) && milliseconds != 0)
        wait_for_more(pipe, milliseconds);
    size_t length = (size_t)(pipe->written - pipe->read);
    enum tt_pipe_state state = pipe->broken  ? TT_PIPE_BROKEN
                               : length > 0  ? TT_PIPE_DATA
                               : pipe->ended ? TT_PIPE_ENDED
                                             : TT_PIPE_EMPTY;
    *ret_length = 0;
    length = length < capacity ? length : capacity;
    while (state == TT_PIPE_DATA && *ret_length < length) {
        size_t run = length - *ret_length;
        const uint8_t *place = piece(pipe, pipe->read, &run);
        pthread_mutex_unlock(&pipe->lock);
        memcpy((uint8_t *)data + *ret_length, place, run);
        *ret_length += run;
        pthread_mutex_lock(&pipe->lock);
        pipe->read += run;
        pthread_cond_signal(&pipe->room);
    }
    pthread_mutex_unlock(&pipe->lock);
    return state;
}

bool tt_pipe_is_readable(struct tt_pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    bool readable = !must_wait(pipe);
    pthread_mutex_unlock(&pipe->lock);
    return readable;
}
