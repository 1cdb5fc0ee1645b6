#include "image/docker_engine.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/base64.h"
#include "base/log.h"
#include "base/text.h"
#include "image/docker_endpoint.h"
#include "json/json.h"

enum {
    LEAST_MINOR = 40,     /* of the API 1.x: Docker 19.03, Podman 3 */
    TESTED_MINOR = 43,    /* the newest this was tried with */
    GENEROUS_MINOR = 60,  /* an engine that no longer speaks what was tested is tried up to here */
    VALUE_LIMIT = 500000, /* in one reply */
    OBJECT_LIMIT = 1024 * 1024,
    OBJECT_VALUES = 10000,
    WORDS_LIMIT = 700, /* of an engine's message */
    CHUNK = 16 * 1024
};

struct tt_docker_engine {
    struct tt_http *http;
    char prefix[16]; /* "/v1.41" */
};

void tt_docker_free(struct tt_docker_engine *engine)
{
    if (engine)
        tt_http_free(engine->http);
    free(engine);
}

const char *tt_docker_name(const struct tt_docker_engine *engine)
{
    return tt_http_name(engine->http);
}

/* Paths. */

static bool is_unreserved(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           (byte && strchr("-._~", byte));
}

static enum tt_status append_encoded(struct tt_buffer *path, const char *text, const char *kept, struct tt_error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    enum tt_status status = TT_OK;
    for (; *text && status == TT_OK; text++) {
        unsigned char byte = (unsigned char)*text;
        const char encoded[] = {'%', digits[byte >> 4], digits[byte & 15]};
        if (is_unreserved(byte) || strchr(kept, byte))
            status = tt_buffer_append(path, text, 1, err);
        else
            status = tt_buffer_append(path, encoded, sizeof encoded, err);
    }
    return status;
}

enum tt_status tt_docker_path(struct tt_buffer *path, struct tt_error *err, const char *format, ...)
{
    enum tt_status status = TT_OK;
    va_list arguments;
    va_start(arguments, format);
    while (*format && status == TT_OK) {
        size_t plain = strcspn(format, "%");
        status = tt_buffer_append(path, format, plain, err);
        format += plain;
        if (status != TT_OK || !*format)
            break;
        if (format[1] == '%')
            status = tt_buffer_append(path, "%", 1, err);
        else if (format[1] == 's' || format[1] == 'p')
            status = append_encoded(path, va_arg(arguments, const char *), format[1] == 'p' ? "/:@" : "", err);
        else
            status = tt_error_set(err, TT_INTERNAL, "a path of the engine is made with an unknown conversion");
        format += format[1] ? 2 : 1;
    }
    va_end(arguments);
    return status;
}

/* Refusals. */

static bool is_success(int code)
{
    return (code >= 200 && code < 300) || code == 304;
}

static enum tt_status refuse(const struct tt_docker_engine *engine, const struct tt_http_reply *reply,
                             struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    const char *text = reply->body.data ? (const char *)reply->body.data : "";
    const char *words = NULL;
    if (tt_json_parse(text, reply->body.length, VALUE_LIMIT, "reply", &root, NULL) == TT_OK)
        words = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "message"));
    if (!root && text[0] && text[0] != '<')
        words = text;
    size_t length = words ? strnlen(words, WORDS_LIMIT) : 0;
    while (length > 0 && isspace((unsigned char)words[length - 1]))
        length--;
    if (length > 0)
        tt_error_set(err, TT_STORE, "%.*s", (int)length, words);
    else
        tt_error_set(err, TT_STORE, "the container engine at %s refuses without a reason", tt_docker_name(engine));
    tt_error_detail(err, "HTTP %d", reply->code);
    return TT_STORE;
}

static enum tt_status parse_reply(const struct tt_docker_engine *engine, const struct tt_http_reply *reply,
                                  cJSON **ret_json, struct tt_error *err)
{
    struct tt_error why = TT_ERROR_INIT;
    *ret_json = NULL;
    if (reply->body.length == 0)
        return TT_OK;
    enum tt_status status =
        tt_json_parse((const char *)reply->body.data, reply->body.length, VALUE_LIMIT, "the answer", ret_json, &why);
    if (status == TT_OK || status == TT_INTERNAL) {
        if (status != TT_OK && err)
            *err = why;
        return status;
    }
    tt_error_set(err, TT_STORE, "what %s answers is not JSON as a container engine sends it", tt_docker_name(engine));
    tt_error_detail(err, "%.*s", TT_ERROR_DETAIL_SIZE - 1, why.message);
    return TT_STORE;
}

/* Requests: a caller's one as an HTTP one. */

enum { HEADER_LIMIT = 8 };

