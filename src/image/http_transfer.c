#include "image/http_transfer.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "base/interrupt.h"
#include "base/secret.h"
#include "base/text.h"

enum {
    PIPE_CAPACITY = 512 * 1024,
    STREAM_BUFFER = 256 * 1024, /* libcurl's own, each way */
    CALL_BUFFER = 16 * 1024,
    CONNECT_SECONDS = 10,
    PATIENT_SECONDS = 60 * 60,
    TICK_MILLISECONDS = 200, /* how often signals and silence are looked at */
    LINGER_MILLISECONDS = 20 /* for bytes to send, before the transfer is told to pause */
};

static void see_sign_of_life(struct tt_http_transfer *transfer)
{
    clock_gettime(CLOCK_MONOTONIC, &transfer->last_sign);
}

/* The first failure is the one that counts. */
static void fail(struct tt_http_transfer *transfer, const char *format, ...) TT_PRINTF(2, 3);
static void fail(struct tt_http_transfer *transfer, const char *format, ...)
{
    if (transfer->failure.status != TT_OK)
        return;
    char text[TT_ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tt_error_set(&transfer->failure, TT_STORE, "%s", text);
}

/* What the other side sends. */

static bool take_text(const char *line, size_t length, const char *name, char **target)
{
    size_t name_length = strlen(name);
    if (length <= name_length || line[name_length] != ':' || strncasecmp(line, name, name_length) != 0)
        return false;
    const char *value = line + name_length + 1;
    const char *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    free(*target);
    *target = strndup(value, (size_t)(end - value));
    return true;
}

static void take_header(struct tt_http_transfer *transfer, const char *line, size_t length)
{
    char *other TT_CLEANUP(tt_free_cleanup) = NULL;
    if (take_text(line, length, "X-Docker-Container-Path-Stat", &transfer->reply.path_stat) ||
        take_text(line, length, "Api-Version", &transfer->reply.api_version) ||
        take_text(line, length, "Date", &transfer->reply.date))
        return;
    if (take_text(line, length, "Content-Length", &other) || take_text(line, length, "Transfer-Encoding", &other))
        transfer->is_delimited = true;
    else if (take_text(line, length, "Content-Type", &other))
        /* By its definition this one ends with the connection. */
        transfer->is_delimited =
            transfer->is_delimited || (other && strncmp(other, "application/vnd.docker.", 23) == 0);
    else if (take_text(line, length, "Retry-After", &other) && other && strspn(other, "0123456789") == strlen(other) &&
             strlen(other) < 6)
        transfer->retry_after = (unsigned)strtoul(other, NULL, 10);
}

/* A reply after "100 Continue" is told from what came before by its status line. */
static void start_head(struct tt_http_transfer *transfer)
{
    tt_http_reply_clear(&transfer->reply);
    transfer->reply.body.limit = TT_HTTP_REPLY_LIMIT;
    transfer->retry_after = 0;
    transfer->is_delimited = false;
    transfer->in_head = true;
}

static void end_head(struct tt_http_transfer *transfer)
{
    long code = 0;
    curl_easy_getinfo(transfer->channel->easy, CURLINFO_RESPONSE_CODE, &code);
    transfer->in_head = false;
    if (code < 200)
        return;
    transfer->reply.code = (int)code;
    if (transfer->direction != TT_HTTP_DOWN || code >= 300)
        return;
    pthread_mutex_lock(&transfer->lock);
    transfer->is_streaming = true;
    pthread_cond_signal(&transfer->changed);
    pthread_mutex_unlock(&transfer->lock);
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct tt_http_transfer *transfer = user;
    size_t length = size * count;
    transfer->header_bytes += length;
    see_sign_of_life(transfer);
    if (transfer->header_bytes > TT_HTTP_HEADER_LIMIT) {
        fail(transfer, "%s sends more than %d bytes of headers", transfer->http->name, TT_HTTP_HEADER_LIMIT);
        return 0;
    }
    bool may_start = !transfer->in_head && transfer->reply.code == 0; /* and not in what trails the body */
    if (may_start && length >= 5 && memcmp(data, "HTTP/", 5) == 0)
        start_head(transfer);
    else if (transfer->in_head && (data[0] == '\r' || data[0] == '\n'))
        end_head(transfer);
    else if (transfer->in_head)
        take_header(transfer, data, length);
    return length;
}

static bool stream_out(struct tt_http_transfer *transfer, const char *data, size_t length)
{
    if (!transfer->is_delimited) {
        fail(transfer, "%s does not tell where its answer ends", transfer->http->name);
        return false;
    }
    bool taken = tt_pipe_write(transfer->pipe, data, length);
    see_sign_of_life(transfer); /* the time until it was taken is not the other side's */
    return taken;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct tt_http_transfer *transfer = user;
    size_t length = size * count;
    see_sign_of_life(transfer);
    if (transfer->is_streaming)
        return stream_out(transfer, data, length) ? length : 0;
    if (tt_buffer_append(&transfer->reply.body, data, length, NULL) == TT_OK)
        return length;
    fail(transfer, "%s sends an answer of more than %d bytes", transfer->http->name, TT_HTTP_REPLY_LIMIT);
    return 0;
}

/* What goes out. A short wait saves the transfer from pausing between any two writes; a long one would keep it from
 * noticing an answer. */
static size_t on_room(char *data, size_t size, size_t count, void *user)
{
    struct tt_http_transfer *transfer = user;
    size_t length = 0;
    see_sign_of_life(transfer);
    switch (tt_pipe_read(transfer->pipe, data, size * count, LINGER_MILLISECONDS, &length)) {
    case TT_PIPE_DATA:
        return length;
    case TT_PIPE_ENDED:
        transfer->has_sent_all = true;
        return 0;
    case TT_PIPE_EMPTY:
        transfer->is_paused = true;
        atomic_store(&transfer->hungry, true);
        return CURL_READFUNC_PAUSE;
    case TT_PIPE_BROKEN:
        break;
    }
    return CURL_READFUNC_ABORT;
}

/* The exchange. */

static void fail_connecting(struct tt_http_transfer *transfer)
{
    long number = 0;
    const char *name = transfer->http->name;
    curl_easy_getinfo(transfer->channel->easy, CURLINFO_OS_ERRNO, &number);
    if (transfer->http->socket && (number == EACCES || number == EPERM))
        fail(transfer,
             "this user is not permitted to use %s; let an administrator add the user to the socket's group (often "
             "'docker'), or name another engine in DOCKER_HOST",
             name);
    else if (transfer->http->socket && number == ENOENT)
        fail(transfer, "there is no %s; start the container engine, or name another one in DOCKER_HOST", name);
    else if (number == ECONNREFUSED)
        fail(transfer, "nobody answers at %s; start the container engine, or name another one in DOCKER_HOST", name);
    else
        fail(transfer, "%s cannot be reached; is the container engine running?", name);
    if (number)
        tt_error_detail(&transfer->failure, "%s", strerrordesc_np((int)number));
    else
        tt_error_detail(&transfer->failure, "%s", transfer->curl_words);
}

/* The other side may have said what it wants to say and closed before everything was sent. */
static bool was_answered(const struct tt_http_transfer *transfer, CURLcode code)
{
    return transfer->direction == TT_HTTP_UP && transfer->reply.code >= 300 &&
           (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR);
}

static void conclude(struct tt_http_transfer *transfer, CURLcode code)
{
    const char *name = transfer->http->name;
    if (transfer->failure.status != TT_OK)
        return;
    switch (code) {
    case CURLE_OK:
        if (transfer->reply.code < 200)
            fail(transfer, "%s does not answer as a container engine does", name);
        return;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        fail_connecting(transfer);
        return;
    case CURLE_OPERATION_TIMEDOUT:
        fail(transfer, "%s cannot be reached: no connection within %d seconds", name, CONNECT_SECONDS);
        break;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
        fail(transfer, "there is no trusted connection to %s: check its certificate and DOCKER_CERT_PATH", name);
        break;
    default:
        if (was_answered(transfer, code))
            return;
        fail(transfer, "the connection to %s broke before the answer was whole", name);
        break;
    }
    tt_error_detail(&transfer->failure, "%s",
                    transfer->curl_words[0] ? transfer->curl_words : curl_easy_strerror(code));
}

static unsigned seconds_of_silence(const struct tt_http_transfer *transfer)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t seconds = now.tv_sec - transfer->last_sign.tv_sec - (now.tv_nsec < transfer->last_sign.tv_nsec);
    return seconds < 0 ? 0 : (unsigned)seconds;
}

