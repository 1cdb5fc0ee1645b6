#include <string.h>

#include "base/hex.h"
#include "statement/manifest_inside.h"
#include "json/json.h"

enum {
    VALUE_LIMIT = 10000, /* JSON values in a payload */
    STOP_LIMIT = 1000,
    LAYER_LIMIT = 1000,
    TEXT_LIMIT = 4096,
    DIGEST_LENGTH = 71 /* "sha256:" and 64 digits */
};

static const int64_t size_limit = INT64_MAX;

/* A payload being read; messages call it `what`. */
struct reader {
    const char *what;
    struct tt_error *err;
};

static enum tt_status malformed(const struct reader *reader, const char *member, const char *problem)
{
    return tt_error_set(reader->err, TT_MALFORMED, "%s: \"%s\" %s", reader->what, member, problem);
}

static enum tt_status find(const struct reader *reader, const cJSON *object, const char *member, const cJSON **ret_item)
{
    *ret_item = cJSON_GetObjectItemCaseSensitive(object, member);
    return *ret_item ? TT_OK : malformed(reader, member, "is missing");
}

static enum tt_status enter(const struct reader *reader, const cJSON *object, const char *member,
                            const cJSON **ret_object)
{
    enum tt_status status = find(reader, object, member, ret_object);
    return status != TT_OK || cJSON_IsObject(*ret_object) ? status : malformed(reader, member, "is not an object");
}

static enum tt_status take_array(const struct reader *reader, const cJSON *object, const char *member, int limit,
                                 const cJSON **ret_array)
{
    enum tt_status status = find(reader, object, member, ret_array);
    if (status == TT_OK && !cJSON_IsArray(*ret_array))
        return malformed(reader, member, "is not an array");
    if (status == TT_OK && cJSON_GetArraySize(*ret_array) > limit)
        return malformed(reader, member, "has too many elements");
    return status;
}

static enum tt_status text_of(const struct reader *reader, const cJSON *item, const char *member, const char **ret_text)
{
    if (!cJSON_IsString(item))
        return malformed(reader, member, "is not a string");
    if (strlen(item->valuestring) > TEXT_LIMIT)
        return malformed(reader, member, "is too long");
    *ret_text = item->valuestring;
    return TT_OK;
}

static enum tt_status take_plain(const struct reader *reader, const cJSON *object, const char *member,
                                 const char **ret_text)
{
    const cJSON *item = NULL;
    enum tt_status status = find(reader, object, member, &item);
    return status == TT_OK ? text_of(reader, item, member, ret_text) : status;
}

static enum tt_status copy(const struct reader *reader, const char *text, char **ret_copy)
{
    *ret_copy = strdup(text);
    return *ret_copy ? TT_OK : tt_error_memory(reader->err);
}

static enum tt_status take_text(const struct reader *reader, const cJSON *object, const char *member, char **ret_text)
{
    const char *text = NULL;
    enum tt_status status = take_plain(reader, object, member, &text);
    return status == TT_OK ? copy(reader, text, ret_text) : status;
}

/* null stays NULL. */
static enum tt_status take_text_or_null(const struct reader *reader, const cJSON *object, const char *member,
                                        char **ret_text)
{
    const cJSON *item = NULL;
    enum tt_status status = find(reader, object, member, &item);
    return status != TT_OK || cJSON_IsNull(item) ? status : take_text(reader, object, member, ret_text);
}

/* Into text[size]. */
static enum tt_status take_short(const struct reader *reader, const cJSON *object, const char *member, char *text,
                                 size_t size)
{
    const char *found = NULL;
    enum tt_status status = take_plain(reader, object, member, &found);
    if (status == TT_OK && strlen(found) >= size)
        return malformed(reader, member, "is too long");
    if (status == TT_OK)
        memcpy(text, found, strlen(found) + 1);
    return status;
}

