/* What a container engine answers, and everything that reads it: versions, refusals, JSON, what lies at a path,
 * progress, images' facts, lists. Whatever comes, it is taken or refused with words that can be shown, nothing is
 * handed out after a failure, and no request is made that says more than it should. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "docker_replies.h"
#include "image/docker.h"
#include "image/registry.h"
#include "short_memory.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char ID[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static bool is_success(int code)
{
    return (code >= 200 && code < 300) || code == 304;
}

static bool is_printable(const char *text)
{
    char again[TT_ERROR_MESSAGE_SIZE];
    tt_text_printable(text, again, sizeof again);
    return strcmp(text, again) == 0;
}

static void check_failure(enum tt_status status, const struct tt_error *err)
{
    demand(status == TT_STORE || status == TT_INTERNAL || status == TT_MALFORMED || status == TT_TAMPERED);
    if (!err)
        return;
    demand(err->status == status && err->message[0]);
    demand(is_printable(err->message) && is_printable(err->detail));
}

/* --- the engine itself --- */

static enum tt_status call(struct tt_docker_engine *engine, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    cJSON *body TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    cJSON *json TT_CLEANUP(tt_json_cleanup) = NULL;
    int code = -1;
    enum tt_status status = tt_docker_path(&path, err, "/images/%p/tag?repo=%s&part=100%%", "a/b:1", "x y\n\xff");
    if (status != TT_OK)
        return status;
    demand(strcmp((const char *)path.data, "/images/a/b:1/tag?repo=x%20y%0A%FF&part=100%") == 0);
    const char *const headers[] = {"X-Registry-Auth: e30=", NULL};
    const struct tt_docker_request request = {
        .method = "POST", .path = (const char *)path.data, .body = body, .headers = headers};
    status = tt_docker_call(engine, &request, &json, &code, err);
    demand(status == TT_OK || !json);
    demand(code == docker_replies_code() && (status != TT_OK || is_success(code)));
    if (code > 0 && !is_success(code) && err) {
        char expected[32];
        snprintf(expected, sizeof expected, "HTTP %d", code);
        demand(status == TT_STORE && strcmp(err->detail, expected) == 0);
    }
    return status;
}

static enum tt_status look(struct tt_docker_engine *engine, struct tt_error *err)
{
    struct tt_docker_path_stat facts = {.mode = 7, .size = 7};
    bool found = true;
    enum tt_status status = tt_docker_stat(engine, ID, "/opt/pht_results", &found, &facts, err);
    demand(status == TT_OK || (found && facts.mode == 7));
    demand(found || (facts.mode == 7 && facts.size == 7));
    return status;
}

struct sum {
    size_t count;
    uint32_t hash;
};

static enum tt_status add_object(void *user, const cJSON *object, struct tt_error *err)
{
    struct sum *sum = user;
    demand(cJSON_IsObject(object));
    char *text = cJSON_PrintUnformatted(object);
    if (!text)
        return tt_error_memory(err);
    for (const char *byte = text; *byte; byte++)
        sum->hash = 31 * sum->hash + (uint8_t)*byte;
    cJSON_free(text);
    if (cJSON_HasObjectItem(object, "stop"))
        return tt_error_set(err, TT_STORE, "stopped");
    sum->count++;
    return TT_OK;
}

static enum tt_status take_objects(struct tt_docker_engine *engine, struct sum *sum, struct tt_error *err)
{
    const struct tt_docker_request request = {.method = "POST", .path = "/images/create", .patient = true};
    int code = -1;
    enum tt_status status = tt_docker_objects(engine, &request, add_object, sum, &code, err);
    demand(code == docker_replies_code() && (sum->count == 0 || is_success(code)));
    return status;
}

static enum tt_status objects(struct tt_docker_engine *engine, struct tt_error *err)
{
    struct sum sum = {0};
    return take_objects(engine, &sum, err);
}

