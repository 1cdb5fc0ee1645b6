/* What the program says: results on standard output, diagnostics on standard error. */
#ifndef TT_CLI_OUTPUT_H
#define TT_CLI_OUTPUT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol/protocol.h"

struct output {
    bool json;
    bool quiet;
    int verbose;
    cJSON *facts; /* what output_failure adds to its JSON object, which takes it over; may be NULL */
};

/* Routes the libraries' messages and progress to standard error, as `output` asks for. It must outlive the program's
 * work. */
void output_start(struct output *output);
/* Ends a progress line, if one is being shown. */
void output_end_progress(void);

/* A line of the result for people; nothing with --json or --quiet. */
void output_line(const struct output *output, const char *format, ...) TT_PRINTF(2, 3);

/* Whether results may be coloured: a terminal, and NO_COLOR unset. */
bool output_is_coloured(void);

/* With --json: the object on standard output, "status", "code" and "command" put in front. Takes over `object`. */
void output_result(const struct output *output, const char *command, cJSON *object);

/* The one message of a failure; with --json also as an object. Returns the exit code. */
int output_failure(struct output *output, const char *command, const struct tt_error *err);

/* Helpers for JSON: NULL text becomes null. */
void output_add_text(cJSON *object, const char *name, const char *text);
void output_add_hex(cJSON *object, const char *name, const uint8_t *data, size_t length);
void output_add_number(cJSON *object, const char *name, uint64_t number);
void output_add_token_use(cJSON *object, const struct tt_token_use *use);

/* "native", "raw" or "unknown". */
const char *output_padding_name(enum tt_padding_by padding_by);

/* "17 B", "1.2 MiB": in a buffer of at least 24 bytes. */
const char *output_bytes(uint64_t bytes, char *text);

#endif
