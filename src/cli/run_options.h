/* Values of the options of "run": sizes, times, volumes and the train's environment, written as docker's users know
 * them. What is wrong with one is TT_USAGE; no message shows a variable's value. */
#ifndef TT_CLI_RUN_OPTIONS_H
#define TT_CLI_RUN_OPTIONS_H

#include "image/execution.h"

/* "512m", "2g", "1048576": bytes, with b, k, m, g or t for powers of 1024. */
TT_MUST_USE enum tt_status run_parse_size(const char *option, const char *text, uint64_t *ret_bytes,
                                          struct tt_error *err);
/* "2", "1.5": billionths of a processor. */
TT_MUST_USE enum tt_status run_parse_cpus(const char *option, const char *text, uint64_t *ret_billionths,
                                          struct tt_error *err);
/* "90", "90s", "15m", "2h": seconds. */
TT_MUST_USE enum tt_status run_parse_duration(const char *option, const char *text, unsigned *ret_seconds,
                                              struct tt_error *err);
/* "all" is -1, else a number. */
TT_MUST_USE enum tt_status run_parse_gpus(const char *option, const char *text, int *ret_gpus, struct tt_error *err);

struct run_volumes {
    struct tt_volume *items;
    size_t count;
};

/* "SRC:DST[:ro|rw]". SRC is made absolute; DST must not lie over the train's own files, nor they over it. */
TT_MUST_USE enum tt_status run_volumes_add(struct run_volumes *volumes, const char *text, struct tt_error *err);
void run_volumes_clear(struct run_volumes *volumes);

struct run_environment {
    char **values; /* "NAME=VALUE", each name once: the last one counts */
    size_t count;
};

/* "NAME=VALUE", or "NAME" to take it from our environment, where it may be missing. Refuses what is secret of ours. */
TT_MUST_USE enum tt_status run_environment_add(struct run_environment *environment, const char *text,
                                               struct tt_error *err);
/* A file in docker's form: one of these per line, taken as it is; lines that begin with # and empty lines count for
 * nothing. */
TT_MUST_USE enum tt_status run_environment_add_file(struct run_environment *environment, const char *path,
                                                    struct tt_error *err);
/* The same of a file's content; `name` is for messages. */
TT_MUST_USE enum tt_status run_environment_add_text(struct run_environment *environment, const char *text,
                                                    size_t length, const char *name, struct tt_error *err);
/* Wipes and frees: values may be passwords of the station's databases. */
void run_environment_clear(struct run_environment *environment);

#endif
