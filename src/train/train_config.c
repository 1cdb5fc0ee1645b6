#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "train/train.h"
#include "train/train_rules.h"
#include "json/json.h"

enum {
    STATION_LIMIT = 128, /* bytes of an id that becomes a file name */
    ID_LIMIT = 255,
    TEXT_LIMIT = 4096,
    KEY_TEXT_LIMIT = 16384 /* bytes of a public key's PEM */
};

/* The largest integer that every JSON reader keeps exactly. */
static const int64_t integer_limit = INT64_C(1) << 53;

enum need { OPTIONAL, REQUIRED };

/* An object of the configuration and what messages put in front of its members: "", "creator.", "route[2].". */
struct place {
    const cJSON *object;
    char prefix[48];
    struct tt_error *err;
};

static enum tt_status malformed(const struct place *place, const char *member, const char *format, ...) TT_PRINTF(3, 4);
static enum tt_status malformed(const struct place *place, const char *member, const char *format, ...)
{
    char problem[TT_ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    return tt_error_set(place->err, TT_MALFORMED, TRAIN_CONFIG_NAME ": %s%s %s", place->prefix, member, problem);
}

/* *ret_item is NULL when the member is absent or null and may be. */
static enum tt_status find(const struct place *place, const char *member, enum need need, const cJSON **ret_item)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(place->object, member);
    bool is_null = cJSON_IsNull(item);
    if (need == REQUIRED && (!item || is_null))
        return malformed(place, member, is_null ? "is null, but must be there" : "is missing");
    *ret_item = is_null ? NULL : item;
    return TT_OK;
}

static enum tt_status copy_text(const struct place *place, const char *text, char **ret_text)
{
    char *copy = strdup(text);
    if (!copy)
        return tt_error_memory(place->err);
    *ret_text = copy;
    return TT_OK;
}

static enum tt_status take_text(const struct place *place, const char *member, char **ret_text)
{
    const cJSON *item = NULL;
    enum tt_status status = find(place, member, OPTIONAL, &item);
    if (status != TT_OK || !item)
        return status;
    if (!cJSON_IsString(item))
        return malformed(place, member, "is not a string");
    if (strlen(item->valuestring) > TEXT_LIMIT)
        return malformed(place, member, "is longer than %d bytes", TEXT_LIMIT);
    return copy_text(place, item->valuestring, ret_text);
}

/* An id, string or integer, as the text that it is compared by. */
static enum tt_status take_id(const struct place *place, const char *member, enum need need, size_t limit,
                              char **ret_text)
{
    const cJSON *item = NULL;
    int64_t value;
    enum tt_status status = find(place, member, need, &item);
    if (status != TT_OK || !item)
        return status;
    if (cJSON_IsNumber(item) && !tt_json_integer(item, -integer_limit, integer_limit, &value))
        return malformed(place, member, "is a number, but no integer within 2^53");
    if (!cJSON_IsString(item) && !cJSON_IsNumber(item))
        return malformed(place, member, "is neither a string nor an integer");
    const char *text = item->valuestring;
    if (text[0] == '\0')
        return malformed(place, member, "is empty");
    if (strlen(text) > limit)
        return malformed(place, member, "is longer than %zu bytes", limit);
    if (train_text_has_control(text))
        return malformed(place, member, "holds a control character");
    return copy_text(place, text, ret_text);
}