struct prepared {
    struct tt_http_request http;
    char *path;
    char *body;
    const char *headers[HEADER_LIMIT + 2];
};

static void prepared_clear(struct prepared *prepared)
{
    free(prepared->path);
    cJSON_free(prepared->body);
}

static enum tt_status prepare(const struct tt_docker_engine *engine, const struct tt_docker_request *request,
                              struct prepared *prepared, struct tt_error *err)
{
    size_t count = 0;
    prepared->path = tt_text_format("%s%s", engine->prefix, request->path);
    prepared->body = request->body ? cJSON_PrintUnformatted(request->body) : NULL;
    if (!prepared->path || (request->body && !prepared->body))
        return tt_error_memory(err);
    if (request->body)
        prepared->headers[count++] = "Content-Type: application/json";
    for (const char *const *header = request->headers; header && *header; header++) {
        if (count > HEADER_LIMIT)
            return tt_error_set(err, TT_INTERNAL, "a request to the engine has too many headers");
        prepared->headers[count++] = *header;
    }
    prepared->http = (struct tt_http_request){.method = request->method,
                                              .path = prepared->path,
                                              .headers = prepared->headers,
                                              .body = prepared->body,
                                              .body_length = prepared->body ? strlen(prepared->body) : 0,
                                              .patient = request->patient};
    return TT_OK;
}

static enum tt_status exchange(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                               struct tt_http_reply *ret_reply, struct tt_error *err)
{
    struct prepared prepared TT_CLEANUP(prepared_clear) = {0};
    enum tt_status status = prepare(engine, request, &prepared, err);
    if (status == TT_OK)
        status = tt_http_call(engine->http, &prepared.http, ret_reply, err);
    if (status == TT_OK)
        tt_log(TT_LOG_DEBUG, "%s %s: %d", request->method, prepared.path, ret_reply->code);
    return status;
}

static void tell_code(int *ret_code, int code)
{
    if (ret_code)
        *ret_code = code;
}

enum tt_status tt_docker_call(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                              cJSON **ret_json, int *ret_code, struct tt_error *err)
{
    struct tt_http_reply reply TT_CLEANUP(tt_http_reply_clear) = {0};
    tell_code(ret_code, 0);
    enum tt_status status = exchange(engine, request, &reply, err);
    if (status != TT_OK)
        return status;
    tell_code(ret_code, reply.code);
    if (!is_success(reply.code))
        return refuse(engine, &reply, err);
    return ret_json ? parse_reply(engine, &reply, ret_json, err) : TT_OK;
}

/* Agreeing on a version. */

/* The minor number of "1.MINOR"; -1 for anything else. */
static int minor_of(const char *version)
{
    if (!version || strncmp(version, "1.", 2) != 0)
        return -1;
    size_t length = strspn(version + 2, "0123456789");
    if (length == 0 || length > 4 || (version[2 + length] && version[2 + length] != '.'))
        return -1;
    return (int)strtol(version + 2, NULL, 10);
}

static enum tt_status choose_version(struct tt_docker_engine *engine, int oldest, int newest, struct tt_error *err)
{
    if (newest < 0)
        return tt_error_set(err, TT_STORE, "what answers at %s is not a container engine of Docker's kind",
                            tt_docker_name(engine));
    if (newest < LEAST_MINOR)
        return tt_error_set(err, TT_STORE,
                            "the container engine at %s is too old: it speaks version 1.%d of the API, and 1.%d is "
                            "needed (Docker 19.03, Podman 3.0)",
                            tt_docker_name(engine), newest, LEAST_MINOR);
    if (oldest > GENEROUS_MINOR)
        return tt_error_set(err, TT_STORE,
                            "the container engine at %s is too new: it speaks no version of the API before 1.%d",
                            tt_docker_name(engine), oldest);
    int minor = newest < TESTED_MINOR ? newest : TESTED_MINOR;
    if (minor < oldest)
        minor = oldest;
    snprintf(engine->prefix, sizeof engine->prefix, "/v1.%d", minor);
    tt_log(TT_LOG_DEBUG, "container engine at %s, API 1.%d", tt_docker_name(engine), minor);
    return TT_OK;
}

static enum tt_status ask_versions(struct tt_docker_engine *engine, int *ret_oldest, int *ret_newest,
                                   struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    const struct tt_docker_request request = {.method = "GET", .path = "/version"};
    int code = 0;
    enum tt_status status = tt_docker_call(engine, &request, &facts, &code, err);
    if (status != TT_OK && code >= 400)
        return tt_error_context(err, "the container engine at %s", tt_docker_name(engine));
    *ret_newest = minor_of(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(facts, "ApiVersion")));
    *ret_oldest = minor_of(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(facts, "MinAPIVersion")));
    return status;
}

