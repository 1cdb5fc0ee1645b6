/*
 * Strict JSON (RFC 8259) from outside: cJSON parses, but only what passed a scan first. Beyond the RFC's grammar the
 * scan refuses what honest writers never make and what parsers disagree about: duplicate members, text that is not
 * UTF-8, NUL in strings, deep nesting, more values than the limit. All of it is TT_MALFORMED.
 *
 * Spans make it possible to change a value in the text itself, so that everything else (unknown members, spelling of
 * numbers, white space) stays as it was, byte for byte.
 */
#ifndef TT_JSON_JSON_H
#define TT_JSON_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum { TT_JSON_DEPTH_LIMIT = 64 };

/* Parses text[0..length). `what` names the document in messages. At most `value_limit` values of any kind (a value
 * costs about 80 bytes once parsed). The caller frees *ret_root with cJSON_Delete. */
TT_MUST_USE enum tt_status tt_json_parse(const char *text, size_t length, size_t value_limit, const char *what,
                                         cJSON **ret_root, struct tt_error *err);

/* Puts an item into an object, which has it from here on: where that fails (no item, no memory) it is freed. */
static inline bool tt_json_add(cJSON *object, const char *name, cJSON *item)
{
    if (cJSON_AddItemToObject(object, name, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static inline void tt_json_cleanup(cJSON **root)
{
    cJSON_Delete(*root);
}

/* Whether an item of tt_json_parse is a number written as an integer ("7", never "7.0", "7e0" or "-0") from `least` to
 * `most`. It is exact where cJSON's double is not: tt_json_parse leaves the spelling in item->valuestring. */
bool tt_json_integer(const cJSON *item, int64_t least, int64_t most, int64_t *ret_value);

/* One step from a value to a value in it: a member of an object, or (member NULL) an element of an array. */
struct tt_json_step {
    const char *member;
    size_t element;
};

/* Puts `json` in the place of the value at the end of `steps`, in text that tt_json_parse accepted; a missing last
 * member is added as the last of its object. The change happens in *text. TT_MALFORMED when a step leads nowhere. */
TT_MUST_USE enum tt_status tt_json_put(struct tt_buffer *text, const struct tt_json_step *steps, size_t step_count,
                                       const char *json, struct tt_error *err);

/* Appends `value` as a JSON string literal with its quotes. `value` must be UTF-8. */
TT_MUST_USE enum tt_status tt_json_quote(struct tt_buffer *out, const char *value, struct tt_error *err);

#endif
