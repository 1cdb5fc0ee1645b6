#include <fcntl.h>
#include <string.h>

#include "protocol/chain.h"
#include "protocol/manifest.h"
#include "protocol/trusted.h"
#include "protocol/visit.h"

void tt_named_keys_clear(struct tt_named_keys *keys)
{
    for (size_t i = 0; keys->items && i < keys->count; i++)
        EVP_PKEY_free(keys->items[i].key);
    free(keys->items);
    tt_train_free(keys->train);
    *keys = (struct tt_named_keys){0};
}

/* As results does: a path that exists is a tar. */
static enum tt_status read_train(const char *source, const char *platform, struct tt_train **ret_train,
                                 struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_options how = {.platform = platform};
    if (faccessat(AT_FDCWD, source, F_OK, 0) == 0)
        return visit_read_tar(source, ret_train, err);
    enum tt_status status = tt_image_open(source, &how, &image, err);
    return status == TT_OK ? visit_read_train(image, ret_train, err) : status;
}

/* A signed manifest names every key of the route: one that was put in the place of another since is not handed on. */
static enum tt_status verify(const struct tt_train *train, const struct train_keys *keys, struct tt_error *err)
{
    struct manifests manifests TT_CLEANUP(manifests_clear) = {0};
    size_t position = 0;
    enum tt_status status = tt_route_position(train, &position, err);
    if (status == TT_OK)
        status = chain_verify(train, keys, position, NULL, NULL, err);
    return status == TT_OK ? manifest_verify(train, keys, position, NULL, &manifests, err) : status;
}

static enum tt_status take_keys(struct tt_named_keys *named, struct train_keys *keys, struct tt_error *err)
{
    const struct tt_train *train = named->train;
    named->items = calloc(train->stop_count + 1, sizeof *named->items);
    if (!named->items)
        return tt_error_memory(err);
    named->count = train->stop_count + 1;
    named->items[0] = (struct tt_named_key){.role = TT_TRUST_CREATOR, .id = train->creator_id};
    named->items[0].key = TT_TAKE(keys->creator);
    for (size_t i = 0; i < train->stop_count; i++) {
        named->items[i + 1] = (struct tt_named_key){.role = TT_TRUST_STATION, .id = train->stops[i].station};
        named->items[i + 1].key = TT_TAKE(keys->stops[i]);
    }
    return TT_OK;
}

enum tt_status tt_named_keys(const char *source, const char *platform, struct tt_named_keys *ret_keys,
                             struct tt_error *err)
{
    struct tt_named_keys named TT_CLEANUP(tt_named_keys_clear) = {0};
    struct train_keys keys TT_CLEANUP(train_keys_clear) = {0};
    enum tt_status status = read_train(source, platform, &named.train, err);
    if (status == TT_OK)
        status = train_keys_parse(named.train, &keys, err);
    if (status == TT_OK)
        status = verify(named.train, &keys, err);
    if (status == TT_OK)
        status = take_keys(&named, &keys, err);
    if (status != TT_OK)
        return status;
    *ret_keys = named;
    named = (struct tt_named_keys){0};
    return TT_OK;
}

enum tt_status tt_named_keys_check(const struct tt_named_keys *keys, const char *station,
                                   const struct tt_trust_options *options, const char *source, struct tt_error *err)
{
    struct train_keys parsed = {.creator = keys->items[0].key, .stop_count = keys->count - 1};
    size_t own = TRUSTED_NOBODY;
    parsed.stops = calloc(keys->count, sizeof(EVP_PKEY *));
    if (!parsed.stops)
        return tt_error_memory(err);
    for (size_t i = 1; i < keys->count; i++) {
        parsed.stops[i - 1] = keys->items[i].key;
        own = station && strcmp(station, keys->items[i].id) == 0 ? i - 1 : own;
    }
    enum tt_status status = trusted_check(keys->train, &parsed, own, options, source, NULL, err);
    free(parsed.stops);
    return status;
}
