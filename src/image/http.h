/*
 * HTTP to a container engine (libcurl): on a unix socket, or TCP with or without TLS. Bodies stream in both directions,
 * each transfer on a thread of its own behind a bounded lane of bytes; nothing is held whole but small replies.
 *
 * The other side is not trusted: header lines and their sum, small bodies, and silence all have limits. Redirects are
 * not followed. Failures of the connection are TT_STORE and name the endpoint.
 *
 * A signal (base/interrupt.h) breaks off what is under way, as TT_INTERNAL. What is started after it came is taken to
 * be cleaning up and is not broken off: whoever starts anything else asks tt_interrupt_check first.
 */
#ifndef TT_IMAGE_HTTP_H
#define TT_IMAGE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum {
    TT_HTTP_HEADER_LIMIT = 64 * 1024,      /* bytes of all header lines of a reply */
    TT_HTTP_REPLY_LIMIT = 16 * 1024 * 1024 /* bytes of a reply that is held whole */
};

/* Where to connect. Strings are copied by tt_http_new. */
struct tt_http_endpoint {
    const char *socket; /* path of a unix socket; NULL for TCP */
    const char *host;   /* "HOST:PORT" of TCP */
    bool tls;
    bool tls_verify;     /* check the server's certificate */
    const char *ca_file; /* PEM files; NULL: none, or the system's for the authorities */
    const char *certificate_file;
    const char *key_file;
    const char *name;          /* for messages: "unix:///var/run/docker.sock" */
    unsigned patience_seconds; /* silence after which an exchange is given up; see tt_http_request.patient */
};

struct tt_http;

TT_MUST_USE enum tt_status tt_http_new(const struct tt_http_endpoint *endpoint, struct tt_http **ret_http,
                                       struct tt_error *err);
void tt_http_free(struct tt_http *http);
TT_DEFINE_CLEANUP(struct tt_http *, tt_http_free)

const char *tt_http_name(const struct tt_http *http);

struct tt_http_request {
    const char *method;
    const char *path;           /* with its query, already percent-encoded: "/v1.41/images/json?all=1" */
    const char *const *headers; /* "Name: value", NULL-terminated; NULL for none. Never shown in messages. */
    const void *body;           /* NULL: none */
    size_t body_length;
    /* The engine may work long before it says anything (commit, delete, logs): silence is given an hour, and in a
     * download no end once it began. A dead connection is noticed all the same. */
    bool patient;
};

struct tt_http_reply {
    int code;              /* HTTP status, any that came */
    struct tt_buffer body; /* at most TT_HTTP_REPLY_LIMIT bytes */
    char *path_stat;       /* header X-Docker-Container-Path-Stat, or NULL */
    char *api_version;     /* header Api-Version, or NULL */
    char *date;            /* header Date, or NULL */
};
void tt_http_reply_clear(struct tt_http_reply *reply);

/* One exchange with a small reply. TT_OK for every HTTP status; what it means is the caller's business. An answer of
 * 429 or 503 that names a Retry-After of at most 30 seconds is waited out twice, for requests that only read. */
TT_MUST_USE enum tt_status tt_http_call(struct tt_http *http, const struct tt_http_request *request,
                                        struct tt_http_reply *ret_reply, struct tt_error *err);

/* A reply whose body comes as a stream. With a status other than 2xx, *ret_reply (the caller clears) has it with the
 * small body, and *ret_download is NULL; TT_OK all the same. */
struct tt_http_download;
TT_MUST_USE enum tt_status tt_http_download(struct tt_http *http, const struct tt_http_request *request,
                                            struct tt_http_reply *ret_reply, struct tt_http_download **ret_download,
                                            struct tt_error *err);
/* Up to `capacity` bytes; *ret_length 0 at the end. A body that was cut off is TT_STORE, never an end. */
TT_MUST_USE enum tt_status tt_http_download_read(struct tt_http_download *download, void *data, size_t capacity,
                                                 size_t *ret_length, struct tt_error *err);
/* The same for who has other things to look at: waits at most `milliseconds` for bytes. *ret_length 0 without
 * *ret_ended: none came. */
TT_MUST_USE enum tt_status tt_http_download_poll(struct tt_http_download *download, int milliseconds, void *data,
                                                 size_t capacity, size_t *ret_length, bool *ret_ended,
                                                 struct tt_error *err);
/* Stops a transfer that is still under way. */
void tt_http_download_free(struct tt_http_download *download);
TT_DEFINE_CLEANUP(struct tt_http_download *, tt_http_download_free)

/* A request whose body goes out as a stream (chunked). */
struct tt_http_upload;
TT_MUST_USE enum tt_status tt_http_upload(struct tt_http *http, const struct tt_http_request *request,
                                          struct tt_http_upload **ret_upload, struct tt_error *err);
/* When the server has answered before the end of the body, the rest is taken and dropped: _finish has the answer. */
TT_MUST_USE enum tt_status tt_http_upload_write(struct tt_http_upload *upload, const void *data, size_t length,
                                                struct tt_error *err);
/* Ends the body, waits for the reply and frees the upload, whatever comes of it. */
TT_MUST_USE enum tt_status tt_http_upload_finish(struct tt_http_upload *upload, struct tt_http_reply *ret_reply,
                                                 struct tt_error *err);
/* Breaks off: the server sees a cut body. */
void tt_http_upload_free(struct tt_http_upload *upload);
TT_DEFINE_CLEANUP(struct tt_http_upload *, tt_http_upload_free)

#endif
