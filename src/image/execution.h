/* Running an image: a train's code on a station's data, in a container engine. */
#ifndef TT_IMAGE_EXECUTION_H
#define TT_IMAGE_EXECUTION_H

#include "image/image.h"

/* A file or folder of this station in the container. */
struct tt_volume {
    const char *source; /* absolute path on the engine's machine */
    const char *target; /* absolute path in the container */
    bool writable;
};

/* Takes what the train writes to its standard output (stream 1) and standard error (stream 2), as it comes. */
typedef void (*tt_execution_output)(void *user, int stream, const void *data, size_t length);

struct tt_execution_options {
    const char *const *environment; /* "NAME=VALUE" */
    size_t environment_count;
    const struct tt_volume *volumes;
    size_t volume_count;
    const char *network;        /* the engine's name of one; NULL: none at all */
    uint64_t memory_bytes;      /* 0: no limit */
    uint64_t cpus_billionths;   /* 1.5 processors are 1500000000; 0: no limit */
    int gpus;                   /* -1: all */
    unsigned timeout_seconds;   /* 0: no limit */
    tt_execution_output output; /* may be NULL */
    void *user;
};

/* Runs the image's own command in a new container until it ends. *ret_ran is the image as the run left it: its files
 * are those of the container, which is removed when *ret_ran is freed. `image` must outlive it. TT_TRAIN_FAILED when
 * the code ends with another status than 0, is killed, or runs out of time; TT_USAGE when the image's store cannot run
 * images; TT_STORE when the engine cannot start it, in its own words. */
TT_MUST_USE enum tt_status tt_image_execute(struct tt_image *image, const struct tt_execution_options *options,
                                            struct tt_image **ret_ran, struct tt_error *err);

#endif
