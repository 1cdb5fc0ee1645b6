#include "provisioning/enrol.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "json/json.h"

enum { VALUE_LIMIT = 4096 };

/* Whole numbers up to here are the same as double, and cJSON writes them digit by digit: of more than 15, some come out
 * with an exponent. */
static const int64_t EXACT_LIMIT = INT64_C(999999999999999);

/* What the place has now. */
struct found {
    cJSON *document; /* the reply; NULL when it had no JSON */
    char *text;      /* the key as it is written there; NULL when there is none */
    int64_t version; /* Vault, version 2: that a write has to name */
};

static void found_clear(struct found *found)
{
    cJSON_Delete(found->document);
    free(found->text);
    *found = (struct found){0};
}

struct work {
    const struct tt_enrol_place *place;
    int kv;
    char *path; /* of the reading and the writing request */
};

static void work_clear(struct work *work)
{
    free(work->path);
}

void tt_enrol_report_clear(struct tt_enrol_report *report)
{
    free(report->method);
    free(report->url);
    free(report->body);
    *report = (struct tt_enrol_report){0};
}

enum tt_status tt_enrol_path_check(const char *path, struct tt_error *err)
{
    bool good = *path && tt_text_is_utf8(path, strlen(path));
    for (const char *place = path; good; place++) {
        size_t length = strcspn(place, "/");
        good = length > 0 && !(length <= 2 && strspn(place, ".") == length);
        for (size_t i = 0; i < length; i++)
            good = good && (unsigned char)place[i] >= ' ' && place[i] != 0x7F;
        place += length;
        if (!*place)
            break;
    }
    if (!good)
        return tt_error_set(err, TT_USAGE, "'%.100s' is no path of names between slashes, as in station_pks/alpha",
                            path);
    return TT_OK;
}

/* Percent-encoded for a URL; slashes stay where `slashes` says so. */
static char *encode(const char *text, bool slashes)
{
    char *out = malloc(3 * strlen(text) + 1);
    char *place = out;
    for (; out && *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if ((isalnum(byte) && byte < 0x80) || strchr("-._~", byte) || (slashes && byte == '/'))
            *place++ = (char)byte;
        else
            place += sprintf(place, "%%%02X", byte);
    }
    if (out)
        *place = '\0';
    return out;
}

/* Answers. */

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

