/*
 * Reading a trail: every record, in order, through all files that rotation left, with the chain checked on the way
 * (docs/audit.md, "What verification finds").
 */
#ifndef TT_AUDIT_TRAIL_H
#define TT_AUDIT_TRAIL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/digest.h"

/* A record, for the time of the call. */
struct tt_trail_record {
    uint64_t number;
    const char *event;
    const char *time;
    const cJSON *json;
};

typedef enum tt_status (*tt_trail_visit)(void *user, const struct tt_trail_record *record, struct tt_error *err);

/* How much of a trail is vouched for, and by what. */
struct tt_trail_mark {
    uint64_t records; /* the number of the last one */
    uint8_t hash[TT_SHA256_SIZE];
};

struct tt_trail_options {
    bool alone;                       /* this file only, not those that it continues */
    const struct tt_trail_mark *mark; /* what must be in it; may be NULL */
    tt_trail_visit visit;             /* may be NULL */
    void *user;
};

enum { TT_TRAIL_TIME_SIZE = 40 };

struct tt_trail_report {
    uint64_t first; /* number of the first record that was read; 0 in an empty trail */
    struct tt_trail_mark last;
    size_t files;
    uint64_t recoveries; /* records about lines that were never finished */
    uint64_t unfinished; /* bytes after the last record that are none, as a crash leaves them */
    char first_time[TT_TRAIL_TIME_SIZE];
    char last_time[TT_TRAIL_TIME_SIZE];
};

/* Reads all of it, also behind a break. TT_STORE when a file cannot be read, TT_MALFORMED when it is no trail,
 * TT_TAMPERED naming the first break; what `visit` returns ends it. */
TT_MUST_USE enum tt_status tt_trail_read(const char *path, const struct tt_trail_options *options,
                                         struct tt_trail_report *ret_report, struct tt_error *err);

#endif
