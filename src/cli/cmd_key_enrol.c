#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/provision_command.h"
#include "crypto/public_key.h"
#include "provisioning/enrol.h"

struct enrol_options {
    const char *vault;
    const char *vault_path;
    const char *vault_field;
    int vault_kv;
    const char *central;
    const char *station;
    const char *ca_file;
    const char *token_file;
    const char *robot_file;
    bool replace;
    bool dry_run;
    struct provision_options provision;
};

/* Secrets: from a file or the environment, into secret memory, and out of the environment. */

static enum tt_status finish_secret(struct tt_secret *secret, const char *what, struct tt_error *err)
{
    while (secret->length > 0 && (secret->data[secret->length - 1] == '\n' || secret->data[secret->length - 1] == '\r'))
        secret->length--;
    secret->data[secret->length] = '\0';
    if (!tt_enrol_is_header_text(secret))
        return tt_error_set(err, TT_USAGE, "%s is empty, or not one line of plain text", what);
    return TT_OK;
}

static enum tt_status secret_from_file(const char *path, struct tt_secret **ret_secret, struct tt_error *err)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct stat facts = {0};
    int file TT_CLEANUP(tt_close_cleanup) = open(path, O_RDONLY | O_CLOEXEC);
    enum tt_status status = tt_secret_new(TT_ENROL_SECRET_LIMIT + 1, &secret, err);
    if (status == TT_OK && (file < 0 || fstat(file, &facts) != 0))
        status = tt_error_errno(err, TT_USAGE, "%s cannot be read", path);
    if (status != TT_OK)
        return status;
    if (S_ISREG(facts.st_mode) && (facts.st_mode & (S_IRWXG | S_IRWXO)))
        tt_log(TT_LOG_WARNING, "%s holds a secret, and others than its owner may open it", path);
    for (ssize_t count = 1; count > 0 && secret->length < secret->capacity; secret->length += (size_t)count) {
        do
            count = read(file, secret->data + secret->length, secret->capacity - secret->length);
        while (count < 0 && errno == EINTR);
        if (count < 0)
            return tt_error_errno(err, TT_USAGE, "%s cannot be read", path);
    }
    if (secret->length > TT_ENROL_SECRET_LIMIT)
        return tt_error_set(err, TT_USAGE, "%s is longer than the %d bytes that a secret may have", path,
                            (int)TT_ENROL_SECRET_LIMIT);
    status = finish_secret(secret, path, err);
    if (status == TT_OK)
        *ret_secret = TT_TAKE(secret);
    return status;
}

/* *ret_secret is NULL when the variable is not set or empty. */
static enum tt_status secret_from_environment(const char *name, struct tt_secret **ret_secret, struct tt_error *err)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    char *value = getenv(name);
    size_t length = value ? strlen(value) : 0;
    if (length == 0)
        return TT_OK;
    enum tt_status status = tt_secret_new(TT_ENROL_SECRET_LIMIT + 1, &secret, err);
    if (status != TT_OK)
        return status;
    bool fits = length <= TT_ENROL_SECRET_LIMIT;
    memcpy(secret->data, value, fits ? length : 0);
    secret->length = fits ? length : 0;
    tt_wipe(value, length); /* /proc and a core would show it after unsetenv */
    unsetenv(name);
    status = finish_secret(secret, name, err);
    if (status == TT_OK)
        *ret_secret = TT_TAKE(secret);
    return status;
}

/* "NAME: WORD SECRET" */
static enum tt_status make_header(const char *start, const struct tt_secret *secret, struct tt_secret **ret_header,
                                  struct tt_error *err)
{
    size_t length = strlen(start);
    enum tt_status status = tt_secret_new(length + secret->length + 1, ret_header, err);
    if (status != TT_OK)
        return status;
    memcpy((*ret_header)->data, start, length);
    memcpy((*ret_header)->data + length, secret->data, secret->length);
    (*ret_header)->length = length + secret->length;
    return TT_OK;
}

/* A robot's "id:secret" as HTTP's basic credentials. */
static enum tt_status make_basic(const struct tt_secret *robot, struct tt_secret **ret_header, struct tt_error *err)
{
    struct tt_secret *encoded TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    const char *colon = strchr((const char *)robot->data, ':');
    if (!colon || colon == (const char *)robot->data || !colon[1])
        return tt_error_set(err, TT_USAGE, "the robot's credentials are not an id, a colon and a secret");
    enum tt_status status = tt_secret_new(4 * (robot->length / 3 + 1) + 1, &encoded, err);
    if (status != TT_OK)
        return status;
    encoded->length = (size_t)EVP_EncodeBlock(encoded->data, robot->data, (int)robot->length);
    return make_header("Authorization: Basic ", encoded, ret_header, err);
}

