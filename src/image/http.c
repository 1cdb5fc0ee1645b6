#include "image/http.h"

#include <string.h>
#include <sys/un.h>

#include "base/interrupt.h"
#include "base/text.h"
#include "image/http_transfer.h"

enum { RETRIES = 2, RETRY_SECONDS_LIMIT = 30, PIECE = 64 * 1024 };

void tt_http_reply_clear(struct tt_http_reply *reply)
{
    tt_buffer_clear(&reply->body);
    free(reply->path_stat);
    free(reply->api_version);
    free(reply->date);
    *reply = (struct tt_http_reply){0};
}

static void start_libcurl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

void tt_http_free(struct tt_http *http)
{
    if (!http)
        return;
    tt_http_channel_free(http->idle);
    pthread_mutex_destroy(&http->lock);
    free(http->socket);
    free(http->base);
    free(http->ca_file);
    free(http->certificate_file);
    free(http->key_file);
    free(http->name);
    free(http);
}

/* True unless there was no memory. */
static bool copy(const char *text, char **target)
{
    *target = text ? strdup(text) : NULL;
    return !text || *target;
}

static bool copy_endpoint(const struct tt_http_endpoint *endpoint, struct tt_http *http)
{
    http->tls_verify = endpoint->tls_verify;
    http->patience_seconds = endpoint->patience_seconds;
    http->base = tt_text_format("%s://%s", endpoint->tls && !endpoint->socket ? "https" : "http",
                                endpoint->socket ? "localhost" : endpoint->host);
    return http->base && copy(endpoint->socket, &http->socket) && copy(endpoint->name, &http->name) &&
           copy(endpoint->ca_file, &http->ca_file) && copy(endpoint->certificate_file, &http->certificate_file) &&
           copy(endpoint->key_file, &http->key_file);
}

enum tt_status tt_http_new(const struct tt_http_endpoint *endpoint, struct tt_http **ret_http, struct tt_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const size_t longest = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    if (endpoint->socket && strlen(endpoint->socket) > longest)
        return tt_error_set(err, TT_STORE,
                            "the path of the socket %s is longer than the %zu bytes that the system takes",
                            endpoint->name, longest);
    pthread_once(&once, start_libcurl);
    struct tt_http *http TT_CLEANUP(tt_http_free_cleanup) = calloc(1, sizeof *http);
    if (!http)
        return tt_error_memory(err);
    pthread_mutex_init(&http->lock, NULL);
    if (!copy_endpoint(endpoint, http))
        return tt_error_memory(err);
    *ret_http = TT_TAKE(http);
    return TT_OK;
}

const char *tt_http_name(const struct tt_http *http)
{
    return http->name;
}

static void take_reply(struct tt_http_transfer *transfer, struct tt_http_reply *ret_reply)
{
    *ret_reply = transfer->reply;
    transfer->reply = (struct tt_http_reply){0};
}

static enum tt_status call_once(struct tt_http *http, const struct tt_http_request *request,
                                struct tt_http_reply *ret_reply, unsigned *ret_pause, struct tt_error *err)
{
    struct tt_http_transfer *transfer TT_CLEANUP(tt_http_transfer_free_cleanup) = NULL;
    enum tt_status status = tt_http_transfer_new(http, request, TT_HTTP_CALL, &transfer, err);
    if (status != TT_OK)
        return status;
    tt_http_transfer_run(transfer);
    status = tt_http_transfer_failure(transfer, err);
    if (status != TT_OK)
        return status;
    bool busy = transfer->reply.code == 429 || transfer->reply.code == 503;
    *ret_pause = transfer->is_safe && busy && transfer->retry_after <= RETRY_SECONDS_LIMIT ? transfer->retry_after : 0;
    take_reply(transfer, ret_reply);
    return TT_OK;
}

enum tt_status tt_http_call(struct tt_http *http, const struct tt_http_request *request,
                            struct tt_http_reply *ret_reply, struct tt_error *err)
{
    for (int left = RETRIES;; left--) {
        struct tt_http_reply reply = {0};
        unsigned seconds = 0;
        enum tt_status status = call_once(http, request, &reply, &seconds, err);
        if (status != TT_OK)
            return status;
        if (seconds == 0 || left == 0) {
            *ret_reply = reply;
            return TT_OK;
        }
        tt_http_reply_clear(&reply);
        status = tt_interrupt_pause(seconds, err);
        if (status != TT_OK)
            return status;
    }
}

/* The public names of a transfer in one direction. */
struct tt_http_download {
    struct tt_http_transfer *transfer;
};
struct tt_http_upload {
    struct tt_http_transfer *transfer;
};

void tt_http_download_free(struct tt_http_download *download)
{
    if (download)
        tt_http_transfer_free(download->transfer);
    free(download);
}

