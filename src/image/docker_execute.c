#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"
#include "image/docker.h"
#include "image/docker_output.h"
#include "json/json.h"

enum {
    OUTPUT_CHUNK = 16 * 1024,
    TICK_MILLISECONDS = 100, /* how often signals and the time limit are looked at while the train is silent */
    LONGEST_POLL_MILLISECONDS = 1000,
    PROCESS_LIMIT =
        4096 /* processes and threads of a train: more than any needs, and less than brings a machine down */
};

/* A train at work. */
struct execution {
    struct tt_docker_engine *engine;
    const struct tt_execution_options *options;
    char *container;
    struct tt_http_download *download; /* what the train writes */
    struct timespec started;
};

static void execution_clear(struct execution *execution)
{
    tt_http_download_free(execution->download);
    tt_docker_container_remove(execution->engine, execution->container);
}

/* --- the container --- */

static bool add_number(cJSON *object, const char *member, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    return cJSON_AddRawToObject(object, member, text);
}

static bool add_environment(cJSON *body, const struct tt_execution_options *options)
{
    cJSON *list = cJSON_AddArrayToObject(body, "Env");
    bool good = list;
    for (size_t i = 0; good && i < options->environment_count; i++)
        good = cJSON_AddItemToArray(list, cJSON_CreateString(options->environment[i]));
    return good;
}

/* As mounts and not as "binds": there the engine would make a folder where the source is missing. */
static bool add_volumes(cJSON *host, const struct tt_execution_options *options)
{
    cJSON *list = cJSON_AddArrayToObject(host, "Mounts");
    bool good = list;
    for (size_t i = 0; good && i < options->volume_count; i++) {
        const struct tt_volume *volume = &options->volumes[i];
        cJSON *mount = cJSON_CreateObject();
        good = cJSON_AddItemToArray(list, mount) && cJSON_AddStringToObject(mount, "Type", "bind") &&
               cJSON_AddStringToObject(mount, "Source", volume->source) &&
               cJSON_AddStringToObject(mount, "Target", volume->target) &&
               cJSON_AddBoolToObject(mount, "ReadOnly", !volume->writable);
    }
    return good;
}

static bool add_gpus(cJSON *host, int gpus)
{
    cJSON *list = cJSON_AddArrayToObject(host, "DeviceRequests");
    cJSON *request = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(list, request))
        return false;
    cJSON *alternatives = cJSON_AddArrayToObject(request, "Capabilities");
    cJSON *all_of = cJSON_CreateArray();
    return cJSON_AddItemToArray(alternatives, all_of) && cJSON_AddItemToArray(all_of, cJSON_CreateString("gpu")) &&
           cJSON_AddNumberToObject(request, "Count", gpus);
}

static bool add_limits(cJSON *host, const struct tt_execution_options *options)
{
    bool good = add_number(host, "PidsLimit", PROCESS_LIMIT);
    /* No more with swap than without: the limit is what it says, and data does not reach the swap by way of it. */
    if (options->memory_bytes)
        good = good && add_number(host, "Memory", options->memory_bytes) &&
               add_number(host, "MemorySwap", options->memory_bytes);
    if (options->cpus_billionths)
        good = good && add_number(host, "NanoCpus", options->cpus_billionths);
    if (options->gpus)
        good = good && add_gpus(host, options->gpus);
    return good;
}

/* The engine keeps no log: what the train writes is plaintext, and comes to us alone. */
static bool add_host(cJSON *body, const struct tt_execution_options *options)
{
    const char *const no_privileges[] = {"no-new-privileges"};
    cJSON *host = cJSON_AddObjectToObject(body, "HostConfig");
    cJSON *log = cJSON_AddObjectToObject(host, "LogConfig");
    return cJSON_AddStringToObject(log, "Type", "none") &&
           tt_json_add(host, "SecurityOpt", cJSON_CreateStringArray(no_privileges, 1)) &&
           cJSON_AddStringToObject(host, "NetworkMode", options->network ? options->network : "none") &&
           add_volumes(host, options) && add_limits(host, options);
}

/* The image's own command, user, folder and environment are the engine's to add. Its health check is another command,
 * which nobody asked for. */
static bool fill_body(cJSON *body, const char *image, const struct tt_execution_options *options)
{
    const char *const none[] = {"NONE"};
    cJSON *health = cJSON_AddObjectToObject(body, "Healthcheck");
    return cJSON_AddStringToObject(body, "Image", image) && cJSON_AddBoolToObject(body, "Tty", false) &&
           cJSON_AddBoolToObject(body, "OpenStdin", false) &&
           cJSON_AddBoolToObject(body, "NetworkDisabled", !options->network) &&
           tt_json_add(health, "Test", cJSON_CreateStringArray(none, 1)) && add_environment(body, options) &&
           add_host(body, options);
}

