/* What pre-run and post-run share. */
#ifndef TT_PROTOCOL_STOP_H
#define TT_PROTOCOL_STOP_H

#include "protocol/protocol.h"
#include "state/state.h"

/* Opens and locks the station's memory of this train. */
TT_MUST_USE enum tt_status stop_open_state(const struct tt_stop_options *options, const struct tt_train *train,
                                           struct tt_state **ret_state, struct tt_error *err);

/* Fills train, session, stop and the digests before and after. */
TT_MUST_USE enum tt_status stop_report_fill(struct tt_stop_report *report, const struct tt_train *train, size_t stop,
                                            const char *digest_before, const char *digest_after, struct tt_error *err);

/* The moment of the change: writes `record` (its phase says "about to"), makes the sealed change visible under
 * the reference of the image, and notes `done` as the phase. Killed in between, the record and the image's digest
 * together tell the next run what happened. */
TT_MUST_USE enum tt_status stop_switch(struct tt_state *state, struct tt_state_record *record, enum tt_state_phase done,
                                       struct tt_image_change *change, const struct tt_stop_options *options,
                                       struct tt_error *err);

#endif