static unsigned patience(const struct tt_http_transfer *transfer)
{
    bool all_sent = transfer->direction != TT_HTTP_UP || transfer->has_sent_all;
    if (transfer->patient && transfer->is_streaming)
        return UINT_MAX; /* logs of a train that is silent for days; a dead connection is noticed all the same */
    if (transfer->patient && all_sent && transfer->http->patience_seconds < PATIENT_SECONDS)
        return PATIENT_SECONDS;
    return transfer->http->patience_seconds;
}

/* Whether the exchange goes on. */
static bool look_around(struct tt_http_transfer *transfer)
{
    if (atomic_load(&transfer->stop))
        return false;
    if (transfer->heeds_signals && transfer->failure.status == TT_OK && tt_interrupt_check(&transfer->failure) != TT_OK)
        return false;
    if (transfer->is_paused)
        see_sign_of_life(transfer);
    if (transfer->is_paused && tt_pipe_is_readable(transfer->pipe)) {
        atomic_store(&transfer->hungry, false);
        transfer->is_paused = false;
        curl_easy_pause(transfer->channel->easy, CURLPAUSE_CONT);
    }
    unsigned limit = patience(transfer);
    if (seconds_of_silence(transfer) < limit)
        return true;
    fail(transfer, "%s has been silent for %u seconds; DOCKER_CLIENT_TIMEOUT sets how long to wait",
         transfer->http->name, limit);
    return false;
}

