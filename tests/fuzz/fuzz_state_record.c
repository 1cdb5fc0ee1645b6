/* A station's record of a train, as a file that anybody may have written: what it says is kept when it is written. */
#include <string.h>

#include "base/text.h"
#include "short_memory.h"
#include "state/state_inside.h"

/* Short, as no fuzzer would find a session's whole id. */
static char station[] = "7/\xc3\xbc \"";
static const struct state_subject subject = {.session_id = "c0ffee", .station = station};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

static bool is_same_text(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

static bool is_same(const struct tt_buffer *one, const struct tt_buffer *other)
{
    return one->length == other->length && (one->length == 0 || memcmp(one->data, other->data, one->length) == 0);
}

static enum tt_status parse(const uint8_t *data, size_t size, struct tt_state_record *record, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_buffer_append(&text, size ? (const void *)data : "", size, err);
    return status == TT_OK ? state_record_parse(&subject, &text, record, err) : status;
}

/* Written and read again, twice, it says the same; it tells of nobody else. */
static void demand_kept(const struct tt_state_record *record)
{
    static const struct state_subject others[] = {{.session_id = "c0ffef", .station = station},
                                                  {.session_id = "c0ffee", .station = station + 1}};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer twice TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_state_record again TT_CLEANUP(tt_state_record_clear) = {0};
    demand(state_record_write(&subject, record, &text, NULL) == TT_OK && text.length <= STATE_RECORD_LIMIT);
    demand(state_record_parse(&subject, &text, &again, NULL) == TT_OK && again.phase == record->phase);
    demand(is_same_text(again.image_before, record->image_before));
    demand(is_same_text(again.image_after, record->image_after) && is_same(&again.config, &record->config));
    demand(state_record_write(&subject, &again, &twice, NULL) == TT_OK && is_same(&text, &twice));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct tt_state_record none TT_CLEANUP(tt_state_record_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        demand(state_record_parse(&others[i], &text, &none, &err) == TT_STORE && err.message[0]);
    }
}

static void read_record(const uint8_t *data, size_t size)
{
    struct tt_state_record record TT_CLEANUP(tt_state_record_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = parse(data, size, &record, &err);
    demand(status == TT_OK || (status == TT_STORE && err.message[0]));
    demand(status == TT_OK || (record.phase == TT_STATE_NONE && !record.image_before && !record.config.data));
    if (status != TT_OK)
        return;
    demand(record.phase >= TT_STATE_ENTERING && record.phase <= TT_STATE_DONE);
    demand_kept(&record);
}

/* The input as what is to be remembered, with one image or another: kept byte for byte, or refused. */
static void write_record(const uint8_t *data, size_t size)
{
    struct tt_state_record record TT_CLEANUP(tt_state_record_clear) = {.phase = TT_STATE_ENTERING};
    record.phase = (enum tt_state_phase)(TT_STATE_ENTERING + size % 4);
    char **image = size % 2 ? &record.image_before : &record.image_after;
    demand((*image = strdup("sha256:c0ffee")) != NULL);
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    demand(tt_buffer_append(&record.config, size ? (const void *)data : "", size, NULL) == TT_OK);
    enum tt_status status = state_record_write(&subject, &record, &text, NULL);
    if (size > 0 && memchr(data, 0, size))
        demand(status == TT_INTERNAL);
    else if (!tt_text_is_utf8(size ? (const char *)data : "", size))
        demand(status == TT_MALFORMED);
    else
        demand_kept(&record);
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_state_record record TT_CLEANUP(tt_state_record_clear) = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = parse(data, size, &record, err);
    return status == TT_OK ? state_record_write(&subject, &record, &text, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_record(data, size);
    write_record(data, size);
    short_memory_try(data, size, read_again);
    return 0;
}
