/* The frames of a train's output as an engine sends them: whole, and cut into pieces, they come to the same. */
#include <stdlib.h>
#include <string.h>

#include "image/docker_output.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    size_t bytes;
    uint32_t hash;
};

static void take(void *user, int stream, const void *data, size_t length)
{
    struct sum *sum = user;
    const uint8_t *bytes = data;
    if (length == 0 || stream < 1 || stream > 2)
        abort();
    sum->bytes += length;
    for (size_t i = 0; i < length; i++)
        sum->hash = 31 * sum->hash + bytes[i] + (uint32_t)stream;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sum at_once = {0};
    struct sum in_pieces = {0};
    struct tt_docker_output one = {.output = take, .user = &at_once};
    struct tt_docker_output other = {.output = take, .user = &in_pieces};
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_docker_output_take(&one, data, size, &err);
    enum tt_status pieces = TT_OK;
    for (size_t at = 0, run = 1; at < size && pieces == TT_OK; at += run, run = 1 + (run + data[at - 1]) % 7) {
        run = run < size - at ? run : size - at;
        pieces = tt_docker_output_take(&other, data + at, run, NULL);
    }
    if (status != pieces || (status != TT_OK && (status != TT_STORE || !err.message[0])))
        abort();
    if (at_once.bytes > size || at_once.bytes != in_pieces.bytes || at_once.hash != in_pieces.hash)
        abort();
    if (status == TT_OK && tt_docker_output_is_whole(&one) != tt_docker_output_is_whole(&other))
        abort();
    return 0;
}
