#include "protocol/content_hash.h"

#include <string.h>

#include "base/lane.h"

/* What a signature of a signed statement covers begins so (statement/envelope.h). Stations sign the hash of results in
 * the same way, and a train's maker chooses both the results and the session id behind them: they could be a statement
 * that the station never made. */
static const char statement_start[] = "DSSEv1 ";
enum { START = sizeof statement_start - 1 };

struct content_hash {
    struct tt_digest *digest;
    struct tt_lane *lane;
    uint8_t start[START];
    size_t started;
};

static enum tt_status consume(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct content_hash *hash = user;
    for (size_t i = 0; i < length && hash->started < START; i++)
        hash->start[hash->started++] = data[i];
    return tt_digest_update(hash->digest, data, length, err);
}

enum tt_status content_hash_new(struct content_hash **ret_hash, struct tt_error *err)
{
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = calloc(1, sizeof *hash);
    if (!hash)
        return tt_error_memory(err);
    enum tt_status status = tt_digest_new(TT_SHA512, &hash->digest, err);
    if (status == TT_OK)
        status = tt_lane_start((size_t)TT_LANE_SLOTS * CONTENT_PIECE, consume, hash, &hash->lane, err);
    if (status != TT_OK)
        return status;
    *ret_hash = TT_TAKE(hash);
    return TT_OK;
}

void content_hash_free(struct content_hash *hash)
{
    if (!hash)
        return;
    tt_lane_free(hash->lane);
    tt_digest_free(hash->digest);
    free(hash);
}

enum tt_status content_hash_update(struct content_hash *hash, const void *data, size_t length, struct tt_error *err)
{
    return tt_lane_write(hash->lane, data, length, err);
}

enum tt_status content_hash_room(struct content_hash *hash, size_t length, uint8_t **ret_room, struct tt_error *err)
{
    return tt_lane_room(hash->lane, length, ret_room, err);
}

void content_hash_put(struct content_hash *hash, size_t length)
{
    tt_lane_put(hash->lane, length);
}

enum tt_status content_hash_final(struct content_hash *hash, uint8_t ret_value[TT_SHA512_SIZE], struct tt_error *err)
{
    enum tt_status status = tt_lane_drain(hash->lane, err);
    if (status == TT_OK && hash->started == START && memcmp(hash->start, statement_start, START) == 0)
        status =
            tt_error_set(err, TT_TAMPERED,
                         "the train's content begins with \"%s\", as a signed statement does: a station that signs "
                         "its hash would sign a statement that it never made",
                         statement_start);
    if (status == TT_OK)
        status = tt_digest_final(hash->digest, ret_value, err);
    return status;
}
