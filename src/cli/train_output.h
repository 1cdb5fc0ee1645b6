/* Where the output of a train's code goes while it runs: to standard error, or into a file. */
#ifndef TT_CLI_TRAIN_OUTPUT_H
#define TT_CLI_TRAIN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { TRAIN_OUTPUT_KEPT = 4, TRAIN_OUTPUT_CHUNK = 1024 };

struct train_output {
    const char *path; /* NULL: standard error */
    bool is_silent;   /* nothing on standard error */
    int descriptor;
    bool is_terminal; /* what could move its cursor or do worse is written as \xNN */
    bool has_begun;
    bool has_failed;
    unsigned char cut[TRAIN_OUTPUT_KEPT]; /* of a character, at the end of what came: by stream it could be another's */
    size_t cut_length;
    int cut_stream;
};
#define TRAIN_OUTPUT_INIT                                                                                              \
    {                                                                                                                  \
        .descriptor = -1                                                                                               \
    }

/* With a path the file is made (0600) or opened; what it holds stays until something new comes. TT_USAGE when it cannot
 * be written. */
TT_MUST_USE enum tt_status train_output_open(struct train_output *output, const char *path, struct tt_error *err);
void train_output_clear(struct train_output *output);

/* A tt_execution_output; `user` is the struct. A file that cannot be written any more is a warning. */
void train_output_take(void *user, int stream, const void *data, size_t length);

/* The train's code ended: what an earlier run left in the file is gone even if nothing came. */
void train_output_end(struct train_output *output);

/* What of the text may go to a terminal, and how: tabs, line ends and characters that are shown as they are, the rest
 * as \xNN. Returns the bytes written; `out` has room for four times `length`. A character that is cut off at the end is
 * left out, *ret_left being how many bytes. */
size_t train_output_printable(const unsigned char *text, size_t length, char *out, size_t *ret_left);

#endif
