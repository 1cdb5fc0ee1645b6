/* Inside src/json: the strict scan that comes before parsing, and reading of string literals. */
#ifndef TT_JSON_JSON_SCAN_H
#define TT_JSON_JSON_SCAN_H

#include <stddef.h>

#include "base/error.h"

/* A piece of the text. */
struct json_span {
    const char *text;
    size_t length;
};

struct json_spans {
    struct json_span *items;
    size_t count;
    size_t capacity;
};

void json_spans_clear(struct json_spans *spans);

/* Longest number as written: cJSON 1.7.15 reads no longer ones. */
enum { JSON_NUMBER_LIMIT = 63 };

/* Checks text[0..length) as json.h says. *ret_numbers receives the numbers as they are written, in their order; the
 * caller clears it. */
TT_MUST_USE enum tt_status json_scan(const char *text, size_t length, size_t value_limit, const char *what,
                                     struct json_spans *ret_numbers, struct tt_error *err);

/* Order of two strings by their code points, escapes resolved. Both are the insides of literals that passed the scan.
 */
int json_string_compare(const struct json_span *one, const struct json_span *other);

#endif
