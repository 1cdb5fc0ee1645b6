#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "image/credentials.h"
#include "image/docker_engine.h"
#include "image/reference.h"
#include "image/registry.h"
#include "json/json.h"

enum { PART_LIMIT = 1024, ID_LIMIT = 64, WORDS_LIMIT = 500, RETRIES = 2, FIRST_PAUSE_SECONDS = 2 };

struct tt_registry_login {
    struct tt_registry_place place;
    struct tt_credentials credentials;
};

void tt_registry_login_free(struct tt_registry_login *login)
{
    if (!login)
        return;
    tt_registry_place_clear(&login->place);
    tt_credentials_clear(&login->credentials);
    free(login);
}

static enum tt_status parse(const char *text, struct tt_reference *ret_reference, struct tt_error *err)
{
    struct tt_reference reference TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(text, &reference, err);
    if (status != TT_OK)
        return status;
    if (reference.kind == TT_REFERENCE_OCI)
        return tt_error_set(err, TT_USAGE,
                            "'%s' lies in a folder, which no container engine fetches into or sends from; use 'skopeo "
                            "copy docker://HOST/NAME:TAG %s', or the two the other way round",
                            text, text);
    *ret_reference = reference;
    reference = (struct tt_reference){0};
    return TT_OK;
}

enum tt_status tt_registry_login_find(const char *reference, struct tt_registry_login **ret_login, struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    struct tt_registry_login *login TT_CLEANUP(tt_registry_login_free_cleanup) = calloc(1, sizeof *login);
    if (!login)
        return tt_error_memory(err);
    enum tt_status status = parse(reference, &parsed, err);
    if (status == TT_OK)
        status = tt_registry_place_of(parsed.place, &login->place, err);
    if (status == TT_OK)
        status = tt_credentials_find(&login->place, &login->credentials, err);
    if (status != TT_OK)
        return status;
    if (login->credentials.origin)
        tt_log(TT_LOG_INFO, "the login for %s is from %s", login->place.host, login->credentials.origin);
    else
        tt_log(TT_LOG_INFO, "there is no login for %s", login->place.host);
    *ret_login = TT_TAKE(login);
    return TT_OK;
}

/* One pull or push. */
struct movement {
    const char *verb; /* "pull", "push" */
    const char *name;
    const struct tt_registry_login *login;
    bool is_whole; /* the engine said that it is done */
    bool may_pass; /* another try may well succeed */
    struct part {
        char id[ID_LIMIT];
        uint64_t done;
        uint64_t total;
    } * parts;
    size_t part_count;
};

/* What an engine or a registry says, and what a person can do about it; the first that fits. */
struct advice {
    const char *words[8];
    const char *says;
};

static bool has_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(text, *words))
            return true;
    return false;
}

static bool is_busy(const char *text)
{
    static const char *const words[] = {"toomanyrequests", "too many requests", "rate limit", "service unavailable",
                                        "status code 429", "status code 503",   NULL};
    return has_word(text, words);
}

static bool is_denied(const char *text)
{
    static const char *const words[] = {"unauthorized", "denied", "authentication", "no basic auth", "forbidden", NULL};
    return has_word(text, words);
}

