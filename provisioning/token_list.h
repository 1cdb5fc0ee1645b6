/* The tokens of every module that p11-kit knows, or of named ones. */
#ifndef TT_PROVISIONING_TOKEN_LIST_H
#define TT_PROVISIONING_TOKEN_LIST_H

#include "provisioning/cryptoki.h"

/* A token and where it was seen. `name` is p11-kit's name of the module, NULL for one that was named by its path. */
typedef void (*tt_token_seen)(void *user, const struct tt_token *token, const char *name, const char *path);

/* All modules that p11-kit has registered and that can be loaded, but for those that hold the system's trust anchors.
 * *ret_modules is how many they were. TT_TOKEN when p11-kit itself fails. */
TT_MUST_USE enum tt_status tt_tokens_everywhere(tt_token_seen seen, void *user, size_t *ret_modules,
                                                struct tt_error *err);

/* One module, as tt_module_path takes it. */
TT_MUST_USE enum tt_status tt_tokens_of_module(const char *module, tt_token_seen seen, void *user,
                                               struct tt_error *err);

#endif