static const char *text_of(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* Vault's {"errors": ["..."]} or the central service's {"message": "..."}. */
static const char *words_of(const cJSON *document)
{
    const cJSON *errors = member(document, "errors");
    const char *words = text_of(cJSON_IsArray(errors) ? cJSON_GetArrayItem(errors, 0) : NULL);
    return words ? words : text_of(member(document, "message"));
}

/* What stands where the key should be: no key is NULL, or null, and for the service also empty. Anything else that is
 * no text is somebody's all the same, and not replaced unasked: it is taken as a key that cannot be read. */
static const char *registered(const cJSON *item)
{
    return !item || cJSON_IsNull(item) ? NULL : cJSON_IsString(item) ? item->valuestring : "";
}

static enum tt_status refused(const struct work *work, int code, const cJSON *document, struct tt_error *err)
{
    const char *words = words_of(document);
    const char *what = code == 401 || code == 403
                           ? "does not permit this: is the token or secret the right one, and still valid?"
                       : code == 404                ? "does not have this place"
                       : code == 503                ? "is sealed or not ready; let its operator see to it"
                       : code == 400 || code == 412 ? "refuses the request"
                                                    : "does not do it";
    tt_error_set(err, TT_STORE, "%s %s", work->place->server.url, what);
    tt_error_detail(err, "HTTP %d%s%.180s", code, words ? ": " : "", words ? words : "");
    return TT_STORE;
}

static enum tt_status call(const struct work *work, const char *method, const char *path, const char *body,
                           int *ret_code, cJSON **ret_document, struct tt_error *err)
{
    struct tt_buffer reply TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_enrol_call(&work->place->server, method, path, body, ret_code, &reply, err);
    if (status != TT_OK || reply.length == 0)
        return status;
    status = tt_json_parse((const char *)reply.data, reply.length, VALUE_LIMIT, "the answer", ret_document, NULL);
    if (status != TT_OK && *ret_code < 300)
        return tt_error_set(err, TT_STORE, "%s does not answer in JSON; is the address right?",
                            work->place->server.url);
    return TT_OK; /* what goes with a failure may be anything */
}

/* Vault. */

/* Which version the store is, and the path for it: version 2 has "data" between the mount and the secret. */
static enum tt_status find_mount(struct work *work, struct tt_error *err)
{
    cJSON *document TT_CLEANUP(tt_json_cleanup) = NULL;
    char *path TT_CLEANUP(tt_free_cleanup) = encode(work->place->path, true);
    char *question TT_CLEANUP(tt_free_cleanup) = path ? tt_text_format("/v1/sys/internal/ui/mounts/%s", path) : NULL;
    size_t mount = path ? strcspn(path, "/") : 0;
    int code = 0;
    if (!question)
        return tt_error_memory(err);
    work->kv = work->place->kv;
    if (work->kv == 0) {
        enum tt_status status = call(work, "GET", question, NULL, &code, &document, err);
        if (status == TT_OK && code != 200) {
            status = refused(work, code, document, err);
            (void)tt_error_context(err, "the store's version cannot be asked for (--vault-kv 1 or 2 tells it)");
        }
        if (status != TT_OK)
            return status;
        const cJSON *data = member(document, "data");
        const char *version = text_of(member(member(data, "options"), "version"));
        const char *type = text_of(member(data, "type"));
        const char *where = text_of(member(data, "path"));
        if (!type || (strcmp(type, "kv") != 0 && strcmp(type, "generic") != 0))
            return tt_error_set(err, TT_STORE, "what %s has at '%s' is no key-value store", work->place->server.url,
                                work->place->path);
        work->kv = version && strcmp(version, "2") == 0 ? 2 : 1;
        size_t length = where ? strlen(where) : 0;
        if (length > 1 && where[length - 1] == '/' && strncmp(where, work->place->path, length) == 0) {
            char *encoded TT_CLEANUP(tt_free_cleanup) = encode(where, true);
            mount = encoded ? strlen(encoded) - 1 : mount;
        }
    }
    if (path[mount] != '/')
        return tt_error_set(err, TT_USAGE, "--vault-path '%s' names a store, but no secret in it", work->place->path);
    work->path = tt_text_format("/v1/%.*s%s%s", (int)mount, path, work->kv == 2 ? "/data" : "", path + mount);
    return work->path ? TT_OK : tt_error_memory(err);
}

/* The object that has the field, as far as there is one. In a store of version 1 the PHT keeps what a request to
 * version 2 would hold: {"data": {field}, "options": {"cas": 1}}. */
static cJSON *vault_fields(const struct work *work, const cJSON *document)
{
    const cJSON *data = member(document, "data");
    const cJSON *inner = member(data, "data");
    if (work->kv == 2)
        return cJSON_IsObject(inner) ? (cJSON *)inner : NULL;
    return cJSON_IsObject(inner) ? (cJSON *)inner : member(data, work->place->field) ? (cJSON *)data : NULL;
}

/* Whether all numbers would come out of cJSON as they went in. */
static bool is_exact(const cJSON *item)
{
    const cJSON *one = NULL;
    int64_t number = 0;
    if (cJSON_IsNumber(item))
        return tt_json_integer(item, -EXACT_LIMIT, EXACT_LIMIT, &number);
    cJSON_ArrayForEach(one, item)
    {
        if (!is_exact(one))
            return false;
    }
    return true;
}

/* In a store of version 1, a field of somebody's own that is called "data" is in the way of the PHT's. */
static bool is_in_the_way(const struct work *work, const cJSON *document)
{
    const cJSON *data = member(document, "data");
    const cJSON *inner = member(data, "data");
    return work->kv == 1 && inner && !cJSON_IsNull(inner) && !vault_fields(work, document);
}

static enum tt_status vault_take(const struct work *work, int code, struct found *found, struct tt_error *err)
{
    const cJSON *version = member(member(member(found->document, "data"), "metadata"), "version");
    if (code != 200 && (code != 404 || words_of(found->document))) /* 404 with words: no such store */
        return refused(work, code, found->document, err);
    /* What was deleted is 404 too, but has a version. */
    bool has_version = tt_json_integer(version, 0, EXACT_LIMIT, &found->version);
    if (code == 200 && work->kv == 2 && !has_version)
        return tt_error_set(err, TT_STORE, "%s does not tell the secret's version; is the store of version 1?",
                            work->place->server.url);
    if (code == 200 && !is_exact(member(found->document, "data")))
        return tt_error_set(err, TT_STORE, "the secret '%s' has numbers that would not stay as they are",
                            work->place->path);
    if (code == 200 && is_in_the_way(work, found->document))
        return tt_error_set(err, TT_STORE,
                            "the secret '%s' has a field \"data\" of another kind, where keys should stand; "
                            "--vault-path can name another secret",
                            work->place->path);
    const char *text = code == 200 ? registered(member(vault_fields(work, found->document), work->place->field)) : NULL;
    if (text && !(found->text = strdup(text)))
        return tt_error_memory(err);
    return TT_OK;
}

static cJSON *put_object(cJSON *object, const char *name)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    return cJSON_AddObjectToObject(object, name);
}

