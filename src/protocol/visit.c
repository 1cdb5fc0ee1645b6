#include "protocol/visit.h"

#include "protocol/content.h"

enum tt_status visit_read_train(struct tt_image *image, struct tt_train **ret_train, struct tt_error *err)
{
    static const char path[] = TT_TRAIN_CONFIG_PATH;
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    enum tt_status status = tt_image_files(image, path, &files, err);
    if (status != TT_OK)
        return status;
    if (tt_file_set_count(files) == 0)
        return tt_error_set(err, TT_MALFORMED, "%s is not a train: it has no /%s", tt_image_reference(image), path);
    const struct tt_entry *entry = tt_file_set_entry(files, 0);
    if (entry->type != TT_ENTRY_FILE)
        return tt_error_set(err, TT_TAMPERED, "/%s is a %s where a file must be", path,
                            tt_entry_type_name(entry->type));
    if (entry->size > TT_TRAIN_CONFIG_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "/%s has %llu bytes; at most %d are allowed", path,
                            (unsigned long long)entry->size, TT_TRAIN_CONFIG_LIMIT);
    struct tt_buffer text = TT_BUFFER_INIT(TT_TRAIN_CONFIG_LIMIT);
    status = tt_file_set_read_whole(files, 0, &text, err);
    if (status == TT_OK)
        status = tt_train_parse(text.data, text.length, ret_train, err);
    tt_buffer_clear(&text);
    return status;
}

static enum tt_status open_files(struct visit *visit, struct tt_error *err)
{
    enum tt_status status = tt_image_files(visit->image, TT_TRAIN_DEFINITION, &visit->definition, err);
    if (status == TT_OK)
        status = tt_image_files(visit->image, TT_TRAIN_RESULTS, &visit->results, err);
    return status;
}

enum tt_status visit_open(const char *reference, const char *platform, struct visit *ret_visit, struct tt_error *err)
{
    struct visit visit TT_CLEANUP(visit_clear) = {0};
    struct tt_image_options options = {.platform = platform};
    enum tt_status status = tt_image_open(reference, &options, &visit.image, err);
    if (status != TT_OK)
        return status;
    status = visit_read_train(visit.image, &visit.train, err);
    if (status == TT_OK)
        status = train_keys_parse(visit.train, &visit.keys, err);
    if (status == TT_OK)
        status = open_files(&visit, err);
    if (status != TT_OK)
        return status;
    *ret_visit = visit;
    visit = (struct visit){0};
    return TT_OK;
}

bool visit_is_decrypted(const struct visit *visit)
{
    uint8_t hash[TT_SHA512_SIZE];
    return definition_check(visit->train, visit->definition, DEFINITION_RAN, NULL, NULL) == TT_OK &&
           content_definition_hash(visit->train, visit->definition, NULL, hash, NULL) == TT_OK &&
           tt_digest_equal(hash, visit->train->hash, sizeof hash);
}

void visit_clear(struct visit *visit)
{
    tt_file_set_free(visit->definition);
    tt_file_set_free(visit->results);
    train_keys_clear(&visit->keys);
    tt_train_free(visit->train);
    tt_image_free(visit->image);
    *visit = (struct visit){0};
}
