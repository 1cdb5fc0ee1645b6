/* What the commands pre-run, post-run and run share: their options and their report. */
#ifndef TT_CLI_STOP_COMMAND_H
#define TT_CLI_STOP_COMMAND_H

#include "cli/audit_options.h"
#include "cli/command.h"
#include "cli/trust_options.h"

struct stop_command {
    struct key_options key;
    const char *station;
    const char *state;
    char *default_state; /* when none was named */
    struct trust_choice trust;
    struct tt_stop_options options;
    struct tt_pkcs11_source *source;
    struct audit_options audit;
    struct tt_audit *trail;
    struct tt_stop_report report;
};
#define STOP_COMMAND_INIT                                                                                              \
    {                                                                                                                  \
        .key = KEY_OPTIONS_INIT                                                                                        \
    }

#define STOP_OPTION_ROWS(command)                                                                                      \
    {"station", 0, CLI_TEXT, &(command).station, "ID", "our id on the train's route (STATION_ID)"},                    \
        KEY_OPTION_ROWS((command).key), TRUST_OPTION_ROWS((command).trust), AUDIT_OPTION_ROWS((command).audit),        \
        {"state", 0, CLI_TEXT, &(command).state, "DIR", "where the station remembers its trains (TRAINTOKEN_STATE)"},  \
    {                                                                                                                  \
        "again", 0, CLI_FLAG, &(command).options.again, NULL, "repeat a stop that is marked done"                      \
    }

void stop_command_clear(struct stop_command *command);

/* After parsing: fills options.station, state_folder, trust and key. */
TT_MUST_USE enum tt_status stop_command_prepare(struct stop_command *command, const char *image, struct tt_error *err);

/* The members that all of them report, as JSON; and those of a stop that is done. */
cJSON *stop_command_json(const struct stop_command *command);
void stop_command_add_signed(cJSON *object, const struct tt_stop_report *report);

#endif
