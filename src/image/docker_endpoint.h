/* Where the container engine is: what docker's environment and configuration say, else the usual sockets. */
#ifndef TT_IMAGE_DOCKER_ENDPOINT_H
#define TT_IMAGE_DOCKER_ENDPOINT_H

#include "base/buffer.h"
#include "image/http.h"

/* Its own texts; what struct tt_http_endpoint says of each member holds. */
struct tt_docker_endpoint {
    char *socket;
    char *host;
    bool tls;
    bool tls_verify;
    char *ca_file;
    char *certificate_file;
    char *key_file;
    char *name;
    unsigned patience_seconds;
};

/* DOCKER_HOST (with DOCKER_TLS, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH), else the context of DOCKER_CONTEXT or of docker's
 * configuration, else /var/run/docker.sock, $XDG_RUNTIME_DIR/podman/podman.sock or /run/podman/podman.sock, whichever
 * is there. TT_STORE says what was looked at and what to do; TT_USAGE names a setting that cannot be followed. */
TT_MUST_USE enum tt_status tt_docker_endpoint_find(struct tt_docker_endpoint *ret_endpoint, struct tt_error *err);
void tt_docker_endpoint_clear(struct tt_docker_endpoint *endpoint);

/* The parts of a context's meta.json that count. Exposed for tests. */
TT_MUST_USE enum tt_status tt_docker_context_parse(const struct tt_buffer *meta, const char *context, char **ret_host,
                                                   bool *ret_skip_verify, struct tt_error *err);

#endif
