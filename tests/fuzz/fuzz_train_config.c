/* A configuration that parses keeps the promises of train.h, and changes to it can be read back. */
#include <stdint.h>
#include <string.h>

#include "short_memory.h"
#include "train/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void check_promises(const struct tt_train *train)
{
    require(train->creator_id && train->creator_id[0] && train->stop_count > 0 &&
            train->stop_count <= TT_TRAIN_STOP_LIMIT);
    for (size_t i = 0; i < train->stop_count; i++) {
        const struct tt_stop *stop = &train->stops[i];
        const struct tt_stop *found = NULL;
        require(stop->index == i && stop->rsa_public_key.length > 0);
        require(tt_route_find(train, stop->station, &found, NULL) == TT_OK && found == stop);
        require(stop->is_signed == (stop->signature.data != NULL));
    }
    for (size_t i = 0; i < train->file_count; i++) {
        require(tt_train_path_is_safe(train->files[i]));
        require(strcmp(train->files[i], TT_TRAIN_QUERY_NAME) != 0 && strncmp(train->files[i], "./", 2) != 0);
    }
    const struct tt_stop *nobody = NULL;
    require(tt_route_find(train, "never on a route", &nobody, NULL) == TT_WRONG_STOP && !nobody);
    size_t position = 0;
    if (tt_route_position(train, &position, NULL) == TT_OK)
        require(position <= train->stop_count && (position > 0) == train->has_result_hash);
}

static void check_changes(struct tt_train *train)
{
    static const uint8_t fresh[512] = {1, 2, 3};
    size_t last = train->stop_count - 1;
    if (train->text.length > TT_TRAIN_CONFIG_LIMIT - 100000)
        return;
    require(tt_train_set_result(train, fresh, fresh, 256, NULL) == TT_OK);
    require(tt_train_set_stop_signature(train, last, fresh, fresh, 384, NULL) == TT_OK);
    require(tt_train_set_stop_key(train, last, fresh, 512, NULL) == TT_OK);
    require(tt_train_set_creator_key(train, fresh, 512, NULL) == TT_OK);
    require(tt_train_add_manifest(train, "{\"a\":[\"b\"]}", NULL) == TT_OK);
    struct tt_train *again TT_CLEANUP(tt_train_free_cleanup) = NULL;
    require(tt_train_parse(train->text.data, train->text.length, &again, NULL) == TT_OK);
    require(again->stops[last].is_signed && memcmp(again->stops[last].digest, fresh, TT_TRAIN_HASH_SIZE) == 0);
    require(again->stops[last].encrypted_key.length == 512 && again->creator_encrypted_key.length == 512);
    require(again->has_result_hash && again->result_signature.length == 256);
    require(again->manifest_count == train->manifest_count && again->manifest_count > 0);
    for (size_t i = 0; i < again->manifest_count; i++)
        require(strcmp(again->manifests[i], train->manifests[i]) == 0);
    require(again->stop_count == train->stop_count && again->file_count == train->file_count);
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    static const uint8_t fresh[512] = {1, 2, 3};
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = NULL;
    enum tt_status status = tt_train_parse(data, size, &train, err);
    if (status == TT_OK)
        status = tt_train_set_result(train, fresh, fresh, 256, err);
    return status == TT_OK ? tt_train_set_creator_key(train, fresh, 512, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    short_memory_try(data, size, read_again);
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_train_parse(data, size, &train, &err);
    require(status == TT_OK || status == TT_MALFORMED);
    require((status == TT_OK) == (train != NULL) && (status == TT_OK || err.message[0]));
    if (train) {
        require(train->text.length == size && memcmp(train->text.data, data, size) == 0);
        check_promises(train);
        check_changes(train);
    }
    return 0;
}
