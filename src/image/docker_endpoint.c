#include "image/docker_endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/digest.h"
#include "image/docker_config.h"
#include "json/json.h"

enum { META_LIMIT = 1024 * 1024, META_VALUES = 10000, DEFAULT_PATIENCE = 60 };

static const char DEFAULT_SOCKET[] = "/var/run/docker.sock";
static const char SYSTEM_PODMAN_SOCKET[] = "/run/podman/podman.sock";

void tt_docker_endpoint_clear(struct tt_docker_endpoint *endpoint)
{
    free(endpoint->socket);
    free(endpoint->host);
    free(endpoint->ca_file);
    free(endpoint->certificate_file);
    free(endpoint->key_file);
    free(endpoint->name);
    *endpoint = (struct tt_docker_endpoint){0};
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool is_there(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 || errno == EACCES;
}

/* Addresses. */

static enum tt_status no_memory_unless(bool good, struct tt_error *err)
{
    return good ? TT_OK : tt_error_memory(err);
}

static enum tt_status use_socket(const char *path, struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    endpoint->tls = endpoint->tls_verify = false; /* settings for another day */
    endpoint->socket = strdup(path);
    endpoint->name = tt_text_format("unix://%s", path);
    return no_memory_unless(endpoint->socket && endpoint->name, err);
}

/* HOST, HOST:PORT, IPv6 in brackets; nothing that would mean something else in a URL. */
static bool is_address(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._[]:";
    size_t length = strlen(text);
    return length > 0 && length < 300 && strspn(text, allowed) == length && text[0] != ':';
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "localhost", 9) == 0 || strncmp(address, "127.", 4) == 0 ||
           strncmp(address, "[::1]", 5) == 0;
}

static enum tt_status use_tcp(const char *text, struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    size_t length = strlen(text);
    char *address TT_CLEANUP(tt_free_cleanup) =
        strndup(text, length > 0 && text[length - 1] == '/' ? length - 1 : length);
    if (!address)
        return tt_error_memory(err);
    if (!is_address(address))
        return tt_error_set(err, TT_USAGE, "'tcp://%s' is not an address of a container engine: write tcp://HOST:PORT",
                            text);
    const char *colon = strrchr(address, ':');
    bool has_port = colon && strspn(colon + 1, "0123456789") == strlen(colon + 1) && colon[1];
    if (strchr(address, '['))
        has_port = has_port && colon > strchr(address, '[') && colon[-1] == ']';
    endpoint->host = has_port ? strdup(address) : tt_text_format("%s:%d", address, endpoint->tls ? 2376 : 2375);
    endpoint->name = endpoint->host ? tt_text_format("tcp://%s", endpoint->host) : NULL;
    if (!endpoint->tls && !is_loopback(address))
        tt_log(TT_LOG_WARNING,
               "the connection to the container engine at tcp://%s is neither encrypted nor authenticated; set "
               "DOCKER_TLS_VERIFY and DOCKER_CERT_PATH",
               address);
    else if (!endpoint->tls_verify && !is_loopback(address))
        tt_log(TT_LOG_WARNING, "the certificate of the container engine at tcp://%s is not checked", address);
    return no_memory_unless(endpoint->host && endpoint->name, err);
}

static enum tt_status use_address(const char *text, const char *origin, struct tt_docker_endpoint *endpoint,
                                  struct tt_error *err)
{
    if (strncmp(text, "unix://", 7) == 0 && text[7] == '/')
        return use_socket(text + 7, endpoint, err);
    if (strncmp(text, "tcp://", 6) == 0)
        return use_tcp(text + 6, endpoint, err);
    if (strncmp(text, "ssh://", 6) == 0)
        return tt_error_set(err, TT_USAGE,
                            "%s names '%s', which cannot be used: forward the engine's socket with 'ssh -N -L "
                            "/SOME/SOCKET:/var/run/docker.sock HOST' and set DOCKER_HOST=unix:///SOME/SOCKET",
                            origin, text);
    return tt_error_set(err, TT_USAGE, "%s names '%s', which cannot be used: write unix:///PATH or tcp://HOST:PORT",
                        origin, text);
}