/* Hexadecimal text of `least` to `most` bytes. */
static enum tt_status take_bytes(const struct place *place, const char *member, enum need need, size_t least,
                                 size_t most, struct tt_bytes *ret_bytes)
{
    const cJSON *item = NULL;
    enum tt_status status = find(place, member, need, &item);
    if (status != TT_OK || !item)
        return status;
    if (!cJSON_IsString(item))
        return malformed(place, member, "is not a string");
    size_t digits = strlen(item->valuestring);
    size_t length = digits / 2;
    if (item->valuestring[strspn(item->valuestring, "0123456789abcdef")] != '\0')
        return malformed(place, member, "is not lower-case hexadecimal");
    if (digits % 2 != 0)
        return malformed(place, member, "has an odd number of hexadecimal digits");
    if (least == most && length != least)
        return malformed(place, member, "has %zu bytes where %zu belong", length, least);
    if (length < least || length > most)
        return malformed(place, member, "has %zu bytes; %zu to %zu are allowed", length, least, most);
    uint8_t *data = malloc(length);
    if (!data)
        return tt_error_memory(place->err);
    if (!tt_hex_decode(item->valuestring, digits, data, length)) {
        free(data);
        return malformed(place, member, "is not lower-case hexadecimal");
    }
    *ret_bytes = (struct tt_bytes){data, length};
    return TT_OK;
}

static enum tt_status take_key(const struct place *place, struct tt_bytes *ret_key)
{
    return take_bytes(place, "rsa_public_key", REQUIRED, 1, KEY_TEXT_LIMIT, ret_key);
}

/* A signature or wrapped key: as long as the RSA key that made it. */
static enum tt_status take_signature(const struct place *place, const char *member, enum need need,
                                     struct tt_bytes *ret_bytes)
{
    return take_bytes(place, member, need, TRAIN_SIGNATURE_LEAST, TT_TRAIN_SIGNATURE_LIMIT, ret_bytes);
}

/* Exactly TT_TRAIN_HASH_SIZE bytes (a session id has as many). */
static enum tt_status take_hash(const struct place *place, const char *member, enum need need, bool *ret_there,
                                uint8_t *ret_hash)
{
    struct tt_bytes bytes = {0};
    enum tt_status status = take_bytes(place, member, need, TT_TRAIN_HASH_SIZE, TT_TRAIN_HASH_SIZE, &bytes);
    if (status == TT_OK && bytes.data)
        memcpy(ret_hash, bytes.data, TT_TRAIN_HASH_SIZE);
    if (status == TT_OK && ret_there)
        *ret_there = bytes.data != NULL;
    free(bytes.data);
    return status;
}

/* The place of a member that is an object. */
static enum tt_status enter(const struct place *place, const char *member, enum need need, struct place *ret_inner)
{
    const cJSON *item = NULL;
    enum tt_status status = find(place, member, need, &item);
    if (status != TT_OK)
        return status;
    if (item && !cJSON_IsObject(item))
        return malformed(place, member, "is not an object");
    ret_inner->object = item;
    ret_inner->err = place->err;
    snprintf(ret_inner->prefix, sizeof ret_inner->prefix, "%.36s%.10s.", place->prefix, member);
    return TT_OK;
}

static enum tt_status take_array(const struct place *place, const char *member, const cJSON **ret_array)
{
    enum tt_status status = find(place, member, REQUIRED, ret_array);
    if (status == TT_OK && !cJSON_IsArray(*ret_array))
        return malformed(place, member, "is not an array");
    return status;
}

static enum tt_status parse_names(const struct place *root, struct tt_train *train)
{
    struct place context;
    enum tt_status status = take_text(root, "@id", &train->id);
    if (status == TT_OK)
        status = enter(root, "@context", OPTIONAL, &context);
    if (status == TT_OK)
        status = take_id(root, "proposal_id", OPTIONAL, ID_LIMIT, &train->proposal_id);
    if (status == TT_OK)
        status = take_hash(root, "session_id", REQUIRED, NULL, train->session_id);
    return status;
}

static enum tt_status parse_source(const struct place *root, struct tt_train *train)
{
    struct place source;
    enum tt_status status = enter(root, "source", OPTIONAL, &source);
    if (status != TT_OK || !source.object)
        return status;
    status = take_text(&source, "type", &train->source_type);
    if (status == TT_OK)
        status = take_text(&source, "address", &train->source_address);
    if (status == TT_OK)
        status = take_text(&source, "tag", &train->source_tag);
    if (status == TT_OK)
        status = take_text(&source, "branch", &train->source_branch);
    return status;
}

