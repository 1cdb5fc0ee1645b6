#include "protocol/protocol.h"

#include <string.h>

#include "protocol/visit.h"

static enum tt_status key_facts(const EVP_PKEY *key, struct tt_key_facts *facts, struct tt_error *err)
{
    facts->bits = tt_public_key_bits(key);
    return tt_public_key_fingerprint(key, facts->fingerprint, err);
}

static enum tt_status all_key_facts(const struct train_keys *keys, struct tt_inspection *inspection,
                                    struct tt_error *err)
{
    inspection->stops = calloc(keys->stop_count, sizeof *inspection->stops);
    if (!inspection->stops)
        return tt_error_memory(err);
    enum tt_status status = key_facts(keys->creator, &inspection->creator, err);
    if (status == TT_OK)
        status = key_facts(keys->builder, &inspection->builder, err);
    for (size_t i = 0; status == TT_OK && i < keys->stop_count; i++)
        status = key_facts(keys->stops[i], &inspection->stops[i], err);
    return status;
}

/* Regular files below `folder`, with their paths from there. */
static enum tt_status list_files(const struct tt_file_set *files, const char *folder, struct tt_listed_file **ret_list,
                                 size_t *ret_count, struct tt_error *err)
{
    size_t count = tt_file_set_count(files);
    *ret_list = calloc(count + 1, sizeof **ret_list);
    *ret_count = 0;
    if (!*ret_list)
        return tt_error_memory(err);
    for (size_t i = 1; i < count; i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        if (entry->type != TT_ENTRY_FILE)
            continue;
        struct tt_listed_file *listed = &(*ret_list)[(*ret_count)++];
        listed->path = strdup(entry->path + strlen(folder) + 1);
        listed->size = entry->size;
        if (!listed->path)
            return tt_error_memory(err);
    }
    return TT_OK;
}

enum tt_status tt_inspect(const char *image, const struct tt_image_options *options,
                          struct tt_inspection *ret_inspection, struct tt_error *err)
{
    struct visit visit TT_CLEANUP(visit_clear) = {0};
    struct tt_inspection inspection TT_CLEANUP(tt_inspection_clear) = {0};
    enum tt_status status = visit_open(image, options ? options->platform : NULL, VISIT_RESULTS_LISTED, &visit, err);
    if (status == TT_OK)
        status = all_key_facts(&visit.keys, &inspection, err);
    if (status == TT_OK)
        status = list_files(visit.definition, TT_TRAIN_DEFINITION, &inspection.definition, &inspection.definition_count,
                            err);
    if (status == TT_OK)
        status = list_files(visit.results, TT_TRAIN_RESULTS, &inspection.results, &inspection.results_count, err);
    if (status != TT_OK)
        return status;
    inspection.in_order = tt_route_position(visit.train, &inspection.position, NULL) == TT_OK;
    inspection.train = TT_TAKE(visit.train);
    inspection.image = TT_TAKE(visit.image);
    *ret_inspection = inspection;
    inspection = (struct tt_inspection){0};
    return TT_OK;
}

static void free_list(struct tt_listed_file *list, size_t count)
{
    for (size_t i = 0; list && i < count; i++)
        free(list[i].path);
    free(list);
}

void tt_inspection_clear(struct tt_inspection *inspection)
{
    free_list(inspection->definition, inspection->definition_count);
    free_list(inspection->results, inspection->results_count);
    free(inspection->stops);
    tt_train_free(inspection->train);
    tt_image_free(inspection->image);
    *inspection = (struct tt_inspection){0};
}
