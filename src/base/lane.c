#include "base/lane.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/secret.h"

struct slot {
    uint8_t *data;
    size_t length;
    size_t touched; /* bytes that were ever given out to be written */
};

struct tt_lane {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tt_lane_consume consume;
    void *user;
    struct slot slots[TT_LANE_SLOTS];
    size_t slot_size;
    uint64_t filled;   /* slots ever handed to the consumer; the next one is the producer's */
    uint64_t consumed; /* slots ever given back */
    bool ended;        /* no more will come */
    bool dropped;      /* what is left in the slots does not matter */
    struct tt_error failure;
};

static struct slot *slot_of(struct tt_lane *lane, uint64_t number)
{
    return &lane->slots[number % TT_LANE_SLOTS];
}

static void *run_lane(void *argument)
{
    struct tt_lane *lane = argument;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (lane->filled == lane->consumed && !lane->ended && !lane->dropped)
            pthread_cond_wait(&lane->changed, &lane->lock);
        if (lane->dropped || lane->filled == lane->consumed)
            break;
        const struct slot *slot = slot_of(lane, lane->consumed);
        pthread_mutex_unlock(&lane->lock);
        struct tt_error failure = TT_ERROR_INIT;
        enum tt_status status = lane->consume(lane->user, slot->data, slot->length, &failure);
        pthread_mutex_lock(&lane->lock);
        lane->consumed++;
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
    /* Not the whole memory: what is short would pay for touching pages that nothing was ever written to. */
    for (size_t i = 0; i < TT_LANE_SLOTS; i++)
        tt_wipe(lane->slots[i].data, lane->slots[i].touched);
    free(lane->slots[0].data);
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
    lane->slot_size = capacity / TT_LANE_SLOTS;
    uint8_t *memory = malloc(TT_LANE_SLOTS * lane->slot_size);
    for (size_t i = 0; memory && i < TT_LANE_SLOTS; i++)
        lane->slots[i].data = memory + i * lane->slot_size;
    if (!memory || pthread_create(&lane->thread, NULL, run_lane, lane) != 0) {
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

/* Hands the producer's slot to the consumer, if there is anything in it, and waits for the next one to be free. */
static enum tt_status turn(struct tt_lane *lane, struct tt_error *err)
{
    pthread_mutex_lock(&lane->lock);
    if (slot_of(lane, lane->filled)->length > 0) {
        lane->filled++;
        pthread_cond_signal(&lane->changed);
        while (lane->filled - lane->consumed == TT_LANE_SLOTS && !lane->dropped)
            pthread_cond_wait(&lane->changed, &lane->lock);
        if (!lane->dropped)
            slot_of(lane, lane->filled)->length = 0;
    }
    enum tt_status status = failure_of(lane, err);
    pthread_mutex_unlock(&lane->lock);
    return status;
}

enum tt_status tt_lane_room(struct tt_lane *lane, size_t length, uint8_t **ret_room, struct tt_error *err)
{
    struct slot *slot = slot_of(lane, lane->filled);
    if (length > lane->slot_size)
        return tt_error_set(err, TT_INTERNAL, "a lane was asked for more room than it has");
    if (length > lane->slot_size - slot->length) {
        enum tt_status status = turn(lane, err);
        if (status != TT_OK)
            return status;
        slot = slot_of(lane, lane->filled);
    }
    if (slot->touched < slot->length + length)
        slot->touched = slot->length + length;
    *ret_room = slot->data + slot->length;
    return TT_OK;
}

void tt_lane_put(struct tt_lane *lane, size_t length)
{
    slot_of(lane, lane->filled)->length += length;
}

enum tt_status tt_lane_write(struct tt_lane *lane, const void *data, size_t length, struct tt_error *err)
{
    const uint8_t *bytes = data;
    while (length > 0) {
        size_t left = lane->slot_size - slot_of(lane, lane->filled)->length;
        size_t run = left == 0 ? lane->slot_size : left;
        run = run < length ? run : length;
        uint8_t *room = NULL;
        enum tt_status status = tt_lane_room(lane, run, &room, err);
        if (status != TT_OK)
            return status;
        memcpy(room, bytes, run);
        tt_lane_put(lane, run);
        bytes += run;
        length -= run;
    }
    return TT_OK;
}

enum tt_status tt_lane_drain(struct tt_lane *lane, struct tt_error *err)
{
    enum tt_status status = turn(lane, err);
    if (status != TT_OK)
        return status;
    pthread_mutex_lock(&lane->lock);
    while (lane->filled != lane->consumed && !lane->dropped)
        pthread_cond_wait(&lane->changed, &lane->lock);
    status = failure_of(lane, err);
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
    enum tt_status status = turn(lane, err);
    join(lane, status != TT_OK);
    status = failure_of(lane, err);
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