static enum tt_status parse_creator(const struct place *root, struct tt_train *train)
{
    struct place creator;
    enum tt_status status = enter(root, "creator", REQUIRED, &creator);
    if (status == TT_OK)
        status = take_id(&creator, "id", REQUIRED, ID_LIMIT, &train->creator_id);
    if (status == TT_OK)
        status = take_key(&creator, &train->creator_public_key);
    if (status == TT_OK)
        status = take_signature(&creator, "encrypted_key", OPTIONAL, &train->creator_encrypted_key);
    return status;
}

static enum tt_status parse_build(const struct place *root, struct tt_train *train)
{
    struct place build;
    enum tt_status status = enter(root, "build", REQUIRED, &build);
    if (status == TT_OK)
        status = take_signature(&build, "signature", REQUIRED, &train->build_signature);
    if (status == TT_OK)
        status = take_key(&build, &train->build_public_key);
    return status;
}

static enum tt_status parse_hashes(const struct place *root, struct tt_train *train)
{
    enum tt_status status = take_hash(root, "hash", REQUIRED, NULL, train->hash);
    if (status == TT_OK)
        status = take_signature(root, "signature", REQUIRED, &train->signature);
    if (status == TT_OK)
        status = take_hash(root, "result_hash", OPTIONAL, &train->has_result_hash, train->result_hash);
    if (status == TT_OK)
        status = take_signature(root, "result_signature", OPTIONAL, &train->result_signature);
    return status;
}

static enum tt_status parse_stop_signature(const struct place *stop_place, struct tt_stop *stop)
{
    struct place signature;
    enum tt_status status = enter(stop_place, "signature", OPTIONAL, &signature);
    if (status != TT_OK || !signature.object)
        return status;
    status = take_hash(&signature, "digest", REQUIRED, NULL, stop->digest);
    if (status == TT_OK)
        status = take_signature(&signature, "signature", REQUIRED, &stop->signature);
    stop->is_signed = status == TT_OK;
    return status;
}

/* The stop that a route element describes: the slot of its index, which must be free. */
static enum tt_status claim_slot(const struct place *place, struct tt_train *train, size_t element,
                                 struct tt_stop **ret_stop)
{
    const cJSON *item = NULL;
    int64_t index;
    enum tt_status status = find(place, "index", REQUIRED, &item);
    if (status != TT_OK)
        return status;
    if (!tt_json_integer(item, INT64_MIN, INT64_MAX, &index))
        return malformed(place, "index", "is not an integer");
    if (index < 0 || (uint64_t)index >= train->stop_count)
        return malformed(place, "index", "is %lld; a route of %zu stops counts from 0 to %zu", (long long)index,
                         train->stop_count, train->stop_count - 1);
    struct tt_stop *stop = &train->stops[index];
    if (stop->station)
        return malformed(place, "index", "is %lld, as is that of route[%zu]", (long long)index,
                         train->route_element[index]);
    stop->index = (size_t)index;
    train->route_element[index] = element;
    *ret_stop = stop;
    return TT_OK;
}

static enum tt_status parse_stop(const struct place *place, struct tt_train *train, size_t element)
{
    struct tt_stop *stop = NULL;
    enum tt_status status = claim_slot(place, train, element, &stop);
    if (status == TT_OK)
        status = take_id(place, "station", REQUIRED, STATION_LIMIT, &stop->station);
    if (status == TT_OK)
        status = take_text(place, "eco_system", &stop->eco_system);
    if (status == TT_OK)
        status = take_key(place, &stop->rsa_public_key);
    if (status == TT_OK)
        status = take_signature(place, "encrypted_key", OPTIONAL, &stop->encrypted_key);
    return status == TT_OK ? parse_stop_signature(place, stop) : status;
}

