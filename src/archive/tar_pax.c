#include <string.h>

#include "archive/tar_format.h"

void tar_extensions_clear(struct tar_extensions *extensions)
{
    free(extensions->path);
    free(extensions->link);
    free(extensions->gnu_path);
    free(extensions->gnu_link);
    free(extensions->real_path);
    free(extensions->sparse.pieces);
    *extensions = (struct tar_extensions){.sparse_major = -1, .sparse_minor = -1};
}

bool tar_decimal(const char *text, size_t length, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (length == 0 || length > 19)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value > INT64_MAX)
        return false;
    *ret_value = value;
    return true;
}

static enum tt_status bad_value(const char *key, struct tt_error *err)
{
    return tt_error_set(err, TT_MALFORMED, "the pax record '%s' has no proper value", key);
}

static enum tt_status take_text(const char *key, const char *value, size_t length, char **target, struct tt_error *err)
{
    if (length == 0 || memchr(value, '\0', length))
        return bad_value(key, err);
    char *copy = strndup(value, length);
    if (!copy)
        return tt_error_memory(err);
    free(*target);
    *target = copy;
    return TT_OK;
}

static enum tt_status take_number(const char *key, const char *value, size_t length, uint64_t most, uint64_t *target,
                                  struct tt_error *err)
{
    uint64_t number = 0;
    if (!tar_decimal(value, length, &number) || number > most)
        return bad_value(key, err);
    *target = number;
    return TT_OK;
}

/* "[-]SECONDS[.FRACTION]", rounded down to nanoseconds. */
static enum tt_status take_time(const char *key, const char *value, size_t length, struct tar_extensions *extensions,
                                struct tt_error *err)
{
    bool negative = length > 0 && value[0] == '-';
    const char *digits = value + negative;
    size_t digits_length = length - negative;
    const char *point = memchr(digits, '.', digits_length);
    uint64_t seconds = 0;
    if (!tar_decimal(digits, point ? (size_t)(point - digits) : digits_length, &seconds))
        return bad_value(key, err);
    uint32_t nanoseconds = 0;
    uint32_t unit = 100000000;
    for (const char *digit = point ? point + 1 : value + length; digit < value + length; digit++, unit /= 10) {
        if (*digit < '0' || *digit > '9')
            return bad_value(key, err);
        nanoseconds += unit * (uint32_t)(*digit - '0');
    }
    extensions->mtime_seconds = negative ? -(int64_t)seconds : (int64_t)seconds;
    extensions->mtime_nanoseconds = nanoseconds;
    if (negative && nanoseconds > 0) {
        extensions->mtime_seconds--;
        extensions->mtime_nanoseconds = 1000000000 - nanoseconds;
    }
    extensions->has_mtime = true;
    return TT_OK;
}

/* Form 0.1: all pieces as "offset,length,offset,length,...". */
static enum tt_status take_map(const char *key, const char *value, size_t length, struct tar_extensions *extensions,
                               struct tt_error *err)
{
    extensions->sparse.count = 0;
    extensions->has_map = true;
    const char *end = value + length;
    uint64_t pair[2] = {0, 0};
    int have = 0;
    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        size_t digits = (size_t)((comma ? comma : end) - value);
        if (!tar_decimal(value, digits, &pair[have++]))
            return bad_value(key, err);
        value = comma ? comma + 1 : end;
        if (have < 2)
            continue;
        have = 0;
        enum tt_status status = tar_sparse_add(&extensions->sparse, pair[0], pair[1], err);
        if (status != TT_OK)
            return status;
    }
    return have == 0 ? TT_OK : bad_value(key, err);
}

/* Form 0.0: an offset record and a length record per piece. */
static enum tt_status take_piece(const char *key, const char *value, size_t length, bool is_offset,
                                 struct tar_extensions *extensions, struct tt_error *err)
{
    uint64_t number = 0;
    if (!tar_decimal(value, length, &number) || is_offset == extensions->has_open_offset)
        return bad_value(key, err);
    extensions->has_open_offset = is_offset;
    extensions->has_map = true;
    if (!is_offset)
        return tar_sparse_add(&extensions->sparse, extensions->open_offset, number, err);
    extensions->open_offset = number;
    return TT_OK;
}

static enum tt_status take_sparse(const char *key, const char *value, size_t length, struct tar_extensions *extensions,
                                  struct tt_error *err)
{
    const char *member = key + strlen("GNU.sparse.");
    uint64_t number = 0;
    if (strcmp(member, "name") == 0)
        return take_text(key, value, length, &extensions->real_path, err);
    if (strcmp(member, "map") == 0)
        return take_map(key, value, length, extensions, err);
    if (strcmp(member, "offset") == 0 || strcmp(member, "numbytes") == 0)
        return take_piece(key, value, length, member[0] == 'o', extensions, err);
    if (!tar_decimal(value, length, &number))
        return bad_value(key, err);
    if (strcmp(member, "major") == 0 || strcmp(member, "minor") == 0) {
        *(member[1] == 'a' ? &extensions->sparse_major : &extensions->sparse_minor) = number > 9 ? 10 : (int)number;
    } else if (strcmp(member, "size") == 0 || strcmp(member, "realsize") == 0) {
        extensions->real_size = number;
        extensions->has_real_size = true;
    }
    return TT_OK;
}

