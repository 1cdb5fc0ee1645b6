#include "image/docker_output.h"

#include <string.h>

enum { STREAM_INPUT = 0, STREAM_OUTPUT = 1, STREAM_ERROR = 2, STREAM_ENGINE = 3 };

/* A frame's header is there. What comes as echoed input counts as output; what the engine itself says, as an error. */
static enum tt_status start_frame(struct tt_docker_output *output, struct tt_error *err)
{
    const uint8_t *header = output->header;
    if (header[0] > STREAM_ENGINE || header[1] || header[2] || header[3])
        return tt_error_set(err, TT_STORE, "the container engine sent the train's output in a form that is not known");
    output->stream = header[0] == STREAM_INPUT || header[0] == STREAM_OUTPUT ? STREAM_OUTPUT : STREAM_ERROR;
    output->left = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 | (uint32_t)header[6] << 8 | header[7];
    output->header_length = 0;
    return TT_OK;
}

enum tt_status tt_docker_output_take(struct tt_docker_output *output, const void *data, size_t length,
                                     struct tt_error *err)
{
    const uint8_t *bytes = data;
    while (length > 0) {
        bool is_data = output->left > 0;
        size_t wanted = is_data ? output->left : TT_DOCKER_FRAME_HEADER - output->header_length;
        size_t run = wanted < length ? wanted : length;
        if (is_data) {
            if (output->output)
                output->output(output->user, output->stream, bytes, run);
            output->left -= (uint32_t)run;
        } else {
            memcpy(output->header + output->header_length, bytes, run);
            output->header_length += run;
        }
        bytes += run;
        length -= run;
        if (is_data || output->header_length < TT_DOCKER_FRAME_HEADER)
            continue;
        enum tt_status status = start_frame(output, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

bool tt_docker_output_is_whole(const struct tt_docker_output *output)
{
    return output->left == 0 && output->header_length == 0;
}
