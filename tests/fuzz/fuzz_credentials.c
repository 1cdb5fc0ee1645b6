/* Configuration files of docker and podman, contexts, and what a credential helper answers. */
#include <stdint.h>
#include <string.h>

#include "fuzz_folder.h"
#include "image/credentials.h"
#include "image/docker_config.h"
#include "image/docker_endpoint.h"
#include "short_memory.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A header can be made of whatever was found. */
static void use(struct tt_credentials *credentials, const struct tt_registry_place *place)
{
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    if (credentials->password && credentials->identity_token)
        abort();
    if (credentials->password && !credentials->username)
        abort();
    if (tt_credentials_header(credentials, place, &header, NULL) != TT_OK || header->length >= header->capacity ||
        strlen((const char *)header->data) != header->length)
        abort();
    tt_credentials_clear(credentials);
}

static void try_config(const uint8_t *data, size_t size, const struct tt_registry_place *place)
{
    cJSON *root TT_CLEANUP(tt_docker_config_free_cleanup) = NULL;
    if (tt_json_parse((const char *)data, size, 10000, "fuzz", &root, NULL) != TT_OK)
        return;
    /* No input may run programs here. */
    cJSON_DeleteItemFromObjectCaseSensitive(root, "credsStore");
    cJSON_DeleteItemFromObjectCaseSensitive(root, "credHelpers");
    for (int by_path = 0; by_path < 2; by_path++) {
        struct tt_credentials credentials = {0};
        if (tt_credentials_of(root, "file", by_path, place, &credentials, NULL) == TT_OK)
            use(&credentials, place);
    }
}

/* As files of the station's: docker's configuration, podman's, and a context. */

static void write_files(const uint8_t *data, size_t size)
{
    cJSON *root TT_CLEANUP(tt_docker_config_free_cleanup) = NULL;
    char *safe = NULL;
    if (tt_json_parse((const char *)data, size, 100000, "fuzz", &root, NULL) == TT_OK && cJSON_IsObject(root)) {
        cJSON_DeleteItemFromObjectCaseSensitive(root, "credsStore");
        cJSON_DeleteItemFromObjectCaseSensitive(root, "credHelpers");
        safe = cJSON_PrintUnformatted(root);
    }
    const void *text = safe ? (const void *)safe : data;
    size_t length = safe ? strlen(safe) : size;
    if (!safe && memmem(data, size, "cred", 4)) /* a reader that differs from ours would run programs */
        length = 0;
    fuzz_write("home/.docker/config.json", text, length);
    fuzz_write("home/.config/containers/auth.json", text, length);
    fuzz_write("run/containers/auth.json", length % 2 ? "{}" : text, length % 2 ? 2 : length);
    /* The context is called "c". */
    fuzz_write("home/.docker/contexts/meta/2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6/meta.json",
               data, size);
    if (size % 4 == 0)
        fuzz_write("home/.docker/contexts/tls/2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6/docker/"
                   "ca.pem",
                   data, size);
    fuzz_empty("run/containers");
    if (size % 3 == 0)
        fuzz_write("run/containers/auth.json", text, length);
    free(safe);
}

static enum tt_status find_login(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)size;
    struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
    struct tt_credentials credentials = {0};
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_registry_place_of("reg.example:5000/team/train", &place, err);
    if (status == TT_OK)
        status = tt_credentials_find(&place, &credentials, err);
    if (status == TT_OK)
        status = tt_credentials_header(&credentials, &place, &header, err);
    tt_credentials_clear(&credentials);
    return status;
}

static enum tt_status find_engine(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)size;
    struct tt_docker_endpoint endpoint = {0};
    enum tt_status status = tt_docker_endpoint_find(&endpoint, err);
    if (status == TT_OK && !endpoint.name)
        abort();
    tt_docker_endpoint_clear(&endpoint);
    return status;
}

static void use_setting(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

/* What the environment may say, one after the other: an address that the input is, and what the files say. */
static void find_everything(const uint8_t *data, size_t size)
{
    char *address = strndup((const char *)data, size < 400 ? size : 400);
    char *home = fuzz_path("home");
    char *run = fuzz_path("run");
    char *named = fuzz_path("home/.docker/config.json");
    use_setting("HOME", size % 23 ? home : NULL); /* else the one of the user data base */
    use_setting("XDG_RUNTIME_DIR", size % 5 ? run : NULL);
    use_setting("REGISTRY_AUTH_FILE", size % 7 ? NULL : named);
    use_setting("DOCKER_CONFIG", size % 19 ? NULL : run);
    use_setting("DOCKER_HOST", address);
    use_setting("DOCKER_CONTEXT", NULL);
    use_setting("DOCKER_TLS", size % 2 ? "1" : NULL);
    use_setting("DOCKER_TLS_VERIFY", size % 3 ? NULL : "1");
    use_setting("DOCKER_CERT_PATH", size % 11 ? NULL : home);
    use_setting("DOCKER_CLIENT_TIMEOUT", size % 13 ? NULL : address);
    short_memory_try(data, size, find_login);
    short_memory_try(data, size, find_engine);
    use_setting("DOCKER_HOST", NULL);
    short_memory_try(data, size, find_engine);
    use_setting("DOCKER_CONTEXT", size % 17 ? "c" : "no such");
    short_memory_try(data, size, find_engine);
    free(address);
    free(home);
    free(run);
    free(named);
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_secret *answer TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_credentials credentials = {0};
    enum tt_status status = tt_secret_new(size + 1, &answer, err);
    if (status != TT_OK)
        return status;
    memcpy(answer->data, data, size);
    answer->length = size;
    status = tt_credentials_answer(answer, "fuzz", &credentials, err);
    tt_credentials_clear(&credentials);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"debian", "reg.example:5000/team/train"};
    struct tt_buffer meta TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_secret *answer TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_credentials credentials = {0};
    char *host TT_CLEANUP(tt_free_cleanup) = NULL;
    bool skip_verify = false;
    if (tt_buffer_append(&meta, data, size, NULL) != TT_OK || tt_secret_new(size + 1, &answer, NULL) != TT_OK)
        return 0;
    memcpy(answer->data, data, size);
    answer->length = size;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
        if (tt_registry_place_of(names[i], &place, NULL) != TT_OK)
            return 0;
        try_config(data, size, &place);
        if (tt_credentials_answer(answer, "fuzz", &credentials, NULL) == TT_OK)
            use(&credentials, &place);
    }
    setenv("PATH", "/nonexistent", 1); /* and if one did: there is none */
    write_files(data, size);
    find_everything(data, size);
    short_memory_try(data, size, read_again);
    if (tt_docker_context_parse(&meta, "fuzz", &host, &skip_verify, NULL) == TT_OK && !host)
        abort();
    return 0;
}
