/* The engine's API: versions, refusals, paths, streams of objects. */
#include <stdlib.h>
#include <string.h>

#include "http_server.h"
#include "image/docker_engine.h"
#include "private_home.h"
#include "suite.h"

static struct tt_error err;

static void send_chunks(int connection, const char *text)
{
    http_server_send(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (*text) {
        char chunk[256];
        size_t length = strcspn(text, "|");
        snprintf(chunk, sizeof chunk, "%zx\r\n%.*s\r\n", length, (int)length, text);
        http_server_send(connection, chunk);
        text += text[length] ? length + 1 : length;
    }
    http_server_send(connection, "0\r\n\r\n");
}

/* Answers to what a request starts with. The last one is for everything else. */
struct answer {
    const char *start; /* NULL ends the list */
    const char *text;
};

static void answer(int connection, unsigned number, void *user)
{
    char head[4096];
    (void)number;
    while (http_server_read_head(connection, head, sizeof head)) {
        const struct answer *found = user;
        while (found->start && strncmp(head, found->start, strlen(found->start)) != 0)
            found++;
        if (found->start && found->text[0] == '|')
            send_chunks(connection, found->text + 1);
        else
            http_server_send(connection, found->start ? found->text : "HTTP/1.1 418 No\r\nContent-Length: 0\r\n\r\n");
    }
}

static struct http_server *start(const struct answer *answers)
{
    char host[128];
    struct http_server *server = http_server_start(answer, (void *)answers);
    snprintf(host, sizeof host, "unix://%s", http_server_socket(server));
    setenv("DOCKER_HOST", host, 1);
    memset(&err, 0, sizeof err);
    return server;
}

#define PING(version) "HTTP/1.1 200 OK\r\nApi-Version: " version "\r\nContent-Length: 2\r\n\r\nOK"
#define JSON(text) "|" text /* sent in chunks, which | parts */

/* Which version's path is used, or what is said. */
static void check_version(const char *ping, const char *version, const char *expected, const char *says)
{
    char start_of_info[64];
    snprintf(start_of_info, sizeof start_of_info, "GET /v%s/info", expected ? expected : "none");
    const struct answer answers[] = {{"GET /_ping", ping},
                                     {"GET /version", version},
                                     {start_of_info, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
                                     {NULL, NULL}};
    struct http_server *server = start(answers);
    struct tt_docker_engine *engine = NULL;
    enum tt_status status = tt_docker_connect(&engine, &err);
    CU_ASSERT_EQUAL(status, expected ? TT_OK : TT_STORE);
    if (status == TT_OK && expected) {
        const struct tt_docker_request request = {.method = "GET", .path = "/info"};
        CU_ASSERT_EQUAL(tt_docker_call(engine, &request, NULL, NULL, &err), TT_OK);
    } else {
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, says));
    }
    tt_docker_free(engine);
    http_server_stop(server);
}

static void versions_are_agreed_on(void)
{
    static const char none[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    check_version(PING("1.41"), none, "1.41", NULL);
    check_version(PING("1.43"), none, "1.43", NULL);
    check_version(PING("1.39"), none, NULL, "too old");
    check_version(PING("1.47"), JSON("{\"ApiVersion\":\"1.47\",\"MinAPIVersion\":\"1.24\"}"), "1.43", NULL);
    check_version(PING("1.52"), JSON("{\"ApiVersion\":\"1.52\",\"MinAPIVersion\":\"1.44\"}"), "1.44", NULL);
    check_version(PING("1.99"), JSON("{\"ApiVersion\":\"1.99\",\"MinAPIVersion\":\"1.98\"}"), NULL, "too new");
    check_version(none, JSON("{\"ApiVersion\":\"1.41\"}"), "1.41", NULL);
    check_version(none, JSON("{}"), NULL, "not a container engine");
    check_version(none, JSON("<>"), NULL, "not JSON");
    check_version(none, none, NULL, "refuses without a reason");
    check_version(PING("9000.1"), JSON("{\"ApiVersion\":\"2.0\"}"), NULL, "not a container engine");
}

static void check_path(const char *expected, const char *format, const char *first, const char *second)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    CU_ASSERT_EQUAL(tt_docker_path(&path, &err, format, first, second), TT_OK);
    CU_ASSERT_STRING_EQUAL((const char *)path.data, expected);
}

static void paths_are_encoded(void)
{
    check_path("/a/b%2Fc%3Fd%3De/x", "/a/%s/x", "b/c?d=e", "");
    check_path("/images/localhost:5000/a@sha256:b/push?tag=x%20%26y", "/images/%p/push?tag=%s",
               "localhost:5000/a@sha256:b", "x &y");
    check_path("100%&a=%C3%A4", "100%%&a=%s", "\xc3\xa4", "");
    check_path("a%0D%0Ab%25", "a%s%s", "\r\n", "b%");
}