static enum tt_status create(struct execution *execution, const char *image, struct tt_error *err)
{
    cJSON *body TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    if (!fill_body(body, image, execution->options))
        return tt_error_memory(err);
    enum tt_status status =
        tt_docker_container_create(execution->engine, TT_DOCKER_EXECUTE, body, &execution->container, err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "the train cannot be run");
}

/* Whether `path` is a link in the container; what is not there is none. */
static enum tt_status check_link(const struct execution *execution, const char *path, struct tt_error *err)
{
    struct tt_docker_path_stat facts = {0};
    bool found = false;
    enum tt_status status = tt_docker_stat(execution->engine, execution->container, path, &found, &facts, err);
    if (status != TT_OK || !found || !(facts.mode & TT_DOCKER_MODE_SYMLINK))
        return status;
    return tt_error_set(
        err, TT_TAMPERED,
        "%s is a symbolic link in the train: a volume there would lie elsewhere, over its results maybe", path);
}

/* An engine puts a volume where the links on its way lead to, and does so once more whenever it reads out of the
 * container: what a station lent to a train would be taken for its results. */
static enum tt_status check_volumes(const struct execution *execution, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; i < execution->options->volume_count; i++) {
        const char *target = execution->options->volumes[i].target;
        for (const char *end = target; status == TT_OK && *end;) {
            end += 1 + strcspn(end + 1, "/");
            char *path TT_CLEANUP(tt_free_cleanup) = strndup(target, (size_t)(end - target));
            status = path ? check_link(execution, path, err) : tt_error_memory(err);
        }
    }
    return status;
}

/* --- starting --- */

/* Before the start, so that nothing is missed. */
static enum tt_status attach(struct execution *execution, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status =
        tt_docker_path(&path, err, "/containers/%s/attach?stream=1&stdout=1&stderr=1", execution->container);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "POST", .path = (const char *)path.data, .patient = true};
    return tt_docker_download(execution->engine, &request, &execution->download, NULL, err);
}

/* Whether an engine's words say that the program to run is what is wrong (runc's words, and crun's). */
static bool blames_program(const char *words)
{
    static const char *const signs[] = {"exec: \"", "executable file", "exec format error", "open executable",
                                        "OCI runtime attempted to invoke a command"};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (strstr(words, signs[i]))
            return true;
    return false;
}

static enum tt_status start(struct execution *execution, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_docker_path(&path, err, "/containers/%s/start", execution->container);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "POST", .path = (const char *)path.data, .patient = true};
    struct tt_error failure = TT_ERROR_INIT;
    int code = 0;
    status = tt_docker_call(execution->engine, &request, NULL, &code, &failure);
    clock_gettime(CLOCK_MONOTONIC, &execution->started);
    if (status == TT_OK)
        return TT_OK;
    if (code >= 400 && blames_program(failure.message))
        failure.status = TT_TRAIN_FAILED;
    if (code >= 400)
        (void)!tt_error_context(&failure, "the train cannot be started");
    if (err)
        *err = failure;
    return failure.status;
}

/* --- running --- */

static enum tt_status check_time(const struct execution *execution, struct tt_error *err)
{
    unsigned limit = execution->options->timeout_seconds;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t seconds = now.tv_sec - execution->started.tv_sec - (now.tv_nsec < execution->started.tv_nsec);
    if (limit == 0 || seconds < (time_t)limit)
        return TT_OK;
    return tt_error_set(err, TT_TRAIN_FAILED, "the train's code ran out of time (%u seconds) and was ended", limit);
}

static enum tt_status check_limits(const struct execution *execution, struct tt_error *err)
{
    enum tt_status status = tt_interrupt_check(err);
    return status == TT_OK ? check_time(execution, err) : status;
}

static void lose_output(const struct tt_error *failure)
{
    if (tt_interrupt_check(NULL) == TT_OK)
        tt_log(TT_LOG_WARNING, "from here on the train's output is missing: %s", failure->message);
}

/* Hands on what the train writes until it closes its outputs, in the end by ending. */
static enum tt_status follow(struct execution *execution, struct tt_error *err)
{
    struct tt_docker_output output = {.output = execution->options->output, .user = execution->options->user};
    struct tt_error failure = TT_ERROR_INIT;
    uint8_t chunk[OUTPUT_CHUNK];
    enum tt_status status = TT_OK;
    bool ended = false;
    while (!ended && status == TT_OK) {
        size_t length = 0;
        enum tt_status came = tt_http_download_poll(execution->download, TICK_MILLISECONDS, chunk, sizeof chunk,
                                                    &length, &ended, &failure);
        if (came == TT_OK)
            came = tt_docker_output_take(&output, chunk, length, &failure);
        if (came == TT_OK && ended && !tt_docker_output_is_whole(&output))
            came = tt_error_set(&failure, TT_STORE, "the container engine cut it off");
        if (came != TT_OK) {
            lose_output(&failure);
            ended = true;
        }
        status = check_limits(execution, err);
    }
    tt_wipe(chunk, sizeof chunk);
    tt_http_download_free(TT_TAKE(execution->download));
    return status;
}