static enum tt_status check_stations_differ(const struct place *root, const struct tt_train *train)
{
    for (size_t i = 0; i < train->stop_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(train->stops[i].station, train->stops[j].station) != 0)
                continue;
            size_t one = train->route_element[i];
            size_t other = train->route_element[j];
            char member[48];
            snprintf(member, sizeof member, "route[%zu].station", one > other ? one : other);
            return malformed(root, member, "is '%s', as is that of route[%zu]", train->stops[i].station,
                             one > other ? other : one);
        }
    }
    return TT_OK;
}

static enum tt_status parse_route(const struct place *root, struct tt_train *train)
{
    const cJSON *route = NULL;
    enum tt_status status = take_array(root, "route", &route);
    if (status != TT_OK)
        return status;
    size_t count = (size_t)cJSON_GetArraySize(route);
    if (count == 0)
        return malformed(root, "route", "has no stop");
    if (count > TT_TRAIN_STOP_LIMIT)
        return malformed(root, "route", "has %zu stops; at most %d are allowed", count, TT_TRAIN_STOP_LIMIT);
    train->stops = calloc(count, sizeof *train->stops);
    train->route_element = calloc(count, sizeof *train->route_element);
    if (!train->stops || !train->route_element)
        return tt_error_memory(root->err);
    train->stop_count = count;
    size_t element = 0;
    for (const cJSON *item = route->child; item && status == TT_OK; item = item->next, element++) {
        struct place place = {.object = item, .err = root->err};
        snprintf(place.prefix, sizeof place.prefix, "route[%zu]", element);
        if (!cJSON_IsObject(item))
            return malformed(&place, "", "is not an object");
        strcat(place.prefix, ".");
        status = parse_stop(&place, train, element);
    }
    return status == TT_OK ? check_stations_differ(root, train) : status;
}

static int compare_paths(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static enum tt_status check_files_differ(const struct place *root, const struct tt_train *train)
{
    if (train->file_count < 2)
        return TT_OK;
    char **sorted TT_CLEANUP(tt_free_cleanup) = calloc(train->file_count, sizeof *sorted);
    if (!sorted)
        return tt_error_memory(root->err);
    memcpy(sorted, train->files, train->file_count * sizeof *sorted);
    qsort(sorted, train->file_count, sizeof *sorted, compare_paths);
    for (size_t i = 1; i < train->file_count; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return malformed(root, "file_list", "names '%s' twice", sorted[i]);
    return TT_OK;
}

/* The query is hashed apart, whether it is listed or not. */
static void drop_query(struct tt_train *train)
{
    size_t kept = 0;
    for (size_t i = 0; i < train->file_count; i++) {
        if (strcmp(train->files[i], TT_TRAIN_QUERY_NAME) == 0)
            free(train->files[i]);
        else
            train->files[kept++] = train->files[i];
    }
    train->file_count = kept;
}

static enum tt_status parse_files(const struct place *root, struct tt_train *train)
{
    const cJSON *list = NULL;
    enum tt_status status = take_array(root, "file_list", &list);
    if (status != TT_OK)
        return status;
    train->files = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *train->files);
    if (!train->files)
        return tt_error_memory(root->err);
    for (const cJSON *item = list->child; item && status == TT_OK; item = item->next) {
        char member[48];
        snprintf(member, sizeof member, "file_list[%zu]", train->file_count);
        if (!cJSON_IsString(item))
            return malformed(root, member, "is not a string");
        const char *path = item->valuestring;
        if (!tt_train_path_is_safe(path))
            return malformed(root, member, "is no path below /" TT_TRAIN_DEFINITION ": '%.200s'", path);
        if (strncmp(path, "./", 2) == 0)
            path += 2;
        status = copy_text(root, path, &train->files[train->file_count]);
        if (status == TT_OK)
            train->file_count++;
    }
    if (status == TT_OK)
        status = check_files_differ(root, train);
    if (status == TT_OK)
        drop_query(train);
    return status;
}

/* The extension of docs/protocol.md, section 13. */
static enum tt_status parse_manifests(const struct place *root, struct tt_train *train)
{
    struct place extension;
    const cJSON *list = NULL;
    enum tt_status status = enter(root, "traintoken", OPTIONAL, &extension);
    if (status == TT_OK && extension.object)
        status = find(&extension, "manifests", OPTIONAL, &list);
    if (status != TT_OK || !list)
        return status;
    if (!cJSON_IsArray(list))
        return malformed(&extension, "manifests", "is not an array");
    train->has_manifests = true;
    train->manifests = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *train->manifests);
    if (!train->manifests)
        return tt_error_memory(root->err);
    for (const cJSON *item = list->child; item; item = item->next) {
        if (!cJSON_IsObject(item))
            return malformed(&extension, "manifests", "holds something that is not an object");
        char *text = cJSON_PrintUnformatted(item);
        if (!text)
            return tt_error_memory(root->err);
        train->manifests[train->manifest_count++] = text;
    }
    return TT_OK;
}

