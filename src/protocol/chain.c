#include "protocol/chain.h"

#include <string.h>

#include "crypto/signature.h"

enum tt_status chain_digest(const struct tt_train *train, size_t index, const uint8_t result_hash[TT_TRAIN_HASH_SIZE],
                            uint8_t ret_digest[TT_TRAIN_HASH_SIZE], struct tt_error *err)
{
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
    enum tt_status status = tt_digest_new(TT_SHA512, &digest, err);
    if (status == TT_OK && index == 0)
        status = tt_digest_update(digest, train->session_id, sizeof train->session_id, err);
    for (size_t i = 0; status == TT_OK && i < index; i++)
        status = tt_digest_update(digest, train->stops[i].digest, TT_TRAIN_HASH_SIZE, err);
    if (status == TT_OK)
        status = tt_digest_update(digest, result_hash, TT_TRAIN_HASH_SIZE, err);
    if (status == TT_OK)
        status = tt_digest_final(digest, ret_digest, err);
    return status;
}

enum tt_status chain_is_at(const struct tt_train *train, size_t index, struct tt_error *err)
{
    size_t position = 0;
    enum tt_status status = tt_route_position(train, &position, err);
    if (status != TT_OK)
        return status;
    const char *station = train->stops[index].station;
    if (position > index)
        return tt_error_set(
            err, TT_WRONG_STOP,
            "the train was at station '%s' (stop %zu) already: that stop is signed; ask for the train's "
            "newest state",
            station, index);
    if (position < index)
        return tt_error_set(err, TT_WRONG_STOP,
                            "the train is out of order: station '%s' is stop %zu, but stop %zu ('%s') has not signed "
                            "yet; the train must go there first",
                            station, index, position, train->stops[position].station);
    return TT_OK;
}

static void note(tt_check_sink sink, void *user, const char *name, const char *says)
{
    if (sink)
        sink(user, name, true, says);
}

static enum tt_status verify_makers(const struct tt_train *train, const struct train_keys *keys, tt_check_sink sink,
                                    void *user, struct tt_error *err)
{
    uint8_t built[TT_TRAIN_HASH_SIZE + TT_TRAIN_SIGNATURE_LIMIT];
    if (train->signature.length > TT_TRAIN_SIGNATURE_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "train_config.json: signature is too long");
    enum tt_status status =
        tt_signature_verify_pkcs1(keys->creator, train->hash, sizeof train->hash, train->signature.data,
                                  train->signature.length, "the creator's signature of the definition hash", err);
    if (status != TT_OK)
        return status;
    note(sink, user, "creator-signature", "the creator's key signed the definition hash");
    memcpy(built, train->hash, sizeof train->hash);
    memcpy(built + sizeof train->hash, train->signature.data, train->signature.length);
    status = tt_signature_verify_pkcs1(keys->builder, built, sizeof train->hash + train->signature.length,
                                       train->build_signature.data, train->build_signature.length,
                                       "the builder's signature", err);
    if (status != TT_OK)
        return status;
    note(sink, user, "build-signature", "the builder's key signed hash and signature");
    return TT_OK;
}

static enum tt_status verify_stop(const struct tt_train *train, const struct train_keys *keys, size_t index,
                                  struct tt_error *err)
{
    const struct tt_stop *stop = &train->stops[index];
    char what[256];
    snprintf(what, sizeof what, "the signature of stop %zu (station '%s')", index, stop->station);
    return tt_signature_verify_pss(keys->stops[index], stop->digest, stop->signature.data, stop->signature.length, what,
                                   err);
}

/* The last stop's signature of the result hash, and its digest made anew: a digest that some other train, or an older
 * run of this one, has a good signature for is not the digest of these results. */
static enum tt_status verify_last_stop(const struct tt_train *train, const struct train_keys *keys, size_t index,
                                       struct tt_error *err)
{
    enum tt_status status =
        tt_signature_verify_pss(keys->stops[index], train->result_hash, train->result_signature.data,
                                train->result_signature.length, "the last station's signature of the result hash", err);
    if (status != TT_OK)
        return status;
    uint8_t digest[TT_TRAIN_HASH_SIZE];
    status = chain_digest(train, index, train->result_hash, digest, err);
    if (status != TT_OK)
        return status;
    if (!tt_digest_equal(digest, train->stops[index].digest, sizeof digest))
        return tt_error_set(err, TT_TAMPERED,
                            "the digest that stop %zu (station '%s') signed is not the digest of this session, the "
                            "stops before it and this result hash: it comes from another train or another run",
                            index, train->stops[index].station);
    return TT_OK;
}

enum tt_status chain_verify(const struct tt_train *train, const struct train_keys *keys, size_t position,
                            tt_check_sink sink, void *user, struct tt_error *err)
{
    enum tt_status status = verify_makers(train, keys, sink, user, err);
    if (status != TT_OK || position == 0)
        return status;
    for (size_t i = 0; i < position; i++) {
        status = verify_stop(train, keys, i, err);
        if (status != TT_OK)
            return status;
    }
    status = verify_last_stop(train, keys, position - 1, err);
    if (status != TT_OK)
        return status;
    note(sink, user, "stop-signatures", "every stop so far signed its route digest");
    note(sink, user, "result-signature", "the last stop signed the result hash");
    note(sink, user, "route-digest", "the last digest covers this session, the stops before and this result hash");
    return TT_OK;
}
