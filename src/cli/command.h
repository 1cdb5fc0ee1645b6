/* The sub-commands, and what several of them share. */
#ifndef TT_CLI_COMMAND_H
#define TT_CLI_COMMAND_H

#include "cli/options.h"
#include "cli/output.h"
#include "pkcs11/station_key.h"

struct command {
    const char *name;
    const char *summary; /* one line for the overview */
    /* Runs with argv[0] being the name. Prints its result; a failure is left in *err. */
    enum tt_status (*run)(struct output *output, int argc, char **argv, struct tt_error *err);
};

extern const struct command command_pre_run;
extern const struct command command_post_run;
extern const struct command command_run;
extern const struct command command_verify;
extern const struct command command_inspect;
extern const struct command command_seal;
extern const struct command command_results;
extern const struct command command_pull;
extern const struct command command_push;
extern const struct command command_clean;
extern const struct command command_audit_verify;
extern const struct command command_audit_show;
extern const struct command command_audit_checkpoint;
extern const struct command command_audit_rotate;
extern const struct command command_trust_add;
extern const struct command command_trust_list;
extern const struct command command_trust_show;
extern const struct command command_trust_remove;
extern const struct command command_trust_check;
extern const struct command command_trust_import;
extern const struct command command_doctor;
extern const struct command command_token_list;
extern const struct command command_token_init;
extern const struct command command_token_set_pin;
extern const struct command command_key_generate;
extern const struct command command_key_check;
extern const struct command command_key_export;
extern const struct command command_key_enrol;
extern const struct command command_key_attest;
extern const struct command command_key_import;
extern const struct command command_key_list;
extern const struct command command_key_show;
extern const struct command command_key_delete;
extern const struct command command_key_rename;

/* Options that every sub-command has. They outlive the call of run. */
const struct cli_option *command_common_options(struct output *output, const char **platform);

/* The key: --key, --module, --key-loader, --pin-fd, --last-pin-try and their environment. */
struct key_options {
    const char *key;
    const char *module;
    const char *loader;
    int pin_fd;
    bool last_pin_try;
    bool keep_pin; /* set by commands that use the key more than once */
};
#define KEY_OPTIONS_INIT                                                                                               \
    {                                                                                                                  \
        .pin_fd = -1                                                                                                   \
    }

/* Rows for an option table. */
#define KEY_OPTION_ROWS(key_options)                                                                                   \
    {"key", 0, CLI_TEXT, &(key_options).key, "URI", "pkcs11: URI of the private key (PRIVATE_KEY_PATH)"},              \
        {"module", 0, CLI_TEXT, &(key_options).module, "PATH", "PKCS#11 module (TRAINTOKEN_MODULE; default p11-kit)"}, \
        {"key-loader",          0,        CLI_TEXT,                                                                    \
         &(key_options).loader, "LOADER", "auto, libp11, provider[:NAME] or engine[:ID] (TRAINTOKEN_KEY_LOADER)"},     \
        {"pin-fd", 0, CLI_NUMBER, &(key_options).pin_fd, "N", "read the PIN from this file descriptor"},               \
    {                                                                                                                  \
        "last-pin-try", 0, CLI_FLAG, &(key_options).last_pin_try, NULL,                                                \
            "log in even when a wrong PIN would lock the token"                                                        \
    }

/* Makes a key source from the options and the environment. TT_USAGE when no key is named. A PIN in the URI is
 * overwritten where it stands, in the arguments or the environment. */
TT_MUST_USE enum tt_status command_key_source(const struct key_options *options, struct tt_pkcs11_source **ret_source,
                                              struct tt_error *err);

/* Adds "key" and "token_operations"; `source` gives the URI. */
void command_add_key(cJSON *object, const struct tt_pkcs11_source *source, const struct tt_token_use *use);

/* Adds "manifests": how many signed ones the train has, and where none, in words what that may mean. */
void command_add_manifests(cJSON *object, const struct tt_train *train, size_t position);

/* The public key in a file that an option names. Whatever is wrong with it is TT_USAGE. */
TT_MUST_USE enum tt_status command_public_key(const char *path, EVP_PKEY **ret_key, struct tt_error *err);

/* --station or STATION_ID. TT_USAGE when neither is there. */
TT_MUST_USE enum tt_status command_station(const char *option, const char **ret_station, struct tt_error *err);

static inline void cli_json_cleanup(cJSON **object)
{
    cJSON_Delete(*object);
}

/* The bytes of a content for people: "3 files, 1.2 KiB". */
const char *command_content(const struct tt_content_size *size, char text[64]);

#endif
