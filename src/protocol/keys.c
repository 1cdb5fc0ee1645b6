#include "protocol/keys.h"

enum tt_status train_keys_parse(const struct tt_train *train, struct train_keys *ret_keys, struct tt_error *err)
{
    struct train_keys keys TT_CLEANUP(train_keys_clear) = {.stop_count = train->stop_count};
    keys.stops = calloc(train->stop_count, sizeof(EVP_PKEY *));
    if (!keys.stops)
        return tt_error_memory(err);
    enum tt_status status = tt_public_key_parse(train->creator_public_key.data, train->creator_public_key.length,
                                                "train_config.json: creator.rsa_public_key", &keys.creator, err);
    if (status == TT_OK)
        status = tt_public_key_parse(train->build_public_key.data, train->build_public_key.length,
                                     "train_config.json: build.rsa_public_key", &keys.builder, err);
    for (size_t i = 0; status == TT_OK && i < train->stop_count; i++) {
        const struct tt_stop *stop = &train->stops[i];
        char what[256];
        snprintf(what, sizeof what, "train_config.json: the rsa_public_key of stop %zu (%s)", i, stop->station);
        status = tt_public_key_parse(stop->rsa_public_key.data, stop->rsa_public_key.length, what, &keys.stops[i], err);
    }
    if (status != TT_OK)
        return status;
    *ret_keys = keys;
    keys = (struct train_keys){0};
    return TT_OK;
}

void train_keys_clear(struct train_keys *keys)
{
    EVP_PKEY_free(keys->creator);
    EVP_PKEY_free(keys->builder);
    for (size_t i = 0; keys->stops && i < keys->stop_count; i++)
        EVP_PKEY_free(keys->stops[i]);
    free(keys->stops);
    *keys = (struct train_keys){0};
}
