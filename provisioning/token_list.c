#include "provisioning/token_list.h"

#include <p11-kit/p11-kit.h>

#include "base/log.h"

static enum tt_status show(struct tt_cryptoki *cryptoki, tt_token_seen seen, void *user, const char *name,
                           struct tt_error *err)
{
    struct tt_token *tokens TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t count = 0;
    enum tt_status status = tt_tokens_list(cryptoki, &tokens, &count, err);
    for (size_t i = 0; status == TT_OK && i < count; i++)
        seen(user, &tokens[i], name, cryptoki->path);
    return status;
}

enum tt_status tt_tokens_everywhere(tt_token_seen seen, void *user, size_t *ret_modules, struct tt_error *err)
{
    p11_kit_be_quiet();
    CK_FUNCTION_LIST **modules = p11_kit_modules_load_and_initialize(0);
    size_t shown = 0;
    if (!modules) {
        const char *reason = p11_kit_message();
        tt_error_set(err, TT_TOKEN, "p11-kit cannot load the modules that are registered on this machine");
        tt_error_detail(err, "%s", reason ? reason : "");
        return TT_TOKEN;
    }
    for (size_t i = 0; modules[i]; i++) {
        char *name TT_CLEANUP(tt_free_cleanup) = p11_kit_module_get_name(modules[i]);
        char *path TT_CLEANUP(tt_free_cleanup) = p11_kit_module_get_filename(modules[i]);
        struct tt_cryptoki module = {.path = path ? path : name, .functions = modules[i]};
        struct tt_error failure = TT_ERROR_INIT;
        if (p11_kit_module_get_flags(modules[i]) & P11_KIT_MODULE_TRUSTED)
            continue;
        shown++;
        if (show(&module, seen, user, name, &failure) != TT_OK)
            tt_log(TT_LOG_WARNING, "%s (%s)", failure.message, failure.detail);
    }
    p11_kit_modules_finalize_and_release(modules);
    *ret_modules = shown;
    return TT_OK;
}

enum tt_status tt_tokens_of_module(const char *module, tt_token_seen seen, void *user, struct tt_error *err)
{
    struct tt_cryptoki *cryptoki TT_CLEANUP(tt_cryptoki_free_cleanup) = NULL;
    enum tt_status status = tt_cryptoki_load(module, NULL, &cryptoki, err);
    if (status == TT_OK)
        status = show(cryptoki, seen, user, NULL, err);
    return status;
}
