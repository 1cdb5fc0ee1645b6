/* A growing byte buffer with a limit: every size from outside has a cap. */
#ifndef TT_BASE_BUFFER_H
#define TT_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct tt_buffer {
    uint8_t *data; /* NULL while empty; always followed by a NUL byte that `length` does not count */
    size_t length;
    size_t capacity;
    size_t limit; /* most bytes it may hold; 0 for no limit */
};

#define TT_BUFFER_INIT(limit_bytes)                                                                                    \
    {                                                                                                                  \
        .limit = (limit_bytes)                                                                                         \
    }

/* Appends; TT_MALFORMED beyond the limit, TT_INTERNAL out of memory. */
TT_MUST_USE enum tt_status tt_buffer_append(struct tt_buffer *buffer, const void *data, size_t length,
                                            struct tt_error *err);
TT_MUST_USE enum tt_status tt_buffer_printf(struct tt_buffer *buffer, struct tt_error *err, const char *format, ...)
    TT_PRINTF(3, 4);

/* Frees the memory and empties the buffer. */
void tt_buffer_clear(struct tt_buffer *buffer);

#endif
