#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "audit/audit_inside.h"
#include "base/hex.h"
#include "base/text.h"

enum { VALUE_LIMIT = 1000 };

static const char hash_prefix[] = "sha256:";

void audit_hash_text(const uint8_t hash[TT_SHA256_SIZE], char ret_text[AUDIT_HASH_SIZE])
{
    memcpy(ret_text, hash_prefix, sizeof hash_prefix);
    tt_hex_encode(hash, TT_SHA256_SIZE, ret_text + sizeof hash_prefix - 1);
}

bool audit_hash_parse(const char *text, uint8_t ret_hash[TT_SHA256_SIZE])
{
    size_t prefix = sizeof hash_prefix - 1;
    return text && strncmp(text, hash_prefix, prefix) == 0 &&
           tt_hex_decode(text + prefix, strlen(text + prefix), ret_hash, TT_SHA256_SIZE);
}

/* Reading. */

void audit_line_clear(struct audit_line *line)
{
    cJSON_Delete(line->json);
    *line = (struct audit_line){0};
}

static bool read_event(const cJSON *json, char ret_event[AUDIT_EVENT_SIZE])
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "event"));
    size_t length = text ? strlen(text) : 0;
    if (length == 0 || length >= AUDIT_EVENT_SIZE || strspn(text, "abcdefghijklmnopqrstuvwxyz-") != length)
        return false;
    memcpy(ret_event, text, length + 1);
    return true;
}

static enum tt_status read_line(const cJSON *json, struct audit_line *line, struct tt_error *err)
{
    int64_t number = 0;
    const cJSON *previous = cJSON_GetObjectItemCaseSensitive(json, "previous");
    if (!cJSON_IsObject(json) ||
        !tt_json_integer(cJSON_GetObjectItemCaseSensitive(json, "number"), 1, (int64_t)AUDIT_NUMBER_LIMIT, &number))
        return tt_error_set(err, TT_MALFORMED, "it has no number");
    line->number = (uint64_t)number;
    line->has_previous = !cJSON_IsNull(previous);
    if (line->has_previous && !audit_hash_parse(cJSON_GetStringValue(previous), line->previous))
        return tt_error_set(err, TT_MALFORMED, "it has no hash of what stands before it");
    if (!read_event(json, line->event))
        return tt_error_set(err, TT_MALFORMED, "it has no event");
    if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(json, "time")))
        return tt_error_set(err, TT_MALFORMED, "it has no time");
    return TT_OK;
}

enum tt_status audit_line_parse(const char *text, size_t length, struct audit_line *ret_line, struct tt_error *err)
{
    struct audit_line line TT_CLEANUP(audit_line_clear) = {0};
    if (length > TT_AUDIT_LINE_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "it is longer than a record can be");
    enum tt_status status = tt_json_parse(text, length, VALUE_LIMIT, "it", &line.json, err);
    if (status == TT_OK)
        status = read_line(line.json, &line, err);
    if (status != TT_OK)
        return status;
    *ret_line = line;
    line.json = NULL;
    return TT_OK;
}

/* Writing. */

static enum tt_status put_text(struct tt_buffer *value, const char *text, struct tt_error *err)
{
    char printable[TT_AUDIT_TEXT_LIMIT + 1];
    if (!text || !*text)
        return TT_OK;
    tt_text_printable(text, printable, sizeof printable);
    return tt_json_quote(value, printable, err);
}

static enum tt_status put_hex(struct tt_buffer *value, const uint8_t *data, size_t length, struct tt_error *err)
{
    if (length == 0)
        return TT_OK;
    char *text TT_CLEANUP(tt_free_cleanup) = tt_hex_new(data, length);
    return text ? tt_buffer_printf(value, err, "\"%s\"", text) : tt_error_memory(err);
}

enum tt_status audit_fact_value(const struct tt_audit_fact *fact, char **ret_value, struct tt_error *err)
{
    struct tt_buffer value = TT_BUFFER_INIT(0);
    enum tt_status status = TT_OK;
    switch (fact->kind) {
    case TT_AUDIT_TEXT:
        status = put_text(&value, fact->text, err);
        break;
    case TT_AUDIT_NUMBER:
        status = tt_buffer_printf(&value, err, "%" PRIu64, fact->number);
        break;
    case TT_AUDIT_FLAG:
        status = tt_buffer_printf(&value, err, "%s", fact->number ? "true" : "false");
        break;
    case TT_AUDIT_HEX:
        status = put_hex(&value, fact->data, fact->length, err);
        break;
    }
    if (status != TT_OK) {
        tt_buffer_clear(&value);
        return status;
    }
    *ret_value = (char *)value.data;
    return TT_OK;
}

static enum tt_status put_head(const struct audit_place *place, const char *event, struct tt_buffer *line,
                               struct tt_error *err)
{
    char previous[AUDIT_HASH_SIZE];
    char stamp[32];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!gmtime_r(&now.tv_sec, &parts) || strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts) == 0)
        return tt_error_set(err, TT_INTERNAL, "this machine's clock shows no time that can be written down");
    audit_hash_text(place->hash, previous);
    return tt_buffer_printf(line, err,
                            "{\"number\":%" PRIu64 ",\"previous\":%s%s%s,\"time\":\"%s.%03ldZ\",\"event\":\"%s\"",
                            place->number + 1, place->has_previous ? "\"" : "", place->has_previous ? previous : "null",
                            place->has_previous ? "\"" : "", stamp, now.tv_nsec / 1000000, event);
}

static bool is_named(const struct tt_audit_fact *facts, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(facts[i].name, name) == 0)
            return true;
    return false;
}

enum tt_status audit_line_make(const struct audit_place *place, const char *event, const struct tt_audit_fact *facts,
                               size_t count, const struct audit_member *context, size_t context_count,
                               struct tt_buffer *line, struct tt_error *err)
{
    enum tt_status status = put_head(place, event, line, err);
    for (size_t i = 0; status == TT_OK && i < context_count; i++)
        if (context[i].value && !is_named(facts, count, context[i].name))
            status = tt_buffer_printf(line, err, ",\"%s\":%s", context[i].name, context[i].value);
    for (size_t i = 0; status == TT_OK && i < count; i++) {
        char *value TT_CLEANUP(tt_free_cleanup) = NULL;
        status = audit_fact_value(&facts[i], &value, err);
        if (status == TT_OK && value)
            status = tt_buffer_printf(line, err, ",\"%s\":%s", facts[i].name, value);
    }
    return status == TT_OK ? tt_buffer_append(line, "}\n", 2, err) : status;
}
