/* The HTTP client against a server that says what it should not. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/pipe.h"
#include "http_server.h"
#include "image/http.h"
#include "suite.h"

enum { PATIENCE = 1 };

static struct tt_error err;

static struct tt_http *connect_to(const struct http_server *server)
{
    struct tt_http *http = NULL;
    const struct tt_http_endpoint endpoint = {
        .socket = http_server_socket(server), .name = "unix:///the.socket", .patience_seconds = PATIENCE};
    CU_ASSERT_EQUAL_FATAL(tt_http_new(&endpoint, &http, &err), TT_OK);
    return http;
}

/* Says its text after each request's head on a connection; afterwards waits for the other side to close where `stay`
 * is set. */
struct script {
    const char *text;
    bool stay;
    char head[4096]; /* of the last request */
};

static void say(int connection, unsigned number, void *user)
{
    struct script *script = user;
    (void)number;
    if (!http_server_read_head(connection, script->head, sizeof script->head))
        return;
    http_server_send(connection, script->text);
    char byte;
    if (script->stay)
        (void)!recv(connection, &byte, 1, 0);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One GET of a scripted answer. */
static enum tt_status get(struct script *script, struct tt_http_reply *reply)
{
    struct http_server *server = http_server_start(say, script);
    struct tt_http *http = connect_to(server);
    const struct tt_http_request request = {.method = "GET", .path = "/v1.41/x%2Fy/../z?a=b"};
    memset(&err, 0, sizeof err);
    enum tt_status status = tt_http_call(http, &request, reply, &err);
    tt_http_free(http);
    http_server_stop(server);
    return status;
}

/* The same as a stream; everything it brings goes into the reply's body. */
static enum tt_status get_stream(struct script *script, struct tt_http_reply *reply)
{
    struct http_server *server = http_server_start(say, script);
    struct tt_http *http = connect_to(server);
    struct tt_http_download *download = NULL;
    const struct tt_http_request request = {.method = "GET", .path = "/stream"};
    memset(&err, 0, sizeof err);
    enum tt_status status = tt_http_download(http, &request, reply, &download, &err);
    char chunk[1000];
    size_t length = 1;
    while (status == TT_OK && download && length > 0) {
        status = tt_http_download_read(download, chunk, sizeof chunk, &length, &err);
        if (status == TT_OK)
            CU_ASSERT_EQUAL(tt_buffer_append(&reply->body, chunk, length, &err), TT_OK);
    }
    tt_http_download_free(download);
    tt_http_free(http);
    http_server_stop(server);
    return status;
}

static void check_reply(const char *text, int code, const char *body)
{
    struct script script = {.text = text};
    struct tt_http_reply reply = {0};
    CU_ASSERT_EQUAL(get(&script, &reply), TT_OK);
    CU_ASSERT_EQUAL(reply.code, code);
    CU_ASSERT_STRING_EQUAL(reply.body.data ? (const char *)reply.body.data : "", body);
    tt_http_reply_clear(&reply);
    CU_ASSERT_PTR_NOT_NULL(strstr(script.head, "GET /v1.41/x%2Fy/../z?a=b HTTP/1.1\r\n"));
    CU_ASSERT_EQUAL(get_stream(&script, &reply), TT_OK);
    CU_ASSERT_EQUAL(reply.code, code);
    CU_ASSERT_STRING_EQUAL(reply.body.data ? (const char *)reply.body.data : "", body);
    tt_http_reply_clear(&reply);
}

static void replies_come_whole(void)
{
    check_reply("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello");
    check_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, "hello");
    check_reply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, "");
    check_reply("HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n{\"message\":\"none\"}", 404,
                "{\"message\":\"none\"}");
    check_reply("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", 302, "");
    check_reply("HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\nbroken", 500, "broken");
    check_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nHTTP/1.1: 404\r\nX: y\r\n\r\n",
                200, "ok");
}

static void the_headers_that_count_are_kept(void)
{
    struct script script = {.text = "HTTP/1.1 200 OK\r\napi-version: 1.43\r\nX-Docker-Container-Path-Stat:  e30= \r\n"
                                    "Content-Length: 0\r\n\r\n"};
    struct tt_http_reply reply = {0};
    CU_ASSERT_EQUAL(get(&script, &reply), TT_OK);
    CU_ASSERT_STRING_EQUAL(reply.api_version, "1.43");
    CU_ASSERT_STRING_EQUAL(reply.path_stat, "e30=");
    CU_ASSERT_PTR_NULL(strstr(script.head, "Expect"));
    tt_http_reply_clear(&reply);
}