static enum tt_status robot_from_environment(struct tt_secret **ret_robot, struct tt_error *err)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    const char *id = getenv("ROBOT_ID");
    enum tt_status status = secret_from_environment("ROBOT_SECRET", &secret, err);
    if (status != TT_OK || !secret)
        return status;
    if (!id || !*id || strlen(id) > 256 || strchr(id, ':'))
        return tt_error_set(err, TT_USAGE, "ROBOT_SECRET is set, and ROBOT_ID is no id of a robot");
    char *start TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s:", id);
    return start ? make_header(start, secret, ret_robot, err) : tt_error_memory(err);
}

static enum tt_status vault_header(const struct enrol_options *options, struct tt_secret **ret_header,
                                   struct tt_error *err)
{
    struct tt_secret *token TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = options->token_file ? secret_from_file(options->token_file, &token, err)
                                                : secret_from_environment("VAULT_TOKEN", &token, err);
    if (status == TT_OK && !token)
        status =
            tt_error_set(err, TT_USAGE, "no token for Vault: give it in VAULT_TOKEN, or in a file by --token-file");
    return status == TT_OK ? make_header("X-Vault-Token: ", token, ret_header, err) : status;
}

static enum tt_status central_header(const struct enrol_options *options, struct tt_secret **ret_header,
                                     struct tt_error *err)
{
    struct tt_secret *token TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *robot TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = TT_OK;
    if (options->token_file)
        status = secret_from_file(options->token_file, &token, err);
    else if (options->robot_file)
        status = secret_from_file(options->robot_file, &robot, err);
    else
        status = secret_from_environment("CENTRAL_TOKEN", &token, err);
    if (status == TT_OK && !token && !robot)
        status = robot_from_environment(&robot, err);
    if (status != TT_OK)
        return status;
    if (!token && !robot)
        return tt_error_set(err, TT_USAGE,
                            "no credentials for the central service: give a token in CENTRAL_TOKEN or by "
                            "--token-file, or a robot's in ROBOT_ID and ROBOT_SECRET or by --robot-file");
    return token ? make_header("Authorization: Bearer ", token, ret_header, err) : make_basic(robot, ret_header, err);
}

/* The place. */

static enum tt_status check_options(const struct enrol_options *options, struct tt_error *err)
{
    if (!options->vault == !options->central)
        return tt_error_set(err, TT_USAGE, "where to? Give the address of either --vault or --central");
    if (options->central && (options->vault_path || options->vault_field || options->vault_kv))
        return tt_error_set(err, TT_USAGE, "--vault-path, --vault-field and --vault-kv are for --vault");
    if (options->vault && options->robot_file)
        return tt_error_set(err, TT_USAGE, "--robot-file is for --central");
    if (options->token_file && options->robot_file)
        return tt_error_set(err, TT_USAGE, "either --token-file or --robot-file, not both");
    if (options->vault_kv < 0 || options->vault_kv > 2)
        return tt_error_set(err, TT_USAGE, "--vault-kv takes 1 or 2");
    return tt_enrol_url_check(options->vault ? options->vault : options->central, err);
}

static enum tt_status name_place(const struct enrol_options *options, struct tt_enrol_place *place, char **ret_path,
                                 struct tt_error *err)
{
    enum tt_status status = TT_OK;
    if (!options->vault_path)
        status = command_station(options->station, &place->station, err);
    if (status != TT_OK)
        return status;
    if (place->station && (strchr(place->station, '/') || tt_enrol_path_check(place->station, NULL) != TT_OK))
        return tt_error_set(err, TT_USAGE, "'%.100s' cannot be a station's id at a registry", place->station);
    if (!place->is_vault)
        return TT_OK;
    *ret_path = options->vault_path ? strdup(options->vault_path) : tt_text_format("station_pks/%s", place->station);
    if (!*ret_path)
        return tt_error_memory(err);
    place->path = *ret_path;
    return tt_enrol_path_check(place->path, err);
}

/* What it says. */

