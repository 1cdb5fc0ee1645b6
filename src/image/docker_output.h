/*
 * What a container writes, as an engine hands it out: frames of eight bytes (1 for standard output or 2 for standard
 * error, three zeros, the length of the data, big-endian) and the data. Nothing is kept: a frame may be of any length.
 */
#ifndef TT_IMAGE_DOCKER_OUTPUT_H
#define TT_IMAGE_DOCKER_OUTPUT_H

#include "image/execution.h"

enum { TT_DOCKER_FRAME_HEADER = 8 };

struct tt_docker_output {
    tt_execution_output output; /* may be NULL */
    void *user;
    uint8_t header[TT_DOCKER_FRAME_HEADER]; /* of the frame that begins, as far as it came */
    size_t header_length;
    int stream; /* of the data that comes */
    uint32_t left;
};

/* Takes the next bytes of the stream, in pieces of any size, and hands on the data in them. TT_STORE when they are no
 * frames. */
TT_MUST_USE enum tt_status tt_docker_output_take(struct tt_docker_output *output, const void *data, size_t length,
                                                 struct tt_error *err);

/* Whether the stream may end here: not within a frame. */
bool tt_docker_output_is_whole(const struct tt_docker_output *output);

#endif
