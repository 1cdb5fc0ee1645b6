/* One exchange with libcurl, inside http.c's seam: on the caller's thread or on one of its own. */
#ifndef TT_IMAGE_HTTP_TRANSFER_H
#define TT_IMAGE_HTTP_TRANSFER_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/pipe.h"
#include "image/http.h"

/* A connection that may serve one exchange after the other. */
struct tt_http_channel {
    CURLM *multi;
    CURL *easy;
    struct tt_http_channel *next;
};

struct tt_http {
    char *socket;
    char *base; /* "http://HOST:PORT" */
    char *ca_file;
    char *certificate_file;
    char *key_file;
    char *name;
    bool tls_verify;
    unsigned patience_seconds;
    pthread_mutex_t lock;
    struct tt_http_channel *idle;
};

enum tt_http_direction { TT_HTTP_CALL, TT_HTTP_DOWN, TT_HTTP_UP };

struct tt_http_transfer {
    struct tt_http *http;
    struct tt_http_channel *channel;
    enum tt_http_direction direction;
    struct curl_slist *headers;
    char *url;
    char curl_words[CURL_ERROR_SIZE];
    bool patient;
    bool heeds_signals; /* what is started after a signal came is cleaning up, and is let go on */
    bool is_safe;       /* only reads: GET or HEAD */

    /* The transfer's thread alone, until it is done. */
    bool in_head;
    size_t header_bytes;
    bool is_delimited; /* the end of the body can be told from a cut */
    bool is_paused;    /* nothing to send; see `hungry` */
    bool has_sent_all;
    struct timespec last_sign; /* of life of the other side */
    struct tt_http_reply reply;
    unsigned retry_after; /* seconds; 0: none */

    struct tt_pipe *pipe;
    atomic_bool hungry; /* waits for something in the pipe */
    atomic_bool stop;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_streaming; /* a 2xx came: the body goes into the pipe */
    bool is_done;
    struct tt_error failure; /* TT_OK when it is done without one */
};

TT_MUST_USE enum tt_status tt_http_transfer_new(struct tt_http *http, const struct tt_http_request *request,
                                                enum tt_http_direction direction,
                                                struct tt_http_transfer **ret_transfer, struct tt_error *err);
/* Ends the transfer if it is under way. Takes NULL. */
void tt_http_transfer_free(struct tt_http_transfer *transfer);
TT_DEFINE_CLEANUP(struct tt_http_transfer *, tt_http_transfer_free)

/* Runs it to its end on this thread; the outcome is in `failure`. */
void tt_http_transfer_run(struct tt_http_transfer *transfer);
/* The same on a thread of its own, and waiting for that. */
TT_MUST_USE enum tt_status tt_http_transfer_start(struct tt_http_transfer *transfer, struct tt_error *err);
void tt_http_transfer_join(struct tt_http_transfer *transfer);

/* The failure of a transfer that is done. */
TT_MUST_USE enum tt_status tt_http_transfer_failure(struct tt_http_transfer *transfer, struct tt_error *err);

void tt_http_channel_free(struct tt_http_channel *channel);

#endif
