#include "docker_replies.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "image/http.h"

static const uint8_t *input;
static size_t left;
static size_t piece;
static int last_code;

void docker_replies_start(const uint8_t *data, size_t size)
{
    input = data;
    left = size;
    last_code = 0;
}

void docker_replies_in_pieces(size_t most)
{
    piece = most;
}

int docker_replies_code(void)
{
    int code = last_code;
    last_code = 0;
    return code;
}

/* --- the input --- */

struct part {
    int code;
    bool is_cut;
    const uint8_t *header;
    size_t header_length;
    const uint8_t *body;
    size_t body_length;
};

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* Up to the mark, which is left out; true when it was there. */
static bool take_up_to(const char *mark, const uint8_t **ret_text, size_t *ret_length)
{
    const uint8_t *end = left > 0 ? memmem(input, left, mark, strlen(mark)) : NULL;
    size_t length = end ? (size_t)(end - input) : left;
    *ret_text = input;
    *ret_length = length;
    length += end ? strlen(mark) : 0;
    input += length;
    left -= length;
    return end;
}

static struct part next_part(void)
{
    struct part part = {0};
    const uint8_t *whole = NULL;
    size_t length = 0;
    take_up_to("\n--\n", &whole, &length);
    const uint8_t *line_end = length > 0 ? memchr(whole, '\n', length) : NULL;
    size_t line = line_end ? (size_t)(line_end - whole) : length;
    if (line < 3 || whole[0] < '1' || whole[0] > '5' || !is_digit(whole[1]) || !is_digit(whole[2]))
        return part;
    part.code = 100 * (whole[0] - '0') + 10 * (whole[1] - '0') + (whole[2] - '0');
    part.is_cut = line > 3 && whole[3] == '!';
    size_t words = part.is_cut ? 5 : 4;
    if (line >= words) {
        part.header = whole + words;
        part.header_length = line - words;
    }
    if (line_end) {
        part.body = line_end + 1;
        part.body_length = length - line - 1;
    }
    return part;
}

/* --- what a request must look like, whatever it was made of --- */

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void check_request(const struct tt_http *http, const struct tt_http_request *request)
{
    demand(http && request->method && request->path && request->path[0] == '/');
    for (const char *byte = request->path; *byte; byte++)
        demand(*byte > ' ' && *byte < 0x7f && *byte != '#');
    for (const char *const *header = request->headers; header && *header; header++)
        demand(strchr(*header, ':') && !strpbrk(*header, "\r\n"));
    demand(!request->body == (request->body_length == 0));
}

/* --- in place of http.c --- */

struct tt_http {
    char name[64];
};

struct tt_http_download {
    const uint8_t *data;
    size_t left;
    bool is_cut;
};

struct tt_http_upload {
    struct tt_http *http;
    size_t taken;
};

enum tt_status __wrap_tt_http_new(const struct tt_http_endpoint *endpoint, struct tt_http **ret_http,
                                  struct tt_error *err);
void __wrap_tt_http_free(struct tt_http *http);
const char *__wrap_tt_http_name(const struct tt_http *http);
enum tt_status __wrap_tt_http_call(struct tt_http *http, const struct tt_http_request *request,
                                   struct tt_http_reply *ret_reply, struct tt_error *err);
enum tt_status __wrap_tt_http_download(struct tt_http *http, const struct tt_http_request *request,
                                       struct tt_http_reply *ret_reply, struct tt_http_download **ret_download,
                                       struct tt_error *err);
enum tt_status __wrap_tt_http_download_read(struct tt_http_download *download, void *data, size_t capacity,
                                            size_t *ret_length, struct tt_error *err);
void __wrap_tt_http_download_free(struct tt_http_download *download);
enum tt_status __wrap_tt_http_upload(struct tt_http *http, const struct tt_http_request *request,
                                     struct tt_http_upload **ret_upload, struct tt_error *err);
enum tt_status __wrap_tt_http_upload_write(struct tt_http_upload *upload, const void *data, size_t length,
                                           struct tt_error *err);
enum tt_status __wrap_tt_http_upload_finish(struct tt_http_upload *upload, struct tt_http_reply *ret_reply,
                                            struct tt_error *err);
void __wrap_tt_http_upload_free(struct tt_http_upload *upload);
enum tt_status __wrap_tt_interrupt_pause(unsigned seconds, struct tt_error *err);

enum tt_status __wrap_tt_http_new(const struct tt_http_endpoint *endpoint, struct tt_http **ret_http,
                                  struct tt_error *err)
{
    struct tt_http *http = calloc(1, sizeof *http);
    if (!http)
        return tt_error_memory(err);
    strncpy(http->name, endpoint->name, sizeof http->name - 1);
    *ret_http = http;
    return TT_OK;
}

