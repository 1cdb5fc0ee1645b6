/*
 * A container engine that speaks the Docker Engine API (Docker, Podman's service): finding it, agreeing on a version
 * (1.40 and up), asking it, and passing on what it says when it refuses.
 */
#ifndef TT_IMAGE_DOCKER_ENGINE_H
#define TT_IMAGE_DOCKER_ENGINE_H

#include <cjson/cJSON.h>

#include "image/http.h"

struct tt_docker_engine;

/* Connects to DOCKER_HOST (with DOCKER_TLS_VERIFY, DOCKER_TLS and DOCKER_CERT_PATH), else the context named by
 * DOCKER_CONTEXT or docker's configuration, else /var/run/docker.sock, else podman's socket. TT_STORE says what was
 * tried and why it did not serve (absent, not permitted, nobody listens, version too old). */
TT_MUST_USE enum tt_status tt_docker_connect(struct tt_docker_engine **ret_engine, struct tt_error *err);
void tt_docker_free(struct tt_docker_engine *engine);
TT_DEFINE_CLEANUP(struct tt_docker_engine *, tt_docker_free)

/* The endpoint, for messages: "unix:///var/run/docker.sock". */
const char *tt_docker_name(const struct tt_docker_engine *engine);

struct tt_docker_request {
    const char *method;
    const char *path;           /* without the version: "/images/json?all=1"; see tt_docker_path */
    const cJSON *body;          /* NULL: none */
    const char *const *headers; /* further ones, as in struct tt_http_request */
    bool patient;               /* as there */
};

/* Appends formatted text in which %s is percent-encoded (RFC 3986, everything but unreserved characters) and nothing
 * else but %% is understood: tt_docker_path(&path, err, "/images/%s/tag?repo=%s", id, repository). A path segment's "/"
 * is encoded too, which engines accept in names of images only where the router allows: use %p there, which keeps "/",
 * ":" and "@". */
TT_MUST_USE enum tt_status tt_docker_path(struct tt_buffer *path, struct tt_error *err, const char *format, ...);

/* One exchange. A status of 2xx or 304 is TT_OK and *ret_json (NULL: not wanted) is the reply's JSON, or NULL when
 * there is none; the caller deletes. Any other status is TT_STORE with the engine's own words as the message and "HTTP
 * 409" as the detail. *ret_code (may be NULL) has the HTTP status even then, 0 when none came. */
TT_MUST_USE enum tt_status tt_docker_call(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                          cJSON **ret_json, int *ret_code, struct tt_error *err);

/* What lies at `path` of a container, without following a last link. *ret_found false when nothing does. `mode` is as
 * Go writes it (see TT_DOCKER_MODE_*). */
struct tt_docker_path_stat {
    uint32_t mode;
    uint64_t size;
};
#define TT_DOCKER_MODE_FOLDER UINT32_C(0x80000000)
#define TT_DOCKER_MODE_SYMLINK UINT32_C(0x08000000)
TT_MUST_USE enum tt_status tt_docker_stat(struct tt_docker_engine *engine, const char *container, const char *path,
                                          bool *ret_found, struct tt_docker_path_stat *ret_stat, struct tt_error *err);

/* Streams: as in http.h, with the engine's refusals as errors. */
TT_MUST_USE enum tt_status tt_docker_download(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                              struct tt_http_download **ret_download, int *ret_code,
                                              struct tt_error *err);
TT_MUST_USE enum tt_status tt_docker_upload(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                            struct tt_http_upload **ret_upload, struct tt_error *err);
TT_MUST_USE enum tt_status tt_docker_upload_finish(struct tt_docker_engine *engine, struct tt_http_upload *upload,
                                                   int *ret_code, struct tt_error *err);

/* A reply that is a stream of JSON objects (pull, push): each is given to `sink` as it comes. A failure of the sink
 * ends the exchange. An object of more than 1 MiB is TT_STORE. */
typedef enum tt_status (*tt_docker_sink)(void *user, const cJSON *object, struct tt_error *err);
TT_MUST_USE enum tt_status tt_docker_objects(struct tt_docker_engine *engine, const struct tt_docker_request *request,
                                             tt_docker_sink sink, void *user, int *ret_code, struct tt_error *err);

#endif
