/* What the commands that make and look after tokens and keys share: they ask the module itself, in a process that has
 * no other use of it. */
#ifndef TT_CLI_PROVISION_COMMAND_H
#define TT_CLI_PROVISION_COMMAND_H

#include "cli/audit_options.h"
#include "cli/command.h"
#include "provisioning/key_probe.h"

struct provision_options {
    const char *module;
    int pin_fd;
    bool last_pin_try;
};
#define PROVISION_OPTIONS_INIT                                                                                         \
    {                                                                                                                  \
        .pin_fd = -1                                                                                                   \
    }

/* Rows for an option table. */
#define PROVISION_MODULE_ROW(options)                                                                                  \
    {                                                                                                                  \
        "module", 0, CLI_TEXT, &(options).module, "PATH", "PKCS#11 module (TRAINTOKEN_MODULE; default p11-kit)"        \
    }
#define PROVISION_OPTION_ROWS(options)                                                                                 \
    PROVISION_MODULE_ROW(options),                                                                                     \
        {"pin-fd", 0, CLI_NUMBER, &(options).pin_fd, "N", "read the PIN from this file descriptor"},                   \
    {                                                                                                                  \
        "last-pin-try", 0, CLI_FLAG, &(options).last_pin_try, NULL,                                                    \
            "log in even when a wrong PIN would lock the token"                                                        \
    }

/* A token in use. Starts zeroed, or with a trail where the command uses a private key. */
struct provision {
    struct tt_audit *audit;    /* what it does is recorded here: owned; may be NULL */
    const char *asked;         /* the URI that was given, in argv */
    struct tt_pkcs11_uri *uri; /* NULL when none was named */
    struct tt_cryptoki *cryptoki;
    struct tt_token token;
    char *label; /* the token's */
    struct tt_session *session;
    struct tt_secret *pin; /* of the login; NULL where none was needed */
};
void provision_close(struct provision *provision);

/* The URI (may be NULL) and its module. A PIN in the URI is overwritten where it stands. */
TT_MUST_USE enum tt_status provision_load(const struct provision_options *options, const char *uri,
                                          struct provision *provision, struct tt_error *err);
/* After that: the one initialized token that it names. */
TT_MUST_USE enum tt_status provision_find(struct provision *provision, struct tt_error *err);
/* After that: a session, logged in as the user. */
TT_MUST_USE enum tt_status provision_login(const struct provision_options *options, bool writable,
                                           struct provision *provision, struct tt_error *err);
/* All three. */
TT_MUST_USE enum tt_status provision_open(const struct provision_options *options, const char *uri, bool writable,
                                          struct provision *provision, struct tt_error *err);

/* A trail (`state`: see audit_open) for a command that uses a private key, before provision_load: that the key will be
 * used is then recorded before the login, and each of its uses before its outcome is known. */
TT_MUST_USE enum tt_status provision_record(struct provision *provision, const struct audit_options *options,
                                            const char *state, const char *command, struct tt_error *err);
/* What provision_login does for that, for who logs in by himself: before the login, from audit, asked, token and label;
 * and once there is a session. */
TT_MUST_USE enum tt_status provision_begin(const struct provision *provision, struct tt_error *err);
void provision_watch(struct provision *provision);
/* Records how it ended, before anything is told of it. Returns `status`, or TT_STORE where that cannot be written. */
TT_MUST_USE enum tt_status provision_end(struct provision *provision, enum tt_status status, struct tt_error *err);

/* "key": everything about a key, or the same for people. */
cJSON *provision_key_json(const struct tt_session *session, const struct tt_key_object *key);
/* "probe": each operation's way, and what said no. */
cJSON *provision_probe_json(const struct tt_key_probe *probe);
/* "yes", "no" or "not shown". */
const char *provision_flag_name(enum tt_attribute flag);

/* Asks on the terminal for `wanted` to be typed. TT_USAGE, naming `option`, when there is no terminal or another
 * answer. */
TT_MUST_USE enum tt_status provision_confirm(const char *question, const char *wanted, const char *option,
                                             struct tt_error *err);

/* An id in hexadecimal (upper or lower case, 1 to 255 bytes), into new memory. TT_USAGE. */
TT_MUST_USE enum tt_status provision_id(const char *text, unsigned char **ret_id, size_t *ret_length,
                                        struct tt_error *err);
/* Whether a label can be given: text, up to `limit` bytes. TT_USAGE. */
TT_MUST_USE enum tt_status provision_label(const char *text, size_t limit, struct tt_error *err);

/* Writes a file, which appears whole, and takes no other's place unless `force`. TT_USAGE when there is one, TT_STORE.
 */
TT_MUST_USE enum tt_status provision_write(const char *path, bool force, const struct tt_buffer *text,
                                           struct tt_error *err);

#endif