static void check_cut(const char *text)
{
    struct script script = {.text = text};
    struct tt_http_reply reply = {0};
    CU_ASSERT_EQUAL(get(&script, &reply), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "unix:///the.socket"));
    tt_http_reply_clear(&reply);
    CU_ASSERT_EQUAL(get_stream(&script, &reply), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "unix:///the.socket"));
    tt_http_reply_clear(&reply);
}

static void cut_replies_are_failures(void)
{
    check_cut("");
    check_cut("HTTP/1.1 200 OK\r\nContent-Le");
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n");
    check_cut("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    check_cut("HTTP/1.1 100 Continue\r\n\r\n");
}

static void a_stream_without_an_end_is_refused(void)
{
    struct script script = {.text = "HTTP/1.1 200 OK\r\n\r\nhello"};
    struct tt_http_reply reply = {0};
    CU_ASSERT_EQUAL(get_stream(&script, &reply), TT_STORE);
    tt_http_reply_clear(&reply);
    script.text = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nhello";
    CU_ASSERT_EQUAL(get_stream(&script, &reply), TT_OK);
    CU_ASSERT_EQUAL(reply.body.length, 5);
    tt_http_reply_clear(&reply);
}

/* A piece of text over and over, until the other side has enough. */
struct flood {
    const char *start;
    const char *piece;
};

static void flood(int connection, unsigned number, void *user)
{
    const struct flood *flood = user;
    char head[4096];
    (void)number;
    if (!http_server_read_head(connection, head, sizeof head))
        return;
    http_server_send(connection, flood->start);
    size_t length = strlen(flood->piece);
    while (send(connection, flood->piece, length, MSG_NOSIGNAL) == (ssize_t)length)
        ;
}

static void check_flood(const char *start, const char *piece, const char *says)
{
    struct flood what = {start, piece};
    struct http_server *server = http_server_start(flood, &what);
    struct tt_http *http = connect_to(server);
    struct tt_http_reply reply = {0};
    const struct tt_http_request request = {.method = "GET", .path = "/"};
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, says));
    tt_http_free(http);
    http_server_stop(server);
}

static void endless_answers_are_cut_short(void)
{
    static char large[100001];
    memset(large, 'x', sizeof large - 1);
    check_flood("HTTP/1.1 200 OK\r\n", "X-More: and more and more\r\n", "of headers");
    check_flood("HTTP/1.1 200 OK\r\nX: ", large, "unix:///the.socket");
    check_flood("", "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n", "of headers");
    check_flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", large, "an answer of more than");
    check_flood("HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n", large, "an answer of more than");
    check_flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Trailer: y\r\n", "of headers");
}

static void silence_has_an_end(void)
{
    struct script script = {.text = "", .stay = true};
    struct tt_http_reply reply = {0};
    double start = now();
    CU_ASSERT_EQUAL(get(&script, &reply), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "silent"));
    script.text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhell";
    CU_ASSERT_EQUAL(get(&script, &reply), TT_STORE);
    CU_ASSERT_EQUAL(get_stream(&script, &reply), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "silent"));
    CU_ASSERT(now() - start >= 3 * PATIENCE && now() - start < 3 * PATIENCE + 5);
    tt_http_reply_clear(&reply);
}

