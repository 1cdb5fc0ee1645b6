#include "pkcs11/module.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <p11-kit/p11-kit.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "pkcs11/ckr.h"
#include "pkcs11/libp11_guard.h"

/* A module by its plain name. */

/* The value of "module:" in p11-kit's configuration file of that name: relative to p11-kit's folder, or absolute. NULL
 * when there is none. */
static char *configured_path(const char *name)
{
    char *file TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s.module", TT_P11KIT_CONFIGS, name);
    struct tt_buffer content = TT_BUFFER_INIT(0);
    if (!file || tt_file_read(AT_FDCWD, file, 65536, &content, NULL) != TT_OK)
        return NULL;
    char *path = NULL;
    char *rest = (char *)content.data;
    for (char *line; !path && (line = strsep(&rest, "\n")) != NULL;) {
        if (strncmp(line, "module:", strlen("module:")) != 0)
            continue;
        line += strlen("module:");
        line += strspn(line, " \t");
        line[strcspn(line, " \t\r")] = '\0';
        path = line[0] == '/' ? strdup(line) : tt_text_format("%s/%s", TT_P11KIT_MODULES, line);
    }
    tt_buffer_clear(&content);
    return path;
}

static enum tt_status find_by_name(const char *name, char **ret_path, struct tt_error *err)
{
    char *candidates[] = {
        tt_text_format("%s/%s.so", TT_P11KIT_MODULES, name),
        tt_text_format("%s/lib%s.so", TT_P11KIT_MODULES, name),
        tt_text_format("%s/%s", TT_P11KIT_MODULES, name),
        configured_path(name),
    };
    char *found = NULL;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (!found && candidates[i] && access(candidates[i], R_OK) == 0)
            found = TT_TAKE(candidates[i]);
        free(candidates[i]);
    }
    if (!found)
        return tt_error_set(err, TT_TOKEN, "there is no PKCS#11 module '%s' in %s; name its path with --module", name,
                            TT_P11KIT_MODULES);
    *ret_path = found;
    return TT_OK;
}

enum tt_status tt_module_path(const char *wanted, const struct tt_pkcs11_uri *uri, char **ret_path,
                              struct tt_error *err)
{
    const char *name = wanted && !strchr(wanted, '/') ? wanted : NULL;
    const char *path = wanted && !name ? wanted : NULL;
    if (!wanted && uri) {
        path = tt_uri_module_path(uri);
        name = tt_uri_module_name(uri);
    }
    if (name)
        return find_by_name(name, ret_path, err);
    char *copy = strdup(path ? path : TT_P11KIT_PROXY);
    if (!copy)
        return tt_error_memory(err);
    *ret_path = copy;
    return TT_OK;
}

/* Loading. */

const char *tt_module_arguments(const char *path)
{
    const char *arguments = getenv("TRAINTOKEN_MODULE_ARGUMENTS");
    return arguments && *arguments && strcmp(path, TT_P11KIT_PROXY) != 0 ? arguments : NULL;
}

const char *tt_module_arguments_advice(const char *path, unsigned long value)
{
    return value != CKR_ARGUMENTS_BAD ? ""
           : tt_module_arguments(path)
               ? ": it does not take what TRAINTOKEN_MODULE_ARGUMENTS says"
               : ": it wants arguments, which TRAINTOKEN_MODULE_ARGUMENTS gives it (docs/tokens.md)";
}

/* libp11 would print what the linker says; so it is asked here first. The module then stays mapped until the process
 * ends: several cannot stand being unloaded while their threads or exit handlers are still to run. */
static enum tt_status open_library(const char *path, struct tt_error *err)
{
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    bool is_module = library && dlsym(library, "C_GetFunctionList");
    if (!is_module) {
        const char *reason = dlerror();
        tt_error_set(err, TT_TOKEN, library ? "%s is not a PKCS#11 module" : "the PKCS#11 module %s cannot be loaded",
                     path);
        tt_error_detail(err, "%s", reason ? reason : "");
    }
    if (library)
        dlclose(library);
    return is_module ? TT_OK : TT_TOKEN;
}