/* Certificates: ca.pem, cert.pem and key.pem, those that are there. */

static enum tt_status use_pem(const char *folder, const char *name, char **target, struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", folder, name);
    if (!path)
        return tt_error_memory(err);
    if (is_there(path))
        *target = TT_TAKE(path);
    return TT_OK;
}

static enum tt_status use_certificates(const char *folder, struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    enum tt_status status = use_pem(folder, "ca.pem", &endpoint->ca_file, err);
    if (status == TT_OK)
        status = use_pem(folder, "cert.pem", &endpoint->certificate_file, err);
    if (status == TT_OK)
        status = use_pem(folder, "key.pem", &endpoint->key_file, err);
    if (status != TT_OK)
        return status;
    if (!endpoint->certificate_file != !endpoint->key_file)
        return tt_error_set(err, TT_STORE, "of cert.pem and key.pem, only one is in %s", folder);
    return TT_OK;
}

static enum tt_status from_environment(const char *address, struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    endpoint->tls_verify = setting("DOCKER_TLS_VERIFY");
    endpoint->tls = endpoint->tls_verify || setting("DOCKER_TLS");
    if (endpoint->tls) {
        const char *named = setting("DOCKER_CERT_PATH");
        char *folder TT_CLEANUP(tt_free_cleanup) = named ? strdup(named) : tt_docker_config_folder();
        enum tt_status status = folder ? use_certificates(folder, endpoint, err) : TT_OK;
        if (status != TT_OK)
            return status;
    }
    return use_address(address, "DOCKER_HOST", endpoint, err);
}

/* Contexts. */

static enum tt_status context_of_config(const char *folder, char **ret_context, struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/config.json", folder);
    cJSON *root TT_CLEANUP(tt_docker_config_free_cleanup) = NULL;
    if (!path)
        return tt_error_memory(err);
    enum tt_status status = tt_docker_config_read(path, &root, err);
    const cJSON *current = cJSON_GetObjectItemCaseSensitive(root, "currentContext");
    if (status != TT_OK || !cJSON_IsString(current) || !current->valuestring[0])
        return status;
    *ret_context = strdup(current->valuestring);
    return no_memory_unless(*ret_context, err);
}

enum tt_status tt_docker_context_parse(const struct tt_buffer *meta, const char *context, char **ret_host,
                                       bool *ret_skip_verify, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    if (tt_json_parse((const char *)meta->data, meta->length, META_VALUES, "meta.json", &root, NULL) != TT_OK)
        return tt_error_set(err, TT_STORE, "docker's context '%s' is not JSON", context);
    const cJSON *endpoints = cJSON_GetObjectItemCaseSensitive(root, "Endpoints");
    const cJSON *docker = cJSON_GetObjectItemCaseSensitive(endpoints, "docker");
    const cJSON *host = cJSON_GetObjectItemCaseSensitive(docker, "Host");
    if (!cJSON_IsString(host) || !host->valuestring[0])
        return tt_error_set(err, TT_STORE, "docker's context '%s' names no container engine", context);
    char *copy = strdup(host->valuestring);
    if (!copy)
        return tt_error_memory(err);
    *ret_skip_verify = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(docker, "SkipTLSVerify"));
    *ret_host = copy;
    return TT_OK;
}