/* The short question tells the newest version. Whether an engine that is newer than what was tested still speaks that
 * takes the long one, for which some engines look up far more. */
static enum tt_status greet(struct tt_docker_engine *engine, struct tt_error *err)
{
    struct tt_http_reply reply TT_CLEANUP(tt_http_reply_clear) = {0};
    const struct tt_docker_request request = {.method = "GET", .path = "/_ping"};
    int oldest = -1;
    enum tt_status status = exchange(engine, &request, &reply, err);
    if (status != TT_OK)
        return status;
    int newest = is_success(reply.code) ? minor_of(reply.api_version) : -1;
    if (newest < 0 || newest > TESTED_MINOR)
        status = ask_versions(engine, &oldest, &newest, err);
    return status == TT_OK ? choose_version(engine, oldest, newest, err) : status;
}

enum tt_status tt_docker_connect(struct tt_docker_engine **ret_engine, struct tt_error *err)
{
    struct tt_docker_endpoint found TT_CLEANUP(tt_docker_endpoint_clear) = {0};
    struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = calloc(1, sizeof *engine);
    if (!engine)
        return tt_error_memory(err);
    enum tt_status status = tt_docker_endpoint_find(&found, err);
    if (status != TT_OK)
        return status;
    const struct tt_http_endpoint endpoint = {.socket = found.socket,
                                              .host = found.host,
                                              .tls = found.tls,
                                              .tls_verify = found.tls_verify,
                                              .ca_file = found.ca_file,
                                              .certificate_file = found.certificate_file,
                                              .key_file = found.key_file,
                                              .name = found.name,
                                              .patience_seconds = found.patience_seconds};
    status = tt_http_new(&endpoint, &engine->http, err);
    if (status == TT_OK)
        status = greet(engine, err);
    if (status != TT_OK)
        return status;
    *ret_engine = TT_TAKE(engine);
    return TT_OK;
}

/* What lies at a path. */

static bool parse_stat(const char *header, struct tt_docker_path_stat *ret_stat)
{
    char *text TT_CLEANUP(tt_free_cleanup) = malloc(header ? strlen(header) + 1 : 1);
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    size_t length = 0;
    int64_t mode = 0;
    int64_t size = 0;
    if (!header || !text || !tt_base64_decode(header, strlen(header), (uint8_t *)text, &length) ||
        tt_json_parse(text, length, 100, "stat", &root, NULL) != TT_OK)
        return false;
    if (!tt_json_integer(cJSON_GetObjectItemCaseSensitive(root, "mode"), 0, UINT32_MAX, &mode) ||
        !tt_json_integer(cJSON_GetObjectItemCaseSensitive(root, "size"), 0, INT64_MAX, &size))
        return false;
    *ret_stat = (struct tt_docker_path_stat){.mode = (uint32_t)mode, .size = (uint64_t)size};
    return true;
}

/* "Not found" may be said of the container too, and a reply to HEAD has no words. */
static enum tt_status check_container(struct tt_docker_engine *engine, const char *container, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = tt_docker_path(&path, err, "/containers/%s/json", container);
    if (status != TT_OK)
        return status;
    const struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data};
    return tt_docker_call(engine, &request, NULL, NULL, err);
}

enum tt_status tt_docker_stat(struct tt_docker_engine *engine, const char *container, const char *path, bool *ret_found,
                              struct tt_docker_path_stat *ret_stat, struct tt_error *err)
{
    struct tt_buffer request_path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_http_reply reply TT_CLEANUP(tt_http_reply_clear) = {0};
    struct tt_docker_path_stat found = {0};
    enum tt_status status = tt_docker_path(&request_path, err, "/containers/%s/archive?path=%s", container, path);
    if (status != TT_OK)
        return status;
    const struct tt_docker_request request = {.method = "HEAD", .path = (const char *)request_path.data};
    status = exchange(engine, &request, &reply, err);
    if (status != TT_OK)
        return status;
    if (reply.code == 404) {
        status = check_container(engine, container, err);
        if (status == TT_OK)
            *ret_found = false;
        return status;
    }
    if (!is_success(reply.code))
        return refuse(engine, &reply, err);
    if (!parse_stat(reply.path_stat, &found))
        return tt_error_set(err, TT_STORE, "the container engine at %s does not tell what %s is",
                            tt_docker_name(engine), path);
    *ret_found = true;
    *ret_stat = found;
    return TT_OK;
}

/* Streams. */

