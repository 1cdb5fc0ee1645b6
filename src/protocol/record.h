/*
 * What goes into the audit trail, and when (docs/audit.md): the key is used only after that was written down, what came
 * of it is used only after that was, and a decision takes effect only after it was. Everywhere `audit` may be NULL:
 * nothing is recorded then.
 */
#ifndef TT_PROTOCOL_RECORD_H
#define TT_PROTOCOL_RECORD_H

#include "protocol/protocol.h"

/* Members of every later record: the command, its image (or other source) and the station (may be NULL). */
void record_command(struct tt_audit *audit, const char *command, const char *image, const char *station);
/* The same of the train, once it was read, and of the image's digest (may be NULL). */
void record_train(struct tt_audit *audit, const struct tt_train *train, const char *digest);
/* The same of the stop. */
void record_stop(struct tt_audit *audit, size_t stop, size_t stop_count);
/* The same of what was checked so far, in words separated by commas: adds to what was noted before. */
void record_checked(struct tt_audit *audit, const char *names);

/* --trust-train-keys took a key that the train names for `role` ("creator" or "station") `id`. To be written before
 * the token is asked for anything. TT_STORE. */
TT_MUST_USE enum tt_status record_trusted_by_train(struct tt_audit *audit, const char *role, const char *id,
                                                   const char *fingerprint, struct tt_error *err);

/* Before a key is opened. TT_STORE: it must not be. */
TT_MUST_USE enum tt_status record_begin(struct tt_audit *audit, const struct tt_key_source *source,
                                        struct tt_error *err);
/* Once it was: later records name the key, and each of its uses has a record of its own. `audit` must outlive it. */
void record_watch(struct tt_audit *audit, const struct tt_key_source *source, struct tt_private_key *key,
                  const char *fingerprint);

/* A use of a key that is not a struct tt_private_key: what its witness does. TT_STORE: what came of it must not be
 * used.
 */
TT_MUST_USE enum tt_status record_use(struct tt_audit *audit, const struct tt_key_event *event, struct tt_error *err);

/* Everything holds, and the state with this digest (may be NULL) is about to be shown. TT_STORE: it must not be. */
TT_MUST_USE enum tt_status record_decision(struct tt_audit *audit, const char *digest_after, struct tt_error *err);
/* It is in place. There is no failure any more, only a warning. */
void record_done(struct tt_audit *audit);
/* The command ends with this failure, which is returned. Where that cannot be written, a warning says so. */
enum tt_status record_failure(struct tt_audit *audit, enum tt_status status, const struct tt_error *err);

#endif