static enum tt_status use_context(const char *folder, const char *context, struct tt_docker_endpoint *endpoint,
                                  struct tt_error *err)
{
    uint8_t digest[TT_SHA256_SIZE];
    char name[2 * TT_SHA256_SIZE + 1]; /* contexts lie in folders that are called by the SHA-256 of their names */
    enum tt_status status = tt_digest_once(TT_SHA256, context, strlen(context), digest, err);
    if (status != TT_OK)
        return status;
    tt_hex_encode(digest, sizeof digest, name);
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/contexts/meta/%s/meta.json", folder, name);
    char *certificates TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/contexts/tls/%s/docker", folder, name);
    char *origin TT_CLEANUP(tt_free_cleanup) = tt_text_format("docker's context '%s'", context);
    char *address TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_buffer meta TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    bool skip_verify = false;
    if (!path || !certificates || !origin)
        return tt_error_memory(err);
    if (tt_file_read(AT_FDCWD, path, META_LIMIT, &meta, NULL) != TT_OK)
        return tt_error_set(err, TT_STORE,
                            "there is no docker context '%s' in %s; see 'docker context ls', or name the engine in "
                            "DOCKER_HOST",
                            context, folder);
    status = tt_docker_context_parse(&meta, context, &address, &skip_verify, err);
    if (status == TT_OK)
        status = use_certificates(certificates, endpoint, err);
    if (status != TT_OK)
        return status;
    endpoint->tls = skip_verify || endpoint->ca_file || endpoint->certificate_file;
    endpoint->tls_verify = endpoint->tls && !skip_verify;
    return use_address(address, origin, endpoint, err);
}

static enum tt_status from_context(struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    const char *named = setting("DOCKER_CONTEXT");
    char *folder TT_CLEANUP(tt_free_cleanup) = tt_docker_config_folder();
    char *context TT_CLEANUP(tt_free_cleanup) = named ? strdup(named) : NULL;
    enum tt_status status = TT_OK;
    if (folder && !named)
        status = context_of_config(folder, &context, err);
    if (status != TT_OK || !context || strcmp(context, "default") == 0)
        return status;
    if (!folder)
        return tt_error_set(err, TT_STORE,
                            "DOCKER_CONTEXT is set, but there is no home folder to look for contexts in");
    return use_context(folder, context, endpoint, err);
}

/* The usual sockets. */

static enum tt_status from_usual_places(struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    const char *runtime = setting("XDG_RUNTIME_DIR");
    char *podman TT_CLEANUP(tt_free_cleanup) = runtime ? tt_text_format("%s/podman/podman.sock", runtime) : NULL;
    const char *places[] = {DEFAULT_SOCKET, podman, SYSTEM_PODMAN_SOCKET};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (places[i] && is_there(places[i]))
            return use_socket(places[i], endpoint, err);
    return tt_error_set(err, TT_STORE,
                        "no container engine was found: there is no %s%s%s and no %s; start Docker or Podman's "
                        "service, or name the engine in DOCKER_HOST (unix:///PATH or tcp://HOST:PORT)",
                        DEFAULT_SOCKET, podman ? ", no " : "", podman ? podman : "", SYSTEM_PODMAN_SOCKET);
}

static enum tt_status take_patience(struct tt_docker_endpoint *endpoint, struct tt_error *err)
{
    const char *text = setting("DOCKER_CLIENT_TIMEOUT");
    endpoint->patience_seconds = DEFAULT_PATIENCE;
    if (!text)
        return TT_OK;
    size_t length = strlen(text);
    unsigned long seconds = strtoul(text, NULL, 10);
    if (strspn(text, "0123456789") != length || length > 6 || seconds == 0)
        return tt_error_set(err, TT_USAGE, "DOCKER_CLIENT_TIMEOUT takes a number of seconds, not '%s'", text);
    endpoint->patience_seconds = (unsigned)seconds;
    return TT_OK;
}

enum tt_status tt_docker_endpoint_find(struct tt_docker_endpoint *ret_endpoint, struct tt_error *err)
{
    struct tt_docker_endpoint endpoint TT_CLEANUP(tt_docker_endpoint_clear) = {0};
    const char *address = setting("DOCKER_HOST");
    enum tt_status status = take_patience(&endpoint, err);
    if (status == TT_OK)
        status = address ? from_environment(address, &endpoint, err) : from_context(&endpoint, err);
    if (status == TT_OK && !endpoint.name)
        status = from_usual_places(&endpoint, err);
    if (status != TT_OK)
        return status;
    *ret_endpoint = endpoint;
    endpoint = (struct tt_docker_endpoint){0};
    return TT_OK;
}
