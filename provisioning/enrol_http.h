/*
 * HTTPS to a registry of public keys: small requests, small replies, the server's certificate always checked. Redirects
 * are not followed, replies have a limit, and silence comes to an end.
 */
#ifndef TT_PROVISIONING_ENROL_HTTP_H
#define TT_PROVISIONING_ENROL_HTTP_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/secret.h"

enum { TT_ENROL_REPLY_LIMIT = 1024 * 1024, TT_ENROL_HEADER_LIMIT = 64 * 1024 };

struct tt_enrol_server {
    const char *url;                /* "https://vault.example:8200", perhaps with a path */
    const char *ca_file;            /* PEM; NULL: the system's authorities */
    const struct tt_secret *header; /* "X-Vault-Token: ...", NUL-terminated; never part of a message */
};

/* Whether a URL can be used: https, a host, perhaps a path, and nothing else. TT_USAGE. */
TT_MUST_USE enum tt_status tt_enrol_url_check(const char *url, struct tt_error *err);

/* Whether a secret can stand in a header: printable ASCII. */
bool tt_enrol_is_header_text(const struct tt_secret *secret);

/* One exchange. `path` is appended to the server's URL; `body` (JSON) may be NULL. TT_OK for every HTTP status, which
 * is *ret_code. TT_STORE when the server cannot be reached, is not trusted, or answers too much or with a redirect. */
TT_MUST_USE enum tt_status tt_enrol_call(const struct tt_enrol_server *server, const char *method, const char *path,
                                         const char *body, int *ret_code, struct tt_buffer *ret_reply,
                                         struct tt_error *err);

#endif
