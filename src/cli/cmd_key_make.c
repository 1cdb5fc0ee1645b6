#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "cli/provision_command.h"
#include "crypto/public_key.h"
#include "provisioning/key_file.h"
#include "provisioning/key_generate.h"
#include "provisioning/key_import.h"

/* What both commands say of the new key. Takes over `more`, further members of the JSON object. */
static void print(struct output *output, const char *command, const char *done, const struct provision *token,
                  const struct tt_key_object *key, const struct tt_key_probe *probe, cJSON *more)
{
    cJSON *object = more ? more : cJSON_CreateObject();
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(token->session, key);
    char fingerprint[TT_FINGERPRINT_SIZE] = "";
    if (tt_public_key_fingerprint(key->public_half, fingerprint, NULL) != TT_OK)
        fingerprint[0] = '\0';
    output_line(output, "%s an RSA key of %u bits in token '%s'", done, key->bits, token->label);
    output_line(output, "  URI:          %s", uri ? uri : "?");
    output_line(output, "  fingerprint:  %s", fingerprint);
    output_line(output, "  tried:        unwrap %s, sign %s", tt_probe_way_name(probe->unwrap.way),
                tt_probe_way_name(probe->sign.way));
    cJSON_AddItemToObject(object, "key", provision_key_json(token->session, key));
    cJSON_AddItemToObject(object, "probe", provision_probe_json(probe));
    output_result(output, command, object);
}

/* A key that is made stays, also where that can no longer be recorded: that it would be tried is. */
static enum tt_status end(struct provision *token, const struct tt_key_object *key, enum tt_status status,
                          struct tt_error *err)
{
    enum tt_status recorded = provision_end(token, status, err);
    if (status == TT_OK && recorded != TT_OK)
        (void)tt_error_context(err, "the key '%s' is in token '%s' now, but", key->label, token->label);
    return recorded;
}

/* --label and --id of a new key. The id's memory is the caller's. */
static enum tt_status take_names(const char *label, const char *id, struct tt_key_wish *wish, unsigned char **ret_id,
                                 struct tt_error *err)
{
    if (!label)
        return tt_error_set(err, TT_USAGE, "the new key needs a name: give it with --label");
    enum tt_status status = provision_label(label, TT_LABEL_LIMIT, err);
    if (status == TT_OK && id)
        status = provision_id(id, ret_id, &wish->id_length, err);
    wish->label = label;
    wish->id = *ret_id;
    return status;
}

struct generate_options {
    const char *label;
    const char *id;
    int bits;
    bool always_authenticate;
    const char *allow;
    struct audit_options audit;
    struct provision_options provision;
};

static enum tt_status generate(struct output *output, const struct generate_options *options, const char *uri,
                               struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    unsigned char *id TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_key_wish wish = {.always_authenticate = options->always_authenticate};
    struct tt_key_probe probe;
    unsigned bits = (unsigned)options->bits;
    if (bits != 2048 && bits != 3072 && bits != 4096)
        return tt_error_set(err, TT_USAGE, "--bits takes 2048, 3072 or 4096, not %u", bits);
    enum tt_status status = take_names(options->label, options->id, &wish, &id, err);
    if (status == TT_OK && options->allow)
        status = tt_key_wish_allow(&wish, options->allow, err);
    if (status == TT_OK)
        status = provision_record(&token, &options->audit, NULL, "key generate", err);
    if (status != TT_OK)
        return status;
    status = provision_load(&options->provision, uri, &token, err);
    if (status == TT_OK)
        status = provision_find(&token, err);
    if (status == TT_OK)
        status = tt_key_generate_check(token.cryptoki, &token.token, bits, err);
    if (status == TT_OK)
        status = provision_login(&options->provision, true, &token, err);
    if (status == TT_OK)
        status = tt_key_generate(token.session, &wish, bits, token.pin, &key, &probe, err);
    status = end(&token, &key, status, err);
    if (status == TT_OK)
        print(output, "key generate", "made", &token, &key, &probe, NULL);
    return status;
}

static enum tt_status run_generate(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key generate", "TOKEN-URI",
        "Makes an RSA key pair inside a token: the private half is sensitive, cannot be extracted, and is for "
        "decrypting\n"
        "and signing only. What the token made is read back and tried; a key that came out otherwise, or that cannot\n"
        "serve the protocol, is removed again.",
        1};
    struct generate_options options = {.bits = TT_GENERATE_BITS, .provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"label", 0, CLI_TEXT, &options.label, "LABEL", "name of the new key; none on the token may have it"},
        {"id", 0, CLI_TEXT, &options.id, "HEX", "its id (default: random)"},
        {"bits", 0, CLI_NUMBER, &options.bits, "N", "2048, 3072 (default) or 4096"},
        {"always-authenticate", 0, CLI_FLAG, &options.always_authenticate, NULL,
         "the key asks for the PIN at each use"},
        {"allow-mechanisms", 0, CLI_TEXT, &options.allow, "LIST",
         "limit the key to these mechanisms: oaep,pss,raw,pkcs1 or CKM_ names"},
        PROVISION_OPTION_ROWS(options.provision),
        AUDIT_OPTION_ROWS(options.audit),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return generate(output, &options, uri, err);
}

