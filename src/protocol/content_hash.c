#include "protocol/content_hash.h"

#include "base/lane.h"

struct content_hash {
    struct tt_digest *digest;
    struct tt_lane *lane;
};

static enum tt_status consume(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct content_hash *hash = user;
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
    if (status == TT_OK)
        status = tt_digest_final(hash->digest, ret_value, err);
    return status;
}
