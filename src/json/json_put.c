#include <string.h>

#include "json/json.h"
#include "json/json_scan.h"

/* A walk through text that passed the scan: it checks bounds, and no more than it needs. */
struct walk {
    const char *text;
    size_t length;
    size_t at;
};

/* Where a value is, or where it would go. */
struct place {
    bool found;
    size_t start; /* the value's bytes; both the end of the object's last value when it is not there */
    size_t end;
    struct json_span before_name;  /* white space in front of the last member's name */
    struct json_span before_value; /* from the end of that name to its value */
    bool empty;                    /* the object has no member; start is after its '{' */
};

static char here(const struct walk *walk)
{
    return walk->at < walk->length ? walk->text[walk->at] : '\0';
}

static void step_on(struct walk *walk)
{
    walk->at += walk->at < walk->length;
}

static struct json_span walk_space(struct walk *walk)
{
    size_t start = walk->at;
    while (here(walk) == ' ' || here(walk) == '\t' || here(walk) == '\r' || here(walk) == '\n')
        step_on(walk);
    return (struct json_span){walk->text + start, walk->at - start};
}

/* Past a string; gives its inside. */
static struct json_span walk_string(struct walk *walk)
{
    size_t start = ++walk->at;
    while (walk->at < walk->length) {
        const char *quote = memchr(walk->text + walk->at, '"', walk->length - walk->at);
        walk->at = quote ? (size_t)(quote - walk->text) : walk->length;
        size_t slashes = 0;
        while (walk->at - slashes > start && walk->text[walk->at - slashes - 1] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            break;
        step_on(walk);
    }
    size_t end = walk->at < walk->length ? walk->at++ : walk->length;
    return (struct json_span){walk->text + start, end - start};
}

/* Past a value of any kind. */
static void walk_value(struct walk *walk)
{
    size_t depth = 0;
    do {
        char byte = here(walk);
        if (byte == '"') {
            walk_string(walk);
        } else if (byte == '{' || byte == '[') {
            depth++;
            step_on(walk);
        } else if (byte == '}' || byte == ']') {
            depth -= depth > 0;
            step_on(walk);
        } else if (depth > 0) {
            step_on(walk);
        } else {
            while (walk->at < walk->length && !strchr(",]} \t\r\n", walk->text[walk->at]))
                step_on(walk);
        }
    } while (depth > 0 && walk->at < walk->length);
}

/* The same, noting where it is. */
static void walk_found(struct walk *walk, struct place *ret_place)
{
    size_t start = walk->at;
    walk_value(walk);
    *ret_place = (struct place){.found = true, .start = start, .end = walk->at};
}

/* `wanted` is the inside of a literal. */
static void find_member(struct walk *walk, const struct json_span *wanted, struct place *ret_place)
{
    step_on(walk);
    struct place last = {.start = walk->at, .end = walk->at, .empty = true};
    while (walk->at < walk->length) {
        struct json_span before_name = walk_space(walk);
        if (here(walk) != '"')
            break;
        struct json_span name = walk_string(walk);
        size_t name_end = walk->at;
        walk_space(walk);
        step_on(walk);
        walk_space(walk);
        struct json_span before_value = {walk->text + name_end, walk->at - name_end};
        if (json_string_compare(&name, wanted) == 0) {
            walk_found(walk, ret_place);
            return;
        }
        walk_value(walk);
        last = (struct place){
            .start = walk->at, .end = walk->at, .before_name = before_name, .before_value = before_value};
        walk_space(walk);
        step_on(walk);
    }
    *ret_place = last;
}

static bool find_element(struct walk *walk, size_t element, struct place *ret_place)
{
    step_on(walk);
    for (size_t i = 0; walk->at < walk->length; i++) {
        walk_space(walk);
        if (here(walk) == ']')
            return false;
        if (i == element) {
            walk_found(walk, ret_place);
            return true;
        }
        walk_value(walk);
        walk_space(walk);
        if (here(walk) != ',')
            return false;
        step_on(walk);
    }
    return false;
}

static enum tt_status find_quoted_member(struct walk *walk, const char *member, struct place *ret_place,
                                         struct tt_error *err)
{
    struct tt_buffer quoted TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = tt_json_quote(&quoted, member, err);
    if (status != TT_OK)
        return status;
    find_member(walk, &(struct json_span){(const char *)quoted.data + 1, quoted.length - 2}, ret_place);
    return TT_OK;
}

static enum tt_status find_place(const struct tt_buffer *text, const struct tt_json_step *steps, size_t step_count,
                                 struct place *ret_place, struct tt_error *err)
{
    if (text->length == 0)
        return tt_error_set(err, TT_MALFORMED, "no document to change");
    struct walk walk = {.text = (const char *)text->data, .length = text->length};
    struct place place = {0};
    walk_space(&walk);
    walk_found(&walk, &place);
    for (size_t i = 0; i < step_count; i++) {
        const struct tt_json_step *step = &steps[i];
        if (!place.found)
            return tt_error_set(err, TT_MALFORMED, "no member \"%s\" in the document", steps[i - 1].member);
        walk.at = place.start;
        if (step->member && here(&walk) != '{')
            return tt_error_set(err, TT_MALFORMED, "no object that could hold the member \"%s\"", step->member);
        if (step->member) {
            enum tt_status status = find_quoted_member(&walk, step->member, &place, err);
            if (status != TT_OK)
                return status;
        } else if (here(&walk) != '[' || !find_element(&walk, step->element, &place)) {
            return tt_error_set(err, TT_MALFORMED, "no array with an element %zu", step->element);
        }
    }
    *ret_place = place;
    return TT_OK;
}

/* The bytes of a new member, in the manner of the one before it. */
static enum tt_status write_member(struct tt_buffer *out, const struct place *place, const char *member,
                                   struct tt_error *err)
{
    enum tt_status status = TT_OK;
    if (!place->empty)
        status = tt_buffer_append(out, ",", 1, err);
    if (status == TT_OK)
        status = tt_buffer_append(out, place->before_name.text, place->before_name.length, err);
    if (status == TT_OK)
        status = tt_json_quote(out, member, err);
    if (status == TT_OK && place->empty)
        status = tt_buffer_append(out, ":", 1, err);
    if (status == TT_OK)
        status = tt_buffer_append(out, place->before_value.text, place->before_value.length, err);
    return status;
}

/* Puts `piece` in the place of text[start..end). */
static enum tt_status splice(struct tt_buffer *text, size_t start, size_t end, const struct tt_buffer *piece,
                             struct tt_error *err)
{
    size_t tail = text->length - end;
    size_t old = end - start;
    if (piece->length > old) {
        /* Makes room; which bytes it appends is no matter, as they are moved over at once. */
        enum tt_status status = tt_buffer_append(text, piece->data, piece->length - old, err);
        if (status != TT_OK)
            return status;
    }
    memmove(text->data + start + piece->length, text->data + end, tail);
    memcpy(text->data + start, piece->data, piece->length);
    text->length = start + piece->length + tail;
    text->data[text->length] = '\0';
    return TT_OK;
}

enum tt_status tt_json_put(struct tt_buffer *text, const struct tt_json_step *steps, size_t step_count,
                           const char *json, struct tt_error *err)
{
    struct place place = {0};
    enum tt_status status = find_place(text, steps, step_count, &place, err);
    if (status != TT_OK)
        return status;
    struct tt_buffer piece TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    if (!place.found)
        status = write_member(&piece, &place, steps[step_count - 1].member, err);
    if (status == TT_OK)
        status = tt_buffer_append(&piece, json, strlen(json), err);
    return status == TT_OK ? splice(text, place.start, place.end, &piece, err) : status;
}
