#include "image/docker_container.h"

#include <string.h>

#include "base/log.h"
#include "image/docker.h"
#include "json/json.h"

/* Engines want to know what a container runs even if it never does. */
static const char NO_COMMAND[] = "traintoken-never-started";

static const char *purpose_name(enum tt_docker_purpose purpose)
{
    return purpose == TT_DOCKER_READ ? "read" : "execute";
}

/* The object in a member, made where it is missing. */
static cJSON *object_in(cJSON *parent, const char *member)
{
    cJSON *object = cJSON_GetObjectItemCaseSensitive(parent, member);
    if (cJSON_IsObject(object))
        return object;
    cJSON_DeleteItemFromObjectCaseSensitive(parent, member);
    return cJSON_AddObjectToObject(parent, member);
}

static bool put_text(cJSON *object, const char *member, const char *text)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, member);
    return cJSON_AddStringToObject(object, member, text) != NULL;
}

static enum tt_status complete(enum tt_docker_purpose purpose, cJSON *body, struct tt_error *err)
{
    bool good = true;
    if (purpose != TT_DOCKER_CHANGE)
        good = put_text(object_in(body, "Labels"), TT_DOCKER_LABEL, purpose_name(purpose));
    if (purpose != TT_DOCKER_EXECUTE)
        good = good && put_text(object_in(body, "HostConfig"), "NetworkMode", "none");
    return good ? TT_OK : tt_error_memory(err);
}

enum tt_status docker_delete_container(struct tt_docker_engine *engine, const char *name, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    int code = 0;
    enum tt_status status = tt_docker_path(&path, err, "/containers/%s?force=1&v=1", name);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "DELETE", .path = (const char *)path.data, .patient = true};
    status = tt_docker_call(engine, &request, NULL, &code, err);
    return code == 404 || code == 409 ? TT_OK : status;
}

static enum tt_status create(struct tt_docker_engine *engine, const char *name, const cJSON *body, char **ret_id,
                             int *ret_code, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *reply TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_docker_path(&path, err, "/containers/create?name=%s", name);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {
        .method = "POST", .path = (const char *)path.data, .body = body, .patient = true};
    status = tt_docker_call(engine, &request, &reply, ret_code, err);
    if (status != TT_OK)
        return status;
    const char *id = docker_text(reply, "Id");
    if (strlen(id) != 64 || strspn(id, "0123456789abcdef") != 64)
        return tt_error_set(err, TT_STORE, "%s made a container and did not say which", tt_docker_name(engine));
    *ret_id = strdup(id);
    return *ret_id ? TT_OK : tt_error_memory(err);
}

/* Whether the image says what to run. */
static enum tt_status has_command(struct tt_docker_engine *engine, const cJSON *config, bool *ret_has,
                                  struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = docker_inspect_image(engine, docker_text(config, "Image"), &facts, err);
    const cJSON *image = cJSON_GetObjectItemCaseSensitive(facts, "Config");
    *ret_has = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(image, "Cmd")) > 0 ||
               cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(image, "Entrypoint")) > 0;
    return status;
}

/* After a refusal: whether another try can be made, with a command that is never run. */
static enum tt_status give_command(struct tt_docker_engine *engine, cJSON *body, bool *ret_given, struct tt_error *err)
{
    bool has = false;
    enum tt_status status = has_command(engine, body, &has, err);
    if (status != TT_OK || has)
        return status;
    const char *const words[] = {NO_COMMAND};
    cJSON *command = cJSON_CreateStringArray(words, 1);
    cJSON_DeleteItemFromObjectCaseSensitive(body, "Entrypoint");
    if (!tt_json_add(body, "Entrypoint", command))
        return tt_error_memory(err);
    *ret_given = true;
    return TT_OK;
}

enum tt_status tt_docker_container_create(struct tt_docker_engine *engine, enum tt_docker_purpose purpose,
                                          const cJSON *config, char **ret_id, struct tt_error *err)
{
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    cJSON *body TT_CLEANUP(tt_json_cleanup) = cJSON_Duplicate(config, true);
    int code = 0;
    bool again = false;
    enum tt_status status = body ? complete(purpose, body, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = tt_docker_owner_name(&name, err);
    if (status != TT_OK)
        return status;
    status = create(engine, name, body, ret_id, &code, err);
    if (status != TT_OK && (code == 400 || code == 500) && purpose != TT_DOCKER_EXECUTE &&
        give_command(engine, body, &again, NULL) == TT_OK && again)
        status = create(engine, name, body, ret_id, &code, err);
    /* Whether an engine that was not heard of any more (code 0) has made it is not known. */
    if (status != TT_OK && code < 300)
        (void)!docker_delete_container(engine, name, NULL);
    return status;
}

void tt_docker_container_remove(struct tt_docker_engine *engine, char *id)
{
    struct tt_error err = TT_ERROR_INIT;
    if (id && docker_delete_container(engine, id, &err) != TT_OK)
        tt_log(TT_LOG_WARNING,
               "the container %.12s could not be removed from %s; the next start or 'traintoken clean' does it: %s", id,
               tt_docker_name(engine), err.message);
    free(id);
}
