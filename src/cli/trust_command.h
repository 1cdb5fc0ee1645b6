/* What the commands around the trust store share. */
#ifndef TT_CLI_TRUST_COMMAND_H
#define TT_CLI_TRUST_COMMAND_H

#include "cli/command.h"
#include "cli/trust_options.h"

/* Whom or what words of the command line name: "creator", "station", "authority", "certificate". TT_USAGE. */
struct trust_subject {
    enum tt_trust_kind kind;
    enum tt_trust_role role;
};
TT_MUST_USE enum tt_status trust_subject_parse(const char *word, struct trust_subject *ret_subject,
                                               struct tt_error *err);

/* "station '7'", "authority": of an entry, in new memory; NULL out of memory. */
char *trust_entry_name(const struct tt_trust_entry *entry);
/* " until 2026-12-31T00:00:00Z, not from now" and the like; empty for what is not bounded. */
const char *trust_entry_time(const struct tt_trust_entry *entry, char text[160]);
cJSON *trust_entry_json(const struct tt_trust_entry *entry);

#endif
