#include "json/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "json/json.h"

void tt_json_write(struct tt_json_writer *writer, const char *raw)
{
    if (writer->status == TT_OK)
        writer->status = tt_buffer_append(&writer->text, raw, strlen(raw), writer->err);
}

void tt_json_write_text(struct tt_json_writer *writer, const char *lead, const char *text)
{
    tt_json_write(writer, lead);
    if (!text)
        tt_json_write(writer, "null");
    else if (writer->status == TT_OK)
        writer->status = tt_json_quote(&writer->text, text, writer->err);
}

void tt_json_write_hex(struct tt_json_writer *writer, const char *lead, const void *data, size_t length)
{
    char *hex TT_CLEANUP(tt_free_cleanup) = tt_hex_new(data, length);
    if (!hex && writer->status == TT_OK)
        writer->status = tt_error_memory(writer->err);
    tt_json_write_text(writer, lead, hex);
}

void tt_json_write_number(struct tt_json_writer *writer, const char *lead, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    tt_json_write(writer, lead);
    tt_json_write(writer, text);
}
