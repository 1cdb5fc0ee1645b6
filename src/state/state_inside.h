/* Inside src/state: the folder and its lock, and the record as a file. */
#ifndef TT_STATE_STATE_INSIDE_H
#define TT_STATE_STATE_INSIDE_H

#include <stdbool.h>

#include "state/state.h"

enum { STATE_SESSION_ID_SIZE = 64, STATE_CONFIG_LIMIT = 4 * 1024 * 1024 };

/* What the record is about. */
struct state_subject {
    char session_id[2 * STATE_SESSION_ID_SIZE + 1]; /* hexadecimal */
    char *station;
};

/* The session's folder, open, and the station's lock in it. */
struct state_folder {
    char *path;  /* FOLDER/trains/SESSION_ID */
    size_t root; /* length of FOLDER in it */
    size_t kept; /* length of what was there before */
    char *lock_name;
    int descriptor;
    int lock; /* -1 while not locked */
};

/* Makes what is missing, opens and locks. `folder` must have root, path and lock_name set, the descriptors -1. */
TT_MUST_USE enum tt_status state_folder_open(struct state_folder *folder, const char *station, struct tt_error *err);

/* Unlocks and frees; `empty`: takes back the folders that it made, as nothing came to lie in them. */
void state_folder_close(struct state_folder *folder, bool empty);

/* Appends the record's JSON. */
TT_MUST_USE enum tt_status state_record_write(const struct state_subject *subject, const struct tt_state_record *record,
                                              struct tt_buffer *out, struct tt_error *err);

/* TT_STORE when it does not parse or tells of another train or station. */
TT_MUST_USE enum tt_status state_record_parse(const struct state_subject *subject, const struct tt_buffer *text,
                                              struct tt_state_record *ret_record, struct tt_error *err);

/* Most bytes of a record's file: each byte of a configuration takes two at most. */
enum { STATE_RECORD_LIMIT = 2 * STATE_CONFIG_LIMIT + 65536 };

#endif
