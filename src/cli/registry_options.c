#include "cli/registry_options.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"

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

static enum tt_status vault_header(const struct registry_options *options, struct tt_secret **ret_header,
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

static enum tt_status central_header(const struct registry_options *options, struct tt_secret **ret_header,
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

enum tt_status registry_options_check(const struct registry_options *options, struct tt_error *err)
{
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

static enum tt_status name_place(const struct registry_options *options, struct tt_enrol_place *place, char **ret_path,
                                 struct tt_error *err)
{
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

enum tt_status registry_place(const struct registry_options *options, struct tt_enrol_place *place, char **ret_path,
                              struct tt_secret **ret_header, struct tt_error *err)
{
    place->server.url = options->vault ? options->vault : options->central;
    place->server.ca_file = options->ca_file;
    place->is_vault = options->vault != NULL;
    place->kv = options->vault_kv;
    place->field = options->vault_field ? options->vault_field : "rsa_station_public_key";
    enum tt_status status = name_place(options, place, ret_path, err);
    if (status == TT_OK)
        status = place->is_vault ? vault_header(options, ret_header, err) : central_header(options, ret_header, err);
    place->server.header = *ret_header;
    return status;
}
