#include "cli/command.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/file.h"
#include "crypto/public_key.h"

const struct cli_option *command_common_options(struct output *output, const char **platform)
{
    static struct cli_option options[7];
    static bool help;
    size_t count = 0;
    if (platform)
        options[count++] = (struct cli_option){"platform", 0,         CLI_TEXT,
                                               platform,   "OS/ARCH", "take this platform of an image for several"};
    options[count++] =
        (struct cli_option){"json", 0, CLI_FLAG, &output->json, NULL, "print the result as a JSON object"};
    options[count++] =
        (struct cli_option){"quiet", 'q', CLI_FLAG, &output->quiet, NULL, "print nothing but warnings and errors"};
    options[count++] = (struct cli_option){"verbose",        'v',  CLI_COUNT,
                                           &output->verbose, NULL, "say what is being done (-vv: in detail)"};
    options[count++] = (struct cli_option){"help", 'h', CLI_FLAG, &help, NULL, "show this help"};
    options[count] = (struct cli_option){0};
    return options;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

enum tt_status command_key_source(const struct key_options *options, struct tt_pkcs11_source **ret_source,
                                  struct tt_error *err)
{
    const char *key = options->key ? options->key : environment("PRIVATE_KEY_PATH");
    if (!key)
        return tt_error_set(err, TT_USAGE, "no key is named: give its pkcs11: URI with --key or in PRIVATE_KEY_PATH");
    enum tt_status status = tt_pkcs11_uri_check(key, err);
    if (status != TT_OK)
        return status;
    struct tt_pkcs11_options source = {.uri = key,
                                       .module = options->module ? options->module : environment("TRAINTOKEN_MODULE"),
                                       .loader =
                                           options->loader ? options->loader : environment("TRAINTOKEN_KEY_LOADER"),
                                       .pin_fd = options->pin_fd,
                                       .last_pin_try = options->last_pin_try,
                                       .keep_pin = options->keep_pin,
                                       .may_prompt = true};
    status = tt_pkcs11_source_new(&source, ret_source, err);
    tt_pkcs11_uri_hide_pin((char *)key); /* others can read argv and the environment while we run */
    return status;
}

static void add_known_text(cJSON *object, const char *name, const char *text)
{
    output_add_text(object, name, text && *text ? text : NULL);
}

enum tt_status command_public_key(const char *path, EVP_PKEY **ret_key, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_file_read(AT_FDCWD, path, TT_PUBLIC_KEY_TEXT_LIMIT, &text, err);
    if (status == TT_OK)
        status = tt_public_key_parse(text.data, text.length, path, ret_key, err);
    if (status == TT_OK)
        return TT_OK;
    if (err)
        err->status = TT_USAGE;
    return TT_USAGE;
}

void command_add_key(cJSON *object, const struct tt_pkcs11_source *source, const struct tt_token_use *use)
{
    const struct tt_pkcs11_facts *facts = tt_pkcs11_source_facts(source);
    cJSON *key = cJSON_AddObjectToObject(object, "key");
    add_known_text(key, "uri", facts->uri);
    add_known_text(key, "token", facts->token);
    add_known_text(key, "serial", facts->serial);
    add_known_text(key, "loader", facts->loader);
    add_known_text(key, "fingerprint", use->fingerprint);
    output_add_number(key, "bits", use->bits);
    output_add_token_use(object, use);
}

void command_add_manifests(cJSON *object, const struct tt_train *train, size_t position)
{
    cJSON *manifests = cJSON_AddObjectToObject(object, "manifests");
    output_add_number(manifests, "count", train->manifest_count);
    output_add_text(manifests, "absence", tt_manifest_absence(train, position));
}

enum tt_status command_station(const char *option, const char **ret_station, struct tt_error *err)
{
    const char *station = option ? option : environment("STATION_ID");
    if (!station)
        return tt_error_set(err, TT_USAGE,
                            "no station is named: give its id on the route with --station or in "
                            "STATION_ID");
    *ret_station = station;
    return TT_OK;
}

const char *command_content(const struct tt_content_size *size, char text[64])
{
    char bytes[24];
    snprintf(text, 64, "%zu file%s, %s", size->files, size->files == 1 ? "" : "s", output_bytes(size->bytes, bytes));
    return text;
}
