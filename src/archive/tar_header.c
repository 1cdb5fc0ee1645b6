#include <string.h>

#include "archive/tar_format.h"

/* Field positions of POSIX ustar; GNU and star differ only behind the magic. */
enum {
    NAME = 0,
    NAME_SIZE = 100,
    MODE = 100,
    UID = 108,
    GID = 116,
    SHORT_NUMBER_SIZE = 8,
    SIZE = 124,
    MTIME = 136,
    LONG_NUMBER_SIZE = 12,
    CHECKSUM = 148,
    TYPE = 156,
    LINK = 157,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_SIZE = 155,
    STAR_PREFIX_SIZE = 131,
    STAR_TRAILER = 508
};

bool tar_block_is_zero(const uint8_t block[TAR_BLOCK])
{
    return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

static enum tt_status base256(const uint8_t *field, size_t length, int64_t *ret_value, struct tt_error *err)
{
    uint64_t value = (field[0] & 0x40) ? UINT64_MAX : 0;
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = i > 0 ? field[i] : (uint8_t)((field[0] & 0x40) ? field[0] : field[0] & 0x3F);
        uint64_t top = value >> 55; /* all the sign's bits, or the number needs more than 64 */
        if (top != 0 && top != 0x1FF)
            return tt_error_set(err, TT_MALFORMED, "a number in a header is too large");
        value = value << 8 | byte;
    }
    *ret_value = (int64_t)value;
    return TT_OK;
}

enum tt_status tar_number(const uint8_t *field, size_t length, int64_t *ret_value, struct tt_error *err)
{
    if (field[0] & 0x80)
        return base256(field, length, ret_value, err);
    while (length > 0 && (field[0] == ' ' || field[0] == '\0')) {
        field++;
        length--;
    }
    while (length > 0 && (field[length - 1] == ' ' || field[length - 1] == '\0'))
        length--;
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (field[i] < '0' || field[i] > '7')
            return tt_error_set(err, TT_MALFORMED, "a number in a header is not octal");
        value = value * 8 + (field[i] - '0'); /* 12 octal digits are 36 bits */
    }
    *ret_value = value;
    return TT_OK;
}

static bool checksum_holds(const uint8_t block[TAR_BLOCK])
{
    int64_t said = 0;
    if (tar_number(block + CHECKSUM, SHORT_NUMBER_SIZE, &said, NULL) != TT_OK)
        return false;
    int64_t plain = 0;
    int64_t with_sign = 0; /* some old writers summed signed characters */
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        uint8_t byte = i >= CHECKSUM && i < CHECKSUM + SHORT_NUMBER_SIZE ? ' ' : block[i];
        plain += byte;
        with_sign += (int8_t)byte;
    }
    return said == plain || said == with_sign;
}

static enum tt_status number32(const uint8_t *field, uint32_t *ret_value, struct tt_error *err)
{
    int64_t value = 0;
    enum tt_status status = tar_number(field, SHORT_NUMBER_SIZE, &value, err);
    if (status != TT_OK)
        return status;
    if (value < 0 || value > UINT32_MAX)
        return tt_error_set(err, TT_MALFORMED, "a mode or owner in a header is out of range");
    *ret_value = (uint32_t)value;
    return TT_OK;
}

/* A field that is NUL-terminated unless it is full. */
static size_t copy_text(const uint8_t *field, size_t size, char *out)
{
    size_t length = strnlen((const char *)field, size);
    memcpy(out, field, length);
    out[length] = '\0';
    return length;
}

static void parse_path(const uint8_t block[TAR_BLOCK], struct tar_header *header)
{
    size_t used = 0;
    if (memcmp(block + MAGIC, "ustar\0", 6) == 0) {
        bool is_star = memcmp(block + STAR_TRAILER, "tar\0", 4) == 0;
        used = copy_text(block + PREFIX, is_star ? STAR_PREFIX_SIZE : PREFIX_SIZE, header->path);
        if (used > 0)
            header->path[used++] = '/';
    }
    copy_text(block + NAME, NAME_SIZE, header->path + used);
}

enum tt_status tar_header_parse(const uint8_t block[TAR_BLOCK], struct tar_header *ret_header, struct tt_error *err)
{
    if (!checksum_holds(block))
        return tt_error_set(err, TT_MALFORMED, "this is not a tar archive, or a header in it is damaged");
    struct tar_header header = {0};
    int64_t size = 0;
    enum tt_status status = number32(block + MODE, &header.mode, err);
    if (status == TT_OK)
        status = number32(block + UID, &header.uid, err);
    if (status == TT_OK)
        status = number32(block + GID, &header.gid, err);
    if (status == TT_OK)
        status = tar_number(block + SIZE, LONG_NUMBER_SIZE, &size, err);
    if (status == TT_OK)
        status = tar_number(block + MTIME, LONG_NUMBER_SIZE, &header.mtime, err);
    if (status != TT_OK)
        return status;
    if (size < 0)
        return tt_error_set(err, TT_MALFORMED, "a size in a header is negative");
    header.size = (uint64_t)size;
    header.mode &= 07777;
    header.type = (char)block[TYPE];
    header.is_gnu = memcmp(block + MAGIC, "ustar  \0", 8) == 0;
    parse_path(block, &header);
    copy_text(block + LINK, NAME_SIZE, header.link);
    *ret_header = header;
    return TT_OK;
}