static void wait_for_head(struct tt_http_transfer *transfer)
{
    pthread_mutex_lock(&transfer->lock);
    while (!transfer->is_streaming && !transfer->is_done)
        pthread_cond_wait(&transfer->changed, &transfer->lock);
    pthread_mutex_unlock(&transfer->lock);
}

static enum tt_status start_download(struct tt_http *http, const struct tt_http_request *request,
                                     struct tt_http_download *download, struct tt_error *err)
{
    enum tt_status status = tt_http_transfer_new(http, request, TT_HTTP_DOWN, &download->transfer, err);
    if (status == TT_OK)
        status = tt_http_transfer_start(download->transfer, err);
    if (status != TT_OK)
        return status;
    wait_for_head(download->transfer);
    /* Once the body is streaming, reading tells what becomes of it. */
    return download->transfer->is_streaming ? TT_OK : tt_http_transfer_failure(download->transfer, err);
}

enum tt_status tt_http_download(struct tt_http *http, const struct tt_http_request *request,
                                struct tt_http_reply *ret_reply, struct tt_http_download **ret_download,
                                struct tt_error *err)
{
    struct tt_http_download *download TT_CLEANUP(tt_http_download_free_cleanup) = calloc(1, sizeof *download);
    if (!download)
        return tt_error_memory(err);
    enum tt_status status = start_download(http, request, download, err);
    if (status != TT_OK)
        return status;
    if (!download->transfer->is_streaming) {
        tt_http_transfer_join(download->transfer);
        take_reply(download->transfer, ret_reply);
        *ret_download = NULL;
        return TT_OK;
    }
    *ret_reply = (struct tt_http_reply){.code = download->transfer->reply.code};
    *ret_download = TT_TAKE(download);
    return TT_OK;
}

enum tt_status tt_http_download_read(struct tt_http_download *download, void *data, size_t capacity, size_t *ret_length,
                                     struct tt_error *err)
{
    size_t length = 0;
    if (tt_pipe_read(download->transfer->pipe, data, capacity, -1, &length) == TT_PIPE_BROKEN)
        return tt_http_transfer_failure(download->transfer, err);
    *ret_length = length;
    return TT_OK;
}

enum tt_status tt_http_download_poll(struct tt_http_download *download, int milliseconds, void *data, size_t capacity,
                                     size_t *ret_length, bool *ret_ended, struct tt_error *err)
{
    size_t length = 0;
    enum tt_pipe_state state = tt_pipe_read(download->transfer->pipe, data, capacity, milliseconds, &length);
    if (state == TT_PIPE_BROKEN)
        return tt_http_transfer_failure(download->transfer, err);
    *ret_length = state == TT_PIPE_DATA ? length : 0;
    *ret_ended = state == TT_PIPE_ENDED;
    return TT_OK;
}

void tt_http_upload_free(struct tt_http_upload *upload)
{
    if (upload)
        tt_http_transfer_free(upload->transfer);
    free(upload);
}

enum tt_status tt_http_upload(struct tt_http *http, const struct tt_http_request *request,
                              struct tt_http_upload **ret_upload, struct tt_error *err)
{
    struct tt_http_upload *upload TT_CLEANUP(tt_http_upload_free_cleanup) = calloc(1, sizeof *upload);
    if (!upload)
        return tt_error_memory(err);
    enum tt_status status = tt_http_transfer_new(http, request, TT_HTTP_UP, &upload->transfer, err);
    if (status == TT_OK)
        status = tt_http_transfer_start(upload->transfer, err);
    if (status != TT_OK)
        return status;
    *ret_upload = TT_TAKE(upload);
    return TT_OK;
}

static void feed(struct tt_http_transfer *transfer)
{
    if (atomic_load(&transfer->hungry))
        curl_multi_wakeup(transfer->channel->multi);
}

enum tt_status tt_http_upload_write(struct tt_http_upload *upload, const void *data, size_t length,
                                    struct tt_error *err)
{
    const char *bytes = data;
    while (length > 0) {
        size_t run = length < PIECE ? length : PIECE; /* fits, where the transfer waits for more: it must be told */
        if (!tt_pipe_write(upload->transfer->pipe, bytes, run))
            return tt_http_transfer_failure(upload->transfer, err);
        feed(upload->transfer);
        bytes += run;
        length -= run;
    }
    return TT_OK;
}

enum tt_status tt_http_upload_finish(struct tt_http_upload *given, struct tt_http_reply *ret_reply,
                                     struct tt_error *err)
{
    struct tt_http_upload *upload TT_CLEANUP(tt_http_upload_free_cleanup) = given;
    tt_pipe_end(upload->transfer->pipe);
    feed(upload->transfer);
    tt_http_transfer_join(upload->transfer);
    enum tt_status status = tt_http_transfer_failure(upload->transfer, err);
    if (status == TT_OK)
        take_reply(upload->transfer, ret_reply);
    return status;
}
