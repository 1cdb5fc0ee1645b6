#include "json/json_scan.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "json/json.h"

struct scan {
    const unsigned char *text;
    size_t length;
    size_t at;
    size_t values;
    size_t value_limit;
    unsigned depth;
    const char *what;
    struct json_spans names;   /* of the members of all objects that are open, innermost last */
    struct json_spans numbers; /* all numbers so far */
    struct tt_error *err;
};

static enum tt_status scan_value(struct scan *scan);

void json_spans_clear(struct json_spans *spans)
{
    free(spans->items);
    memset(spans, 0, sizeof *spans);
}

static enum tt_status add_span(struct json_spans *spans, const unsigned char *text, size_t length, struct tt_error *err)
{
    if (spans->count == spans->capacity) {
        size_t capacity = spans->capacity ? 2 * spans->capacity : 32;
        struct json_span *grown = reallocarray(spans->items, capacity, sizeof *grown);
        if (!grown)
            return tt_error_memory(err);
        spans->items = grown;
        spans->capacity = capacity;
    }
    spans->items[spans->count++] = (struct json_span){(const char *)text, length};
    return TT_OK;
}

/* Refuses the text for what is at `at`. */
static enum tt_status refuse(const struct scan *scan, size_t at, const char *format, ...) TT_PRINTF(3, 4);
static enum tt_status refuse(const struct scan *scan, size_t at, const char *format, ...)
{
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < at && i < scan->length; i++) {
        if (scan->text[i] == '\n') {
            line++;
            column = 1;
        } else if ((scan->text[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    char problem[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    return tt_error_set(scan->err, TT_MALFORMED, "%s, line %zu, column %zu: %s", scan->what, line, column, problem);
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->length && strchr(" \t\r\n", scan->text[scan->at]) && scan->text[scan->at] != '\0')
        scan->at++;
}

/* The byte at hand, -1 at the end. */
static int peek(const struct scan *scan)
{
    return scan->at < scan->length ? scan->text[scan->at] : -1;
}

static enum tt_status refuse_byte(const struct scan *scan, const char *expected)
{
    int byte = peek(scan);
    if (byte < 0)
        return refuse(scan, scan->at, "the document ends where %s should be", expected);
    if (byte > 0x20 && byte < 0x7F)
        return refuse(scan, scan->at, "'%c' where %s should be", byte, expected);
    return refuse(scan, scan->at, "byte 0x%02x where %s should be", (unsigned)byte, expected);
}

/* The value of four hexadecimal digits, -1 when they are not. */
static int32_t hex_unit(const unsigned char *text, size_t length)
{
    if (length < 4)
        return -1;
    int32_t unit = 0;
    for (size_t i = 0; i < 4; i++) {
        int32_t digit = text[i] >= '0' && text[i] <= '9'   ? text[i] - '0'
                        : text[i] >= 'a' && text[i] <= 'f' ? text[i] - 'a' + 10
                        : text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 10
                                                           : -1;
        if (digit < 0)
            return -1;
        unit = unit * 16 + digit;
    }
    return unit;
}

static enum tt_status scan_unicode_escape(struct scan *scan)
{
    const unsigned char *text = scan->text + scan->at + 2;
    size_t left = scan->length - scan->at - 2;
    int32_t unit = hex_unit(text, left);
    if (unit < 0)
        return refuse(scan, scan->at, "\\u without four hexadecimal digits");
    if (unit == 0)
        return refuse(scan, scan->at, "a NUL character in a string");
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return refuse(scan, scan->at, "half of a surrogate pair in a string");
    size_t used = 6;
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        int32_t second = left >= 10 && text[4] == '\\' && text[5] == 'u' ? hex_unit(text + 6, left - 6) : -1;
        if (second < 0xDC00 || second > 0xDFFF)
            return refuse(scan, scan->at, "half of a surrogate pair in a string");
        used = 12;
    }
    scan->at += used;
    return TT_OK;
}

static enum tt_status scan_escape(struct scan *scan)
{
    if (scan->length - scan->at < 2)
        return refuse(scan, scan->at, "the document ends within a string");
    unsigned char kind = scan->text[scan->at + 1];
    if (kind == 'u')
        return scan_unicode_escape(scan);
    if (kind == '\0' || !strchr("\"\\/bfnrt", kind))
        return refuse(scan, scan->at, "an escape in a string that JSON does not know");
    scan->at += 2;
    return TT_OK;
}

/* From the opening quote to past the closing one; *ret_inside is what is between. */
static enum tt_status scan_string(struct scan *scan, struct json_span *ret_inside)
{
    size_t start = ++scan->at;
    while (scan->at < scan->length) {
        unsigned char byte = scan->text[scan->at];
        if (byte == '"') {
            *ret_inside = (struct json_span){(const char *)scan->text + start, scan->at - start};
            scan->at++;
            return TT_OK;
        }
        if (byte < 0x20)
            return refuse(scan, scan->at, "a control character (0x%02x) in a string", byte);
        if (byte == '\\') {
            enum tt_status status = scan_escape(scan);
            if (status != TT_OK)
                return status;
            continue;
        }
        size_t step = tt_text_utf8_sequence(scan->text + scan->at, scan->length - scan->at);
        if (step == 0)
            return refuse(scan, scan->at, "text that is not UTF-8");
        scan->at += step;
    }
    return refuse(scan, scan->at, "the document ends within a string");
}

static size_t skip_digits(struct scan *scan)
{
    size_t start = scan->at;
    while (scan->at < scan->length && scan->text[scan->at] >= '0' && scan->text[scan->at] <= '9')
        scan->at++;
    return scan->at - start;
}

static enum tt_status scan_number(struct scan *scan)
{
    size_t start = scan->at;
    if (peek(scan) == '-')
        scan->at++;
    bool zero = peek(scan) == '0';
    size_t digits = skip_digits(scan);
    if (digits == 0)
        return refuse_byte(scan, "a digit");
    if (zero && digits > 1)
        return refuse(scan, start, "a number with a leading zero");
    if (peek(scan) == '.') {
        scan->at++;
        if (skip_digits(scan) == 0)
            return refuse_byte(scan, "a digit");
    }
    if (peek(scan) == 'e' || peek(scan) == 'E') {
        scan->at++;
        if (peek(scan) == '+' || peek(scan) == '-')
            scan->at++;
        if (skip_digits(scan) == 0)
            return refuse_byte(scan, "a digit");
    }
    if (scan->at - start > JSON_NUMBER_LIMIT)
        return refuse(scan, start, "a number of more than %d characters", JSON_NUMBER_LIMIT);
    return add_span(&scan->numbers, scan->text + start, scan->at - start, scan->err);
}

static enum tt_status scan_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (scan->length - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
        return refuse_byte(scan, "a value");
    scan->at += length;
    return TT_OK;
}

/* The next code point of the inside of a literal that passed the scan; 0 at its end. */
static uint32_t next_point(const struct json_span *string, size_t *at)
{
    static const char plain[] = "\"\\/bfnrt";
    static const char meant[] = "\"\\/\b\f\n\r\t";
    const unsigned char *text = (const unsigned char *)string->text + *at;
    size_t left = string->length - *at;
    if (left == 0)
        return 0;
    if (text[0] == '\\' && left >= 6 && text[1] == 'u') {
        uint32_t unit = (uint32_t)hex_unit(text + 2, 4);
        bool pair = unit >= 0xD800 && unit <= 0xDBFF && left >= 12;
        *at += pair ? 12 : 6;
        return pair ? 0x10000 + ((unit - 0xD800) << 10) + ((uint32_t)hex_unit(text + 8, 4) - 0xDC00) : unit;
    }
    if (text[0] == '\\' && left >= 2) {
        const char *found = strchr(plain, text[1]);
        *at += 2;
        return found ? (unsigned char)meant[found - plain] : 0;
    }
    size_t step = tt_text_utf8_sequence(text, left);
    *at += step ? step : 1;
    if (step <= 1)
        return text[0];
    uint32_t point = text[0] & (0x7Fu >> step);
    for (size_t i = 1; i < step; i++)
        point = point << 6 | (text[i] & 0x3F);
    return point;
}

int json_string_compare(const struct json_span *one, const struct json_span *other)
{
    size_t at_one = 0;
    size_t at_other = 0;
    for (;;) {
        uint32_t point_one = next_point(one, &at_one);
        uint32_t point_other = next_point(other, &at_other);
        if (point_one != point_other)
            return point_one < point_other ? -1 : 1;
        if (point_one == 0)
            return 0;
    }
}

/* For qsort: equal names in the order of the text. */
static int compare_names(const void *one, const void *other)
{
    const struct json_span *first = one;
    const struct json_span *second = other;
    int order = json_string_compare(first, second);
    return order != 0 ? order : (first->text > second->text) - (first->text < second->text);
}

/* Sorting keeps this from being quadratic in what a hostile document holds. */
static enum tt_status check_names(struct scan *scan, size_t first)
{
    size_t count = scan->names.count - first;
    if (count == 0)
        return TT_OK;
    struct json_span *names = scan->names.items + first;
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (json_string_compare(&names[i - 1], &names[i]) != 0)
            continue;
        int shown = names[i].length > 100 ? 100 : (int)names[i].length;
        return refuse(scan, (size_t)(names[i].text - (const char *)scan->text) - 1, "the member \"%.*s\" appears twice",
                      shown, names[i].text);
    }
    scan->names.count = first;
    return TT_OK;
}

static enum tt_status scan_member(struct scan *scan)
{
    skip_space(scan);
    if (peek(scan) != '"')
        return refuse_byte(scan, "a member's name");
    struct json_span name;
    enum tt_status status = scan_string(scan, &name);
    if (status == TT_OK)
        status = add_span(&scan->names, (const unsigned char *)name.text, name.length, scan->err);
    if (status != TT_OK)
        return status;
    skip_space(scan);
    if (peek(scan) != ':')
        return refuse_byte(scan, "':'");
    scan->at++;
    return scan_value(scan);
}

/* An object or array: its opening bracket is at hand. */
static enum tt_status scan_container(struct scan *scan, bool object)
{
    char close = object ? '}' : ']';
    size_t first_name = scan->names.count;
    if (++scan->depth > TT_JSON_DEPTH_LIMIT)
        return refuse(scan, scan->at, "values nested deeper than %d levels", TT_JSON_DEPTH_LIMIT);
    scan->at++;
    skip_space(scan);
    bool more = peek(scan) != close;
    while (more) {
        enum tt_status status = object ? scan_member(scan) : scan_value(scan);
        if (status != TT_OK)
            return status;
        skip_space(scan);
        more = peek(scan) == ',';
        if (!more && peek(scan) != close)
            return refuse_byte(scan, object ? "',' or '}'" : "',' or ']'");
        if (more)
            scan->at++;
    }
    scan->at++;
    scan->depth--;
    return object ? check_names(scan, first_name) : TT_OK;
}

static enum tt_status scan_value(struct scan *scan)
{
    skip_space(scan);
    if (++scan->values > scan->value_limit)
        return refuse(scan, scan->at, "more than %zu values", scan->value_limit);
    struct json_span inside;
    switch (peek(scan)) {
    case '{':
        return scan_container(scan, true);
    case '[':
        return scan_container(scan, false);
    case '"':
        return scan_string(scan, &inside);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    case '-':
    case '0' ... '9':
        return scan_number(scan);
    default:
        return refuse_byte(scan, "a value");
    }
}

enum tt_status json_scan(const char *text, size_t length, size_t value_limit, const char *what,
                         struct json_spans *ret_numbers, struct tt_error *err)
{
    struct scan scan = {
        .text = (const unsigned char *)text, .length = length, .value_limit = value_limit, .what = what, .err = err};
    enum tt_status status;
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        status = refuse(&scan, 0, "a byte order mark before the document");
    else
        status = scan_value(&scan);
    if (status == TT_OK) {
        skip_space(&scan);
        if (scan.at < length)
            status = refuse_byte(&scan, "the end of the document");
    }
    json_spans_clear(&scan.names);
    if (status != TT_OK) {
        json_spans_clear(&scan.numbers);
        return status;
    }
    *ret_numbers = scan.numbers;
    return TT_OK;
}
