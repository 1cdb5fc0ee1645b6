#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/log.h"
#include "pkcs11/ckr.h"
#include "pkcs11/loader.h"
#include "pkcs11/module.h"

/* What the errors of libp11's engine are said to come from where they are Cryptoki's. */
static const char *const errors_of = "PKCS#11 module";

struct loader {
    ENGINE *engine;
    bool is_initialized;
    struct tt_loader_pin pin;
    RSA_METHOD *method; /* that is watched; NULL if none is */
    char token[40];
};

/*
 * Who does the padding. libp11's engine tries the token's mechanism and then, by itself and silently, raw RSA through
 * the RSA_METHOD of its keys: the same code as in loader_libp11.c, but a copy that belongs to the engine. Its two
 * private functions are wrapped while a key is open (one at a time), so that a native attempt does not fall back.
 */

typedef int (*rsa_private)(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding);

static rsa_private engine_decrypt;
static rsa_private engine_encrypt;
static _Thread_local bool native_only;

static int watched_decrypt(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    return padding == RSA_NO_PADDING && native_only ? -1 : engine_decrypt(length, from, to, rsa, padding);
}

static int watched_encrypt(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    return padding == RSA_NO_PADDING && native_only ? -1 : engine_encrypt(length, from, to, rsa, padding);
}

/* Only methods that are libp11's: another engine's might be OpenSSL's own, which all keys share. */
static void watch_method(struct loader *loader, const EVP_PKEY *key)
{
    const RSA *rsa = EVP_PKEY_get0_RSA(key);
    RSA_METHOD *method = rsa ? (RSA_METHOD *)RSA_get_method(rsa) : NULL;
    const char *name = method ? RSA_meth_get0_name(method) : NULL;
    if (!name || !strstr(name, "libp11"))
        return;
    engine_decrypt = RSA_meth_get_priv_dec(method);
    engine_encrypt = RSA_meth_get_priv_enc(method);
    if (engine_decrypt && engine_encrypt && RSA_meth_set_priv_dec(method, watched_decrypt) == 1 &&
        RSA_meth_set_priv_enc(method, watched_encrypt) == 1)
        loader->method = method;
}

static void unwatch_method(struct loader *loader)
{
    if (!loader->method)
        return;
    RSA_meth_set_priv_dec(loader->method, engine_decrypt);
    RSA_meth_set_priv_enc(loader->method, engine_encrypt);
}

static EVP_PKEY_CTX *new_context(void *user, EVP_PKEY *key, enum tt_padding_by attempt)
{
    const struct loader *loader = user;
    native_only = attempt == TT_PADDING_NATIVE;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, loader->engine);
    return context ? context : EVP_PKEY_CTX_new(key, NULL); /* an engine that works by its RSA_METHOD alone */
}

static enum tt_padding_by padding_by(void *user)
{
    const struct loader *loader = user;
    return loader->method ? TT_PADDING_NATIVE : TT_PADDING_UNKNOWN;
}

static void explain(void *user, enum tt_private_key_use use, struct tt_error *err)
{
    const struct loader *loader = user;
    unsigned long value = tt_loader_take_value(errors_of);
    if (loader->pin.was_too_long)
        tt_error_set(err, TT_PIN,
                     "the key in token '%s' wants its PIN at each use; this engine can give one of 4 to 32 characters "
                     "only",
                     loader->token);
    else if (value != 0)
        tt_ckr_explain_use(value, loader->token, use == TT_USE_SIGN, err);
}

/* Unloading an engine of libp11 leaves its methods behind, or frees some that it keeps pointers to (0.4.13): the one
 * that was used stays for the next key of this process, finished, and without a PIN. */
static ENGINE *kept;

static bool knows(ENGINE *engine, const char *command)
{
    bool known = ENGINE_ctrl(engine, ENGINE_CTRL_GET_CMD_FROM_NAME, 0, (void *)command, NULL) > 0;
    ERR_clear_error();
    return known;
}

static ENGINE *find_engine(const char *id)
{
    if (kept && strcmp(ENGINE_get_id(kept), id) == 0)
        return kept;
    ENGINE_load_dynamic();
    ERR_clear_error();
    ENGINE *engine = ENGINE_by_id(id); /* never made a default: only this key's operations go through it */
    if (engine)
        kept = engine;
    return engine;
}

/* It wipes its copy of the PIN when it gets another. */
static void forget_pin(ENGINE *engine)
{
    if (knows(engine, "PIN"))
        ENGINE_ctrl_cmd_string(engine, "PIN", "", 0);
}