static enum tt_status take_hex(const struct reader *reader, const cJSON *object, const char *member, uint8_t *data,
                               size_t length)
{
    const char *text = NULL;
    enum tt_status status = take_plain(reader, object, member, &text);
    if (status == TT_OK && (strlen(text) != 2 * length || !tt_hex_decode(text, 2 * length, data, length)))
        return malformed(reader, member, "is not lower-case hexadecimal of the length that it must have");
    return status;
}

static enum tt_status take_number(const struct reader *reader, const cJSON *object, const char *member, int64_t most,
                                  uint64_t *ret_number)
{
    const cJSON *item = NULL;
    int64_t number = 0;
    enum tt_status status = find(reader, object, member, &item);
    if (status == TT_OK && !tt_json_integer(item, 0, most, &number))
        return malformed(reader, member, "is not a number that it can be");
    if (status == TT_OK)
        *ret_number = (uint64_t)number;
    return status;
}

static enum tt_status take_mode(const struct reader *reader, const cJSON *object, struct tt_manifest_entry *entry)
{
    const char *text = NULL;
    enum tt_status status = take_plain(reader, object, "mode", &text);
    if (status != TT_OK)
        return status;
    if (strcmp(text, "symlink") == 0 || strcmp(text, "hardlink") == 0) {
        entry->kind = text[0] == 's' ? TT_MANIFEST_SYMLINK : TT_MANIFEST_HARDLINK;
        return TT_OK;
    }
    if (strlen(text) != 4 || strspn(text, "01234567") != 4)
        return malformed(reader, "mode", "is neither four octal digits nor a kind of link");
    entry->mode = (uint32_t)strtoul(text, NULL, 8);
    return TT_OK;
}

static enum tt_status take_entry(const struct reader *reader, const cJSON *item, struct tt_manifest_listing *listing)
{
    struct tt_manifest_entry entry = {0};
    const char *path = NULL;
    if (!cJSON_IsObject(item))
        return malformed(reader, "entries", "holds something that is not an object");
    enum tt_status status = take_plain(reader, item, "path", &path);
    if (status == TT_OK && path[0] == '\0')
        return malformed(reader, "path", "is empty");
    if (status == TT_OK)
        status = take_mode(reader, item, &entry);
    if (status == TT_OK)
        status = take_number(reader, item, "size", size_limit, &entry.size);
    if (status == TT_OK)
        status = take_hex(reader, item, "sha512", entry.sha512, sizeof entry.sha512);
    entry.path = (char *)path;
    return status == TT_OK ? tt_manifest_listing_add(listing, &entry, reader->err) : status;
}

static enum tt_status take_entries(const struct reader *reader, const cJSON *array, struct tt_manifest_list *ret_list)
{
    struct tt_manifest_listing *listing TT_CLEANUP(tt_manifest_listing_free_cleanup) = NULL;
    enum tt_status status = tt_manifest_listing_new(&listing, reader->err);
    for (const cJSON *item = array->child; item && status == TT_OK; item = item->next)
        status = take_entry(reader, item, listing);
    return status == TT_OK ? tt_manifest_listing_end(listing, ret_list, reader->err) : status;
}

/* The entries, where there are some, are what the other members say of them, and say it of themselves. */
static enum tt_status take_list(const struct reader *reader, const cJSON *object, struct tt_manifest_list *ret_list)
{
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = {0};
    struct tt_manifest_list entries TT_CLEANUP(tt_manifest_list_clear) = {0};
    const cJSON *array = NULL;
    enum tt_status status = take_number(reader, object, "files", size_limit, &list.files);
    if (status == TT_OK)
        status = take_number(reader, object, "bytes", size_limit, &list.bytes);
    if (status == TT_OK)
        status = take_number(reader, object, "links", size_limit, &list.links);
    if (status == TT_OK)
        status = take_hex(reader, object, "list_sha512", list.sha512, sizeof list.sha512);
    if (status == TT_OK && cJSON_GetObjectItemCaseSensitive(object, "entries")) {
        status = take_array(reader, object, "entries", TT_MANIFEST_ENTRY_LIMIT, &array);
        if (status == TT_OK)
            status = take_entries(reader, array, &entries);
        if (status == TT_OK &&
            (entries.files != list.files || entries.links != list.links || entries.bytes != list.bytes ||
             !entries.is_explicit || !tt_digest_equal(entries.sha512, list.sha512, sizeof list.sha512)))
            return tt_error_set(reader->err, TT_TAMPERED, "%s contradicts itself: \"entries\" are not what was listed",
                                reader->what);
    }
    if (status != TT_OK)
        return status;
    *ret_list = array ? entries : list;
    *(array ? &entries : &list) = (struct tt_manifest_list){0};
    return TT_OK;
}