static enum tt_status parse_root(const struct place *root, struct tt_train *train)
{
    if (!cJSON_IsObject(root->object))
        return tt_error_set(root->err, TT_MALFORMED, TRAIN_CONFIG_NAME " is not a JSON object");
    enum tt_status status = parse_names(root, train);
    if (status == TT_OK)
        status = parse_source(root, train);
    if (status == TT_OK)
        status = parse_creator(root, train);
    if (status == TT_OK)
        status = parse_build(root, train);
    if (status == TT_OK)
        status = parse_route(root, train);
    if (status == TT_OK)
        status = parse_files(root, train);
    if (status == TT_OK)
        status = parse_hashes(root, train);
    if (status == TT_OK)
        status = parse_manifests(root, train);
    return status;
}

enum tt_status tt_train_parse(const void *text, size_t length, struct tt_train **ret_train, struct tt_error *err)
{
    if (length > TT_TRAIN_CONFIG_LIMIT)
        return tt_error_set(err, TT_MALFORMED, TRAIN_CONFIG_NAME " has %zu bytes; at most %d are allowed", length,
                            TT_TRAIN_CONFIG_LIMIT);
    cJSON *json TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_json_parse(text, length, TT_TRAIN_VALUE_LIMIT, TRAIN_CONFIG_NAME, &json, err);
    if (status != TT_OK)
        return status;
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = calloc(1, sizeof *train);
    if (!train)
        return tt_error_memory(err);
    struct place root = {.object = json, .err = err};
    status = parse_root(&root, train);
    train->text.limit = TT_TRAIN_CONFIG_LIMIT;
    if (status == TT_OK)
        status = tt_buffer_append(&train->text, text, length, err);
    if (status != TT_OK)
        return status;
    *ret_train = TT_TAKE(train);
    return TT_OK;
}

static void free_stop(struct tt_stop *stop)
{
    free(stop->station);
    free(stop->eco_system);
    free(stop->rsa_public_key.data);
    free(stop->encrypted_key.data);
    free(stop->signature.data);
}

void tt_train_free(struct tt_train *train)
{
    if (!train)
        return;
    free(train->id);
    free(train->proposal_id);
    free(train->source_type);
    free(train->source_address);
    free(train->source_tag);
    free(train->source_branch);
    free(train->creator_id);
    free(train->creator_public_key.data);
    free(train->creator_encrypted_key.data);
    free(train->build_signature.data);
    free(train->build_public_key.data);
    for (size_t i = 0; i < train->stop_count; i++)
        free_stop(&train->stops[i]);
    free(train->stops);
    for (size_t i = 0; i < train->file_count; i++)
        free(train->files[i]);
    free(train->files);
    free(train->signature.data);
    free(train->result_signature.data);
    for (size_t i = 0; i < train->manifest_count; i++)
        free(train->manifests[i]);
    free(train->manifests);
    tt_buffer_clear(&train->text);
    free(train->route_element);
    free(train);
}
