/*
 * The image as the train was built, on which post-run puts the new state. It is opened and read beside the train
 * itself: neither needs the other before they are compared.
 */
#ifndef TT_PROTOCOL_BASE_IMAGE_H
#define TT_PROTOCOL_BASE_IMAGE_H

#include <pthread.h>

#include "protocol/protocol.h"

struct base_image {
    char *reference;
    struct tt_image *image;
    struct tt_train *train;         /* the configuration in it */
    struct tt_file_set *definition; /* what is in it of the definition */
    const struct tt_stop_options *options;
    bool is_underway;
    pthread_t thread;
    enum tt_status status;
    struct tt_error failure;
};

/* Starts opening and reading what options->base names, or the tag "base" beside options->image. `base` must stay where
 * it is; the outcome is base_image_wait's. */
TT_MUST_USE enum tt_status base_image_start(struct base_image *base, const struct tt_stop_options *options,
                                            struct tt_error *err);
/* Waits, the first time, and tells what came of it. */
TT_MUST_USE enum tt_status base_image_wait(struct base_image *base, struct tt_error *err);
/* Waits and frees. */
void base_image_clear(struct base_image *base);

#endif
