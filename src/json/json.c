#include "json/json.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "json/json_scan.h"

/* Gives every number of the tree its spelling: cJSON keeps a double only. Numbers come in the order of the text. */
static enum tt_status keep_spelling(cJSON *item, const struct json_spans *numbers, size_t *next, struct tt_error *err)
{
    for (; item; item = item->next) {
        if (cJSON_IsNumber(item) && *next < numbers->count) {
            const struct json_span *number = &numbers->items[(*next)++];
            char *spelling = cJSON_malloc(number->length + 1);
            if (!spelling)
                return tt_error_memory(err);
            memcpy(spelling, number->text, number->length);
            spelling[number->length] = '\0';
            item->valuestring = spelling;
        }
        /* As deep as TT_JSON_DEPTH_LIMIT at most. */
        enum tt_status status = item->child ? keep_spelling(item->child, numbers, next, err) : TT_OK;
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

enum tt_status tt_json_parse(const char *text, size_t length, size_t value_limit, const char *what, cJSON **ret_root,
                             struct tt_error *err)
{
    struct json_spans numbers TT_CLEANUP(json_spans_clear) = {0};
    enum tt_status status = json_scan(text, length, value_limit, what, &numbers, err);
    if (status != TT_OK)
        return status;
    cJSON *root TT_CLEANUP(tt_json_cleanup) = cJSON_ParseWithLength(text, length);
    if (!root)
        return tt_error_memory(err);
    size_t next = 0;
    status = keep_spelling(root, &numbers, &next, err);
    if (status != TT_OK)
        return status;
    *ret_root = TT_TAKE(root);
    return TT_OK;
}

bool tt_json_integer(const cJSON *item, int64_t least, int64_t most, int64_t *ret_value)
{
    if (!cJSON_IsNumber(item) || !item->valuestring)
        return false;
    const char *spelling = item->valuestring;
    if (spelling[strspn(spelling, "-0123456789")] != '\0' || strcmp(spelling, "-0") == 0)
        return false;
    errno = 0;
    long long value = strtoll(spelling, NULL, 10);
    if (errno != 0 || value < least || value > most)
        return false;
    *ret_value = value;
    return true;
}

enum tt_status tt_json_quote(struct tt_buffer *out, const char *value, struct tt_error *err)
{
    size_t length = strlen(value);
    if (!tt_text_is_utf8(value, length))
        return tt_error_set(err, TT_MALFORMED, "'%s' is not UTF-8 and cannot be written as JSON", value);
    enum tt_status status = tt_buffer_append(out, "\"", 1, err);
    while (status == TT_OK && *value) {
        size_t plain = 0;
        while ((unsigned char)value[plain] >= 0x20 && value[plain] != '"' && value[plain] != '\\')
            plain++;
        status = tt_buffer_append(out, value, plain, err);
        value += plain;
        if (status != TT_OK || !*value)
            continue;
        if (*value == '\n')
            status = tt_buffer_append(out, "\\n", 2, err);
        else if (*value == '"' || *value == '\\')
            status = tt_buffer_append(out, *value == '"' ? "\\\"" : "\\\\", 2, err);
        else
            status = tt_buffer_printf(out, err, "\\u%04x", (unsigned)(unsigned char)*value);
        value++;
    }
    return status == TT_OK ? tt_buffer_append(out, "\"", 1, err) : status;
}
