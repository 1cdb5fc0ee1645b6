#include "base/buffer.h"

#include <stdarg.h>
#include <string.h>

enum tt_status tt_buffer_append(struct tt_buffer *buffer, const void *data, size_t length, struct tt_error *err)
{
    size_t limit = buffer->limit ? buffer->limit : SIZE_MAX / 4;
    if (length > limit || buffer->length > limit - length)
        return tt_error_set(err, TT_MALFORMED, "more than %zu bytes where no honest train has as many", limit);
    size_t need = buffer->length + length + 1;
    if (need > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < need)
            capacity *= 2;
        uint8_t *grown = realloc(buffer->data, capacity);
        if (!grown)
            return tt_error_memory(err);
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    if (length > 0)
        memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
    return TT_OK;
}

enum tt_status tt_buffer_printf(struct tt_buffer *buffer, struct tt_error *err, const char *format, ...)
{
    char *text TT_CLEANUP(tt_free_cleanup) = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        text = NULL;
        return tt_error_memory(err);
    }
    return tt_buffer_append(buffer, text, (size_t)length, err);
}

void tt_buffer_clear(struct tt_buffer *buffer)
{
    free(buffer->data);
    buffer->data = NULL;
    buffer->length = 0;
    buffer->capacity = 0;
}
