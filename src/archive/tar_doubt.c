#include "archive/tar_doubt.h"

#include <string.h>

enum {
    SIZE = 124,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    STAR_PREFIX_SIZE = 131,
    NUMBER_SIZE = 12,
    GNU_PIECES = 386,
    GNU_REAL_SIZE = 483,
    TRAILER = 508
};

static enum tt_status doubt(const char *what, struct tt_error *err)
{
    return tt_error_set(err, TT_MALFORMED, "%s: programs read that in different ways", what);
}

static bool contains(const void *text, size_t length, const char *word)
{
    return memmem(text, length, word, strlen(word));
}

bool tt_tar_has_tags(const void *headers, size_t length)
{
    return contains(headers, length, "\xF3\xA0\x80") || contains(headers, length, "\xF3\xA0\x81");
}

bool tt_tar_has_overlay(const void *headers, size_t length)
{
    static const char *const names[] = {"xattr.trusted.", "xattr.user.overlay.", "xattr.user.fuseoverlayfs.",
                                        "xattr.user.containers."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (contains(headers, length, names[i]))
            return true;
    return false;
}

/* Blanks, octal digits, and blanks or zeros to the end: some programs pass over zeros that come first, some take signs
 * or stop at what is no digit. */
static bool is_octal(const uint8_t *field)
{
    size_t i = 0;
    while (i < NUMBER_SIZE && field[i] == ' ')
        i++;
    while (i < NUMBER_SIZE && field[i] >= '0' && field[i] <= '7')
        i++;
    while (i < NUMBER_SIZE && (field[i] == ' ' || field[i] == '\0'))
        i++;
    return i == NUMBER_SIZE;
}

/* Octal digits, or UINT64_MAX: other forms stand for sizes that no header has, and few sparse files. */
static uint64_t octal(const uint8_t *field)
{
    uint64_t value = 0;
    size_t i = 0;
    while (i < NUMBER_SIZE && field[i] == ' ')
        i++;
    for (; i < NUMBER_SIZE && field[i] >= '0' && field[i] <= '7'; i++)
        value = value * 8 + (uint64_t)(field[i] - '0');
    return is_octal(field) ? value : UINT64_MAX;
}

struct record {
    const char *key;
    size_t key_length;
    const char *value;
    size_t value_length;
};

/* Takes "LENGTH KEY=VALUE\n" off a pax header's body; false where it is something else. */
static bool take_record(const char **body, size_t *length, struct record *ret_record)
{
    size_t used = 0;
    size_t total = 0;
    for (; used < *length && (*body)[used] >= '0' && (*body)[used] <= '9' && total <= *length; used++)
        total = total * 10 + (size_t)((*body)[used] - '0');
    if (total > *length || used + 1 >= total || (*body)[used] != ' ')
        return false;
    const char *key = *body + used + 1;
    const char *end = *body + total - 1;
    const char *equals = memchr(key, '=', (size_t)(end - key));
    if (!equals)
        return false;
    *ret_record = (struct record){key, (size_t)(equals - key), equals + 1, (size_t)(end - equals - 1)};
    *body += total;
    *length -= total;
    return true;
}

static bool key_is(const struct record *record, const char *key)
{
    return record->key_length == strlen(key) && memcmp(record->key, key, record->key_length) == 0;
}

static bool is_decimal(const struct record *record)
{
    size_t digits = 0;
    while (digits < record->value_length && record->value[digits] >= '0' && record->value[digits] <= '9')
        digits++;
    return digits > 0 && digits == record->value_length;
}

static enum tt_status check_record(const struct record *record, bool global, bool sparse, struct tt_error *err)
{
    static const char pieces[] = "GNU.sparse.";
    bool holes = record->key_length >= strlen(pieces) && memcmp(record->key, pieces, strlen(pieces)) == 0;
    bool name = key_is(record, "path") || key_is(record, "linkpath") || key_is(record, "GNU.sparse.name");
    bool size = key_is(record, "size");
    if (global && (name || size || holes))
        return doubt("a global pax header changes every entry", err);
    if (name && (record->value_length == 0 || memchr(record->value, '\0', record->value_length)))
        return doubt("a name is empty or has a NUL", err);
    /* Without digits it is 0 for some, and no size at all for others, who take the header's. */
    if (size && !is_decimal(record))
        return doubt("a size is no number", err);
    if ((holes && !sparse) || key_is(record, "SUN.holesdata") || key_is(record, "SCHILY.realsize"))
        return doubt("a file is said to be sparse", err);
    return size && sparse ? doubt("a sparse file has two sizes", err) : TT_OK;
}

static enum tt_status check_pax(const char *body, size_t length, bool global, bool sparse, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    while (status == TT_OK && length > 0) {
        struct record record;
        if (!take_record(&body, &length, &record))
            return doubt("a pax header is damaged", err);
        status = check_record(&record, global, sparse, err);
    }
    return status;
}

/* What sort of entry it is: of the letters that writers of their own took, each reader knows others. A file whose name
 * ends with a slash is a folder to some, in a header without a type to all. */
static enum tt_status check_type(const uint8_t *block, bool is_plain, bool is_folder, struct tt_error *err)
{
    uint8_t type = block[TYPE];
    if (type != '\0' && !strchr("0123456S", type))
        return doubt("an entry is of no known type", err);
    bool says_folder = type == '5' || (type == '\0' && is_plain && is_folder);
    return is_folder == says_folder ? TT_OK : doubt("a file has the name of a folder", err);
}

/* GNU's headers have times where POSIX has the name's beginning; Go takes what is no number for a name all the same. */
static enum tt_status check_block(const uint8_t *block, bool sparse, struct tt_error *err)
{
    const uint8_t *prefix = block + PREFIX;
    bool binary = prefix[0] & 0x80;
    if (!(block[SIZE] & 0x80) && !is_octal(block + SIZE))
        return doubt("a size is no number", err);
    if (memcmp(block + MAGIC, "ustar", 5) != 0)
        return TT_OK;
    if (memcmp(block + MAGIC, "ustar", 6) == 0) {
        bool star = memcmp(block + TRAILER, "tar", 4) == 0;
        return star && !memchr(prefix, '\0', STAR_PREFIX_SIZE) ? doubt("a name is too long for its field", err) : TT_OK;
    }
    if (memcmp(block + MAGIC, "ustar  ", 8) != 0)
        return doubt("a header is of no known form", err);
    if (!sparse && (block[TYPE] == 'S' || block[GNU_PIECES] || block[GNU_REAL_SIZE]))
        return doubt("a file is said to be sparse", err);
    if (!binary && (!is_octal(prefix) || !is_octal(prefix + NUMBER_SIZE)))
        return doubt("a header of GNU's form has a name in two parts", err);
    return TT_OK;
}

/* The stored pieces must be all that lies there, or the next entry is sought at two places. GNU's old form has more
 * blocks of its map behind the header, pax the map in front of the content. */
static enum tt_status check_stored(const uint8_t *block, size_t after, bool pax, int64_t stored, struct tt_error *err)
{
    bool old = block[TYPE] == 'S';
    uint64_t size = octal(block + SIZE);
    uint64_t map = old ? 0 : after;
    if (old == pax || size == UINT64_MAX || size < map || size - map != (uint64_t)stored)
        return doubt("the map of a sparse file does not fit its data", err);
    return TT_OK;
}

enum tt_status tt_tar_doubt(const uint8_t *headers, size_t length, bool is_folder, int64_t stored, struct tt_error *err)
{
    bool pax = false;
    bool gnu = false;
    while (length >= TT_TAR_BLOCK && headers[TYPE] && strchr("xgLK", headers[TYPE])) {
        bool is_pax = headers[TYPE] == 'x';
        bool is_gnu = headers[TYPE] == 'L' || headers[TYPE] == 'K';
        uint64_t size = octal(headers + SIZE);
        if (size > length - TT_TAR_BLOCK || (gnu && !is_gnu) || pax)
            return doubt("an entry has extended headers of several kinds", err);
        if (is_gnu && (size == 0 || headers[TT_TAR_BLOCK] == '\0'))
            return doubt("a name is empty or has a NUL", err);
        enum tt_status status = TT_OK;
        if (!is_gnu)
            status = check_pax((const char *)headers + TT_TAR_BLOCK, (size_t)size, !is_pax, stored >= 0, err);
        if (status != TT_OK)
            return status;
        pax = is_pax;
        gnu = is_gnu;
        size_t used = TT_TAR_BLOCK + (size_t)(size + TT_TAR_BLOCK - 1) / TT_TAR_BLOCK * TT_TAR_BLOCK;
        headers += used;
        length = used < length ? length - used : 0;
    }
    if (length < TT_TAR_BLOCK || (length > TT_TAR_BLOCK && stored < 0))
        return doubt("an entry has headers of an unknown kind", err);
    enum tt_status status = check_type(headers, !pax && !gnu, is_folder, err);
    if (status == TT_OK)
        status = check_block(headers, stored >= 0, err);
    return status == TT_OK && stored >= 0 ? check_stored(headers, length - TT_TAR_BLOCK, pax, stored, err) : status;
}