static enum tt_status download(struct tt_docker_engine *engine, struct tt_error *err)
{
    const struct tt_docker_request request = {.method = "GET", .path = "/containers/x/archive"};
    struct tt_http_download *stream TT_CLEANUP(tt_http_download_free_cleanup) = NULL;
    int code = -1;
    enum tt_status status = tt_docker_download(engine, &request, &stream, &code, err);
    demand((status == TT_OK) == (stream != NULL) && (status != TT_OK || is_success(code)));
    return status;
}

static enum tt_status upload(struct tt_docker_engine *engine, struct tt_error *err)
{
    const struct tt_docker_request request = {.method = "PUT", .path = "/containers/x/archive?path=/"};
    struct tt_http_upload *stream = NULL;
    int code = -1;
    enum tt_status status = tt_docker_upload(engine, &request, &stream, err);
    demand((status == TT_OK) == (stream != NULL));
    if (status != TT_OK)
        return status;
    status = tt_docker_upload_finish(engine, stream, &code, err);
    demand(code == docker_replies_code() && (status != TT_OK || is_success(code)));
    return status;
}

/* --- those who read its JSON --- */

static enum tt_status inspect(struct tt_docker_engine *engine, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    char id[DOCKER_ID_TEXT] = "";
    enum tt_status status = docker_inspect_image(engine, "train:1", &facts, err);
    demand(status == TT_OK || !facts);
    if (facts && docker_id(facts, "Id", id, NULL) == TT_OK)
        demand(strlen(id) == DOCKER_ID_TEXT - 1 && strspn(id + 7, "0123456789abcdef") == 64);
    return status;
}

static enum tt_status create(struct tt_docker_engine *engine, enum tt_docker_purpose purpose, struct tt_error *err)
{
    cJSON *config TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    char *id TT_CLEANUP(tt_free_cleanup) = NULL;
    if (!cJSON_AddStringToObject(config, "Image", ID))
        return tt_error_memory(err);
    enum tt_status status = tt_docker_container_create(engine, purpose, config, &id, err);
    demand((status == TT_OK) == (id != NULL));
    demand(!id || (strlen(id) == 64 && strspn(id, "0123456789abcdef") == 64));
    return status;
}

static enum tt_status create_reader(struct tt_docker_engine *engine, struct tt_error *err)
{
    return create(engine, TT_DOCKER_READ, err);
}

static enum tt_status create_runner(struct tt_docker_engine *engine, struct tt_error *err)
{
    return create(engine, TT_DOCKER_EXECUTE, err);
}

static enum tt_status driver(struct tt_docker_engine *engine, struct tt_error *err)
{
    bool compares = false;
    return docker_commit_compares(engine, &compares, err);
}

/* --- those who connect by themselves --- */

static enum tt_status open_image(struct tt_error *err)
{
    const struct tt_image_options options = {.platform = "linux/amd64"};
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    enum tt_status status = tt_image_open("docker-daemon:train:1", &options, &image, err);
    demand((status == TT_OK) == (image != NULL));
    if (status != TT_OK)
        return status;
    demand(strlen(tt_image_digest(image)) == DOCKER_ID_TEXT - 1);
    status = tt_image_files(image, "opt/pht_results", &files, err);
    demand((status == TT_OK) == (files != NULL));
    return status;
}

static void note(void *user, const char *what, const char *name, const char *says)
{
    (void)user;
    demand(what[0] && name && says[0]);
}

static enum tt_status clean(struct tt_error *err)
{
    return docker_clean(NULL, false, note, NULL, err);
}

static enum tt_status look_for_leftovers(struct tt_error *err)
{
    return docker_clean(NULL, true, note, NULL, err);
}

static enum tt_status sweep(struct tt_error *err)
{
    char *used TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = docker_sweep(NULL, ID, &used, err);
    demand(status == TT_OK || !used);
    return status;
}

static enum tt_status pull(struct tt_error *err)
{
    return tt_image_pull("docker-daemon:reg.example/train:1", "linux/amd64", NULL, err);
}

static enum tt_status push(struct tt_error *err)
{
    return tt_image_push("docker-daemon:reg.example/train:1", NULL, err);
}

