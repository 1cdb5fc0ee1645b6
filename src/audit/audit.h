/*
 * The audit trail: what the station's key was used for, and what was decided, as a file of JSON lines that is only
 * appended to (docs/audit.md). Each record carries the SHA-256 of the line before it, so that an edit, a gap or an
 * insertion shows; it is written and synced before what it records has an effect.
 */
#ifndef TT_AUDIT_AUDIT_H
#define TT_AUDIT_AUDIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* A member of a record. `text` NULL is left out. */
struct tt_audit_fact {
    const char *name;
    enum tt_audit_kind { TT_AUDIT_TEXT, TT_AUDIT_NUMBER, TT_AUDIT_FLAG, TT_AUDIT_HEX } kind;
    const char *text;
    uint64_t number; /* or a flag */
    const uint8_t *data;
    size_t length;
};

struct tt_audit;

/* Where records also go. */
enum tt_audit_copy { TT_AUDIT_FILE_ONLY, TT_AUDIT_SYSLOG, TT_AUDIT_JOURNALD };

/* Opens the trail, made (0600) where there is none. Its last record is read, so that a trail that is cut off or is no
 * trail is found here. TT_STORE, naming the file. */
TT_MUST_USE enum tt_status tt_audit_open(const char *path, enum tt_audit_copy copy, struct tt_audit **ret_audit,
                                         struct tt_error *err);
void tt_audit_free(struct tt_audit *audit);
TT_DEFINE_CLEANUP(struct tt_audit *, tt_audit_free)

/* Members that every record from here on has: the train, session, stop, image, key. Copied. */
TT_MUST_USE enum tt_status tt_audit_context(struct tt_audit *audit, const struct tt_audit_fact *facts, size_t count,
                                            struct tt_error *err);

/* Appends one record of this event, beside time, host, user, process, program version and the context. It is on disk
 * when this returns TT_OK. Several processes may append to one trail. TT_STORE: whatever it records must not happen. */
TT_MUST_USE enum tt_status tt_audit_write(struct tt_audit *audit, const char *event, const struct tt_audit_fact *facts,
                                          size_t count, struct tt_error *err);

#endif
