#include "statement/envelope.h"

void tt_envelope_clear(struct tt_envelope *envelope)
{
    tt_buffer_clear(&envelope->payload);
    tt_buffer_clear(&envelope->signature);
    free(envelope->key_id);
    *envelope = (struct tt_envelope){0};
}
