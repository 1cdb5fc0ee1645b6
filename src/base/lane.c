#include "base/lane.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/secret.h"

struct tt_lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tt_lane_consume consume;
    void *user;
    uint8_t *ring;
    size_t capacity;
    uint64_t written;  /* bytes ever put in */
    uint64_t consumed; /* bytes ever taken out */
    bool ended;        /* no more will be written */
    bool dropped;      /* what is left in the ring does not matter */
    struct tt_error failure;
};

/* The largest run of bytes that is contiguous in the ring, capped so that the producer gets room early. */
static size_t next_run(const struct tt_lane *lane)
{
    size_t available = (size_t)(lane->written - lane->consumed);
    size_t start = (size_t)(lane->consumed % lane->capacity);
    size_t run = lane->capacity - start < available ? lane->capacity - start : available;
    size_t most = lane->capacity / 4 > 0 ? lane->capacity / 4 : lane->capacity;
    return run < most ? run : most;
}

static void *run_lane(void *argument)
{
    struct tt_lane *lane = argument;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (lane->written == lane->consumed && !lane->ended && !lane->dropped)
            pthread_cond_wait(&lane->changed, &lane->lock);
        if (lane->dropped || lane->written == lane->consumed)
            break;
        size_t length = next_run(lane);
        const uint8_t *data = lane->ring + lane->consumed % lane->capacity;
        pthread_mutex_unlock(&lane->lock);
        struct tt_error failure = TT_ERROR_INIT;
        enum tt_status status = lane->consume(lane->user, data, length, &failure);
        pthread_mutex_lock(&lane->lock);
        lane->consumed += length;
        if (status != TT_OK) {
            lane->failure = failure;
            lane->failure.status = status;
            lane->dropped = true;
        }
        pthread_cond_signal(&lane->changed);
    }
    pthread_cond_signal(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

static void release(struct tt_lane *lane)
{
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->lock);
    if (lane->ring)
        tt_wipe(lane->ring, lane->capacity);
    free(lane->ring);
    free(lane);
}

enum tt_status tt_lane_start(size_t capacity, tt_lane_consume consume, void *user, struct tt_lane **ret_lane,
                             struct tt_error *err)
{
    struct tt_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return tt_error_memory(err);
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
    lane->consume = consume;
    lane->user = user;
    lane->capacity = capacity;
    lane->ring = malloc(capacity);
    if (!lane->ring || pthread_create(&lane->thread, NULL, run_lane, lane) != 0) {
        release(lane);
        return tt_error_memory(err);
    }
    *ret_lane = lane;
    return TT_OK;
}

static enum tt_status failure_of(const struct tt_lane *lane, struct tt_error *err)
{
    if (lane->failure.status != TT_OK && err)
        *err = lane->failure;
    return lane->failure.status;
}

enum tt_status tt_lane_write(struct tt_lane *lane, const void *data, size_t length, struct tt_error *err)
{
    const uint8_t *bytes = data;
    pthread_mutex_lock(&lane->lock);
    while (length > 0) {
        while (lane->written - lane->consumed == lane->capacity && !lane->dropped)
            pthread_cond_wait(&lane->changed, &lane->lock);
        if (lane->dropped)
            break;
        size_t room = lane->capacity - (size_t)(lane->written - lane->consumed);
        size_t start = (size_t)(lane->written % lane->capacity);
        size_t run = lane->capacity - start < room ? lane->capacity - start : room;
        run = run < length ? run : length;
        /* The free part of the ring belongs to the producer: no need to hold the lock while copying. */
        pthread_mutex_unlock(&lane->lock);
        memcpy(lane->ring + start, bytes, run);
        pthread_mutex_lock(&lane->lock);
        lane->written += run;
        bytes += run;
        length -= run;
        pthread_cond_signal(&lane->changed);
    }
    enum tt_status status = failure_of(lane, err);
    pthread_mutex_unlock(&lane->lock);
    return status;
}

enum tt_status tt_lane_drain(struct tt_lane *lane, struct tt_error *err)
{
    pthread_mutex_lock(&lane->lock);
    while (lane->written != lane->consumed && !lane->dropped)
        pthread_cond_wait(&lane->changed, &lane->lock);
    enum tt_status status = failure_of(lane, err);
    pthread_mutex_unlock(&lane->lock);
    return status;
}

static void join(struct tt_lane *lane, bool drop)
{
    pthread_mutex_lock(&lane->lock);
    lane->ended = true;
    lane->dropped = lane->dropped || drop;
    pthread_cond_signal(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
    pthread_join(lane->thread, NULL);
}

enum tt_status tt_lane_finish(struct tt_lane *lane, struct tt_error *err)
{
    if (!lane)
        return TT_OK;
    join(lane, false);
    enum tt_status status = failure_of(lane, err);
    release(lane);
    return status;
}

void tt_lane_free(struct tt_lane *lane)
{
    if (!lane)
        return;
    join(lane, true);
    release(lane);
}