const struct command command_key_generate = {"key generate", "make a key pair inside a token", run_generate};

/* Importing. */

struct import_options {
    const char *label;
    const char *id;
    bool always_authenticate;
    const char *allow;
    bool shred;
    int file_pin_fd;
    struct audit_options audit;
    struct provision_options provision;
};

static enum tt_status read_key(const struct import_options *options, const char *path, struct tt_key_file *file,
                               struct tt_error *err)
{
    struct tt_secret *environment TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_pin_take_variable("TRAINTOKEN_FILE_PASSPHRASE", &environment, err);
    const struct tt_pin_sources sources = {.environment = environment,
                                           .descriptor = options->file_pin_fd,
                                           .may_prompt = true,
                                           .token = path,
                                           .name = "passphrase",
                                           .variable = "TRAINTOKEN_FILE_PASSPHRASE",
                                           .credential = "traintoken-file-passphrase",
                                           .option = "--file-pin-fd"};
    if (status == TT_OK)
        status = tt_key_file_read(path, &sources, file, err);
    if (status == TT_OK && options->shred)
        status = tt_key_file_can_shred(path, file, err);
    return status;
}

static enum tt_status import(struct output *output, const struct import_options *options, const char *path,
                             const char *uri, struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_file file TT_CLEANUP(tt_key_file_clear) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    unsigned char *id TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_key_wish wish = {.always_authenticate = options->always_authenticate};
    struct tt_key_probe probe;
    tt_key_file_prepare();
    enum tt_status status = take_names(options->label, options->id, &wish, &id, err);
    if (status == TT_OK && options->allow)
        status = tt_key_wish_allow(&wish, options->allow, err);
    if (status == TT_OK)
        status = provision_record(&token, &options->audit, NULL, "key import", err);
    if (status != TT_OK)
        return status;
    status = provision_load(&options->provision, uri, &token, err);
    if (status == TT_OK)
        status = provision_find(&token, err);
    if (status == TT_OK)
        status = read_key(options, path, &file, err);
    if (status == TT_OK)
        status = provision_login(&options->provision, true, &token, err);
    if (status == TT_OK)
        status = tt_key_import(token.session, &wish, file.key, token.pin, &key, &probe, err);
    status = end(&token, &key, status, err);
    if (status != TT_OK)
        return status;
    tt_log(TT_LOG_WARNING,
           "this key has been outside of a token: whoever had the file, a copy or a backup of it has the key; one that "
           "is made in the token (traintoken key generate) has none");
    if (options->shred)
        status = tt_key_file_shred(path, &file, err);
    if (status != TT_OK)
        return tt_error_context(err, "the key '%s' is in token '%s' now, but its file was not shredded", wish.label,
                                token.label);
    cJSON *more = cJSON_CreateObject();
    cJSON_AddBoolToObject(more, "shredded", options->shred);
    print(output, "key import", "imported", &token, &key, &probe, more);
    if (options->shred)
        output_line(output,
                    "  shredded:     '%s'; solid-state disks, journals, snapshots and backups may still hold it", path);
    return TT_OK;
}

static enum tt_status run_import(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"key import", "FILE TOKEN-URI",
                                           "Moves an RSA private key of 2048 to 4096 bits from a file (PEM or DER, "
                                           "encrypted or not) into a token, where it\n"
                                           "is sensitive and cannot be extracted, and tries it. A key that has been in "
                                           "a file may have copies: a key made\n"
                                           "in the token is better.",
                                           2};
    struct import_options options = {.file_pin_fd = -1, .provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"label", 0, CLI_TEXT, &options.label, "LABEL", "name of the new key; none on the token may have it"},
        {"id", 0, CLI_TEXT, &options.id, "HEX", "its id (default: SHA-1 of the modulus)"},
        {"always-authenticate", 0, CLI_FLAG, &options.always_authenticate, NULL,
         "the key asks for the PIN at each use"},
        {"allow-mechanisms", 0, CLI_TEXT, &options.allow, "LIST",
         "limit the key to these mechanisms: oaep,pss,raw,pkcs1 or CKM_ names"},
        {"file-pin-fd", 0, CLI_NUMBER, &options.file_pin_fd, "N", "read the file's passphrase from this descriptor"},
        {"shred", 0, CLI_FLAG, &options.shred, NULL,
         "then overwrite and remove the file (SSDs, journals and backups may keep it)"},
        PROVISION_OPTION_ROWS(options.provision),
        AUDIT_OPTION_ROWS(options.audit),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *operands[2] = {NULL, NULL};
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, operands, &help, err);
    if (status != TT_OK || help)
        return status;
    return import(output, &options, operands[0], operands[1], err);
}

const struct command command_key_import = {"key import", "move a key from a file into a token", run_import};
