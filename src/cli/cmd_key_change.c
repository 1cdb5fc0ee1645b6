#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "cli/provision_command.h"
#include "crypto/public_key.h"
#include "pkcs11/prompt.h"
#include "provisioning/key_change.h"

static enum tt_status open_key(const struct provision_options *options, const char *uri, struct provision *token,
                               struct tt_key_object *key, struct tt_error *err)
{
    enum tt_status status = provision_open(options, uri, true, token, err);
    if (status == TT_OK)
        status = tt_key_find(token->session, token->uri, key, err);
    return status;
}

/* Deleting. */

static enum tt_status confirm(const struct provision *token, const struct tt_key_object *key, const char *uri,
                              struct tt_error *err)
{
    char fingerprint[TT_FINGERPRINT_SIZE] = "public half not shown";
    char *id TT_CLEANUP(tt_free_cleanup) = tt_hex_new(key->id, key->id_length);
    bool has_label = key->label && key->label[0] != '\0';
    if (key->public_half && tt_public_key_fingerprint(key->public_half, fingerprint, NULL) != TT_OK)
        return tt_error_memory(err);
    char *question TT_CLEANUP(tt_free_cleanup) = tt_text_format(
        "The key '%s' (%s) of token '%s' will be gone for good, and with it every train that is under way to "
        "it. Type its %s to remove it",
        uri, fingerprint, token->label, has_label ? "label" : "id in hexadecimal");
    if (!question || !id)
        return tt_error_memory(err);
    return provision_confirm(question, has_label ? key->label : id, "--yes", err);
}

static enum tt_status delete_key(struct output *output, const struct provision_options *options, const char *uri,
                                 bool yes, struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    if (!yes && !tt_prompt_is_possible())
        return tt_error_set(err, TT_USAGE, "there is no terminal to ask on whether this is meant; say so with --yes");
    enum tt_status status = open_key(options, uri, &token, &key, err);
    char *name TT_CLEANUP(tt_free_cleanup) = status == TT_OK ? tt_key_uri(token.session, &key) : NULL;
    if (status == TT_OK && !name)
        status = tt_error_memory(err);
    if (status == TT_OK && !yes)
        status = confirm(&token, &key, name, err);
    if (status == TT_OK)
        status = tt_key_delete(token.session, &key, err);
    if (status != TT_OK)
        return status;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToObject(object, "key", provision_key_json(token.session, &key));
    output_line(output, "removed the key '%s'", name);
    output_result(output, "key delete", object);
    return TT_OK;
}

static enum tt_status run_delete(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"key delete", "URI",
                                           "Removes a private key and its public half from a token, for good. Asks for "
                                           "its label to be typed.",
                                           1};
    struct provision_options options = PROVISION_OPTIONS_INIT;
    bool yes = false;
    const struct cli_option own[] = {
        {"yes", 0, CLI_FLAG, &yes, NULL, "do not ask"}, PROVISION_OPTION_ROWS(options), {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return delete_key(output, &options, uri, yes, err);
}

const struct command command_key_delete = {"key delete", "remove a key from its token", run_delete};

/* Renaming. */

static enum tt_status rename_key(struct output *output, const struct provision_options *options, const char *uri,
                                 const char *label, const char *id_text, struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    unsigned char *id TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t id_length = 0;
    enum tt_status status = label ? provision_label(label, TT_LABEL_LIMIT, err) : TT_OK;
    if (!label && !id_text)
        return tt_error_set(err, TT_USAGE, "nothing was given that the key is to be called: --label or --id");
    if (status == TT_OK && id_text)
        status = provision_id(id_text, &id, &id_length, err);
    if (status == TT_OK)
        status = open_key(options, uri, &token, &key, err);
    char *before TT_CLEANUP(tt_free_cleanup) = status == TT_OK ? tt_key_uri(token.session, &key) : NULL;
    if (status == TT_OK)
        status = tt_key_rename(token.session, &key, label, id, id_length, err);
    if (status != TT_OK)
        return status;
    char *after TT_CLEANUP(tt_free_cleanup) = tt_key_uri(token.session, &key);
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "before", before);
    cJSON_AddItemToObject(object, "key", provision_key_json(token.session, &key));
    output_line(output, "renamed: the key is '%s' now", after ? after : "?");
    output_result(output, "key rename", object);
    return TT_OK;
}

static enum tt_status run_rename(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key rename", "URI", "Gives a private key and its public half another label, another id, or both.", 1};
    struct provision_options options = PROVISION_OPTIONS_INIT;
    const char *label = NULL;
    const char *id = NULL;
    const struct cli_option own[] = {
        {"label", 0, CLI_TEXT, &label, "LABEL", "the new label; no other key on the token may have it"},
        {"id", 0, CLI_TEXT, &id, "HEX", "the new id; no other key on the token may have it"},
        PROVISION_OPTION_ROWS(options),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return rename_key(output, &options, uri, label, id, err);
}

const struct command command_key_rename = {"key rename", "give a key another label or id", run_rename};