static const char *advice_for(const char *text)
{
    static const struct advice all[] = {
        {{"no matching manifest", "no image found in manifest list", "no image found in image index"},
         "name another platform with --platform"},
        {{"gave http response to https client"},
         "the registry has no TLS: let it have a certificate, or tell the engine that it is insecure"},
        {{"x509:", "certificate"}, "let the container engine trust the registry's certificate"},
        {{"does not exist locally", "image not known", "no such image"}, "see 'docker images' for what is there"},
        {{"manifest unknown", "not found", "name unknown", "repository name not known"},
         "check the image's name and tag"},
        {{"no such host", "connection refused", "timeout", "timed out", "unreachable", "dial tcp", "eof"},
         "check the registry's name and the way from the container engine to it"},
        {{"no space left"}, "make room where the container engine keeps its images"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (has_word(text, all[i].words))
            return all[i].says;
    return "the container engine's log may tell more";
}

static enum tt_status fail_denied(const struct movement *movement, const char *text, struct tt_error *err)
{
    const struct tt_registry_login *login = movement->login;
    if (login && login->credentials.origin)
        return tt_error_set(err, TT_STORE,
                            "cannot %s %s: %.*s; the login was from %s: check that it is valid and may %s this image, "
                            "or log in again with 'docker login %s'",
                            movement->verb, movement->name, WORDS_LIMIT, text, login->credentials.origin,
                            movement->verb, login->place.host);
    return tt_error_set(err, TT_STORE, "cannot %s %s: %.*s; there is no login for its registry: 'docker login %s'",
                        movement->verb, movement->name, WORDS_LIMIT, text, login ? login->place.host : "HOST");
}

static enum tt_status fail_with(struct movement *movement, const char *text, struct tt_error *err)
{
    movement->may_pass = is_busy(text);
    if (movement->may_pass)
        return tt_error_set(err, TT_STORE,
                            "cannot %s %s: %.*s; the registry is busy or limits requests: try again later",
                            movement->verb, movement->name, WORDS_LIMIT, text);
    if (is_denied(text))
        return fail_denied(movement, text, err);
    return tt_error_set(err, TT_STORE, "cannot %s %s: %.*s; %s", movement->verb, movement->name, WORDS_LIMIT, text,
                        advice_for(text));
}

/* Progress. */

static struct part *part_of(struct movement *movement, const char *id)
{
    for (size_t i = 0; i < movement->part_count; i++)
        if (strncmp(movement->parts[i].id, id, ID_LIMIT - 1) == 0)
            return &movement->parts[i];
    if (movement->part_count == PART_LIMIT)
        return NULL;
    struct part *part = &movement->parts[movement->part_count++];
    snprintf(part->id, sizeof part->id, "%s", id);
    return part;
}

static void show_progress(struct movement *movement, const char *status, const cJSON *object)
{
    const cJSON *detail = cJSON_GetObjectItemCaseSensitive(object, "progressDetail");
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "id"));
    int64_t done = 0;
    int64_t total = 0;
    if (!id || strcmp(status, "Extracting") == 0 ||
        !tt_json_integer(cJSON_GetObjectItemCaseSensitive(detail, "current"), 0, INT64_MAX >> 12, &done))
        return;
    if (!tt_json_integer(cJSON_GetObjectItemCaseSensitive(detail, "total"), 0, INT64_MAX >> 12, &total))
        total = 0;
    struct part *part = part_of(movement, id);
    if (!part)
        return;
    part->total = (uint64_t)(total > done ? total : done);
    part->done = (uint64_t)done;
    uint64_t all_done = 0;
    uint64_t all = 0;
    for (size_t i = 0; i < movement->part_count; i++) {
        all_done += movement->parts[i].done;
        all += movement->parts[i].total;
    }
    tt_progress(movement->verb, all_done, all);
}

/* Docker's and Podman's ways to say that something came through. */
static bool is_good_end(const char *status)
{
    static const char *const words[] = {"Status: ", "Digest: sha256:", "Download complete", "Pull complete",
                                        "Already exists"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strncmp(status, words[i], strlen(words[i])) == 0)
            return true;
    return strstr(status, ": digest: sha256:");
}

static enum tt_status on_object(void *user, const cJSON *object, struct tt_error *err)
{
    struct movement *movement = user;
    const cJSON *detail = cJSON_GetObjectItemCaseSensitive(object, "errorDetail");
    const char *failure = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "error"));
    const char *status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "status"));
    if (!failure)
        failure = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(detail, "message"));
    if (failure || detail)
        return fail_with(movement, failure ? failure : "the container engine failed without a reason", err);
    if (!status)
        return TT_OK;
    if (is_good_end(status))
        movement->is_whole = true;
    if (strstr(status, "igest: sha256:"))
        tt_log(TT_LOG_INFO, "%s", status);
    show_progress(movement, status, object);
    return TT_OK;
}

