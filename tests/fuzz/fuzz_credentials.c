/* Configuration files of docker and podman, contexts, and what a credential helper answers. */
#include <stdint.h>
#include <string.h>

#include "image/credentials.h"
#include "image/docker_config.h"
#include "image/docker_endpoint.h"
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
    if (tt_docker_context_parse(&meta, "fuzz", &host, &skip_verify, NULL) == TT_OK && !host)
        abort();
    return 0;
}
