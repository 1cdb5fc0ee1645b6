/*
 * What a station remembers of the trains it has seen: one record per train session and station, in
 * FOLDER/trains/SESSION_ID/STATION.json (the id percent-encoded), 0600, fsynced and replaced atomically.
 * docs/protocol.md, "Station memory".
 */
#ifndef TT_STATE_STATE_H
#define TT_STATE_STATE_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum tt_state_phase {
    TT_STATE_NONE,     /* this station has not seen the train */
    TT_STATE_ENTERING, /* pre-run is about to make image_after visible */
    TT_STATE_ENTERED,  /* pre-run is done: the image is decrypted */
    TT_STATE_LEAVING,  /* post-run is about to make image_after visible */
    TT_STATE_DONE      /* post-run is done */
};

struct tt_state_record {
    enum tt_state_phase phase;
    char *image_before;      /* digest ("sha256:...") of the image that the phase started from; may be NULL */
    char *image_after;       /* digest of the image that it made; may be NULL */
    struct tt_buffer config; /* the configuration that pre-run verified, byte for byte */
};

void tt_state_record_clear(struct tt_state_record *record);
TT_MUST_USE enum tt_status tt_state_record_copy(const struct tt_state_record *record, struct tt_state_record *ret_copy,
                                                struct tt_error *err);

/* The station's memory of one train, locked against every other process until freed. */
struct tt_state;

/* The folder to use when none is named: TRAINTOKEN_STATE, else /var/lib/traintoken for root, else
 * $XDG_STATE_HOME/traintoken, else ~/.local/state/traintoken. The caller frees. TT_USAGE when there is no home. */
TT_MUST_USE enum tt_status tt_state_default_folder(char **ret_folder, struct tt_error *err);

/* Opens, locks and reads. Makes the folders (0700) on the way. session_id: 64 bytes. TT_WRONG_STOP when another run
 * holds the lock, TT_STORE when the folder cannot be used, or the record cannot be read or does not parse (the message
 * says which file). */
TT_MUST_USE enum tt_status tt_state_open(const char *folder, const uint8_t *session_id, const char *station,
                                         struct tt_state **ret_state, struct tt_error *err);
void tt_state_free(struct tt_state *state);
TT_DEFINE_CLEANUP(struct tt_state *, tt_state_free)

/* The record, phase TT_STATE_NONE where there is none. It stays the state's. */
const struct tt_state_record *tt_state_record(const struct tt_state *state);

/* Replaces the record, on disk (fsynced, atomic) and here. Strings and config are copied. Phase TT_STATE_NONE removes
 * it. `record` may be the state's own. */
TT_MUST_USE enum tt_status tt_state_write(struct tt_state *state, const struct tt_state_record *record,
                                          struct tt_error *err);

#endif