static enum tt_status inspect(const struct execution *execution, cJSON **ret_facts, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_docker_path(&path, err, "/containers/%s/json", execution->container);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data};
    return tt_docker_call(execution->engine, &request, ret_facts, NULL, err);
}

struct outcome {
    bool is_running;
    bool is_out_of_memory;
    int64_t code;
};

static enum tt_status look(const struct execution *execution, struct outcome *ret_outcome, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = inspect(execution, &facts, err);
    if (status != TT_OK)
        return tt_error_context(err, "how the train's code ended is not known");
    const cJSON *state = cJSON_GetObjectItemCaseSensitive(facts, "State");
    const cJSON *running = cJSON_GetObjectItemCaseSensitive(state, "Running");
    const cJSON *code = cJSON_GetObjectItemCaseSensitive(state, "ExitCode");
    struct outcome outcome = {
        .is_running = cJSON_IsTrue(running),
        .is_out_of_memory = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(state, "OOMKilled")),
    };
    if (!cJSON_IsBool(running) || !tt_json_integer(code, INT32_MIN, UINT32_MAX, &outcome.code))
        return tt_error_set(err, TT_STORE, "%s does not tell how the train's code ended",
                            tt_docker_name(execution->engine));
    *ret_outcome = outcome;
    return TT_OK;
}

/* Its outputs are closed, so as a rule it has ended, or is about to. */
static enum tt_status await_end(const struct execution *execution, struct outcome *ret_outcome, struct tt_error *err)
{
    long milliseconds = 5;
    for (;;) {
        enum tt_status status = look(execution, ret_outcome, err);
        if (status == TT_OK && ret_outcome->is_running)
            status = check_limits(execution, err);
        if (status != TT_OK || !ret_outcome->is_running)
            return status;
        const struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
        nanosleep(&pause, NULL);
        milliseconds = 2 * milliseconds < LONGEST_POLL_MILLISECONDS ? 2 * milliseconds : LONGEST_POLL_MILLISECONDS;
    }
}

/* That the kernel wanted memory back may come to the engine's notice after the end: who was killed, as nobody else
 * does, is told of the limit. */
static enum tt_status fail_for_memory(const struct execution *execution, const struct outcome *outcome,
                                      struct tt_error *err)
{
    uint64_t limit = execution->options->memory_bytes;
    const char *perhaps = outcome->is_out_of_memory ? "" : "perhaps ";
    if (limit == 0)
        return tt_error_set(err, TT_TRAIN_FAILED, "the train's code ran out of memory and ended with status %" PRId64,
                            outcome->code);
    return tt_error_set(err, TT_TRAIN_FAILED,
                        "the train's code ended with status %" PRId64 ": %sit needed more than the %" PRIu64
                        " MiB of memory that it was given",
                        outcome->code, perhaps, limit >> 20);
}

static enum tt_status judge(const struct execution *execution, const struct outcome *outcome, struct tt_error *err)
{
    bool was_killed = outcome->code == 128 + SIGKILL && execution->options->memory_bytes;
    if (outcome->code == 0 && outcome->is_out_of_memory)
        tt_log(TT_LOG_WARNING, "a part of the train's code was ended for want of memory; it went on without");
    if (outcome->code == 0)
        return TT_OK;
    if (outcome->is_out_of_memory || was_killed)
        return fail_for_memory(execution, outcome, err);
    return tt_error_set(err, TT_TRAIN_FAILED, "the train's code ended with status %" PRId64, outcome->code);
}

static enum tt_status run_to_its_end(struct execution *execution, struct tt_error *err)
{
    struct outcome outcome = {0};
    enum tt_status status = attach(execution, err);
    if (status == TT_OK)
        status = start(execution, err);
    if (status == TT_OK)
        status = follow(execution, err);
    if (status == TT_OK)
        status = await_end(execution, &outcome, err);
    return status == TT_OK ? judge(execution, &outcome, err) : status;
}

enum tt_status tt_docker_execute(void *state, const struct tt_execution_options *options, struct tt_image *ran,
                                 struct tt_error *err)
{
    struct docker_image *image = state;
    struct execution execution TT_CLEANUP(execution_clear) = {.engine = image->engine, .options = options};
    enum tt_status status = create(&execution, image->id, err);
    if (status == TT_OK) {
        status = check_volumes(&execution, err);
        status = status == TT_STORE ? TT_OK : status; /* of a volume that does not fit, the start tells better */
    }
    if (status == TT_OK)
        status = run_to_its_end(&execution, err);
    if (status == TT_OK)
        status = check_volumes(&execution, err);
    if (status == TT_OK)
        status = docker_image_fill(image->id, execution.container, ran, err);
    if (status == TT_OK)
        execution.container = NULL; /* the new image's */
    return status;
}
