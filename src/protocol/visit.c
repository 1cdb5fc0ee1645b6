#include "protocol/visit.h"

#include "archive/tar_files.h"
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

static enum tt_status read_tar_configuration(const char *tar, struct tt_buffer *ret_text, struct tt_error *err)
{
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    enum tt_status status = tt_tar_files(tar, "train_config.json", TT_TRAIN_CONFIG_PATH, &files, err);
    if (status != TT_OK)
        return status;
    const struct tt_entry *entry = tt_file_set_count(files) > 0 ? tt_file_set_entry(files, 0) : NULL;
    if (!entry || entry->type != TT_ENTRY_FILE || entry->size > TT_TRAIN_CONFIG_LIMIT)
        return tt_error_set(err, TT_MALFORMED,
                            "%s has no train_config.json of a fitting size; it must hold pht_results/ and "
                            "train_config.json",
                            tar);
    return tt_file_set_read_whole(files, 0, ret_text, err);
}

enum tt_status visit_read_tar(const char *tar, struct tt_train **ret_train, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = read_tar_configuration(tar, &text, err);
    return status == TT_OK ? tt_train_parse(text.data, text.length, ret_train, err) : status;
}

static enum tt_status list_results(struct visit *visit, struct tt_error *err)
{
    struct tt_file_stream *stream TT_CLEANUP(tt_file_stream_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    enum tt_status status = tt_image_stream(visit->image, TT_TRAIN_RESULTS, &stream, err);
    do {
        if (status == TT_OK)
            status = tt_file_stream_next(stream, &entry, err);
    } while (status == TT_OK && entry);
    return status == TT_OK ? tt_file_stream_listing(stream, &visit->results, err) : status;
}

static enum tt_status open_files(struct visit *visit, enum visit_results results, struct tt_error *err)
{
    enum tt_status status = tt_image_files(visit->image, TT_TRAIN_DEFINITION, &visit->definition, err);
    if (status == TT_OK && results == VISIT_RESULTS_READ)
        status = tt_image_files(visit->image, TT_TRAIN_RESULTS, &visit->results, err);
    if (status == TT_OK && results == VISIT_RESULTS_LISTED)
        status = list_results(visit, err);
    return status;
}

enum tt_status visit_image(struct tt_image *image, enum visit_results results, struct visit *ret_visit,
                           struct tt_error *err)
{
    struct visit visit TT_CLEANUP(visit_clear) = {.image = image};
    enum tt_status status = visit_read_train(visit.image, &visit.train, err);
    if (status == TT_OK)
        status = train_keys_parse(visit.train, &visit.keys, err);
    if (status == TT_OK)
        status = open_files(&visit, results, err);
    if (status != TT_OK)
        return status;
    *ret_visit = visit;
    visit = (struct visit){0};
    return TT_OK;
}

enum tt_status visit_open(const char *reference, const char *platform, enum visit_results results,
                          struct visit *ret_visit, struct tt_error *err)
{
    struct tt_image_options options = {.platform = platform};
    struct tt_image *image = NULL;
    enum tt_status status = tt_image_open(reference, &options, &image, err);
    return status == TT_OK ? visit_image(image, results, ret_visit, err) : status;
}

enum tt_status visit_is_decrypted(const struct visit *visit, bool *ret_is_decrypted, struct tt_error *err)
{
    uint8_t hash[TT_SHA512_SIZE];
    struct tt_error said = TT_ERROR_INIT;
    enum tt_status status = definition_check(visit->train, visit->definition, DEFINITION_RAN, NULL, &said);
    if (status == TT_OK)
        status = content_definition_hash(visit->train, visit->definition, NULL, hash, &said);
    *ret_is_decrypted = status == TT_OK && tt_digest_equal(hash, visit->train->hash, sizeof hash);
    /* Only the files tell that they are not plaintext: for want of memory nothing is taken for encrypted. */
    if (status == TT_OK || status == TT_MALFORMED || status == TT_TAMPERED)
        return TT_OK;
    return tt_error_set(err, status, "cannot tell whether the train lies decrypted in %s: %s",
                        tt_image_reference(visit->image), said.message);
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