/* An empty value takes back what an earlier record of the same key said. */
static void take_back(const char *key, struct tar_extensions *extensions)
{
    char **text = strcmp(key, "path") == 0       ? &extensions->path
                  : strcmp(key, "linkpath") == 0 ? &extensions->link
                                                 : NULL;
    if (text) {
        free(*text);
        *text = NULL;
    }
    extensions->has_size = extensions->has_size && strcmp(key, "size") != 0;
    extensions->has_uid = extensions->has_uid && strcmp(key, "uid") != 0;
    extensions->has_gid = extensions->has_gid && strcmp(key, "gid") != 0;
    extensions->has_mtime = extensions->has_mtime && strcmp(key, "mtime") != 0;
}

static enum tt_status take_record(const char *key, const char *value, size_t length, struct tar_extensions *extensions,
                                  struct tt_error *err)
{
    uint64_t number = 0;
    enum tt_status status = TT_OK;
    if (strncmp(key, "GNU.sparse.", strlen("GNU.sparse.")) == 0)
        return take_sparse(key, value, length, extensions, err);
    if (length == 0) {
        take_back(key, extensions);
        return TT_OK;
    }
    if (strcmp(key, "path") == 0)
        return take_text(key, value, length, &extensions->path, err);
    if (strcmp(key, "linkpath") == 0)
        return take_text(key, value, length, &extensions->link, err);
    if (strcmp(key, "mtime") == 0)
        return take_time(key, value, length, extensions, err);
    if (strcmp(key, "size") == 0) {
        status = take_number(key, value, length, INT64_MAX, &extensions->size, err);
        extensions->has_size = status == TT_OK;
    } else if (strcmp(key, "uid") == 0) {
        status = take_number(key, value, length, UINT32_MAX, &number, err);
        extensions->uid = (uint32_t)number;
        extensions->has_uid = status == TT_OK;
    } else if (strcmp(key, "gid") == 0) {
        status = take_number(key, value, length, UINT32_MAX, &number, err);
        extensions->gid = (uint32_t)number;
        extensions->has_gid = status == TT_OK;
    }
    return status;
}

static bool says_where_or_how_long(const char *key)
{
    return strcmp(key, "path") == 0 || strcmp(key, "linkpath") == 0 || strcmp(key, "size") == 0 ||
           strncmp(key, "GNU.sparse.", strlen("GNU.sparse.")) == 0;
}

/* One record, "LENGTH KEY=VALUE\n", LENGTH counting all of it. */
static enum tt_status parse_record(const char *body, size_t length, bool global, struct tar_extensions *extensions,
                                   size_t *ret_used, struct tt_error *err)
{
    char key[64] = "";
    const char *space = memchr(body, ' ', length < 20 ? length : 20);
    uint64_t total = 0;
    if (!space || !tar_decimal(body, (size_t)(space - body), &total) || total > length ||
        total < (size_t)(space - body) + 4 || body[total - 1] != '\n')
        return tt_error_set(err, TT_MALFORMED, "a pax header is damaged");
    const char *key_start = space + 1;
    const char *end = body + total - 1;
    const char *equals = memchr(key_start, '=', (size_t)(end - key_start));
    if (!equals || equals == key_start || memchr(key_start, '\0', (size_t)(equals - key_start)))
        return tt_error_set(err, TT_MALFORMED, "a pax header is damaged");
    *ret_used = (size_t)total;
    if ((size_t)(equals - key_start) >= sizeof key)
        return TT_OK; /* none that matters here is that long */
    memcpy(key, key_start, (size_t)(equals - key_start));
    if (!global)
        return take_record(key, equals + 1, (size_t)(end - equals - 1), extensions, err);
    if (says_where_or_how_long(key))
        return tt_error_set(err, TT_MALFORMED, "a global pax header would change the '%s' of every entry", key);
    return TT_OK;
}

enum tt_status tar_pax_parse(const char *body, size_t length, bool global, struct tar_extensions *extensions,
                             struct tt_error *err)
{
    while (length > 0) {
        size_t used = 0;
        enum tt_status status = parse_record(body, length, global, extensions, &used, err);
        if (status != TT_OK)
            return status;
        body += used;
        length -= used;
    }
    return TT_OK;
}
