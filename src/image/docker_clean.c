#include <string.h>
#include <time.h>

#include "base/log.h"
#include "image/docker.h"
#include "json/json.h"

/* One look through an engine. */
struct cleaning {
    struct tt_docker_engine *engine;
    bool dry_run;
    tt_leftover_sink sink;
    void *user;
    size_t failures;
};

static enum tt_status list(struct tt_docker_engine *engine, const char *path, const char *filter, cJSON **ret_list,
                           struct tt_error *err)
{
    struct tt_buffer whole TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *found TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_docker_path(&whole, err, "%p?all=1&filters=%s", path, filter);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)whole.data};
    status = tt_docker_call(engine, &request, &found, NULL, err);
    if (status != TT_OK)
        return status;
    if (!cJSON_IsArray(found) || cJSON_GetArraySize(found) > DOCKER_LIST_LIMIT)
        return tt_error_set(err, TT_STORE, "%s has no list of its %s, or one of more than %d", tt_docker_name(engine),
                            path, DOCKER_LIST_LIMIT);
    *ret_list = TT_TAKE(found);
    return TT_OK;
}

enum tt_status docker_untagged_images(struct tt_docker_engine *engine, cJSON **ret_images, struct tt_error *err)
{
    return list(engine, "/images/json", "{\"dangling\":[\"true\"]}", ret_images, err);
}

/* Seconds since something in a list was made. */
static int64_t age_of(const cJSON *item)
{
    int64_t now = (int64_t)time(NULL);
    int64_t created = now;
    (void)tt_json_integer(cJSON_GetObjectItemCaseSensitive(item, "Created"), 0, now, &created);
    return now - created;
}

static bool is_left_over(struct cleaning *cleaning, const char *owner, const cJSON *item)
{
    bool lives = true;
    if (!tt_docker_owner_is_ours(owner))
        return false;
    return tt_docker_owner_lives(cleaning->engine, owner, age_of(item), &lives, NULL) == TT_OK && !lives;
}

static void tell(const struct cleaning *cleaning, const char *what, const char *name, const char *says)
{
    tt_log(TT_LOG_INFO, "a run that was ended has left the %s %s: it %s", what, name, says);
    if (cleaning->sink)
        cleaning->sink(cleaning->user, what, name, says);
}

static void tell_failure(struct cleaning *cleaning, const char *what, const char *name, const struct tt_error *failure)
{
    cleaning->failures++;
    tt_log(TT_LOG_WARNING, "the %s %.80s could not be removed from %s: %s", what, name,
           tt_docker_name(cleaning->engine), failure->message);
}

static const char *container_says(const cJSON *container)
{
    const char *purpose = docker_text(cJSON_GetObjectItemCaseSensitive(container, "Labels"), TT_DOCKER_LABEL);
    if (strcmp(purpose, "execute") == 0)
        return "holds a train that was run, and its results";
    return strcmp(purpose, "read") == 0 ? "was to be read from" : "was to become a new state of a train";
}

static void clean_container(struct cleaning *cleaning, const cJSON *container)
{
    const char *name = docker_container_name(container);
    struct tt_error failure = TT_ERROR_INIT;
    if (!is_left_over(cleaning, name, container))
        return;
    tell(cleaning, "container", name, container_says(container));
    if (!cleaning->dry_run && docker_delete_container(cleaning->engine, name, &failure) != TT_OK)
        tell_failure(cleaning, "container", name, &failure);
}

static enum tt_status clean_containers(struct cleaning *cleaning, struct tt_error *err)
{
    cJSON *containers TT_CLEANUP(tt_json_cleanup) = NULL;
    const cJSON *container = NULL;
    enum tt_status status = list(cleaning->engine, "/containers/json", "{\"name\":[\"traintoken\"]}", &containers, err);
    cJSON_ArrayForEach(container, containers) clean_container(cleaning, container);
    return status;
}

static bool has_any(const cJSON *facts, const char *member)
{
    return cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(facts, member)) > 0;
}

/* An encrypted state of a train that had a tag once is an old state, not what a killed run left. */
static bool was_visible(const cJSON *facts)
{
    const char *time_of_tag = docker_text(cJSON_GetObjectItemCaseSensitive(facts, "Metadata"), "LastTagTime");
    return time_of_tag[0] && strncmp(time_of_tag, "0001-", 5) != 0;
}