enum tt_status tt_docker_download(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                  struct tt_http_download **ret_download, int *ret_code, struct tt_error *err)
{
    struct prepared prepared TT_CLEANUP(prepared_clear) = {0};
    struct tt_http_reply reply TT_CLEANUP(tt_http_reply_clear) = {0};
    struct tt_http_download *download = NULL;
    tell_code(ret_code, 0);
    enum tt_status status = prepare(engine, request, &prepared, err);
    if (status == TT_OK)
        status = tt_http_download(engine->http, &prepared.http, &reply, &download, err);
    if (status != TT_OK)
        return status;
    tell_code(ret_code, reply.code);
    tt_log(TT_LOG_DEBUG, "%s %s: %d", request->method, prepared.path, reply.code);
    if (!download)
        return refuse(engine, &reply, err);
    *ret_download = download;
    return TT_OK;
}

enum tt_status tt_docker_upload(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                struct tt_http_upload **ret_upload, struct tt_error *err)
{
    struct prepared prepared TT_CLEANUP(prepared_clear) = {0};
    enum tt_status status = prepare(engine, request, &prepared, err);
    if (status == TT_OK)
        status = tt_http_upload(engine->http, &prepared.http, ret_upload, err);
    return status;
}

enum tt_status tt_docker_upload_finish(struct tt_docker_engine *engine, struct tt_http_upload *upload, int *ret_code,
                                       struct tt_error *err)
{
    struct tt_http_reply reply TT_CLEANUP(tt_http_reply_clear) = {0};
    tell_code(ret_code, 0);
    enum tt_status status = tt_http_upload_finish(upload, &reply, err);
    if (status != TT_OK)
        return status;
    tell_code(ret_code, reply.code);
    return is_success(reply.code) ? TT_OK : refuse(engine, &reply, err);
}

/* One JSON object after the other: where each ends is known by its brackets, so that none is parsed before it is
 * whole. */
struct objects {
    struct tt_docker_engine *engine;
    tt_docker_sink sink;
    void *user;
    struct tt_buffer text; /* of the object that is coming in */
    unsigned depth;
    bool in_text;
    bool is_escaped;
};

static enum tt_status not_objects(const struct objects *objects, struct tt_error *err)
{
    return tt_error_set(err, TT_STORE, "what the container engine at %s tells of its work is not JSON",
                        tt_docker_name(objects->engine));
}

static enum tt_status hand_on(struct objects *objects, struct tt_error *err)
{
    cJSON *object TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status =
        tt_json_parse((const char *)objects->text.data, objects->text.length, OBJECT_VALUES, "progress", &object, NULL);
    tt_buffer_clear(&objects->text);
    return status == TT_OK ? objects->sink(objects->user, object, err) : not_objects(objects, err);
}

/* Whether `byte` ends an object. */
static bool follow(struct objects *objects, char byte)
{
    if (objects->in_text) {
        bool ends = byte == '"' && !objects->is_escaped;
        objects->is_escaped = byte == '\\' && !objects->is_escaped;
        objects->in_text = !ends;
        return false;
    }
    if (byte == '"')
        objects->in_text = true;
    else if (byte == '{' || byte == '[')
        objects->depth++;
    else if (byte == '}' || byte == ']')
        return --objects->depth == 0;
    return false;
}

static enum tt_status take_objects(struct objects *objects, const char *data, size_t length, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    size_t start = 0;
    for (size_t i = 0; i < length && status == TT_OK; i++) {
        if (objects->depth == 0 && isspace((unsigned char)data[i])) {
            start = i + 1;
            continue;
        }
        if (objects->depth == 0 && data[i] != '{')
            return not_objects(objects, err);
        if (!follow(objects, data[i]))
            continue;
        status = tt_buffer_append(&objects->text, data + start, i + 1 - start, err);
        start = i + 1;
        status = status == TT_OK ? hand_on(objects, err) : not_objects(objects, err);
    }
    if (status == TT_OK && start < length && tt_buffer_append(&objects->text, data + start, length - start, err))
        status = not_objects(objects, err);
    return status;
}

enum tt_status tt_docker_objects(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                 tt_docker_sink sink, void *user, int *ret_code, struct tt_error *err)
{
    struct tt_http_download *download TT_CLEANUP(tt_http_download_free_cleanup) = NULL;
    struct objects objects = {.engine = engine, .sink = sink, .user = user, .text = TT_BUFFER_INIT(OBJECT_LIMIT)};
    char chunk[CHUNK];
    size_t length = 0;
    enum tt_status status = tt_docker_download(engine, request, &download, ret_code, err);
    while (status == TT_OK) {
        status = tt_http_download_read(download, chunk, sizeof chunk, &length, err);
        if (status != TT_OK || length == 0)
            break;
        status = take_objects(&objects, chunk, length, err);
    }
    if (status == TT_OK && objects.depth > 0)
        status = tt_error_set(err, TT_STORE, "what the container engine at %s tells of its work was cut off",
                              tt_docker_name(engine));
    tt_buffer_clear(&objects.text);
    return status;
}