static void exchange(struct tt_http_transfer *transfer)
{
    CURLM *multi = transfer->channel->multi;
    int running = 0;
    int left = 0;
    see_sign_of_life(transfer);
    if (curl_multi_add_handle(multi, transfer->channel->easy) != CURLM_OK) {
        tt_error_memory(&transfer->failure);
        return;
    }
    for (;;) {
        CURLMcode code = curl_multi_perform(multi, &running);
        if (code != CURLM_OK)
            fail(transfer, "the exchange with %s cannot go on: %s", transfer->http->name, curl_multi_strerror(code));
        if (code != CURLM_OK || running == 0 || !look_around(transfer))
            break;
        curl_multi_poll(multi, NULL, 0, TICK_MILLISECONDS, NULL);
    }
    const CURLMsg *message = curl_multi_info_read(multi, &left);
    if (message && message->msg == CURLMSG_DONE)
        conclude(transfer, message->data.result);
    else
        fail(transfer, "the exchange with %s was broken off", transfer->http->name);
    curl_multi_remove_handle(multi, transfer->channel->easy);
}

void tt_http_transfer_run(struct tt_http_transfer *transfer)
{
    exchange(transfer);
    pthread_mutex_lock(&transfer->lock);
    transfer->is_done = true;
    pthread_cond_signal(&transfer->changed);
    pthread_mutex_unlock(&transfer->lock);
    if (!transfer->pipe)
        return;
    if (transfer->direction == TT_HTTP_DOWN && transfer->failure.status == TT_OK)
        tt_pipe_end(transfer->pipe);
    else
        tt_pipe_break(transfer->pipe);
}

static void *run(void *argument)
{
    tt_http_transfer_run(argument);
    return NULL;
}

enum tt_status tt_http_transfer_start(struct tt_http_transfer *transfer, struct tt_error *err)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the program's main thread's */
    int failed = pthread_create(&transfer->thread, NULL, run, transfer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return tt_error_memory(err);
    transfer->has_thread = true;
    return TT_OK;
}

void tt_http_transfer_join(struct tt_http_transfer *transfer)
{
    if (!transfer->has_thread)
        return;
    pthread_join(transfer->thread, NULL);
    transfer->has_thread = false;
}

enum tt_status tt_http_transfer_failure(struct tt_http_transfer *transfer, struct tt_error *err)
{
    pthread_mutex_lock(&transfer->lock);
    enum tt_status status = transfer->failure.status;
    if (status != TT_OK && err)
        *err = transfer->failure;
    pthread_mutex_unlock(&transfer->lock);
    return status;
}

/* Setting up. */

void tt_http_channel_free(struct tt_http_channel *channel)
{
    if (!channel)
        return;
    curl_easy_cleanup(channel->easy);
    curl_multi_cleanup(channel->multi);
    free(channel);
}

static struct tt_http_channel *channel_new(void)
{
    struct tt_http_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return NULL;
    channel->multi = curl_multi_init();
    channel->easy = curl_easy_init();
    if (channel->multi && channel->easy) {
        curl_multi_setopt(channel->multi, CURLMOPT_MAXCONNECTS, 1L);
        return channel;
    }
    tt_http_channel_free(channel);
    return NULL;
}

static struct tt_http_channel *channel_take(struct tt_http *http)
{
    pthread_mutex_lock(&http->lock);
    struct tt_http_channel *channel = http->idle;
    if (channel)
        http->idle = channel->next;
    pthread_mutex_unlock(&http->lock);
    return channel ? channel : channel_new();
}

/* One is kept, for the many small exchanges that follow each other. */
static void channel_give_back(struct tt_http *http, struct tt_http_channel *channel)
{
    curl_easy_reset(channel->easy);
    pthread_mutex_lock(&http->lock);
    bool keep = !http->idle;
    if (keep) {
        channel->next = NULL;
        http->idle = channel;
    }
    pthread_mutex_unlock(&http->lock);
    if (!keep)
        tt_http_channel_free(channel);
}

static bool add_header(struct tt_http_transfer *transfer, const char *line)
{
    struct curl_slist *grown = curl_slist_append(transfer->headers, line);
    if (!grown)
        return false;
    transfer->headers = grown;
    return true;
}

