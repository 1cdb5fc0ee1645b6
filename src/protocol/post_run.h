/* A post-run under way, for who comes to it in another way than tt_post_run (run.c). */
#ifndef TT_PROTOCOL_POST_RUN_H
#define TT_PROTOCOL_POST_RUN_H

#include "protocol/base_image.h"
#include "protocol/manifest.h"
#include "protocol/stop.h"
#include "protocol/visit.h"

/* docs/protocol.md, "Post-run". */
struct post_run {
    const struct tt_stop_options *options;
    struct visit visit;        /* the decrypted image, with the results to come */
    struct tt_image *ran;      /* whose results they are; NULL: of the same image. Not owned. */
    const char *digest_before; /* of the state that the stop replaces. Not owned. */
    struct tt_train *train;    /* the configuration that pre-run verified: the one that counts */
    struct tt_state *state;
    struct train_keys keys;          /* of `train` */
    struct manifests manifests;      /* of `train` */
    struct tt_manifest_list results; /* what the station signs in its own */
    struct definition_files definition;
    const struct tt_stop *stop;
    struct base_image base; /* started */
    struct tt_secret *symmetric;
    struct tt_file_cipher *cipher;
    struct tt_image_change *change;
    struct tt_stop_report report;
};

/* Everything but the results, from options, visit, train and base: nothing of it needs the token. */
TT_MUST_USE enum tt_status post_run_check(struct post_run *run, struct tt_error *err);
/* The new state, sealed, from what was checked, state and digest_before. */
TT_MUST_USE enum tt_status post_run_build(struct post_run *run, struct tt_error *err);
/* Makes it the image's. */
TT_MUST_USE enum tt_status post_run_show(struct post_run *run, struct tt_error *err);
void post_run_clear(struct post_run *run);

#endif
