#include <string.h>

#include "base/hex.h"
#include "cli/provision_command.h"
#include "crypto/public_key.h"
#include "provisioning/key_wish.h"

/* "RSA 3072": the kind of key in a few words. */
static const char *kind(const struct tt_key_object *key, char text[64])
{
    const char *name = key->type == CKK_RSA ? "RSA" : key->type == CKK_EC ? "EC" : "another kind of key";
    if (key->bits)
        snprintf(text, 64, "%s, %u bits", name, key->bits);
    else
        snprintf(text, 64, "%s", name);
    return text;
}

/* Listing. */

static void print_short(struct output *output, const struct tt_session *session, const struct tt_key_object *key)
{
    char text[64];
    char fingerprint[TT_FINGERPRINT_SIZE];
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(session, key);
    output_line(output, "%s", uri ? uri : "?");
    if (!key->public_half || tt_public_key_fingerprint(key->public_half, fingerprint, NULL) != TT_OK)
        snprintf(fingerprint, sizeof fingerprint, "public half not shown");
    output_line(
        output, "    %s, %s%s%s%s", kind(key, text), fingerprint,
        key->sensitive == TT_ATTRIBUTE_TRUE && key->extractable == TT_ATTRIBUTE_FALSE ? "" : ", CAN BE EXTRACTED",
        key->local == TT_ATTRIBUTE_TRUE ? ", made in the token" : "",
        key->decrypt == TT_ATTRIBUTE_FALSE || key->sign == TT_ATTRIBUTE_FALSE ? ", not for both decrypting and signing"
                                                                              : "");
}

static enum tt_status list(struct output *output, const struct provision_options *options, const char *uri,
                           struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_list keys TT_CLEANUP(tt_key_list_clear) = {0};
    enum tt_status status = provision_open(options, uri, false, &token, err);
    if (status == TT_OK)
        status = tt_keys_list(token.session, token.uri, &keys, err);
    if (status != TT_OK)
        return status;
    cJSON *object = cJSON_CreateObject();
    cJSON *array = cJSON_AddArrayToObject(object, "keys");
    for (size_t i = 0; i < keys.count; i++) {
        print_short(output, token.session, &keys.keys[i]);
        cJSON_AddItemToArray(array, provision_key_json(token.session, &keys.keys[i]));
    }
    if (keys.count == 0)
        output_line(output, "no private key on token '%s'%s", token.label, uri ? " is as the URI says" : "");
    output_result(output, "key list", object);
    return TT_OK;
}

static enum tt_status run_list(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key list", "[TOKEN-URI]",
        "Lists the private keys of a token, as URIs ready to paste. Without TOKEN-URI, of the only token there is.", 0};
    struct provision_options options = PROVISION_OPTIONS_INIT;
    const struct cli_option own[] = {PROVISION_OPTION_ROWS(options), {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return list(output, &options, uri, err);
}

const struct command command_key_list = {"key list", "list the private keys of a token", run_list};

/* Showing one. */

static cJSON *allowed_json(struct tt_session *session, const struct tt_key_object *key, char *text, size_t size)
{
    unsigned char *value TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t length = 0;
    CK_MECHANISM_TYPE type;
    snprintf(text, size, "all that the token knows");
    if (!tt_object_value(session, key->private_key, CKA_ALLOWED_MECHANISMS, 4096, &value, &length) ||
        length < sizeof type || length % sizeof type != 0)
        return cJSON_CreateNull();
    cJSON *array = cJSON_CreateArray();
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < length; i += sizeof type) {
        char number[32];
        memcpy(&type, value + i, sizeof type);
        const char *name = tt_mechanism_name(type);
        snprintf(number, sizeof number, "0x%08lx", type);
        cJSON_AddItemToArray(array, cJSON_CreateString(name ? name : number));
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", name ? name : number);
    }
    return array;
}

static void print_flags(struct output *output, const struct tt_key_object *key)
{
    const struct {
        const char *name;
        enum tt_attribute flag;
        const char *says;
    } flags[] = {{"sensitive", key->sensitive, "its value is never shown in the clear"},
                 {"always sensitive", key->always_sensitive, "nor ever was"},
                 {"extractable", key->extractable, "it can leave the token wrapped in another key"},
                 {"never extractable", key->never_extractable, "nor ever could"},
                 {"made in the token", key->local, ""},
                 {"private", key->is_private, "it is seen after login only"},
                 {"decrypt", key->decrypt, ""},
                 {"sign", key->sign, ""},
                 {"unwrap keys", key->unwrap, ""},
                 {"sign with recovery", key->sign_recover, ""},
                 {"always authenticate", key->always_authenticate, "it wants the PIN at each use"},
                 {"modifiable", key->modifiable, "its label and id can be changed"}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        output_line(output, "%-20s %s%s%s", flags[i].name, provision_flag_name(flags[i].flag),
                    flags[i].flag == TT_ATTRIBUTE_TRUE && flags[i].says[0] ? ": " : "",
                    flags[i].flag == TT_ATTRIBUTE_TRUE ? flags[i].says : "");
}

static void print(struct output *output, const struct provision *token, const struct tt_key_object *key)
{
    char text[64];
    char allowed[1024];
    char fingerprint[TT_FINGERPRINT_SIZE] = "not shown";
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(token->session, key);
    char *id TT_CLEANUP(tt_free_cleanup) = tt_hex_new(key->id, key->id_length);
    if (key->public_half && tt_public_key_fingerprint(key->public_half, fingerprint, NULL) != TT_OK)
        snprintf(fingerprint, sizeof fingerprint, "not shown");
    cJSON *object = cJSON_CreateObject();
    cJSON *shown = provision_key_json(token->session, key);
    cJSON_AddItemToObject(shown, "allowed_mechanisms", allowed_json(token->session, key, allowed, sizeof allowed));
    output_line(output, "%-20s %s", "URI", uri ? uri : "?");
    output_line(output, "%-20s %s", "token", token->label);
    output_line(output, "%-20s %s", "label", key->label ? key->label : "none");
    output_line(output, "%-20s %s", "id", id && *id ? id : "none");
    output_line(output, "%-20s %s", "kind", kind(key, text));
    output_line(output, "%-20s %s", "fingerprint", fingerprint);
    output_line(output, "%-20s %s", "public half", key->public_key ? "an object of its own" : "no object of its own");
    print_flags(output, key);
    output_line(output, "%-20s %s", "mechanisms", allowed);
    cJSON_AddItemToObject(object, "key", shown);
    output_result(output, "key show", object);
}

static enum tt_status show(struct output *output, const struct provision_options *options, const char *uri,
                           struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    enum tt_status status = provision_open(options, uri, false, &token, err);
    if (status == TT_OK)
        status = tt_key_find(token.session, token.uri, &key, err);
    if (status == TT_OK)
        print(output, &token, &key);
    return status;
}

static enum tt_status run_show(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"key show", "URI",
                                           "Shows everything that the token tells of a private key. Whether it can "
                                           "serve, traintoken key check says.",
                                           1};
    struct provision_options options = PROVISION_OPTIONS_INIT;
    const struct cli_option own[] = {PROVISION_OPTION_ROWS(options), {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return show(output, &options, uri, err);
}

const struct command command_key_show = {"key show", "show everything about a key", run_show};