/* The subject is the list of the predicate. */
static enum tt_status check_subject(const struct reader *reader, const cJSON *root, const char *folder,
                                    const struct tt_manifest_list *list)
{
    const cJSON *array = NULL;
    const cJSON *digest = NULL;
    const char *name = NULL;
    uint8_t sha512[TT_SHA512_SIZE];
    enum tt_status status = take_array(reader, root, "subject", 1, &array);
    if (status == TT_OK && !cJSON_IsObject(array->child))
        return malformed(reader, "subject", "is not an array of one object");
    if (status == TT_OK)
        status = take_plain(reader, array->child, "name", &name);
    if (status == TT_OK)
        status = enter(reader, array->child, "digest", &digest);
    if (status == TT_OK)
        status = take_hex(reader, digest, "sha512", sha512, sizeof sha512);
    if (status == TT_OK && (strcmp(name, folder) != 0 || !tt_digest_equal(sha512, list->sha512, sizeof sha512)))
        return tt_error_set(reader->err, TT_TAMPERED, "%s contradicts itself: its subject is not what was listed",
                            reader->what);
    return status;
}

/* Parses a payload and finds its predicate, which is of this type. */
static enum tt_status open_statement(const struct reader *reader, const void *payload, size_t length, const char *type,
                                     cJSON **ret_root, const cJSON **ret_predicate)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    const char *statement = NULL;
    const char *predicate = NULL;
    if (length > TT_MANIFEST_PAYLOAD_LIMIT)
        return tt_error_set(reader->err, TT_MALFORMED, "%s is longer than %d bytes", reader->what,
                            TT_MANIFEST_PAYLOAD_LIMIT);
    enum tt_status status = tt_json_parse(payload, length, VALUE_LIMIT, reader->what, &root, reader->err);
    if (status == TT_OK && !cJSON_IsObject(root))
        status = tt_error_set(reader->err, TT_MALFORMED, "%s is not a JSON object", reader->what);
    if (status == TT_OK)
        status = take_plain(reader, root, "_type", &statement);
    if (status == TT_OK)
        status = take_plain(reader, root, "predicateType", &predicate);
    if (status == TT_OK && (strcmp(statement, MANIFEST_STATEMENT_TYPE) != 0 || strcmp(predicate, type) != 0))
        status = tt_error_set(reader->err, TT_TAMPERED, "%s is a statement of another kind: %.100s", reader->what,
                              predicate);
    if (status == TT_OK)
        status = enter(reader, root, "predicate", ret_predicate);
    if (status == TT_OK)
        *ret_root = TT_TAKE(root);
    return status;
}

/* --- the creator's --- */

static enum tt_status take_route(const struct reader *reader, const cJSON *predicate,
                                 struct tt_creator_manifest *manifest)
{
    const cJSON *array = NULL;
    enum tt_status status = take_array(reader, predicate, "route", STOP_LIMIT, &array);
    if (status != TT_OK)
        return status;
    manifest->route = calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof *manifest->route);
    if (!manifest->route)
        return tt_error_memory(reader->err);
    for (const cJSON *item = array->child; item && status == TT_OK; item = item->next) {
        struct tt_manifest_stop *stop = &manifest->route[manifest->stop_count];
        if (!cJSON_IsObject(item))
            return malformed(reader, "route", "holds something that is not an object");
        status = take_text(reader, item, "station", &stop->station);
        if (status == TT_OK)
            manifest->stop_count++;
        if (status == TT_OK)
            status = take_short(reader, item, "fingerprint", stop->fingerprint, sizeof stop->fingerprint);
    }
    return status;
}