static void print(const struct output *output, const struct tt_enrol_place *place, const char *fingerprint,
                  const struct tt_enrol_report *report)
{
    if (report->was_there)
        output_line(output, "%s has this key already: %s", place->server.url, fingerprint);
    else
        output_line(output, "%s %s %s%s%s", place->server.url,
                    place->dry_run ? "would get the key" : "has the key now:", fingerprint,
                    report->before[0] ? ", instead of " : "", report->before);
    if (place->dry_run && report->body) {
        output_line(output, "%s %s", report->method, report->url);
        output_line(output, "%s", place->is_vault ? "X-Vault-Token: (not shown)" : "Authorization: (not shown)");
        output_line(output, "Content-Type: application/json");
        output_line(output, "%s", "");
        if (!output->json && !output->quiet) /* longer than a line may be; JSON has no control characters */
            puts(report->body);
    }
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "url", place->server.url);
    output_add_text(object, "station", place->station);
    output_add_text(object, "path", place->path);
    if (place->is_vault)
        output_add_number(object, "kv", (uint64_t)report->kv);
    output_add_text(object, "fingerprint", fingerprint);
    output_add_text(object, "before", report->was_there ? fingerprint : report->before[0] ? report->before : NULL);
    cJSON_AddBoolToObject(object, "written", !report->was_there && !place->dry_run);
    cJSON_AddBoolToObject(object, "dry_run", place->dry_run);
    cJSON *request = report->body ? cJSON_AddObjectToObject(object, "request") : NULL;
    if (request) {
        output_add_text(request, "method", report->method);
        output_add_text(request, "url", report->url);
        output_add_text(request, "body", report->body);
    }
    output_result(output, "key enrol", object);
}

/* Only a key that serves: trains that are sealed for another cannot be opened. */
static enum tt_status open_key(const struct enrol_options *options, const char *uri, struct provision *token,
                               struct tt_key_object *key, struct tt_error *err)
{
    struct tt_key_probe probe = {0};
    enum tt_status status = provision_open(&options->provision, uri, false, token, err);
    if (status == TT_OK)
        status = tt_key_find(token->session, token->uri, key, err);
    if (status == TT_OK)
        status = tt_key_probe(token->session, key, token->pin, &probe, err);
    if (status == TT_OK && !tt_key_probe_is_good(&probe))
        status = tt_error_set(err, TT_TOKEN,
                              "this key cannot serve a station, so it is not enrolled; traintoken key "
                              "check says why");
    return status;
}

static enum tt_status enrol(struct output *output, const struct enrol_options *options, const char *uri,
                            struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_enrol_report report TT_CLEANUP(tt_enrol_report_clear) = {0};
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    char fingerprint[TT_FINGERPRINT_SIZE];
    struct tt_enrol_place place = {
        .server = {.url = options->vault ? options->vault : options->central, .ca_file = options->ca_file},
        .is_vault = options->vault != NULL,
        .kv = options->vault_kv,
        .field = options->vault_field ? options->vault_field : "rsa_station_public_key",
        .replace = options->replace,
        .dry_run = options->dry_run};
    enum tt_status status = name_place(options, &place, &path, err);
    if (status == TT_OK)
        status = place.is_vault ? vault_header(options, &header, err) : central_header(options, &header, err);
    place.server.header = header;
    if (status == TT_OK)
        status = open_key(options, uri, &token, &key, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(key.public_half, fingerprint, err);
    if (status == TT_OK)
        status = tt_enrol(&place, key.public_half, &report, err);
    if (status == TT_OK)
        print(output, &place, fingerprint, &report);
    return status;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key enrol", "URI",
        "Brings the public half of a station's key to where trains' creators look for it: Vault's key-value store or\n"
        "the central service. Nothing is written where it is already; another key is replaced on request only.",
        1};
    struct enrol_options options = {.provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"vault", 0, CLI_TEXT, &options.vault, "URL", "Vault's address; its token is in VAULT_TOKEN"},
        {"vault-path", 0, CLI_TEXT, &options.vault_path, "PATH", "store and secret (default station_pks/STATION)"},
        {"vault-field", 0, CLI_TEXT, &options.vault_field, "NAME", "its field (default rsa_station_public_key)"},
        {"vault-kv", 0, CLI_NUMBER, &options.vault_kv, "N", "the store's version, 1 or 2 (default: ask Vault)"},
        {"central", 0, CLI_TEXT, &options.central, "URL", "the central service's API"},
        {"station", 0, CLI_TEXT, &options.station, "ID", "this station, as the registry names it (STATION_ID)"},
        {"token-file", 0, CLI_TEXT, &options.token_file, "FILE", "the token, instead of VAULT_TOKEN or CENTRAL_TOKEN"},
        {"robot-file", 0, CLI_TEXT, &options.robot_file, "FILE", "a robot's ID:SECRET (ROBOT_ID and ROBOT_SECRET)"},
        {"ca-file", 0, CLI_TEXT, &options.ca_file, "FILE", "certificates of authorities (PEM; default the system's)"},
        {"replace", 0, CLI_FLAG, &options.replace, NULL, "put it in the place of another key"},
        {"dry-run", 'n', CLI_FLAG, &options.dry_run, NULL, "look, and show what would be sent"},
        PROVISION_OPTION_ROWS(options.provision),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    status = check_options(&options, err);
    return status == TT_OK ? enrol(output, &options, uri, err) : status;
}

const struct command command_key_enrol = {"key enrol", "bring the public half to a registry", run};
