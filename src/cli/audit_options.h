/* --audit and --audit-log, for the commands that use a private key. */
#ifndef TT_CLI_AUDIT_OPTIONS_H
#define TT_CLI_AUDIT_OPTIONS_H

#include "audit/audit.h"
#include "cli/options.h"

struct audit_options {
    const char *file;
    const char *log;
};

/* Rows for an option table. */
#define AUDIT_OPTION_ROWS(options)                                                                                     \
    {                                                                                                                  \
        "audit",         0,      CLI_TEXT,                                                                             \
        &(options).file, "FILE", "audit trail (TRAINTOKEN_AUDIT; default audit.jsonl in the state)"},                  \
    {                                                                                                                  \
        "audit-log", 0, CLI_TEXT, &(options).log, "WHERE",                                                             \
            "copy its records: syslog, journald or file, which is no copy (TRAINTOKEN_AUDIT_LOG)"                      \
    }

/* The trail's path: --audit, TRAINTOKEN_AUDIT, or audit.jsonl in `state` (NULL: the default folder), which is then to
 * be made where it is missing. The caller frees. TT_USAGE. */
TT_MUST_USE enum tt_status audit_path(const char *file, const char *state, char **ret_path, bool *ret_make_folder,
                                      struct tt_error *err);

/* The trail that a command writes to. Nothing is touched yet. TT_USAGE. */
TT_MUST_USE enum tt_status audit_open(const struct audit_options *options, const char *state,
                                      struct tt_audit **ret_audit, struct tt_error *err);

#endif