static enum tt_status take_layers(const struct reader *reader, const cJSON *base, struct tt_creator_manifest *manifest)
{
    const cJSON *array = NULL;
    enum tt_status status = take_array(reader, base, "layers", LAYER_LIMIT, &array);
    if (status != TT_OK)
        return status;
    manifest->layers = calloc((size_t)cJSON_GetArraySize(array) + 1, sizeof *manifest->layers);
    if (!manifest->layers)
        return tt_error_memory(reader->err);
    for (const cJSON *item = array->child; item && status == TT_OK; item = item->next) {
        const char *digest = NULL;
        status = text_of(reader, item, "layers", &digest);
        if (status == TT_OK && (strlen(digest) != DIGEST_LENGTH || strncmp(digest, "sha256:", 7) != 0 ||
                                strspn(digest + 7, "0123456789abcdef") != DIGEST_LENGTH - 7))
            return malformed(reader, "layers", "holds something that is no digest");
        if (status == TT_OK)
            status = copy(reader, digest, &manifest->layers[manifest->layer_count]);
        if (status == TT_OK)
            manifest->layer_count++;
    }
    return status;
}

static enum tt_status take_query(const struct reader *reader, const cJSON *predicate,
                                 struct tt_manifest_list *definition)
{
    const cJSON *query = NULL;
    uint8_t sha512[TT_SHA512_SIZE] = {0};
    enum tt_status status = find(reader, predicate, "query", &query);
    bool has_query = status == TT_OK && !cJSON_IsNull(query);
    if (has_query)
        status = enter(reader, predicate, "query", &query);
    if (has_query && status == TT_OK)
        status = take_hex(reader, query, "sha512", sha512, sizeof sha512);
    if (status == TT_OK && definition->is_explicit &&
        (has_query != definition->has_query ||
         (has_query && !tt_digest_equal(sha512, definition->query, sizeof sha512))))
        return tt_error_set(reader->err, TT_TAMPERED, "%s contradicts itself: its query is not what was listed",
                            reader->what);
    if (status != TT_OK)
        return status;
    definition->has_query = has_query;
    memcpy(definition->query, sha512, sizeof sha512);
    return TT_OK;
}

static enum tt_status read_creator(const struct reader *reader, const cJSON *predicate,
                                   struct tt_creator_manifest *manifest)
{
    const cJSON *creator = NULL;
    const cJSON *definition = NULL;
    const cJSON *base = NULL;
    enum tt_status status = take_text_or_null(reader, predicate, "train", &manifest->train);
    if (status == TT_OK)
        status = take_hex(reader, predicate, "session_id", manifest->session_id, sizeof manifest->session_id);
    if (status == TT_OK)
        status = enter(reader, predicate, "creator", &creator);
    if (status == TT_OK)
        status = take_text(reader, creator, "id", &manifest->creator);
    if (status == TT_OK)
        status = take_short(reader, creator, "fingerprint", manifest->fingerprint, sizeof manifest->fingerprint);
    if (status == TT_OK)
        status = take_route(reader, predicate, manifest);
    if (status == TT_OK)
        status = enter(reader, predicate, "definition", &definition);
    if (status == TT_OK)
        status = take_hex(reader, definition, "hash", manifest->hash, sizeof manifest->hash);
    if (status == TT_OK)
        status = take_list(reader, definition, &manifest->definition);
    if (status == TT_OK)
        status = take_query(reader, predicate, &manifest->definition);
    if (status == TT_OK)
        status = enter(reader, predicate, "base", &base);
    if (status == TT_OK)
        status = take_text_or_null(reader, base, "reference", &manifest->base);
    if (status == TT_OK)
        status = take_layers(reader, base, manifest);
    manifest->has_settings = status == TT_OK && cJSON_GetObjectItemCaseSensitive(base, "settings_sha512");
    return manifest->has_settings
               ? take_hex(reader, base, "settings_sha512", manifest->settings, sizeof manifest->settings)
               : status;
}