/* --- all of it --- */

/* What connects is shown a greeting; an input whose first line is "greeting" has its own. */
struct answers {
    const uint8_t *data;
    size_t size;
    bool greets;
};

static struct answers answers_of(const uint8_t *data, size_t size)
{
    static const char mark[] = "greeting\n";
    size_t length = sizeof mark - 1;
    if (size >= length && memcmp(data, mark, length) == 0)
        return (struct answers){.data = data + length, .size = size - length, .greets = true};
    return (struct answers){.data = data, .size = size};
}

static enum tt_status connect_to(const struct answers *answers, struct tt_docker_engine **ret_engine,
                                 struct tt_error *err)
{
    static const char greeting[] = "200 1.41\nOK";
    if (answers->greets)
        docker_replies_start(answers->data, answers->size);
    else
        docker_replies_start((const uint8_t *)greeting, sizeof greeting - 1);
    enum tt_status status = tt_docker_connect(ret_engine, err);
    demand((status == TT_OK) == (*ret_engine != NULL));
    (void)docker_replies_code();
    if (!answers->greets)
        docker_replies_start(answers->data, answers->size);
    return status;
}

static void use_engine(const struct answers *answers, struct tt_error *err)
{
    static enum tt_status (*const all[])(struct tt_docker_engine *, struct tt_error *) = {
        call, look, objects, download, upload, inspect, create_reader, create_runner, driver};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
        enum tt_status status = connect_to(answers, &engine, err);
        if (status == TT_OK)
            status = all[i](engine, err);
        if (status != TT_OK)
            check_failure(status, err);
    }
}

/* These take the input's own greeting, or one that was put in front of it. */
static void use_images(const uint8_t *data, size_t size, struct tt_error *err)
{
    static enum tt_status (*const all[])(struct tt_error *) = {open_image, clean, look_for_leftovers,
                                                               sweep,      pull,  push};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        docker_replies_start(data, size);
        enum tt_status status = all[i](err);
        if (status != TT_OK)
            check_failure(status, err);
    }
}

static enum tt_status read_all(const uint8_t *data, size_t size, struct tt_error *err)
{
    static const char greeting[] = "200 1.41\nOK\n--\n";
    struct tt_error own = TT_ERROR_INIT;
    struct tt_buffer whole TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct answers answers = answers_of(data, size);
    use_engine(&answers, err ? &own : NULL);
    if (!answers.greets && tt_buffer_append(&whole, greeting, sizeof greeting - 1, NULL) != TT_OK)
        return TT_OK;
    if (tt_buffer_append(&whole, answers.data, answers.size, NULL) == TT_OK)
        use_images(whole.data, whole.length, err ? &own : NULL);
    return TT_OK;
}

/* However the bytes come in, they are the same objects. */
static void compare_pieces(const struct answers *answers)
{
    struct sum sums[3] = {{0}};
    enum tt_status statuses[3] = {TT_OK, TT_OK, TT_OK};
    static const size_t most[] = {0, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
        docker_replies_in_pieces(most[i]);
        statuses[i] = connect_to(answers, &engine, NULL);
        if (statuses[i] == TT_OK)
            statuses[i] = take_objects(engine, &sums[i], NULL);
    }
    docker_replies_in_pieces(0);
    demand(statuses[0] == statuses[1] && statuses[0] == statuses[2]);
    demand(sums[0].count == sums[1].count && sums[0].count == sums[2].count);
    demand(sums[0].hash == sums[1].hash && sums[0].hash == sums[2].hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tt_error err = TT_ERROR_INIT;
    setenv("DOCKER_HOST", "tcp://engine.example:2375", 1);
    unsetenv("DOCKER_TLS");
    unsetenv("DOCKER_TLS_VERIFY");
    unsetenv("DOCKER_CLIENT_TIMEOUT");
    struct answers answers = answers_of(data, size);
    compare_pieces(&answers);
    demand(read_all(data, size, &err) == TT_OK);
    short_memory_try(data, size, read_all);
    return 0;
}