/* Whether the image has a name, or came from a registry: then its comment is not to be believed. */
static enum tt_status has_name(const struct cleaning *cleaning, const char *id, bool *ret_has, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = docker_inspect_image(cleaning->engine, id, &facts, err);
    *ret_has = has_any(facts, "RepoTags") || has_any(facts, "RepoDigests");
    return status;
}

/* What ran was committed by somebody else on top of what was decrypted here, had a tag and lost it to what the post-run
 * made of it: only a post-run that died leaves that. What something still uses is left to whoever does, as is what was
 * made of a foreign image with a comment like ours. */
static enum tt_status clean_executed(struct cleaning *cleaning, const char *id, struct tt_error *err)
{
    struct docker_chain chain;
    bool is_foreign = false;
    enum tt_status status = docker_find_chain(cleaning->engine, id, &chain, err);
    if (status == TT_OK && chain.is_plaintext)
        status = has_name(cleaning, chain.ids[chain.count - 1], &is_foreign, err);
    for (size_t i = 0; status == TT_OK && chain.is_plaintext && !is_foreign && i < chain.count; i++) {
        struct tt_error failure = TT_ERROR_INIT;
        int code = 0;
        if (!cleaning->dry_run && docker_delete_image(cleaning->engine, chain.ids[i], &code, &failure) != TT_OK) {
            if (code != 409)
                tell_failure(cleaning, "decrypted image", chain.ids[i], &failure);
            return TT_OK;
        }
        tell(cleaning, "image", chain.ids[i], "holds a decrypted train");
    }
    return status;
}

static enum tt_status clean_image(struct cleaning *cleaning, const cJSON *image, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    char id[DOCKER_ID_TEXT];
    struct tt_error failure = TT_ERROR_INIT;
    enum tt_status status = docker_id(image, "Id", id, err);
    if (status == TT_OK)
        status = docker_inspect_image(cleaning->engine, id, &facts, err);
    if (status != TT_OK || !facts || has_any(facts, "RepoTags") || has_any(facts, "RepoDigests"))
        return status;
    if (!tt_docker_owner_is_ours(docker_text(facts, "Comment")) && was_visible(facts))
        return clean_executed(cleaning, id, err);
    if (!is_left_over(cleaning, docker_text(facts, "Comment"), image))
        return TT_OK;
    bool is_plaintext = docker_is_plaintext(facts);
    if (!is_plaintext && was_visible(facts))
        return TT_OK;
    tell(cleaning, "image", id, is_plaintext ? "holds a decrypted train" : "never got a name");
    if (!cleaning->dry_run && docker_delete_image(cleaning->engine, id, NULL, &failure) != TT_OK)
        tell_failure(cleaning, is_plaintext ? "decrypted image" : "image", id, &failure);
    return TT_OK;
}

static enum tt_status clean_images(struct cleaning *cleaning, struct tt_error *err)
{
    cJSON *images TT_CLEANUP(tt_json_cleanup) = NULL;
    const cJSON *image = NULL;
    enum tt_status status = docker_untagged_images(cleaning->engine, &images, err);
    cJSON_ArrayForEach(image, images)
    {
        status = clean_image(cleaning, image, err);
        if (status != TT_OK)
            return status;
    }
    return status;
}

/* Containers first: an image stays as long as one is made of it. A failure to remove something keeps nobody from
 * working, but who asked for nothing else hears of it. */
enum tt_status docker_clean(const struct tt_reference *reference, bool dry_run, tt_leftover_sink sink, void *user,
                            struct tt_error *err)
{
    struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
    (void)reference;
    enum tt_status status = tt_docker_connect(&engine, err);
    struct cleaning cleaning = {.engine = engine, .dry_run = dry_run, .sink = sink, .user = user};
    if (status == TT_OK)
        status = clean_containers(&cleaning, err);
    if (status == TT_OK)
        status = clean_images(&cleaning, err);
    if (status == TT_OK && sink && cleaning.failures > 0)
        return tt_error_set(err, TT_STORE, "%zu leftovers could not be removed", cleaning.failures);
    return status;
}