/* Answers after more than the patience for silence. */
static void answer_late(int connection, unsigned number, void *user)
{
    char head[4096];
    (void)number, (void)user;
    if (!http_server_read_head(connection, head, sizeof head))
        return;
    usleep((PATIENCE * 1000 + 700) * 1000);
    http_server_send(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    usleep((PATIENCE * 1000 + 700) * 1000);
    http_server_send(connection, "0\r\n\r\n");
}

static void patient_requests_wait(void)
{
    struct http_server *server = http_server_start(answer_late, NULL);
    struct tt_http *http = connect_to(server);
    struct tt_http_reply reply = {0};
    const struct tt_http_request request = {.method = "POST", .path = "/commit", .patient = true};
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(reply.body.length, 2);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

static void be_busy(int connection, unsigned number, void *user)
{
    const unsigned *busy = user;
    char head[4096];
    if (!http_server_read_head(connection, head, sizeof head))
        return;
    http_server_send(connection, number < *busy
                                     ? "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nConnection: close\r\n"
                                       "Content-Length: 4\r\n\r\nbusy"
                                     : "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
}

static void check_busy(const char *method, unsigned busy, int code, unsigned count)
{
    struct http_server *server = http_server_start(be_busy, &busy);
    struct tt_http *http = connect_to(server);
    struct tt_http_reply reply = {0};
    const struct tt_http_request request = {.method = method, .path = "/"};
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(reply.code, code);
    CU_ASSERT_EQUAL(http_server_count(server), count);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

static void busy_servers_are_asked_again(void)
{
    check_busy("GET", 1, 200, 2);
    check_busy("GET", 9, 503, 3);
    check_busy("POST", 1, 503, 1);
}

/* Connections: many requests on one that stays open. */
static void serve_many(int connection, unsigned number, void *user)
{
    char head[4096];
    (void)number, (void)user;
    while (http_server_read_head(connection, head, sizeof head))
        http_server_send(connection, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static void reading_requests_share_a_connection(void)
{
    struct http_server *server = http_server_start(serve_many, NULL);
    struct tt_http *http = connect_to(server);
    for (int i = 0; i < 5; i++) {
        struct tt_http_reply reply = {0};
        const struct tt_http_request request = {.method = "GET", .path = "/"};
        CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_OK);
        tt_http_reply_clear(&reply);
    }
    CU_ASSERT_EQUAL(http_server_count(server), 1);
    tt_http_free(http);
    http_server_stop(server);
}

/* Uploads. */

struct received {
    char head[4096];
    long length;
    unsigned long sum;
    useconds_t wait; /* before reading */
};

static void receive(int connection, unsigned number, void *user)
{
    struct received *received = user;
    (void)number;
    if (!http_server_read_head(connection, received->head, sizeof received->head))
        return;
    usleep(received->wait);
    received->length = http_server_read_chunks(connection, &received->sum);
    http_server_send(connection, "HTTP/1.1 201 Made\r\nContent-Length: 4\r\n\r\nmade");
}

static struct tt_http_upload *start_upload(struct tt_http *http)
{
    struct tt_http_upload *upload = NULL;
    static const char *const headers[] = {"Content-Type: application/x-tar", NULL};
    const struct tt_http_request request = {.method = "PUT", .path = "/archive", .headers = headers};
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL_FATAL(tt_http_upload(http, &request, &upload, &err), TT_OK);
    return upload;
}

static void check_upload(size_t piece, unsigned rounds, useconds_t pause, useconds_t wait)
{
    struct received received = {.wait = wait};
    struct http_server *server = http_server_start(receive, &received);
    struct tt_http *http = connect_to(server);
    struct tt_http_upload *upload = start_upload(http);
    struct tt_http_reply reply = {0};
    unsigned char *data = malloc(piece);
    unsigned long sum = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < piece; i++) {
            data[i] = (unsigned char)(i * 7 + round);
            sum += data[i];
        }
        usleep(pause);
        CU_ASSERT_EQUAL(tt_http_upload_write(upload, data, piece, &err), TT_OK);
    }
    CU_ASSERT_EQUAL(tt_http_upload_finish(upload, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(reply.code, 201);
    CU_ASSERT_STRING_EQUAL((const char *)reply.body.data, "made");
    CU_ASSERT_EQUAL(received.length, (long)(piece * rounds));
    CU_ASSERT_EQUAL(received.sum, sum);
    CU_ASSERT_PTR_NOT_NULL(strstr(received.head, "PUT /archive HTTP/1.1\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(received.head, "Transfer-Encoding: chunked\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(received.head, "Content-Type: application/x-tar\r\n"));
    CU_ASSERT_PTR_NULL(strstr(received.head, "Expect"));
    free(data);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

static void uploads_arrive_intact(void)
{
    check_upload(1, 1, 0, 0);
    check_upload(1000, 5000, 0, 0);
    check_upload(3000001, 3, 0, 0);
    check_upload(700, 5, 60000, 0); /* the transfer pauses in between */
    check_upload(100000, 30, 0, 300000);
}

static void an_upload_may_be_empty(void)
{
    struct received received = {0};
    struct http_server *server = http_server_start(receive, &received);
    struct tt_http *http = connect_to(server);
    struct tt_http_reply reply = {0};
    CU_ASSERT_EQUAL(tt_http_upload_finish(start_upload(http), &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(received.length, 0);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

/* Whoever makes the body may take longer than the server may. */
static void a_slow_writer_is_not_a_silent_server(void)
{
    struct received received = {0};
    struct http_server *server = http_server_start(receive, &received);
    struct tt_http *http = connect_to(server);
    struct tt_http_upload *upload = start_upload(http);
    struct tt_http_reply reply = {0};
    CU_ASSERT_EQUAL(tt_http_upload_write(upload, "abc", 3, &err), TT_OK);
    usleep((PATIENCE * 1000 + 700) * 1000);
    CU_ASSERT_EQUAL(tt_http_upload_write(upload, "def", 3, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_http_upload_finish(upload, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(received.length, 6);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

/* Answers before the body is there, and reads on for a while as servers do. */
static void answer_early(int connection, unsigned number, void *user)
{
    struct script *script = user;
    char data[65536];
    (void)number;
    if (!http_server_read_head(connection, script->head, sizeof script->head))
        return;
    http_server_send(connection, script->text);
    shutdown(connection, SHUT_WR);
    for (int i = 0; i < 50 && recv(connection, data, sizeof data, 0) > 0; i++)
        ;
}

static void an_early_answer_is_heard(void)
{
    static const char refusal[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone";
    static char data[100000];
    struct script script = {.text = refusal};
    struct http_server *server = http_server_start(answer_early, &script);
    struct tt_http *http = connect_to(server);
    struct tt_http_upload *upload = start_upload(http);
    struct tt_http_reply reply = {0};
    for (int i = 0; i < 300; i++) /* far more than any buffer on the way holds */
        CU_ASSERT_EQUAL(tt_http_upload_write(upload, data, sizeof data, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_http_upload_finish(upload, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(reply.code, 404);
    CU_ASSERT_STRING_EQUAL((const char *)reply.body.data, "none");
    tt_http_reply_clear(&reply);

    /* Also where nothing is being written. */
    upload = start_upload(http);
    usleep(300000);
    CU_ASSERT_EQUAL(tt_http_upload_write(upload, data, sizeof data, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_http_upload_finish(upload, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(reply.code, 404);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

static void hang_up(int connection, unsigned number, void *user)
{
    char head[4096];
    (void)number, (void)user;
    (void)http_server_read_head(connection, head, sizeof head);
}

static void a_broken_upload_is_a_failure(void)
{
    static char data[100000];
    struct http_server *server = http_server_start(hang_up, NULL);
    struct tt_http *http = connect_to(server);
    struct tt_http_upload *upload = start_upload(http);
    struct tt_http_reply reply = {0};
    enum tt_status status = TT_OK;
    for (int i = 0; i < 300 && status == TT_OK; i++)
        status = tt_http_upload_write(upload, data, sizeof data, &err);
    CU_ASSERT_EQUAL(status, TT_STORE);
    CU_ASSERT_EQUAL(tt_http_upload_finish(upload, &reply, &err), TT_STORE);
    tt_http_free(http);
    http_server_stop(server);
}

static void a_dropped_upload_is_cut(void)
{
    struct received received = {.length = 1};
    struct http_server *server = http_server_start(receive, &received);
    struct tt_http *http = connect_to(server);
    struct tt_http_upload *upload = start_upload(http);
    CU_ASSERT_EQUAL(tt_http_upload_write(upload, "abc", 3, &err), TT_OK);
    usleep(100000);
    double start = now();
    tt_http_upload_free(upload);
    CU_ASSERT(now() - start < 1);
    tt_http_free(http);
    http_server_stop(server);
    CU_ASSERT_EQUAL(received.length, -1);
}

static void a_dropped_download_ends_at_once(void)
{
    static const struct flood endless = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"};
    struct script silent = {.text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .stay = true};
    struct http_server *servers[] = {http_server_start(flood, (void *)&endless), http_server_start(say, &silent)};
    for (size_t i = 0; i < 2; i++) {
        struct tt_http *http = connect_to(servers[i]);
        struct tt_http_download *download = NULL;
        struct tt_http_reply reply = {0};
        const struct tt_http_request request = {.method = "GET", .path = "/", .patient = true};
        CU_ASSERT_EQUAL_FATAL(tt_http_download(http, &request, &reply, &download, &err), TT_OK);
        usleep(100000);
        double start = now();
        tt_http_download_free(download);
        CU_ASSERT(now() - start < 1);
        tt_http_free(http);
        http_server_stop(servers[i]);
    }
}

/* Endpoints. */

static void absent_engines_are_named(void)
{
    struct tt_http *http = NULL;
    struct tt_http_reply reply = {0};
    const struct tt_http_request request = {.method = "GET", .path = "/"};
    struct tt_http_endpoint endpoint = {
        .socket = "/nonexistent/socket", .name = "unix:///nonexistent/socket", .patience_seconds = PATIENCE};
    CU_ASSERT_EQUAL_FATAL(tt_http_new(&endpoint, &http, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "there is no unix:///nonexistent/socket"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "DOCKER_HOST"));
    tt_http_free(http);

    char path[200];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    endpoint.socket = path;
    CU_ASSERT_EQUAL(tt_http_new(&endpoint, &http, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "longer than"));
}

static void secrets_of_headers_stay_out_of_messages(void)
{
    struct script script = {.text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"};
    struct http_server *server = http_server_start(say, &script);
    struct tt_http *http = connect_to(server);
    struct tt_http_reply reply = {0};
    static const char *const headers[] = {"X-Registry-Auth: opensesame", NULL};
    const struct tt_http_request request = {.method = "POST", .path = "/", .headers = headers};
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_STORE);
    CU_ASSERT_PTR_NULL(strstr(err.message, "opensesame"));
    CU_ASSERT_PTR_NULL(strstr(err.detail, "opensesame"));
    CU_ASSERT_PTR_NOT_NULL(strstr(script.head, "X-Registry-Auth: opensesame\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(script.head, "Content-Length: 0\r\n"));
    tt_http_free(http);
    http_server_stop(server);
}

static void *signal_soon(void *argument)
{
    usleep(300000);
    kill(getpid(), *(int *)argument);
    return NULL;
}

static void be_silent_once(int connection, unsigned number, void *user)
{
    struct script silent = {.text = "", .stay = true};
    struct script answer = {.text = "HTTP/1.1 204 No Content\r\n\r\n"};
    (void)user;
    say(connection, number, number == 0 ? &silent : &answer);
}

/* The last test: from here on, the signal has come. */
static void a_signal_ends_waiting_but_not_cleaning_up(void)
{
    struct http_server *server = http_server_start(be_silent_once, NULL);
    struct tt_http *http = connect_to(server);
    struct tt_http_reply reply = {0};
    pthread_t thread;
    int number = SIGTERM;
    const struct tt_http_request request = {.method = "POST", .path = "/", .patient = true};
    tt_interrupt_catch();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, signal_soon, &number), 0);
    double start = now();
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_INTERNAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "interrupted"));
    CU_ASSERT(now() - start < 2);
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(tt_http_call(http, &request, &reply, &err), TT_OK);
    CU_ASSERT_EQUAL(reply.code, 204);
    tt_http_reply_clear(&reply);
    tt_http_free(http);
    http_server_stop(server);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"replies come whole", replies_come_whole},
        {"the headers that count are kept", the_headers_that_count_are_kept},
        {"cut replies are failures", cut_replies_are_failures},
        {"a stream without an end is refused", a_stream_without_an_end_is_refused},
        {"endless answers are cut short", endless_answers_are_cut_short},
        {"silence has an end", silence_has_an_end},
        {"patient requests wait", patient_requests_wait},
        {"busy servers are asked again", busy_servers_are_asked_again},
        {"reading requests share a connection", reading_requests_share_a_connection},
        {"uploads arrive intact", uploads_arrive_intact},
        {"an upload may be empty", an_upload_may_be_empty},
        {"a slow writer is not a silent server", a_slow_writer_is_not_a_silent_server},
        {"an early answer is heard", an_early_answer_is_heard},
        {"a broken upload is a failure", a_broken_upload_is_a_failure},
        {"a dropped upload is cut", a_dropped_upload_is_cut},
        {"a dropped download ends at once", a_dropped_download_ends_at_once},
        {"absent engines are named", absent_engines_are_named},
        {"secrets of headers stay out of messages", secrets_of_headers_stay_out_of_messages},
        {"a signal ends waiting, but not cleaning up", a_signal_ends_waiting_but_not_cleaning_up},
    };
    return SUITE_RUN("http", tests);
}