/* The EVP_PKEY is gone by now. */
static void free_loader(void *user)
{
    struct loader *loader = user;
    if (!loader)
        return;
    native_only = false;
    unwatch_method(loader);
    if (loader->is_initialized)
        ENGINE_finish(loader->engine);
    if (loader->engine && loader->pin.secret)
        forget_pin(loader->engine);
    tt_loader_pin_clear(&loader->pin);
    free(loader);
    ERR_clear_error();
}

static const struct tt_private_key_loader ways = {
    .context = new_context,
    .padding_by = padding_by,
    .explain = explain,
    .free = free_loader,
};

/* Commands that an engine does not know are left out: it then has a configuration of its own, and asks for the PIN. */
static enum tt_status set_up(struct loader *loader, const struct tt_loader_request *request, struct tt_error *err)
{
    ENGINE *engine = loader->engine;
    const char *id = request->choice.name;
    if (knows(engine, "QUIET"))
        ENGINE_ctrl_cmd(engine, "QUIET", 0, NULL, NULL, 1);
    if (knows(engine, "MODULE_PATH") && ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", request->module, 0) != 1)
        return tt_loader_refuse("engine", id, "does not take a module", err);
    const char *arguments = tt_module_arguments(request->module);
    if (arguments && knows(engine, "INIT_ARGS") && ENGINE_ctrl_cmd_string(engine, "INIT_ARGS", arguments, 0) != 1)
        return tt_loader_refuse("engine", id, "does not take arguments for the module", err);
    if (knows(engine, "SET_USER_INTERFACE") && knows(engine, "SET_CALLBACK_DATA") &&
        (ENGINE_ctrl_cmd(engine, "SET_USER_INTERFACE", 0, loader->pin.ui, NULL, 0) != 1 ||
         ENGINE_ctrl_cmd(engine, "SET_CALLBACK_DATA", 0, &loader->pin, NULL, 0) != 1))
        return tt_loader_refuse("engine", id, "does not take a way to ask for the PIN", err);
    if (loader->pin.secret && knows(engine, "PIN")) {
        if (ENGINE_ctrl_cmd_string(engine, "PIN", (const char *)loader->pin.secret->data, 0) != 1)
            return tt_loader_refuse("engine", id, "does not take the PIN", err);
        loader->pin.was_given = true; /* so it gets none from the callback as well */
    }
    /* Also where a key shows without: others that match are seen after a login only. */
    if (request->token->loginRequired && knows(engine, "FORCE_LOGIN"))
        ENGINE_ctrl_cmd(engine, "FORCE_LOGIN", 0, NULL, NULL, 1);
    if (ENGINE_init(engine) != 1)
        return tt_loader_refuse("engine", id, "cannot be initialized", err);
    loader->is_initialized = true;
    return TT_OK;
}

static enum tt_status new_loader(struct tt_loader_request *request, struct loader **ret_loader, struct tt_error *err)
{
    const char *id = request->choice.name;
    struct loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return tt_error_memory(err);
    enum tt_status status = tt_loader_pin_init(&loader->pin, TT_TAKE(request->pin), err);
    if (status != TT_OK) {
        free_loader(loader);
        return status;
    }
    snprintf(loader->token, sizeof loader->token, "%s", request->token->label);
    loader->engine = find_engine(id);
    if (loader->engine)
        status = set_up(loader, request, err);
    else
        status = tt_loader_refuse("engine", id,
                                  strcmp(id, "pkcs11") == 0
                                      ? "is not on this machine: install the package libengine-pkcs11-openssl, or "
                                        "choose another --key-loader"
                                      : "is not on this machine: choose another --key-loader",
                                  err);
    if (status != TT_OK) {
        free_loader(loader);
        return status;
    }
    *ret_loader = loader;
    return TT_OK;
}

enum tt_status tt_engine_ask(struct tt_loader_request *request, const char *uri, struct tt_loader_outcome *ret_outcome,
                             struct tt_error *err)
{
    struct loader *loader = NULL;
    enum tt_status status = new_loader(request, &loader, err);
    if (status != TT_OK)
        return status;
    ERR_clear_error();
    EVP_PKEY *key = ENGINE_load_private_key(loader->engine, uri, loader->pin.ui, &loader->pin);
    *ret_outcome = (struct tt_loader_outcome){.key = key, .ways = &ways, .loader = loader, .pin = &loader->pin};
    if (key) {
        /* The key holds on to the engine, which holds on to its keys: neither would ever end, with the PIN in it. */
        EVP_PKEY_set1_engine(key, NULL);
        watch_method(loader, key);
    } else {
        ret_outcome->value = tt_loader_take_value(errors_of);
        ret_outcome->is_login_proven = strcmp(request->choice.name, "pkcs11") == 0; /* else it had told */
    }
    ERR_clear_error();
    return TT_OK;
}