enum tt_status tt_creator_manifest_parse(const void *payload, size_t length, struct tt_creator_manifest *ret_manifest,
                                         struct tt_error *err)
{
    struct reader reader = {.what = "the creator's manifest", .err = err};
    struct tt_creator_manifest manifest TT_CLEANUP(tt_creator_manifest_clear) = {0};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    const cJSON *predicate = NULL;
    enum tt_status status = open_statement(&reader, payload, length, TT_MANIFEST_CREATOR_TYPE, &root, &predicate);
    if (status == TT_OK)
        status = read_creator(&reader, predicate, &manifest);
    if (status == TT_OK)
        status = check_subject(&reader, root, MANIFEST_DEFINITION, &manifest.definition);
    if (status != TT_OK)
        return status;
    *ret_manifest = manifest;
    manifest = (struct tt_creator_manifest){0};
    return TT_OK;
}

void tt_creator_manifest_clear(struct tt_creator_manifest *manifest)
{
    free(manifest->train);
    free(manifest->creator);
    for (size_t i = 0; i < manifest->stop_count; i++)
        free(manifest->route[i].station);
    free(manifest->route);
    tt_manifest_list_clear(&manifest->definition);
    free(manifest->base);
    for (size_t i = 0; i < manifest->layer_count; i++)
        free(manifest->layers[i]);
    free(manifest->layers);
    *manifest = (struct tt_creator_manifest){0};
}

/* --- a stop's --- */

static bool is_time(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00Z";
    for (size_t i = 0; i < sizeof form; i++)
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    return true;
}

static enum tt_status read_stop(const struct reader *reader, const cJSON *predicate, struct tt_stop_manifest *manifest)
{
    const cJSON *results = NULL;
    uint64_t index = 0;
    enum tt_status status = take_text(reader, predicate, "station", &manifest->station);
    if (status == TT_OK)
        status = take_number(reader, predicate, "index", STOP_LIMIT, &index);
    manifest->index = (size_t)index;
    if (status == TT_OK)
        status = take_hex(reader, predicate, "session_id", manifest->session_id, sizeof manifest->session_id);
    if (status == TT_OK)
        status = take_hex(reader, predicate, "route_digest", manifest->digest, sizeof manifest->digest);
    if (status == TT_OK)
        status = enter(reader, predicate, "results", &results);
    if (status == TT_OK)
        status = take_list(reader, results, &manifest->results);
    if (status == TT_OK)
        status = take_hex(reader, predicate, "previous", manifest->previous, sizeof manifest->previous);
    if (status == TT_OK)
        status = take_short(reader, predicate, "time", manifest->time, sizeof manifest->time);
    if (status == TT_OK && !is_time(manifest->time))
        return malformed(reader, "time", "is not a time as in 2026-01-31T12:00:00Z");
    return status;
}

enum tt_status tt_stop_manifest_parse(const void *payload, size_t length, struct tt_stop_manifest *ret_manifest,
                                      struct tt_error *err)
{
    struct reader reader = {.what = "a station's manifest", .err = err};
    struct tt_stop_manifest manifest TT_CLEANUP(tt_stop_manifest_clear) = {0};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    const cJSON *predicate = NULL;
    enum tt_status status = open_statement(&reader, payload, length, TT_MANIFEST_STOP_TYPE, &root, &predicate);
    if (status == TT_OK)
        status = read_stop(&reader, predicate, &manifest);
    if (status == TT_OK)
        status = check_subject(&reader, root, MANIFEST_RESULTS, &manifest.results);
    if (status != TT_OK)
        return status;
    *ret_manifest = manifest;
    manifest = (struct tt_stop_manifest){0};
    return TT_OK;
}

void tt_stop_manifest_clear(struct tt_stop_manifest *manifest)
{
    free(manifest->station);
    tt_manifest_list_clear(&manifest->results);
    *manifest = (struct tt_stop_manifest){0};
}
