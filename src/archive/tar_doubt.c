#include "archive/tar_doubt.h"

#include <string.h>

enum {
    SIZE = 124,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    STAR_PREFIX_SIZE = 131,
    GNU_TIMES_SIZE = 24,
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

/* Octal digits, or UINT64_MAX: other forms stand for sizes that no header has, and few sparse files. */
static uint64_t octal(const uint8_t *field)
{
    uint64_t value = 0;
    size_t i = 0;
    while (i < 12 && field[i] == ' ')
        i++;
    for (; i < 12 && field[i] >= '0' && field[i] <= '7'; i++)
        value = value * 8 + (uint64_t)(field[i] - '0');
    return i == 12 || field[i] == '\0' || field[i] == ' ' ? value : UINT64_MAX;
}

/* Whether a value holds a NUL, where programs written in C end it. */
static bool has_nul(const char *body, size_t length, const char *key)
{
    for (const char *found; (found = memmem(body, length, key, strlen(key))); body = found + 1) {
        length -= (size_t)(found + 1 - body);
        const char *end = memchr(found, '\n', length);
        if (memchr(found, '\0', end ? (size_t)(end - found) : length))
            return true;
    }
    return false;
}

static enum tt_status check_pax(const char *body, size_t length, bool global, bool sparse, struct tt_error *err)
{
    bool moves =
        contains(body, length, " path=") || contains(body, length, " linkpath=") || contains(body, length, " size=");
    bool holes = contains(body, length, "GNU.sparse.");
    if (global && (moves || holes))
        return doubt("a global pax header changes every entry", err);
    if (has_nul(body, length, " path=") || has_nul(body, length, " linkpath="))
        return doubt("a name has a NUL", err);
    if ((holes && !sparse) || contains(body, length, "SUN.holesdata=") || contains(body, length, "SCHILY.realsize="))
        return doubt("a file is said to be sparse", err);
    return sparse && contains(body, length, " size=") ? doubt("a sparse file has two sizes", err) : TT_OK;
}

/* GNU's headers have times where POSIX has the name's beginning; Go takes what is no number for a name all the same. */
static enum tt_status check_block(const uint8_t *block, bool sparse, struct tt_error *err)
{
    const uint8_t *prefix = block + PREFIX;
    bool binary = prefix[0] & 0x80;
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
    for (size_t i = 0; i < GNU_TIMES_SIZE && !binary; i++)
        if (prefix[i] != '\0' && prefix[i] != ' ' && (prefix[i] < '0' || prefix[i] > '7'))
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

enum tt_status tt_tar_doubt(const uint8_t *headers, size_t length, int64_t stored, struct tt_error *err)
{
    bool pax = false;
    bool gnu = false;
    while (length >= TT_TAR_BLOCK && headers[TYPE] && strchr("xgLK", headers[TYPE])) {
        bool is_pax = headers[TYPE] == 'x';
        bool is_gnu = headers[TYPE] == 'L' || headers[TYPE] == 'K';
        uint64_t size = octal(headers + SIZE);
        if (size > length - TT_TAR_BLOCK || (gnu && !is_gnu) || pax)
            return doubt("an entry has extended headers of several kinds", err);
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
    enum tt_status status = check_block(headers, stored >= 0, err);
    return status == TT_OK && stored >= 0 ? check_stored(headers, length - TT_TAR_BLOCK, pax, stored, err) : status;
}
