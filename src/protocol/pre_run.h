/* A pre-run under way, for who does more with it than tt_pre_run (run.c). */
#ifndef TT_PROTOCOL_PRE_RUN_H
#define TT_PROTOCOL_PRE_RUN_H

#include "protocol/blob_check.h"
#include "protocol/manifest.h"
#include "protocol/stop.h"
#include "protocol/visit.h"

/* docs/protocol.md, "Pre-run". */
struct pre_run {
    const struct tt_stop_options *options;
    struct visit visit;
    const char *against; /* the master image that the train must be built on; NULL: what the creator's manifest says */
    struct manifests manifests;
    struct definition_files definition;
    const struct tt_stop *stop;
    struct tt_state *state;
    struct blob_check *blobs; /* under way; NULL once its outcome is known */
    struct tt_file_cipher *cipher;
    struct tt_image_change *change;
    struct tt_stop_report report;
};

/* Everything up to the new state that nobody sees yet: run->change is sealed, run->report filled. */
TT_MUST_USE enum tt_status pre_run_build(struct pre_run *run, struct tt_error *err);
void pre_run_clear(struct pre_run *run);

#endif