static const struct answer refusals[] = {
    {"GET /_ping", PING("1.41")},
    {"GET /v1.41/docker", "HTTP/1.1 409 Conflict\r\nContent-Length: 22\r\n\r\n{\"message\":\"in\\nuse\"}\n"},
    {"GET /v1.41/podman", "HTTP/1.1 404 Not Found\r\nContent-Length: "
                          "51\r\n\r\n{\"cause\":\"none\",\"message\":\"nothing\",\"response\":404}"},
    {"GET /v1.41/plain", "HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\npage gone"},
    {"GET /v1.41/html", "HTTP/1.1 502 Oops\r\nContent-Length: 6\r\n\r\n<html>"},
    {"GET /v1.41/same", "HTTP/1.1 304 Not Modified\r\n\r\n"},
    {"GET /v1.41/nothing", "HTTP/1.1 204 No Content\r\n\r\n"},
    {"GET /v1.41/bad", JSON("{\"a\":")},
    {"GET /v1.41/good", JSON("{\"a\":1}")},
    {"PUT /v1.41/docker", "HTTP/1.1 400 Bad\r\nContent-Length: 20\r\n\r\n{\"message\":\"no tar\"}"},
    {NULL, NULL}};

static void check_call(struct tt_docker_engine *engine, const char *path, enum tt_status expected, int code,
                       const char *says)
{
    cJSON *json = NULL;
    int ret_code = -1;
    const struct tt_docker_request request = {.method = "GET", .path = path};
    CU_ASSERT_EQUAL(tt_docker_call(engine, &request, &json, &ret_code, &err), expected);
    CU_ASSERT_EQUAL(ret_code, code);
    if (expected != TT_OK)
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, says));
    if (expected == TT_OK)
        CU_ASSERT_EQUAL(json != NULL, says != NULL);
    cJSON_Delete(json);
}

static void refusals_come_in_the_engines_words(void)
{
    struct http_server *server = start(refusals);
    struct tt_docker_engine *engine = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_docker_connect(&engine, &err), TT_OK);
    check_call(engine, "/docker", TT_STORE, 409, "in\\x0ause");
    CU_ASSERT_STRING_EQUAL(err.detail, "HTTP 409");
    check_call(engine, "/podman", TT_STORE, 404, "nothing");
    check_call(engine, "/plain", TT_STORE, 500, "page gone");
    check_call(engine, "/html", TT_STORE, 502, "refuses without a reason");
    check_call(engine, "/same", TT_OK, 304, NULL);
    check_call(engine, "/nothing", TT_OK, 204, NULL);
    check_call(engine, "/good", TT_OK, 200, "json");
    check_call(engine, "/bad", TT_STORE, 200, "not JSON");
    struct tt_http_download *download = NULL;
    int code = 0;
    const struct tt_docker_request request = {.method = "GET", .path = "/docker"};
    CU_ASSERT_EQUAL(tt_docker_download(engine, &request, &download, &code, &err), TT_STORE);
    CU_ASSERT_EQUAL(code, 409);
    CU_ASSERT_PTR_NULL(download);
    struct tt_http_upload *upload = NULL;
    const struct tt_docker_request put = {.method = "PUT", .path = "/docker"};
    CU_ASSERT_EQUAL_FATAL(tt_docker_upload(engine, &put, &upload, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_docker_upload_finish(engine, upload, &code, &err), TT_STORE);
    CU_ASSERT_EQUAL(code, 400);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "no tar"));
    tt_docker_free(engine);
    http_server_stop(server);
}

