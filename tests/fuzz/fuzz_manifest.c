/* A payload that parses as a manifest keeps the promises of manifest.h: written and read again it says the same. */
#include <stdint.h>
#include <string.h>

#include "short_memory.h"
#include "statement/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void require_same_list(const struct tt_manifest_list *one, const struct tt_manifest_list *other)
{
    require(tt_manifest_list_compare(one, other, "a", "b", NULL) == TT_OK);
    require(one->has_query == other->has_query && memcmp(one->query, other->query, sizeof one->query) == 0);
    require(!one->is_explicit || one->files + one->links == one->entry_count);
    require(one->is_explicit || one->entry_count == 0);
    require(one->entry_count <= TT_MANIFEST_ENTRY_LIMIT);
}

/* Of two lists that are not the same, one or another difference is named. */
static void require_difference(struct tt_manifest_list *list)
{
    struct tt_manifest_list shorter = *list;
    struct tt_error err = TT_ERROR_INIT;
    if (list->entry_count == 0)
        return;
    shorter.entry_count--;
    shorter.sha512[0] ^= 1;
    require(tt_manifest_list_compare(list, &shorter, "a", "b", &err) == TT_TAMPERED);
    require(tt_manifest_list_compare(&shorter, list, "a", "b", &err) == TT_TAMPERED);
}

/* Whatever changed in an entry, it is named, and so is another order. */
static void require_changes(struct tt_manifest_list *list)
{
    size_t bytes = list->entry_count * sizeof *list->entries;
    if (list->entry_count == 0)
        return;
    struct tt_manifest_entry *entries = malloc(bytes);
    require(entries != NULL);
    for (int change = 0; change < 6; change++) {
        struct tt_manifest_list changed = *list;
        struct tt_error err = TT_ERROR_INIT;
        memcpy(entries, list->entries, bytes);
        changed.entries = entries;
        changed.sha512[0] ^= 1;
        struct tt_manifest_entry *last = &entries[list->entry_count - 1];
        const struct tt_manifest_entry first = entries[0];
        last->mode ^= change == 0;
        last->size ^= change == 1;
        last->sha512[3] ^= change == 2;
        last->kind = change == 3 && last->kind == TT_MANIFEST_FILE ? TT_MANIFEST_SYMLINK : last->kind;
        changed.is_explicit = change != 4;
        if (change == 5) {
            entries[0] = *last;
            *last = first;
        }
        require(tt_manifest_list_compare(list, &changed, "a", "b", &err) == TT_TAMPERED && err.message[0]);
    }
    free(entries);
}

static void creator(const uint8_t *data, size_t size)
{
    struct tt_creator_manifest one TT_CLEANUP(tt_creator_manifest_clear) = {0};
    struct tt_creator_manifest other TT_CLEANUP(tt_creator_manifest_clear) = {0};
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_creator_manifest_parse(data, size, &one, &err);
    require(status == TT_OK || status == TT_MALFORMED || status == TT_TAMPERED);
    if (status != TT_OK)
        return;
    require(tt_creator_manifest_write(&one, TT_MANIFEST_ENTRY_BYTES, &payload, &err) == TT_OK);
    require(tt_creator_manifest_parse(payload.data, payload.length, &other, &err) == TT_OK);
    require_same_list(&one.definition, &other.definition);
    require_difference(&one.definition);
    require_changes(&one.definition);
    require(strcmp(one.creator, other.creator) == 0 && one.stop_count == other.stop_count &&
            one.layer_count == other.layer_count && !one.train == !other.train && !one.base == !other.base);
}

static void stop(const uint8_t *data, size_t size)
{
    struct tt_stop_manifest one TT_CLEANUP(tt_stop_manifest_clear) = {0};
    struct tt_stop_manifest other TT_CLEANUP(tt_stop_manifest_clear) = {0};
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_stop_manifest_parse(data, size, &one, &err);
    require(status == TT_OK || status == TT_MALFORMED || status == TT_TAMPERED);
    if (status != TT_OK)
        return;
    require(tt_stop_manifest_write(&one, TT_MANIFEST_ENTRY_BYTES, &payload, &err) == TT_OK);
    require(tt_stop_manifest_parse(payload.data, payload.length, &other, &err) == TT_OK);
    require_same_list(&one.results, &other.results);
    require_difference(&one.results);
    require_changes(&one.results);
    require(strcmp(one.station, other.station) == 0 && one.index == other.index && strcmp(one.time, other.time) == 0);
}

static enum tt_status read_creator(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_creator_manifest manifest TT_CLEANUP(tt_creator_manifest_clear) = {0};
    return tt_creator_manifest_parse(data, size, &manifest, err);
}

static enum tt_status read_stop(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_stop_manifest manifest TT_CLEANUP(tt_stop_manifest_clear) = {0};
    return tt_stop_manifest_parse(data, size, &manifest, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    short_memory_try(data, size, read_creator);
    short_memory_try(data, size, read_stop);
    creator(data, size);
    stop(data, size);
    return 0;
}
