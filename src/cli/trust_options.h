/* Whom the commands that take trains in believe: --trust, --trust-train-keys, --require-manifest. */
#ifndef TT_CLI_TRUST_OPTIONS_H
#define TT_CLI_TRUST_OPTIONS_H

#include "cli/options.h"
#include "protocol/protocol.h"

/* As they were given. Starts zeroed. */
struct trust_choice {
    const char *folder;
    bool train_keys;
    bool require_manifest;
    char *default_folder;
    struct tt_trust *store;
};
void trust_choice_clear(struct trust_choice *choice);

/* Rows for an option table. */
#define TRUST_FOLDER_ROW(choice)                                                                                       \
    {                                                                                                                  \
        "trust", 0, CLI_TEXT, &(choice).folder, "DIR", "whose keys are trusted (TRAINTOKEN_TRUST)"                     \
    }
#define TRUST_OPTION_ROWS(choice)                                                                                      \
    TRUST_FOLDER_ROW(choice),                                                                                          \
        {"trust-train-keys",   0,    CLI_FLAG,                                                                         \
         &(choice).train_keys, NULL, "believe the keys that the train names (TRAINTOKEN_TRUST_TRAIN_KEYS)"},           \
    {                                                                                                                  \
        "require-manifest", 0, CLI_FLAG, &(choice).require_manifest, NULL, "refuse trains without signed manifests"    \
    }

/* The folder that was named, or the default one. It stays the choice's. */
TT_MUST_USE enum tt_status trust_choice_folder(struct trust_choice *choice, const char **ret_folder,
                                               struct tt_error *err);

/* After parsing: reads the store and the environment. What it gives lives as long as the choice. */
TT_MUST_USE enum tt_status trust_choice_open(struct trust_choice *choice, struct tt_trust_options *ret_options,
                                             struct tt_error *err);

#endif