void __wrap_tt_http_free(struct tt_http *http)
{
    free(http);
}

const char *__wrap_tt_http_name(const struct tt_http *http)
{
    return http->name;
}

static enum tt_status fail(struct tt_error *err)
{
    last_code = 0;
    return tt_error_set(err, TT_STORE, "the connection broke off");
}

/* As a header, it ends with the line. */
static enum tt_status take_header(const struct part *part, char **ret_text, struct tt_error *err)
{
    if (!part->header)
        return TT_OK;
    *ret_text = strndup((const char *)part->header, part->header_length);
    return *ret_text ? TT_OK : tt_error_memory(err);
}

static enum tt_status take_reply(const struct part *part, bool with_body, struct tt_http_reply *ret_reply,
                                 struct tt_error *err)
{
    struct tt_http_reply reply = {.code = part->code, .body = TT_BUFFER_INIT(TT_HTTP_REPLY_LIMIT)};
    enum tt_status status = take_header(part, &reply.path_stat, err);
    if (status == TT_OK)
        status = take_header(part, &reply.api_version, err);
    if (status == TT_OK && with_body && part->body_length > 0)
        status = tt_buffer_append(&reply.body, part->body, part->body_length, err);
    last_code = status == TT_OK ? part->code : 0;
    if (status == TT_OK)
        *ret_reply = reply;
    else
        tt_http_reply_clear(&reply);
    return status;
}

enum tt_status __wrap_tt_http_call(struct tt_http *http, const struct tt_http_request *request,
                                   struct tt_http_reply *ret_reply, struct tt_error *err)
{
    check_request(http, request);
    struct part part = next_part();
    return part.code == 0 || part.is_cut ? fail(err) : take_reply(&part, true, ret_reply, err);
}

enum tt_status __wrap_tt_http_download(struct tt_http *http, const struct tt_http_request *request,
                                       struct tt_http_reply *ret_reply, struct tt_http_download **ret_download,
                                       struct tt_error *err)
{
    check_request(http, request);
    struct part part = next_part();
    bool is_stream = part.code >= 200 && part.code < 300;
    if (part.code == 0 || (part.is_cut && !is_stream))
        return fail(err);
    struct tt_http_download *download = is_stream ? calloc(1, sizeof *download) : NULL;
    if (is_stream && !download)
        return tt_error_memory(err);
    enum tt_status status = take_reply(&part, !is_stream, ret_reply, err);
    if (status == TT_OK && download)
        *download = (struct tt_http_download){.data = part.body, .left = part.body_length, .is_cut = part.is_cut};
    if (status == TT_OK)
        *ret_download = download;
    else
        free(download);
    return status;
}

enum tt_status __wrap_tt_http_download_read(struct tt_http_download *download, void *data, size_t capacity,
                                            size_t *ret_length, struct tt_error *err)
{
    size_t length = download->left < capacity ? download->left : capacity;
    if (piece > 0 && length > piece)
        length = 1 + (download->data[0] + download->left) % piece;
    if (length == 0 && download->is_cut)
        return tt_error_set(err, TT_STORE, "the connection broke off in the middle of the body");
    *ret_length = length;
    if (length == 0)
        return TT_OK;
    memcpy(data, download->data, length);
    download->data += length;
    download->left -= length;
    return TT_OK;
}

void __wrap_tt_http_download_free(struct tt_http_download *download)
{
    free(download);
}

enum tt_status __wrap_tt_http_upload(struct tt_http *http, const struct tt_http_request *request,
                                     struct tt_http_upload **ret_upload, struct tt_error *err)
{
    check_request(http, request);
    struct tt_http_upload *upload = calloc(1, sizeof *upload);
    if (!upload)
        return tt_error_memory(err);
    upload->http = http;
    *ret_upload = upload;
    return TT_OK;
}

enum tt_status __wrap_tt_http_upload_write(struct tt_http_upload *upload, const void *data, size_t length,
                                           struct tt_error *err)
{
    (void)data, (void)err;
    upload->taken += length;
    return TT_OK;
}

enum tt_status __wrap_tt_http_upload_finish(struct tt_http_upload *upload, struct tt_http_reply *ret_reply,
                                            struct tt_error *err)
{
    struct part part = next_part();
    free(upload);
    return part.code == 0 || part.is_cut ? fail(err) : take_reply(&part, true, ret_reply, err);
}

void __wrap_tt_http_upload_free(struct tt_http_upload *upload)
{
    free(upload);
}

/* Nobody waits for a registry here. */
enum tt_status __wrap_tt_interrupt_pause(unsigned seconds, struct tt_error *err)
{
    (void)seconds;
    return tt_interrupt_check(err);
}
