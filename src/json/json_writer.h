/* A JSON document of ours, written piece after piece in the order and spelling that it is to have. */
#ifndef TT_JSON_JSON_WRITER_H
#define TT_JSON_JSON_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* The first failure stays and nothing is written after it, so that a document reads as one piece: look at `status` when
 * all is written. The text is the writer's until the caller takes it. */
struct tt_json_writer {
    struct tt_buffer text;
    enum tt_status status;
    struct tt_error *err;
};

/* Text that is JSON already. */
void tt_json_write(struct tt_json_writer *writer, const char *raw);

/* A value behind `lead`, which is written as it is ("{\"name\":"). NULL text is null; bytes are lower-case hex. */
void tt_json_write_text(struct tt_json_writer *writer, const char *lead, const char *text);
void tt_json_write_hex(struct tt_json_writer *writer, const char *lead, const void *data, size_t length);
void tt_json_write_number(struct tt_json_writer *writer, const char *lead, uint64_t number);

#endif
