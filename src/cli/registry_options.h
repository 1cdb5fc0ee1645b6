/* Where a registry of public keys is, and the secret that it wants: Vault or the central service. */
#ifndef TT_CLI_REGISTRY_OPTIONS_H
#define TT_CLI_REGISTRY_OPTIONS_H

#include "cli/options.h"
#include "provisioning/enrol.h"

struct registry_options {
    const char *vault;
    const char *vault_path;
    const char *vault_field;
    int vault_kv;
    const char *central;
    const char *ca_file;
    const char *token_file;
    const char *robot_file;
};

/* Rows for an option table. */
#define REGISTRY_OPTION_ROWS(options)                                                                                  \
    {"vault", 0, CLI_TEXT, &(options).vault, "URL", "Vault's address; its token is in VAULT_TOKEN"},                   \
        {"vault-path", 0, CLI_TEXT, &(options).vault_path, "PATH", "store and secret (default station_pks/STATION)"},  \
        {"vault-field", 0, CLI_TEXT, &(options).vault_field, "NAME", "its field (default rsa_station_public_key)"},    \
        {"vault-kv", 0, CLI_NUMBER, &(options).vault_kv, "N", "the store's version, 1 or 2 (default: ask Vault)"},     \
        {"central", 0, CLI_TEXT, &(options).central, "URL", "the central service's API"},                              \
        {"token-file",          0,      CLI_TEXT,                                                                      \
         &(options).token_file, "FILE", "the token, instead of VAULT_TOKEN or CENTRAL_TOKEN"},                         \
        {"robot-file", 0, CLI_TEXT, &(options).robot_file, "FILE", "a robot's ID:SECRET (ROBOT_ID and ROBOT_SECRET)"}, \
    {                                                                                                                  \
        "ca-file", 0, CLI_TEXT, &(options).ca_file, "FILE", "certificates of authorities (PEM; default the system's)"  \
    }

/* Whether they go together. One of vault and central must be there. TT_USAGE. */
TT_MUST_USE enum tt_status registry_options_check(const struct registry_options *options, struct tt_error *err);

/* Fills server and place, and takes the secret from its file or out of the environment. place->station is the caller's
 * to set; NULL where there is a vault_path. *ret_path and *ret_header are what it points to, for the caller to free. */
TT_MUST_USE enum tt_status registry_place(const struct registry_options *options, struct tt_enrol_place *place,
                                          char **ret_path, struct tt_secret **ret_header, struct tt_error *err);

#endif
