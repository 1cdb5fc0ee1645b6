/* Moving an image between a container engine and a registry, with the credentials that docker and podman keep. */
#ifndef TT_IMAGE_REGISTRY_H
#define TT_IMAGE_REGISTRY_H

#include "base/secret.h"
#include "image/image.h"

/* What to log in to an image's registry with; empty where nothing is configured. */
struct tt_registry_login;

/* Looks in REGISTRY_AUTH_FILE alone where that is set, else in docker's configuration (DOCKER_CONFIG), then in podman's
 * usual files: credHelpers, credsStore, auths, in docker's order. A helper is a program that is run here: look before a
 * token is opened. TT_USAGE for a reference that is in no registry, TT_STORE when the configuration or the helper is
 * broken; never shows a password. */
TT_MUST_USE enum tt_status tt_registry_login_find(const char *reference, struct tt_registry_login **ret_login,
                                                  struct tt_error *err);
void tt_registry_login_free(struct tt_registry_login *login);
TT_DEFINE_CLEANUP(struct tt_registry_login *, tt_registry_login_free)

/* TT_WRONG_STOP when what the engine has under this name is the outcome of a post-run that was never sent to a
 * registry, or of a run that waits for its post-run: a pull would take its name from it, and the next start would clear
 * it away. */
TT_MUST_USE enum tt_status tt_image_check_sent(const char *reference, struct tt_error *err);

/* The engine fetches or sends the image; progress goes to tt_progress. TT_STORE in the engine's words, with what to do.
 * A failed pull leaves the image that was there. `platform` as in struct tt_image_options. */
TT_MUST_USE enum tt_status tt_image_pull(const char *reference, const char *platform,
                                         const struct tt_registry_login *login, struct tt_error *err);
TT_MUST_USE enum tt_status tt_image_push(const char *reference, const struct tt_registry_login *login,
                                         struct tt_error *err);

#endif
