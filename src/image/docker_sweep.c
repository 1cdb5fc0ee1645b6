#include <string.h>

#include "base/text.h"
#include "image/docker.h"
#include "json/json.h"

bool docker_is_plaintext(const cJSON *facts)
{
    const char *comment = docker_text(facts, "Comment");
    size_t length = strlen(comment);
    size_t mark = sizeof DOCKER_PLAINTEXT - 1;
    return tt_docker_owner_is_ours(comment) && length > mark && strcmp(comment + length - mark, DOCKER_PLAINTEXT) == 0;
}

enum tt_status docker_find_chain(struct tt_docker_engine *engine, const char *id, struct docker_chain *chain,
                                 struct tt_error *err)
{
    snprintf(chain->ids[0], DOCKER_ID_TEXT, "%s", id);
    chain->count = 1;
    chain->is_plaintext = false;
    for (size_t i = 0; i < DOCKER_CHAIN_LIMIT; i++) {
        cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
        enum tt_status status = docker_inspect_image(engine, chain->ids[i], &facts, err);
        if (status != TT_OK)
            return status;
        /* Not the first one: Podman 5 hands a comment on to what is made of the image. */
        if (facts && docker_is_plaintext(facts)) {
            chain->is_plaintext = true;
            chain->count = i + 1;
        }
        if (!facts || i + 1 == DOCKER_CHAIN_LIMIT || docker_id(facts, "Parent", chain->ids[i + 1], NULL) != TT_OK)
            break;
    }
    return TT_OK;
}

static enum tt_status find_tag(struct tt_docker_engine *engine, const char *id, char **ret_tag, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = docker_inspect_image(engine, id, &facts, err);
    const cJSON *tag = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(facts, "RepoTags"), 0);
    *ret_tag = NULL;
    if (status != TT_OK || !cJSON_IsString(tag))
        return status;
    *ret_tag = strdup(tag->valuestring);
    return *ret_tag ? TT_OK : tt_error_memory(err);
}

/* An engine removes an image together with its only tag: who asks by id must look first. */
enum tt_status docker_delete_image(struct tt_docker_engine *engine, const char *id, int *ret_code, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    char *tag TT_CLEANUP(tt_free_cleanup) = NULL;
    int code = 0;
    enum tt_status status = find_tag(engine, id, &tag, err);
    if (status == TT_OK && tag) {
        if (ret_code)
            *ret_code = 409;
        return tt_error_set(err, TT_STORE, "the tag '%s' names the image", tag);
    }
    if (status == TT_OK)
        status = tt_docker_path(&path, err, "/images/%s?noprune=1", id);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "DELETE", .path = (const char *)path.data, .patient = true};
    status = tt_docker_call(engine, &request, NULL, &code, err);
    if (ret_code)
        *ret_code = code;
    return status != TT_OK && code == 404 ? TT_OK : status;
}

/* Containers of the image and of those that were made of it. Podman knows bare ids only here. */
static enum tt_status containers_of(struct tt_docker_engine *engine, const char *id, cJSON **ret_list,
                                    struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    const char *colon = strchr(id, ':');
    char filter[128];
    snprintf(filter, sizeof filter, "{\"ancestor\":[\"%s\"]}", colon ? colon + 1 : id);
    enum tt_status status = tt_docker_path(&path, err, "/containers/json?all=1&filters=%s", filter);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data};
    return tt_docker_call(engine, &request, ret_list, NULL, err);
}

const char *docker_container_name(const cJSON *container)
{
    const cJSON *name = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(container, "Names"), 0);
    if (!cJSON_IsString(name))
        return docker_text(container, "Id");
    return name->valuestring + (name->valuestring[0] == '/');
}

/* Removes the containers out of which this process itself has read what is swept away now; finds another one. */
static enum tt_status look_through_containers(struct tt_docker_engine *engine, const char *id, bool *ret_removed,
                                              char **ret_other, struct tt_error *err)
{
    cJSON *list TT_CLEANUP(tt_json_cleanup) = NULL;
    const cJSON *container = NULL;
    enum tt_status status = containers_of(engine, id, &list, err);
    cJSON_ArrayForEach(container, list)
    {
        const char *name = docker_container_name(container);
        bool is_self = false;
        if (status == TT_OK)
            status = tt_docker_owner_is_self(name, &is_self, err);
        if (status != TT_OK)
            break;
        if (is_self) {
            status = docker_delete_container(engine, name, err);
            *ret_removed = true;
        } else if (!*ret_other && !(*ret_other = tt_text_format("the container '%s' (docker rm %s)", name, name))) {
            status = tt_error_memory(err);
        }
    }
    return status;
}

static enum tt_status find_user(struct tt_docker_engine *engine, const char *id, bool *ret_retry, char **ret_user,
                                struct tt_error *err)
{
    char *tag TT_CLEANUP(tt_free_cleanup) = NULL;
    char *user TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = find_tag(engine, id, &tag, err);
    if (status == TT_OK && tag)
        user = tt_text_format("the tag '%s' (docker rmi %s)", tag, tag);
    else if (status == TT_OK)
        status = look_through_containers(engine, id, ret_retry, &user, err);
    if (status != TT_OK)
        return status;
    if (!user && !*ret_retry)
        user = tt_text_format("an image that was made of %.19s (docker image ls --all)", id);
    if (!user && !*ret_retry)
        return tt_error_memory(err);
    *ret_user = TT_TAKE(user);
    return TT_OK;
}

static enum tt_status sweep_image(struct tt_docker_engine *engine, const char *id, char **ret_still_used,
                                  struct tt_error *err)
{
    int code = 0;
    bool retry = false;
    enum tt_status status = docker_delete_image(engine, id, &code, err);
    if (status == TT_OK || code != 409)
        return status;
    status = find_user(engine, id, &retry, ret_still_used, err);
    if (status != TT_OK || *ret_still_used)
        return status;
    status = docker_delete_image(engine, id, &code, err);
    return status == TT_OK || code != 409 ? status : find_user(engine, id, &retry, ret_still_used, err);
}

enum tt_status docker_sweep(const struct tt_reference *reference, const char *removed_digest, char **ret_still_used,
                            struct tt_error *err)
{
    struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
    struct docker_chain chain;
    char *used = NULL;
    (void)reference;
    enum tt_status status = tt_docker_connect(&engine, err);
    if (status == TT_OK)
        status = docker_find_chain(engine, removed_digest, &chain, err);
    for (size_t i = 0; status == TT_OK && !used && i < chain.count; i++)
        status = sweep_image(engine, chain.ids[i], &used, err);
    if (status == TT_OK)
        *ret_still_used = used;
    else
        free(used);
    return status;
}