static bool set_headers(struct tt_http_transfer *transfer, const struct tt_http_request *request)
{
    bool good = add_header(transfer, "Expect:") && add_header(transfer, "Accept:");
    if (transfer->direction == TT_HTTP_UP)
        good = good && add_header(transfer, "Transfer-Encoding: chunked");
    else if (!request->body)
        good = good && add_header(transfer, "Content-Type:");
    for (const char *const *line = request->headers; good && line && *line; line++)
        good = add_header(transfer, *line);
    return good && curl_easy_setopt(transfer->channel->easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

static bool set_method(struct tt_http_transfer *transfer, const struct tt_http_request *request)
{
    CURL *easy = transfer->channel->easy;
    bool bad = false;
    if (transfer->direction == TT_HTTP_UP) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        bad = bad || curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_room);
        bad = bad || curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        bad = bad || curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)STREAM_BUFFER);
    } else if (strcmp(request->method, "HEAD") == 0) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(request->method, "GET") == 0) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    } else if (request->body || strcmp(request->method, "POST") == 0) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_POST, 1L);
        bad = bad || curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
        bad = bad || curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body ? request->body : "");
    }
    return !bad && curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method) == CURLE_OK;
}

static bool set_connection(const struct tt_http_transfer *transfer)
{
    const struct tt_http *http = transfer->http;
    CURL *easy = transfer->channel->easy;
    bool bad = curl_easy_setopt(easy, CURLOPT_URL, transfer->url);
    if (http->socket)
        bad = bad || curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->socket);
    bad = bad || curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    bad = bad || curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad = bad || curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_PROXY, "");
    bad = bad || curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    bad = bad || curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 15L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    /* On a connection that was used before, libcurl would send a request once more when it finds it closed. */
    bad = bad || curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, transfer->is_safe ? 0L : 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, http->tls_verify ? 1L : 0L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, http->tls_verify ? 2L : 0L);
    if (http->ca_file) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
        bad = bad || curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSLCERT, http->certificate_file);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSLKEY, http->key_file);
    return !bad;
}

static bool set_callbacks(struct tt_http_transfer *transfer)
{
    CURL *easy = transfer->channel->easy;
    long size = transfer->direction == TT_HTTP_DOWN ? STREAM_BUFFER : CALL_BUFFER;
    bool bad = curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_words);
    bad = bad || curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, size);
    bad = bad || curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    bad = bad || curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    bad = bad || curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    bad = bad || curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    return !bad;
}

void tt_http_transfer_free(struct tt_http_transfer *transfer)
{
    if (!transfer)
        return;
    if (transfer->has_thread) {
        atomic_store(&transfer->stop, true);
        if (transfer->pipe)
            tt_pipe_break(transfer->pipe);
        curl_multi_wakeup(transfer->channel->multi);
        tt_http_transfer_join(transfer);
    }
    if (transfer->channel)
        channel_give_back(transfer->http, transfer->channel);
    for (struct curl_slist *header = transfer->headers; header; header = header->next)
        tt_wipe(header->data, strlen(header->data)); /* one may log in to a registry */
    curl_slist_free_all(transfer->headers);
    tt_http_reply_clear(&transfer->reply);
    tt_pipe_free(transfer->pipe);
    pthread_cond_destroy(&transfer->changed);
    pthread_mutex_destroy(&transfer->lock);
    free(transfer->url);
    free(transfer);
}

enum tt_status tt_http_transfer_new(struct tt_http *http, const struct tt_http_request *request,
                                    enum tt_http_direction direction, struct tt_http_transfer **ret_transfer,
                                    struct tt_error *err)
{
    struct tt_http_transfer *transfer TT_CLEANUP(tt_http_transfer_free_cleanup) = calloc(1, sizeof *transfer);
    if (!transfer)
        return tt_error_memory(err);
    pthread_mutex_init(&transfer->lock, NULL);
    pthread_cond_init(&transfer->changed, NULL);
    transfer->http = http;
    transfer->direction = direction;
    transfer->patient = request->patient;
    transfer->heeds_signals = !tt_interrupt_signal();
    transfer->is_safe = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    transfer->reply.body.limit = TT_HTTP_REPLY_LIMIT;
    transfer->url = tt_text_format("%s%s", http->base, request->path);
    transfer->channel = channel_take(http);
    if (!transfer->url || !transfer->channel)
        return tt_error_memory(err);
    if (direction != TT_HTTP_CALL) {
        enum tt_status status = tt_pipe_new(PIPE_CAPACITY, &transfer->pipe, err);
        if (status != TT_OK)
            return status;
    }
    if (!set_connection(transfer) || !set_callbacks(transfer) || !set_method(transfer, request) ||
        !set_headers(transfer, request))
        return tt_error_set(err, TT_INTERNAL, "libcurl does not take the settings of a request to %s", http->name);
    *ret_transfer = TT_TAKE(transfer);
    return TT_OK;
}