static bool put_text(cJSON *object, const char *name, const char *text)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

/* A write replaces the whole secret: what else it has is sent back. NULL when memory did not do for all of it. */
static char *vault_body(const struct work *work, const struct found *found, const char *hex)
{
    const cJSON *fields = vault_fields(work, found->document);
    const cJSON *data = member(found->document, "data");
    bool is_flat = work->kv == 1 && fields && fields == data;
    bool has_more = work->kv == 1 && cJSON_IsObject(data);
    cJSON *body TT_CLEANUP(tt_json_cleanup) = has_more ? cJSON_Duplicate(data, true) : cJSON_CreateObject();
    cJSON *target = body;
    bool good = body != NULL;
    if (!is_flat) {
        double version = work->kv == 2 ? (double)found->version : 1;
        if (work->kv == 2 || !member(body, "options"))
            good = cJSON_AddNumberToObject(put_object(body, "options"), "cas", version) && good;
        target = fields ? cJSON_Duplicate(fields, true) : cJSON_CreateObject();
        cJSON_DeleteItemFromObjectCaseSensitive(body, "data");
        good = tt_json_add(body, "data", target) && good;
    }
    good = good && put_text(target, work->place->field, hex);
    return good ? cJSON_PrintUnformatted(body) : NULL;
}

/* The central service. */

static enum tt_status find_station(struct work *work, struct tt_error *err)
{
    char *station TT_CLEANUP(tt_free_cleanup) = encode(work->place->station, false);
    work->path = station ? tt_text_format("/stations/%s", station) : NULL;
    return work->path ? TT_OK : tt_error_memory(err);
}

static enum tt_status central_take(const struct work *work, int code, struct found *found, struct tt_error *err)
{
    if (code != 200)
        return refused(work, code, found->document, err);
    const cJSON *data = member(found->document, "data");
    const cJSON *item = member(cJSON_IsObject(data) ? data : found->document, "public_key");
    if (!item)
        return tt_error_set(err, TT_STORE, "%s does not show the station's public key: it needs the right to edit it",
                            work->place->server.url);
    const char *text = registered(item);
    if (text && (*text || !cJSON_IsString(item)) && !(found->text = strdup(text)))
        return tt_error_memory(err);
    return TT_OK;
}

static char *central_body(const char *hex)
{
    cJSON *body TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    return put_text(body, "public_key", hex) ? cJSON_PrintUnformatted(body) : NULL;
}

/* Both. */

