#include "provisioning/enrol_http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/text.h"

enum { CONNECT_SECONDS = 10, TOTAL_SECONDS = 60 };

struct exchange {
    struct tt_buffer *reply;
    size_t header_bytes;
    bool too_much;
    char words[CURL_ERROR_SIZE];
};

static void easy_cleanup(CURL **easy)
{
    curl_easy_cleanup(*easy);
}

/* libcurl keeps its own copy of header lines: the secret is wiped there too. */
static void headers_cleanup(struct curl_slist **headers)
{
    for (struct curl_slist *line = *headers; line; line = line->next)
        tt_wipe(line->data, strlen(line->data));
    curl_slist_free_all(*headers);
}

enum tt_status tt_enrol_url_check(const char *url, struct tt_error *err)
{
    static const char scheme[] = "https://";
    const char *host = url + sizeof scheme - 1;
    bool is_https = strncmp(url, scheme, sizeof scheme - 1) == 0;
    bool is_clean = true;
    for (const char *place = url; *place; place++)
        is_clean = is_clean && isgraph((unsigned char)*place) && !strchr("@?#\\\"<>{}|^`", *place);
    if (!is_https || !is_clean || (host[0] != '[' && !isalnum((unsigned char)host[0])))
        return tt_error_set(err, TT_USAGE,
                            "the address is to be as in https://registry.example/api: TLS, and no user, query or "
                            "fragment");
    return TT_OK;
}

bool tt_enrol_is_header_text(const struct tt_secret *secret)
{
    for (size_t i = 0; i < secret->length; i++)
        if (secret->data[i] < ' ' || secret->data[i] > '~')
            return false;
    return secret->length > 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct exchange *exchange = user;
    if (tt_buffer_append(exchange->reply, data, size * count, NULL) == TT_OK)
        return size * count;
    exchange->too_much = true;
    return 0;
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct exchange *exchange = user;
    (void)data;
    exchange->header_bytes += size * count;
    exchange->too_much = exchange->too_much || exchange->header_bytes > TT_ENROL_HEADER_LIMIT;
    return exchange->too_much ? 0 : size * count;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t upload_total, curl_off_t upload_now)
{
    (void)user, (void)total, (void)now, (void)upload_total, (void)upload_now;
    return tt_interrupt_signal() != 0;
}

static bool set_up(CURL *easy, const struct tt_enrol_server *server, const char *method, const char *url,
                   const char *body, struct curl_slist *headers, struct exchange *exchange)
{
    bool bad = curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->words);
    bad = bad || curl_easy_setopt(easy, CURLOPT_URL, url);
    bad = bad || curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    bad = bad || curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (server->ca_file) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_CAINFO, server->ca_file);
        bad = bad || curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    bad = bad || curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    bad = bad || curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)TOTAL_SECONDS);
    bad = bad || curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    bad = bad || curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    bad = bad || curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    bad = bad || curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    bad = bad || curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    bad = bad || curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
    if (body) {
        bad = bad || curl_easy_setopt(easy, CURLOPT_POST, 1L);
        bad = bad || curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        bad = bad || curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    }
    bad = bad || curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    /* A proxy of the environment is spoken to by CONNECT only, and must not see the secret. */
    bad = bad || curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    return !bad && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers) == CURLE_OK;
}

static struct curl_slist *make_headers(const struct tt_enrol_server *server, const char *body)
{
    struct curl_slist *headers TT_CLEANUP(headers_cleanup) = curl_slist_append(NULL, "Accept: application/json");
    const char *const more[] = {"Expect:", body ? "Content-Type: application/json" : NULL,
                                (const char *)server->header->data};
    for (size_t i = 0; headers && i < sizeof more / sizeof more[0]; i++) {
        struct curl_slist *longer = more[i] ? curl_slist_append(headers, more[i]) : headers;
        if (!longer)
            return NULL;
        headers = longer;
    }
    return TT_TAKE(headers);
}

static enum tt_status failed(CURLcode code, const struct tt_enrol_server *server, const struct exchange *exchange,
                             struct tt_error *err)
{
    enum tt_status status = tt_interrupt_check(err);
    if (status != TT_OK)
        return status;
    if (exchange->too_much)
        return tt_error_set(err, TT_STORE, "%s answers more than a registry of keys has to say", server->url);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        status = tt_error_set(err, TT_STORE, "%s did not answer in time", server->url);
        break;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        status = tt_error_set(err, TT_STORE,
                              "there is no trusted connection to %s; nothing was sent. Where an authority of your own "
                              "vouches for it, name that with --ca-file",
                              server->url);
        break;
    default:
        status = tt_error_set(err, TT_STORE, "%s cannot be reached, or broke off", server->url);
        break;
    }
    tt_error_detail(err, "%s", exchange->words[0] ? exchange->words : curl_easy_strerror(code));
    return status;
}

enum tt_status tt_enrol_call(const struct tt_enrol_server *server, const char *method, const char *path,
                             const char *body, int *ret_code, struct tt_buffer *ret_reply, struct tt_error *err)
{
    static bool started;
    CURL *easy TT_CLEANUP(easy_cleanup) = NULL;
    struct curl_slist *headers TT_CLEANUP(headers_cleanup) = NULL;
    struct exchange exchange = {.reply = ret_reply};
    size_t length = strlen(server->url);
    while (length > 0 && server->url[length - 1] == '/')
        length--;
    char *url TT_CLEANUP(tt_free_cleanup) = tt_text_format("%.*s%s", (int)length, server->url, path);
    long code = 0;
    if (!started && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return tt_error_memory(err);
    started = true;
    tt_buffer_clear(ret_reply);
    ret_reply->limit = TT_ENROL_REPLY_LIMIT;
    easy = curl_easy_init();
    headers = make_headers(server, body);
    if (!url || !easy || !headers || !set_up(easy, server, method, url, body, headers, &exchange))
        return tt_error_memory(err);
    CURLcode outcome = curl_easy_perform(easy);
    if (outcome != CURLE_OK)
        return failed(outcome, server, &exchange, err);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    if (code >= 300 && code < 400) {
        tt_error_set(err, TT_STORE, "%s sends on to another place, which is not followed; name that one", server->url);
        tt_error_detail(err, "HTTP %ld", code);
        return TT_STORE;
    }
    *ret_code = (int)code;
    return TT_OK;
}
