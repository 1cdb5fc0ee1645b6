/* An envelope that parses says again what it said when it is written, and no bytes lead out of bounds. */
#include <stdint.h>
#include <string.h>

#include "short_memory.h"
#include "statement/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static int equal(const struct tt_buffer *one, const struct tt_buffer *other)
{
    return one->length == other->length && memcmp(one->data, other->data, one->length) == 0;
}

static void write_and_compare(const struct tt_envelope *envelope)
{
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_envelope again TT_CLEANUP(tt_envelope_clear) = {0};
    require(tt_envelope_write(envelope->payload.data, envelope->payload.length, envelope->key_id,
                              envelope->signature.data, envelope->signature.length, &json, NULL) == TT_OK);
    require(tt_envelope_parse(json.data, json.length, "again", &again, NULL) == TT_OK);
    require(equal(&envelope->payload, &again.payload) && equal(&envelope->signature, &again.signature));
    require(strcmp(envelope->key_id, again.key_id) == 0);
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    struct tt_buffer json TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_envelope_parse(data, size, "fuzz", &envelope, err);
    if (status == TT_OK)
        status = tt_envelope_write(envelope.payload.data, envelope.payload.length, envelope.key_id,
                                   envelope.signature.data, envelope.signature.length, &json, err);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    short_memory_try(data, size, read_again);
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    uint8_t digest[TT_SHA512_SIZE];
    enum tt_status status = tt_envelope_parse(data, size, "fuzz", &envelope, &err);
    require(status == TT_OK || status == TT_MALFORMED);
    require((status == TT_OK) == (envelope.key_id != NULL) && (status == TT_OK || err.message[0]));
    if (status != TT_OK)
        return 0;
    require(envelope.payload.length > 0 && envelope.payload.data[envelope.payload.length] == '\0');
    require(envelope.signature.length > 0 && envelope.signature.data[envelope.signature.length] == '\0');
    require(tt_envelope_digest(envelope.payload.data, envelope.payload.length, digest, NULL) == TT_OK);
    write_and_compare(&envelope);
    return 0;
}
