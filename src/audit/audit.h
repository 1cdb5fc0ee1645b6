/*
 * The audit trail: what the station's key was used for, and what was decided, as a file of JSON lines that is only
 * appended to (docs/audit.md). Each record carries the SHA-256 of the line before it, so that an edit, a gap or an
 * insertion shows; it is written and synced before what it records has an effect.
 */
#ifndef TT_AUDIT_AUDIT_H
#define TT_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

enum {
    TT_AUDIT_TEXT_LIMIT = 1024,       /* bytes of a text in a record; what is longer is cut */
    TT_AUDIT_LINE_LIMIT = 128 * 1024, /* bytes of a record */
};

/* A member of a record. Text that is NULL or empty is left out, and so are no bytes. */
struct tt_audit_fact {
    const char *name; /* static */
    enum tt_audit_kind { TT_AUDIT_TEXT, TT_AUDIT_NUMBER, TT_AUDIT_FLAG, TT_AUDIT_HEX } kind;
    const char *text;
    uint64_t number; /* or a flag */
    const uint8_t *data;
    size_t length;
};

struct tt_audit;

/* Where records also go, once they are in the file. */
enum tt_audit_copy { TT_AUDIT_FILE_ONLY, TT_AUDIT_SYSLOG, TT_AUDIT_JOURNALD };

/* "file", "syslog" or "journald". TT_USAGE. */
TT_MUST_USE enum tt_status tt_audit_copy_parse(const char *word, enum tt_audit_copy *ret_copy, struct tt_error *err);

/* A trail to write to. Nothing is touched before the first record: then it is made (0600) where there is none, in a
 * folder that is there, or, with `make_folder`, is made too (0700). */
TT_MUST_USE enum tt_status tt_audit_new(const char *path, bool make_folder, enum tt_audit_copy copy,
                                        struct tt_audit **ret_audit, struct tt_error *err);
void tt_audit_free(struct tt_audit *audit);
TT_DEFINE_CLEANUP(struct tt_audit *, tt_audit_free)

/* Members that every record from here on has; a later one replaces one of its name. Copied; where memory is short, no
 * record can be written any more. */
void tt_audit_context(struct tt_audit *audit, const struct tt_audit_fact *facts, size_t count);

/* The same, but text is added to what the member had before, after a comma. */
void tt_audit_context_add(struct tt_audit *audit, const char *name, const char *text);

/* Appends one record of this event, beside time, host, user, process, program version and the context; a fact stands
 * before one of its name in the context. It is on disk when this returns TT_OK. Several processes may append to one
 * trail. TT_STORE, naming the file: what it would record must not happen. */
TT_MUST_USE enum tt_status tt_audit_write(struct tt_audit *audit, const char *event, const struct tt_audit_fact *facts,
                                          size_t count, struct tt_error *err);

/* Whether a record could not be written. */
bool tt_audit_has_failed(const struct tt_audit *audit);

/* Closes the trail, as PATH.NUMBER (of its last record), and starts a new one at its path, whose first record carries
 * that name and goes on in the chain. Whenever the process dies, the path leads to one of the two. *ret_old (the caller
 * frees) is where the old one is now. TT_USAGE when there is no trail, or one that is closed already, TT_STORE. */
TT_MUST_USE enum tt_status tt_audit_rotate(struct tt_audit *audit, char **ret_old, struct tt_error *err);

/* Whether this is the name that rotation gives a file whose last record has this number. */
bool tt_audit_is_closed_name(const char *path, uint64_t number);

#endif