static void what_lies_at_a_path_is_told(void)
{
    /* {"name":"x","size":3,"mode":2147484141,"mtime":"","linkTarget":""} */
    static const struct answer answers[] = {
        {"GET /_ping", PING("1.41")},
        {"HEAD /v1.41/containers/c/archive?path=%2Fopt%2Fa ",
         "HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: "
         "eyJuYW1lIjoieCIsInNpemUiOjMsIm1vZGUiOjIxNDc0ODQxNDEsIm10aW1lIjoiIiwibGlua1RhcmdldCI6IiJ9\r\n\r\n"},
        {"HEAD /v1.41/containers/c/archive?path=%2Fbad ",
         "HTTP/1.1 200 OK\r\nX-Docker-Container-Path-Stat: e30=\r\n\r\n"},
        {"HEAD /v1.41/containers/c/archive?path=%2Fless ", "HTTP/1.1 200 OK\r\n\r\n"},
        {"HEAD /v1.41/containers/", "HTTP/1.1 404 Not Found\r\n\r\n"},
        {"GET /v1.41/containers/c/json", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"},
        {"GET /v1.41/containers/",
         "HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\n\r\n{\"message\":\"no such container\"}"},
        {NULL, NULL}};
    struct http_server *server = start(answers);
    struct tt_docker_engine *engine = NULL;
    struct tt_docker_path_stat stat = {0};
    bool found = false;
    CU_ASSERT_EQUAL_FATAL(tt_docker_connect(&engine, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_docker_stat(engine, "c", "/opt/a", &found, &stat, &err), TT_OK);
    CU_ASSERT_TRUE(found);
    CU_ASSERT_EQUAL(stat.size, 3);
    CU_ASSERT_EQUAL(stat.mode, TT_DOCKER_MODE_FOLDER | 0755);
    CU_ASSERT_EQUAL(tt_docker_stat(engine, "c", "/none", &found, &stat, &err), TT_OK);
    CU_ASSERT_FALSE(found);
    CU_ASSERT_EQUAL(tt_docker_stat(engine, "d", "/none", &found, &stat, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "no such container"));
    CU_ASSERT_EQUAL(tt_docker_stat(engine, "c", "/bad", &found, &stat, &err), TT_STORE);
    CU_ASSERT_EQUAL(tt_docker_stat(engine, "c", "/less", &found, &stat, &err), TT_STORE);
    tt_docker_free(engine);
    http_server_stop(server);
}

/* Streams of objects. */

struct seen {
    int count;
    int sum;
    int fail_at;
};

static enum tt_status see(void *user, const cJSON *object, struct tt_error *failure)
{
    struct seen *seen = user;
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(object, "n");
    seen->count++;
    seen->sum += cJSON_IsNumber(number) ? number->valueint : 0;
    return seen->count == seen->fail_at ? tt_error_set(failure, TT_WRONG_STOP, "enough") : TT_OK;
}

static enum tt_status objects_of(const char *text, struct seen *seen)
{
    const struct answer answers[] = {{"GET /_ping", PING("1.41")}, {"POST /v1.41/images/create", text}, {NULL, NULL}};
    struct http_server *server = start(answers);
    struct tt_docker_engine *engine = NULL;
    const struct tt_docker_request request = {.method = "POST", .path = "/images/create"};
    CU_ASSERT_EQUAL_FATAL(tt_docker_connect(&engine, &err), TT_OK);
    enum tt_status status = tt_docker_objects(engine, &request, see, seen, NULL, &err);
    tt_docker_free(engine);
    http_server_stop(server);
    return status;
}

static void check_objects(const char *text, enum tt_status expected, int count, int sum, int fail_at)
{
    struct seen seen = {.fail_at = fail_at};
    CU_ASSERT_EQUAL(objects_of(text, &seen), expected);
    CU_ASSERT_EQUAL(seen.count, count);
    CU_ASSERT_EQUAL(seen.sum, sum);
}

static void objects_come_one_by_one(void)
{
    check_objects(JSON(""), TT_OK, 0, 0, 0);
    check_objects(JSON("{\"n\":1}\r\n|{\"n\":2}\n {\"n\":3}"), TT_OK, 3, 6, 0);
    check_objects(JSON("{\"n\":|4}{|\"x\":\"}{\\\"|\\\\\",\"n\":1|}"), TT_OK, 2, 5, 0);
    check_objects(JSON("{\"a\":[{}],\"n\":2}"), TT_OK, 1, 2, 0);
    check_objects(JSON("{\"n\":1}{\"n\":2}"), TT_WRONG_STOP, 1, 1, 1);
    check_objects(JSON("{\"n\":1}{\"n\""), TT_STORE, 1, 1, 0);
    check_objects(JSON("{\"n\":1}x"), TT_STORE, 1, 1, 0);
    check_objects(JSON("[1]"), TT_STORE, 0, 0, 0);
    check_objects(JSON("{\"n\":1]"), TT_STORE, 0, 0, 0);
    check_objects("HTTP/1.1 500 No\r\nContent-Length: 16\r\n\r\n{\"message\":\"no\"}", TT_STORE, 0, 0, 0);
}

static void an_object_has_a_limit(void)
{
    enum { SIZE = 2 * 1024 * 1024 };
    char *text = malloc(SIZE + 200);
    struct seen seen = {0};
    int length = snprintf(text, 200, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{\"n\":\"", SIZE);
    memset(text + length, 'x', SIZE - 6);
    text[length + SIZE - 6] = '\0';
    CU_ASSERT_EQUAL(objects_of(text, &seen), TT_STORE);
    CU_ASSERT_EQUAL(seen.count, 0);
    free(text);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"versions are agreed on", versions_are_agreed_on},
        {"paths are encoded", paths_are_encoded},
        {"refusals come in the engine's words", refusals_come_in_the_engines_words},
        {"what lies at a path is told", what_lies_at_a_path_is_told},
        {"objects come one by one", objects_come_one_by_one},
        {"an object has a limit", an_object_has_a_limit},
    };
    private_home_enter();
    int failed = SUITE_RUN("docker engine", tests);
    private_home_leave();
    return failed;
}