static enum tt_status look(const struct work *work, struct found *found, struct tt_error *err)
{
    bool is_vault = work->place->is_vault;
    char *path TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("%s%s", work->path, is_vault ? "" : "?fields=%2Bpublic_key");
    int code = 0;
    found_clear(found);
    enum tt_status status = path ? call(work, "GET", path, NULL, &code, &found->document, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = is_vault ? vault_take(work, code, found, err) : central_take(work, code, found, err);
    return status;
}

/* A key as it is written there: the hexadecimal of a PEM text, or the text itself. NULL for anything else. */
static EVP_PKEY *read_key(const char *text)
{
    EVP_PKEY *key = NULL;
    size_t length = strlen(text);
    uint8_t *pem TT_CLEANUP(tt_free_cleanup) = malloc(length / 2 + 1);
    if (pem && length % 2 == 0 && tt_hex_decode(text, length, pem, length / 2)) {
        if (tt_public_key_parse(pem, length / 2, "the key there", &key, NULL) != TT_OK)
            return NULL;
    } else if (tt_public_key_parse(text, length, "the key there", &key, NULL) != TT_OK) {
        return NULL;
    }
    return key;
}

/* Is it the same key, none, or another one? */
static enum tt_status compare(const struct work *work, const struct found *found, const EVP_PKEY *key,
                              struct tt_enrol_report *report, struct tt_error *err)
{
    char ours[TT_FINGERPRINT_SIZE];
    if (!found->text)
        return TT_OK;
    EVP_PKEY *there TT_CLEANUP(tt_evp_pkey_cleanup) = read_key(found->text);
    report->was_there = there && tt_public_key_equal(there, key);
    enum tt_status status = tt_public_key_fingerprint(key, ours, err);
    if (status != TT_OK || report->was_there)
        return status;
    snprintf(report->before, sizeof report->before, "unreadable");
    if (there)
        status = tt_public_key_fingerprint(there, report->before, err);
    if (status != TT_OK || work->place->replace)
        return status;
    return tt_error_set(err, TT_UNTRUSTED,
                        "%s has another key for this station: %s, not %s. Trains on their way are sealed for the old "
                        "one; --replace puts the new one in its place",
                        work->place->server.url, report->before, ours);
}

static char *make_body(const struct work *work, const struct found *found, const EVP_PKEY *key)
{
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    if (tt_public_key_pem(key, &pem, NULL) != TT_OK)
        return NULL;
    char *hex TT_CLEANUP(tt_free_cleanup) = tt_hex_new((const uint8_t *)pem, strlen(pem));
    if (!hex)
        return NULL;
    return work->place->is_vault ? vault_body(work, found, hex) : central_body(hex);
}

static enum tt_status put(const struct work *work, const struct tt_enrol_report *report, struct tt_error *err)
{
    cJSON *document TT_CLEANUP(tt_json_cleanup) = NULL;
    int code = 0;
    enum tt_status status = call(work, "POST", work->path, report->body, &code, &document, err);
    if (status != TT_OK || (code >= 200 && code < 300))
        return status;
    const char *words = words_of(document);
    if (code == 400 && words && strstr(words, "check-and-set")) {
        tt_error_set(err, TT_STORE, "somebody else wrote to the same place just now; look, and try again");
        tt_error_detail(err, "HTTP 400: %.180s", words);
        return TT_STORE;
    }
    return refused(work, code, document, err);
}

static enum tt_status prepare(const struct work *work, const struct found *found, const EVP_PKEY *key,
                              struct tt_enrol_report *report, struct tt_error *err)
{
    report->method = strdup("POST");
    report->url = tt_text_format("%s%s", work->place->server.url, work->path);
    report->body = make_body(work, found, key);
    return report->method && report->url && report->body ? TT_OK : tt_error_memory(err);
}

/* Whether what was written is there. */
static enum tt_status confirm(const struct work *work, const EVP_PKEY *key, struct tt_error *err)
{
    struct found found TT_CLEANUP(found_clear) = {0};
    enum tt_status status = look(work, &found, err);
    if (status != TT_OK)
        return status;
    EVP_PKEY *there TT_CLEANUP(tt_evp_pkey_cleanup) = found.text ? read_key(found.text) : NULL;
    if (!there || !tt_public_key_equal(there, key))
        return tt_error_set(err, TT_STORE, "%s took the key, but does not show it now; look there",
                            work->place->server.url);
    return TT_OK;
}

enum tt_status tt_enrol(const struct tt_enrol_place *place, const EVP_PKEY *key, struct tt_enrol_report *ret_report,
                        struct tt_error *err)
{
    struct work work TT_CLEANUP(work_clear) = {.place = place};
    struct found found TT_CLEANUP(found_clear) = {0};
    struct tt_enrol_report report TT_CLEANUP(tt_enrol_report_clear) = {0};
    enum tt_status status = place->is_vault ? find_mount(&work, err) : find_station(&work, err);
    if (status == TT_OK)
        status = look(&work, &found, err);
    if (status == TT_OK)
        status = compare(&work, &found, key, &report, err);
    if (status == TT_OK && !report.was_there)
        status = prepare(&work, &found, key, &report, err);
    if (status == TT_OK && !report.was_there && !place->dry_run) {
        status = put(&work, &report, err);
        if (status == TT_OK)
            status = confirm(&work, key, err);
    }
    if (status != TT_OK)
        return status;
    report.kv = work.kv;
    *ret_report = report;
    report = (struct tt_enrol_report){0};
    return TT_OK;
}

enum tt_status tt_enrol_fetch(const struct tt_enrol_place *place, EVP_PKEY **ret_key, struct tt_error *err)
{
    struct work work TT_CLEANUP(work_clear) = {.place = place};
    struct found found TT_CLEANUP(found_clear) = {0};
    enum tt_status status = place->is_vault ? find_mount(&work, err) : find_station(&work, err);
    if (status == TT_OK)
        status = look(&work, &found, err);
    if (status != TT_OK)
        return status;
    *ret_key = found.text ? read_key(found.text) : NULL;
    if (!*ret_key)
        return tt_error_set(err, TT_STORE, "%s has no public key there%s", place->server.url,
                            found.text ? " that can be read" : "");
    return TT_OK;
}
