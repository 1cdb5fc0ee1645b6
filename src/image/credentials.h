/* What docker and podman keep to log in to a registry with: in files, or behind a helper program. */
#ifndef TT_IMAGE_CREDENTIALS_H
#define TT_IMAGE_CREDENTIALS_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/secret.h"

/* All NULL where nothing is kept. A password or an identity token, never both. */
struct tt_credentials {
    char *username;
    struct tt_secret *password;
    struct tt_secret *identity_token;
    char *origin; /* for messages: the file, or the helper's name */
};
void tt_credentials_clear(struct tt_credentials *credentials);

/* Where an image lies, in the terms of these files. */
struct tt_registry_place {
    char *host; /* "docker.io", "registry.example:5000" */
    char *path; /* "library/debian": the name without the host */
    char *key;  /* what docker calls the host in its files and before its helpers */
};
/* `name`: an image's name in an engine, without tag and digest. */
TT_MUST_USE enum tt_status tt_registry_place_of(const char *name, struct tt_registry_place *ret_place,
                                                struct tt_error *err);
void tt_registry_place_clear(struct tt_registry_place *place);

/* Looks in REGISTRY_AUTH_FILE alone where that is set; else in docker's configuration, and after that in podman's
 * usual files. TT_STORE when a file or a helper is broken. */
TT_MUST_USE enum tt_status tt_credentials_find(const struct tt_registry_place *place,
                                               struct tt_credentials *ret_credentials, struct tt_error *err);

/* What one such file, as JSON, says of `place`. `by_path`: keys may name parts of a registry, as podman writes them;
 * the longest that fits counts. Exposed for tests. */
TT_MUST_USE enum tt_status tt_credentials_of(const cJSON *root, const char *file, bool by_path,
                                             const struct tt_registry_place *place,
                                             struct tt_credentials *ret_credentials, struct tt_error *err);

/* Asks the program docker-credential-NAME. */
TT_MUST_USE enum tt_status tt_credentials_ask(const char *name, const struct tt_registry_place *place,
                                              struct tt_credentials *ret_credentials, struct tt_error *err);
/* Takes in what such a program answered. Exposed for tests. */
TT_MUST_USE enum tt_status tt_credentials_answer(const struct tt_secret *answer, const char *program,
                                                 struct tt_credentials *ret_credentials, struct tt_error *err);

/* The value of the header X-Registry-Auth, NUL-terminated, after "X-Registry-Auth: ". */
TT_MUST_USE enum tt_status tt_credentials_header(const struct tt_credentials *credentials,
                                                 const struct tt_registry_place *place, struct tt_secret **ret_header,
                                                 struct tt_error *err);

#endif
