#include <string.h>

#include "archive/tar_format.h"

/* Old GNU form: pieces as pairs of number fields. */
enum {
    FIRST_PIECES = 386,
    FIRST_COUNT = 4,
    FIRST_MORE = 482,
    REAL_SIZE = 483,
    NEXT_COUNT = 21,
    NEXT_MORE = 504,
    NUMBER_SIZE = 12
};

enum tt_status tar_sparse_add(struct tar_sparse *sparse, uint64_t offset, uint64_t length, struct tt_error *err)
{
    if (sparse->count == TAR_PIECE_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "a sparse file has more than %d pieces", TAR_PIECE_LIMIT);
    if (sparse->count == sparse->capacity) {
        size_t capacity = sparse->capacity ? sparse->capacity * 2 : 16;
        struct tar_piece *grown = realloc(sparse->pieces, capacity * sizeof *grown);
        if (!grown)
            return tt_error_memory(err);
        sparse->pieces = grown;
        sparse->capacity = capacity;
    }
    sparse->pieces[sparse->count++] = (struct tar_piece){offset, length};
    return TT_OK;
}

enum tt_status tar_sparse_check(const struct tar_sparse *sparse, uint64_t size, uint64_t stored, struct tt_error *err)
{
    uint64_t end = 0;
    uint64_t held = 0;
    for (size_t i = 0; i < sparse->count; i++) {
        const struct tar_piece *piece = &sparse->pieces[i];
        if (piece->offset < end || piece->offset > size || piece->length > size - piece->offset)
            return tt_error_set(err, TT_MALFORMED, "the map of a sparse file is out of order or out of range");
        end = piece->offset + piece->length;
        held += piece->length; /* at most size: the pieces do not overlap */
    }
    if (held != stored)
        return tt_error_set(err, TT_MALFORMED, "the map of a sparse file does not fit its data");
    return TT_OK;
}

static enum tt_status parse_piece(struct tar_sparse *sparse, const uint8_t *fields, struct tt_error *err)
{
    int64_t offset = 0;
    int64_t length = 0;
    enum tt_status status = tar_number(fields, NUMBER_SIZE, &offset, err);
    if (status == TT_OK)
        status = tar_number(fields + NUMBER_SIZE, NUMBER_SIZE, &length, err);
    if (status != TT_OK)
        return status;
    if (offset < 0 || length < 0)
        return tt_error_set(err, TT_MALFORMED, "the map of a sparse file holds a negative number");
    return tar_sparse_add(sparse, (uint64_t)offset, (uint64_t)length, err);
}

enum tt_status tar_sparse_parse_old(struct tar_sparse *sparse, const uint8_t block[TAR_BLOCK], bool is_first,
                                    bool *ret_more, uint64_t *ret_size, struct tt_error *err)
{
    const uint8_t *fields = block + (is_first ? FIRST_PIECES : 0);
    int count = is_first ? FIRST_COUNT : NEXT_COUNT;
    for (int i = 0; i < count && fields[0] != '\0'; i++, fields += 2 * NUMBER_SIZE) {
        enum tt_status status = parse_piece(sparse, fields, err);
        if (status != TT_OK)
            return status;
    }
    *ret_more = block[is_first ? FIRST_MORE : NEXT_MORE] != 0;
    if (!is_first)
        return TT_OK;
    int64_t size = 0;
    enum tt_status status = tar_number(block + REAL_SIZE, NUMBER_SIZE, &size, err);
    if (status == TT_OK && size < 0)
        return tt_error_set(err, TT_MALFORMED, "a size in a header is negative");
    if (status == TT_OK)
        *ret_size = (uint64_t)size;
    return status;
}