/* What p11-kit's client keeps to itself when nobody answers it. */
static const char *advice_for(const char *path)
{
    const char *name = strrchr(path, '/');
    return strcmp(name ? name + 1 : path, "p11-kit-client.so") == 0
               ? ": see whether P11_KIT_SERVER_ADDRESS names a socket of a p11-kit server that this user may use"
               : "";
}

static enum tt_status fail_to_initialize(const char *path, unsigned long value, struct tt_error *err)
{
    return tt_ckr_error(value, err, "the PKCS#11 module %s cannot be initialized%s", path,
                        tt_module_arguments_advice(path, value));
}

static enum tt_status initialize(struct tt_pkcs11_module *module, struct tt_error *err)
{
    ERR_clear_error();
    module->context = PKCS11_CTX_new();
    if (!module->context)
        return tt_error_memory(err);
    PKCS11_CTX_init_args(module->context, tt_module_arguments(module->path));
    if (PKCS11_CTX_load(module->context, module->path) != 0)
        return fail_to_initialize(module->path, tt_ckr_take(), err);
    module->is_initialized = true;
    tt_libp11_guard(module->context);
    ERR_clear_error(); /* loading leaves errors behind that mean nothing */
    if (PKCS11_enumerate_slots(module->context, &module->slots, &module->slot_count) != 0)
        return tt_ckr_error(tt_ckr_take(), err, "the PKCS#11 module %s cannot list its slots%s", module->path,
                            advice_for(module->path));
    tt_log(TT_LOG_DEBUG, "module %s has %u slots", module->path, module->slot_count);
    return TT_OK;
}

/* The module's own file is what all of them can see and lock. Anybody can lock it: hence no waiting without end. */
int tt_module_turn(const char *path)
{
    int file TT_CLEANUP(tt_close_cleanup) = open(path, O_RDONLY | O_CLOEXEC);
    for (int waited = 0; file >= 0 && waited < 2000; waited += 10) {
        if (flock(file, LOCK_EX | LOCK_NB) == 0) {
            int turn = file;
            file = -1;
            return turn;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000}, NULL);
    }
    return -1;
}

enum tt_status tt_module_load(const char *path, struct tt_pkcs11_module **ret_module, struct tt_error *err)
{
    enum tt_status status = open_library(path, err);
    if (status != TT_OK)
        return status;
    struct tt_pkcs11_module *module TT_CLEANUP(tt_module_free_cleanup) = calloc(1, sizeof *module);
    if (!module || !(module->path = strdup(path)))
        return tt_error_memory(err);
    int turn = tt_module_turn(path);
    status = initialize(module, err);
    tt_close_cleanup(&turn);
    if (status == TT_OK)
        *ret_module = TT_TAKE(module);
    return status;
}

void tt_module_free(struct tt_pkcs11_module *module)
{
    if (!module)
        return;
    if (module->slots)
        PKCS11_release_all_slots(module->context, module->slots, module->slot_count);
    if (module->is_initialized)
        PKCS11_CTX_unload(module->context);
    if (module->context)
        PKCS11_CTX_free(module->context);
    free(module->path);
    free(module);
    ERR_clear_error();
}

enum tt_status tt_module_check_library(const char *path, const struct tt_pkcs11_uri *uri, struct tt_error *err)
{
    CK_FUNCTION_LIST *functions = p11_kit_module_load(path, P11_KIT_MODULE_CRITICAL | P11_KIT_MODULE_UNMANAGED);
    if (!functions)
        return tt_error_set(err, TT_USAGE,
                            "the key's URI names a library, which only a module named by --module or module-path can "
                            "be compared with");
    CK_INFO info = {0};
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK, .pReserved = (void *)tt_module_arguments(path)};
    CK_RV outcome = functions->C_Initialize(&arguments);
    if (outcome == CKR_OK) {
        outcome = functions->C_GetInfo(&info);
        functions->C_Finalize(NULL);
    }
    p11_kit_module_release(functions);
    if (outcome != CKR_OK)
        return fail_to_initialize(path, outcome, err);
    if (!tt_uri_matches_library(uri, &info))
        return tt_error_set(err, TT_TOKEN,
                            "the module %s is not the library that the key's URI names: it is '%.32s' of '%.32s', "
                            "version %d.%d",
                            path, (const char *)info.libraryDescription, (const char *)info.manufacturerID,
                            info.libraryVersion.major, info.libraryVersion.minor);
    return TT_OK;
}
