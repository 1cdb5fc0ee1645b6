#include "cli/audit_options.h"

#include <string.h>

#include "base/text.h"
#include "state/state.h"

static const char *given(const char *option, const char *variable)
{
    const char *value = option ? option : getenv(variable);
    return value && (*value || option) ? value : NULL;
}

enum tt_status audit_path(const char *file, const char *state, char **ret_path, bool *ret_make_folder,
                          struct tt_error *err)
{
    char *folder TT_CLEANUP(tt_free_cleanup) = NULL;
    const char *named = given(file, "TRAINTOKEN_AUDIT");
    enum tt_status status = TT_OK;
    if (!named && !state)
        status = tt_state_default_folder(&folder, err);
    if (status != TT_OK) {
        (void)tt_error_context(err, "for the audit trail (or name it with --audit)");
        return status;
    }
    char *path = named ? strdup(named) : tt_text_format("%s/audit.jsonl", state ? state : folder);
    if (!path)
        return tt_error_memory(err);
    *ret_path = path;
    *ret_make_folder = !named;
    return TT_OK;
}

enum tt_status audit_open(const struct audit_options *options, const char *state, struct tt_audit **ret_audit,
                          struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    bool make_folder = false;
    enum tt_audit_copy copy = TT_AUDIT_FILE_ONLY;
    const char *log = given(options->log, "TRAINTOKEN_AUDIT_LOG");
    enum tt_status status = log ? tt_audit_copy_parse(log, &copy, err) : TT_OK;
    if (status == TT_OK)
        status = audit_path(options->file, state, &path, &make_folder, err);
    return status == TT_OK ? tt_audit_new(path, make_folder, copy, ret_audit, err) : status;
}
