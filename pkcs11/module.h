/* A loaded PKCS#11 module and the slots that libp11 sees through it. No process may fork once one is loaded. */
#ifndef TT_PKCS11_MODULE_H
#define TT_PKCS11_MODULE_H

#include <libp11.h>
#include <stdbool.h>

#include "base/error.h"
#include "pkcs11/uri.h"

struct tt_pkcs11_module {
    char *path;
    PKCS11_CTX *context;
    bool is_initialized; /* C_Initialize was called and C_Finalize is owed */
    PKCS11_SLOT *slots;
    unsigned slot_count;
};

/* Which module: `wanted` (may be NULL; a plain name means one in p11-kit's folder), else the URI's module-path or
 * module-name, else p11-kit's proxy. The caller frees. */
TT_MUST_USE enum tt_status tt_module_path(const char *wanted, const struct tt_pkcs11_uri *uri, char **ret_path,
                                          struct tt_error *err);

/* What the module at `path` is to be initialized with (the pReserved of C_Initialize), NULL for nothing: some need to
 * be told of their database. TRAINTOKEN_MODULE_ARGUMENTS; not for p11-kit's proxy, whose modules have files of their
 * own. */
const char *tt_module_arguments(const char *path);
/* What to add to the message that it cannot be initialized; CKR_ARGUMENTS_BAD is about such arguments. */
const char *tt_module_arguments_advice(const char *path, unsigned long value);

/* Loads and initializes it and lists its slots. TT_TOKEN when it cannot be. */
TT_MUST_USE enum tt_status tt_module_load(const char *path, struct tt_pkcs11_module **ret_module, struct tt_error *err);
/* C_Finalize and unload. */
void tt_module_free(struct tt_pkcs11_module *module);
TT_DEFINE_CLEANUP(struct tt_pkcs11_module *, tt_module_free)

/* A turn among the processes of this machine that load the module at `path` or log in through it, as far as it comes
 * soon: in SoftHSM both fail when they meet another one's login, and no PIN is tried twice. A descriptor to close
 * afterwards, -1 without a turn. */
int tt_module_turn(const char *path);

/* For a URI that says something of the library: TT_TOKEN unless the module at `path` is that one. Asks the module by
 * itself, so no other may be loaded. */
TT_MUST_USE enum tt_status tt_module_check_library(const char *path, const struct tt_pkcs11_uri *uri,
                                                   struct tt_error *err);

#endif