/* Asking the engine. */

static enum tt_status move_once(struct tt_docker_engine *engine, struct movement *movement, const char *path,
                                struct tt_error *err)
{
    static const struct tt_credentials nothing = {0};
    static const struct tt_registry_place nowhere = {.key = (char *)""};
    const struct tt_registry_login *login = movement->login;
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    int code = 0;
    enum tt_status status =
        tt_credentials_header(login ? &login->credentials : &nothing, login ? &login->place : &nowhere, &header, err);
    if (status != TT_OK)
        return status;
    const char *const headers[] = {(const char *)header->data, NULL};
    const struct tt_docker_request request = {.method = "POST", .path = path, .headers = headers, .patient = true};
    movement->is_whole = movement->may_pass = false;
    movement->part_count = 0;
    status = tt_docker_objects(engine, &request, on_object, movement, &code, err);
    if (status != TT_OK && code >= 300) { /* refused at once, in the engine's words */
        struct tt_error refusal = TT_ERROR_INIT;
        if (err)
            refusal = *err;
        fail_with(movement, refusal.message, err);
        tt_error_detail(err, "%s", refusal.detail);
    }
    if (status == TT_OK && !movement->is_whole)
        return tt_error_set(err, TT_STORE, "cannot %s %s: the container engine stopped without saying that it is done",
                            movement->verb, movement->name);
    return status;
}

static enum tt_status move(struct movement *movement, const char *path, unsigned retries, struct tt_error *err)
{
    struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    unsigned seconds = FIRST_PAUSE_SECONDS;
    struct part *parts TT_CLEANUP(tt_free_cleanup) = calloc(PART_LIMIT, sizeof *parts);
    if (!parts)
        return tt_error_memory(err);
    movement->parts = parts;
    enum tt_status status = tt_docker_connect(&engine, err);
    if (status != TT_OK)
        return status;
    for (;; retries--, seconds *= 2) {
        status = move_once(engine, movement, path, &failure);
        if (status == TT_OK || !movement->may_pass || retries == 0)
            break;
        tt_log(TT_LOG_INFO, "%s; once more in %u seconds", failure.message, seconds);
        status = tt_interrupt_pause(seconds, err);
        if (status != TT_OK)
            return status;
    }
    if (status != TT_OK && err)
        *err = failure;
    return status;
}

enum tt_status tt_image_pull(const char *reference, const char *platform, const struct tt_registry_login *login,
                             struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = parse(reference, &parsed, err);
    if (status == TT_OK)
        status = tt_reference_engine_name(&parsed, &name, err);
    if (status == TT_OK)
        status = tt_docker_path(&path, err, "/images/create?fromImage=%s&tag=%s", parsed.place,
                                parsed.digest ? parsed.digest : parsed.tag);
    if (status == TT_OK && platform)
        status = tt_docker_path(&path, err, "&platform=%s", platform);
    if (status != TT_OK)
        return status;
    struct movement movement = {.verb = "pull", .name = name, .login = login};
    return move(&movement, (const char *)path.data, RETRIES, err);
}

enum tt_status tt_image_push(const char *reference, const struct tt_registry_login *login, struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = parse(reference, &parsed, err);
    if (status == TT_OK && parsed.digest)
        return tt_error_set(err, TT_USAGE, "'%s' names a digest; what is pushed needs a tag", reference);
    if (status == TT_OK)
        status = tt_reference_engine_name(&parsed, &name, err);
    if (status == TT_OK)
        status = tt_docker_path(&path, err, "/images/%p/push?tag=%s", parsed.place, parsed.tag);
    if (status != TT_OK)
        return status;
    struct movement movement = {.verb = "push", .name = name, .login = login};
    return move(&movement, (const char *)path.data, RETRIES, err);
}
