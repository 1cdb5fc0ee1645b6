#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/store.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "pkcs11/ckr.h"
#include "pkcs11/loader.h"
#include "pkcs11/module.h"

struct loader {
    OSSL_LIB_CTX *library; /* of its own: unloaded from the global one at exit, the provider crashes */
    OSSL_PROVIDER *base;
    OSSL_PROVIDER *provider;
    struct tt_loader_pin pin;
    struct tt_loader_evidence evidence;
    char name[64];
    bool is_pkcs11; /* the provider whose ways are known */
};

/* Attempts. */

static EVP_PKEY_CTX *new_context(void *user, EVP_PKEY *key, enum tt_padding_by attempt)
{
    const struct loader *loader = user;
    (void)attempt; /* this provider never falls back by itself */
    return EVP_PKEY_CTX_new_from_pkey(loader->library, key, NULL);
}

static enum tt_padding_by padding_by(void *user)
{
    const struct loader *loader = user;
    return loader->is_pkcs11 ? TT_PADDING_NATIVE : TT_PADDING_UNKNOWN;
}

static void explain(void *user, enum tt_private_key_use use, struct tt_error *err)
{
    const struct loader *loader = user;
    unsigned long value = tt_loader_take_value(loader->name);
    if (loader->pin.was_too_long)
        tt_error_set(err, TT_PIN,
                     "the key in token '%s' wants its PIN at each use; this provider can give one of 4 to 32 "
                     "characters only",
                     loader->evidence.token->label);
    else if (value != 0 && loader->is_pkcs11)
        tt_ckr_explain_use(value, loader->evidence.token->label, use == TT_USE_SIGN, err);
    else if (!tt_loader_find_cause(&loader->evidence, use == TT_USE_SIGN, err))
        tt_error_set(
            err, TT_TOKEN,
            use == TT_USE_SIGN
                ? "token '%s' failed to sign, and the provider does not say why; it can do no raw RSA signature, "
                  "which '--key-loader libp11' can"
                : "token '%s' failed to unwrap the symmetric key, natively and by raw RSA, and the provider does "
                  "not say why; '--key-loader libp11' does",
            loader->evidence.token->label);
}

/* Asking where no callback is handed on: for keys that want the PIN at each use the provider asks OpenSSL's default
 * user interface, which would be the terminal. */
static const UI_METHOD *default_ui;
static struct tt_loader_pin *default_pin;

static int give_default_pin(UI *ui, UI_STRING *string)
{
    if (UI_get_string_type(string) != UIT_PROMPT)
        return 1;
    struct tt_loader_pin *pin = default_pin;
    if (!pin || !pin->is_open || !pin->secret)
        return 0;
    if (UI_set_result_ex(ui, string, (const char *)pin->secret->data, (int)pin->secret->length) == 0)
        return 1;
    pin->was_too_long = true;
    return 0;
}

static UI_METHOD *asker;

static enum tt_status take_over_default_ui(struct loader *loader, struct tt_error *err)
{
    asker = UI_create_method("traintoken");
    if (!asker || UI_method_set_reader(asker, give_default_pin) != 0)
        return tt_error_memory(err);
    default_ui = UI_get_default_method();
    default_pin = &loader->pin;
    UI_set_default_method(asker);
    return TT_OK;
}

static void give_back_default_ui(const struct loader *loader)
{
    if (default_pin == &loader->pin) {
        UI_set_default_method(default_ui);
        default_pin = NULL;
    }
    UI_destroy_method(asker);
    asker = NULL;
}

/* The EVP_PKEY is gone by now. */
static void free_loader(void *user)
{
    struct loader *loader = user;
    if (!loader)
        return;
    if (loader->provider)
        OSSL_PROVIDER_unload(loader->provider);
    if (loader->base)
        OSSL_PROVIDER_unload(loader->base);
    OSSL_LIB_CTX_free(loader->library);
    give_back_default_ui(loader);
    tt_loader_pin_clear(&loader->pin);
    tt_loader_clear_evidence(&loader->evidence);
    free(loader);
    ERR_clear_error();
}

static const struct tt_private_key_loader ways = {
    .context = new_context,
    .padding_by = padding_by,
    .explain = explain,
    .free = free_loader,
};

/*
 * Its parameters. They reach a provider by configuration only (OSSL_PROVIDER_load_ex came with OpenSSL 3.2): a piece is
 * made in memory. What the system's configuration says of this provider is taken over, but for the module, which is the
 * one that was looked at, the PIN, which is the run's own, and when to load it.
 */

static bool is_ours(const char *name)
{
    static const char *const names[] = {"pkcs11-module-path", "pkcs11-module-token-pin", "pkcs11-module-load-behavior",
                                        "pkcs11-module-cache-pins", "activate"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* "name = value"; the value with all escaped that configuration files treat in a way of their own. */
static enum tt_status put_setting(struct tt_buffer *text, const char *name, const char *value, struct tt_error *err)
{
    enum tt_status status = tt_buffer_printf(text, err, "%s = ", name);
    for (; status == TT_OK && *value; value++) {
        bool special = strchr("\\\"'`$#;", *value) != NULL;
        status = tt_buffer_printf(text, err, "%s%c", special ? "\\" : "", *value);
    }
    return status == TT_OK ? tt_buffer_append(text, "\n", 1, err) : status;
}

/* The section that the system's configuration has for this provider, NULL if none. */
static STACK_OF(CONF_VALUE) * find_section(CONF *system, const char *name)
{
    const char *start = NCONF_get_string(system, NULL, "openssl_conf");
    const char *providers = start ? NCONF_get_string(system, start, "providers") : NULL;
    const char *section = providers ? NCONF_get_string(system, providers, name) : NULL;
    return section ? NCONF_get_section(system, section) : NULL;
}

static enum tt_status put_system_settings(struct tt_buffer *text, const char *name, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    char *path = CONF_get1_default_config_file();
    CONF *system = NCONF_new(NULL);
    if (path && system && NCONF_load(system, path, NULL) == 1) {
        STACK_OF(CONF_VALUE) *section = find_section(system, name);
        for (int i = 0; status == TT_OK && section && i < sk_CONF_VALUE_num(section); i++) {
            const CONF_VALUE *setting = sk_CONF_VALUE_value(section, i);
            if (!is_ours(setting->name) && !strpbrk(setting->value, "\r\n"))
                status = put_setting(text, setting->name, setting->value, err);
        }
    }
    NCONF_free(system);
    OPENSSL_free(path);
    ERR_clear_error();
    return status;
}

static enum tt_status put_settings(struct tt_buffer *text, const char *name, const char *module, struct tt_error *err)
{
    enum tt_status status = tt_buffer_printf(text, err,
                                             "traintoken = init\n[init]\nproviders = list\n[list]\n%s = settings\n"
                                             "[settings]\n",
                                             name);
    if (status == TT_OK)
        status = put_system_settings(text, name, err);
    if (status == TT_OK)
        status = put_setting(text, "pkcs11-module-path", module, err);
    const char *arguments = tt_module_arguments(module);
    if (status != TT_OK || !arguments)
        return status;
    if (strpbrk(arguments, "\r\n"))
        return tt_error_set(err, TT_USAGE, "TRAINTOKEN_MODULE_ARGUMENTS is more than one line");
    return put_setting(text, "pkcs11-module-init-args", arguments, err); /* replaces the system's own */
}

static bool configure(OSSL_LIB_CTX *library, const struct tt_buffer *text)
{
    BIO *source = BIO_new_mem_buf(text->data, (int)text->length);
    CONF *conf = NCONF_new_ex(library, NULL);
    bool done =
        source && conf && NCONF_load_bio(conf, source, NULL) == 1 && CONF_modules_load(conf, "traintoken", 0) > 0;
    NCONF_free(conf);
    BIO_free(source);
    return done;
}

/* Loading it. */

static enum tt_status load_provider(struct loader *loader, const char *module, struct tt_error *err)
{
    struct tt_buffer text = TT_BUFFER_INIT(65536);
    loader->library = OSSL_LIB_CTX_new();
    enum tt_status status = loader->library ? put_settings(&text, loader->name, module, err) : tt_error_memory(err);
    ERR_clear_error();
    if (status == TT_OK &&
        (!configure(loader->library, &text) || !(loader->base = OSSL_PROVIDER_load(loader->library, "default")) ||
         !(loader->provider = OSSL_PROVIDER_load(loader->library, loader->name))))
        status = tt_loader_refuse("provider", loader->name,
                                  loader->is_pkcs11
                                      ? "is not on this machine: install the package pkcs11-provider, or choose "
                                        "another --key-loader"
                                      : "is not on this machine: choose another --key-loader",
                                  err);
    tt_buffer_clear(&text);
    return status;
}

static enum tt_status new_loader(struct tt_loader_request *request, struct loader **ret_loader, struct tt_error *err)
{
    struct loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return tt_error_memory(err);
    snprintf(loader->name, sizeof loader->name, "%s", request->choice.name);
    loader->is_pkcs11 = strcmp(loader->name, "pkcs11") == 0;
    enum tt_status status = tt_loader_pin_init(&loader->pin, TT_TAKE(request->pin), err);
    if (status == TT_OK)
        status = tt_loader_keep_evidence(request, &loader->evidence, err);
    if (status == TT_OK)
        status = take_over_default_ui(loader, err);
    if (status == TT_OK)
        status = load_provider(loader, request->module, err);
    if (status != TT_OK) {
        free_loader(loader);
        return status;
    }
    *ret_loader = loader;
    return TT_OK;
}

/* Counts the keys that it shows under a URI, and takes the first. */
static size_t load_keys(struct loader *loader, const char *uri, EVP_PKEY **ret_key)
{
    char properties[80];
    size_t count = 0;
    snprintf(properties, sizeof properties, "provider=%s", loader->name);
    OSSL_STORE_CTX *store =
        OSSL_STORE_open_ex(uri, loader->library, properties, loader->pin.ui, &loader->pin, NULL, NULL, NULL);
    bool is_open = store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY) == 1;
    while (is_open && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);
        if (!info && OSSL_STORE_error(store))
            break;
        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY && count++ == 0)
            *ret_key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    OSSL_STORE_close(store);
    return count;
}

/* Whether it shows any private key of the token: then it is logged in. The PIN is not given twice for this. */
static bool shows_any_key(struct loader *loader)
{
    PKCS11_KEY any = {.isPrivate = 1};
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_uri_format(loader->evidence.token, &any, true);
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    return uri && loader->pin.was_given && load_keys(loader, uri, &key) > 0;
}

enum tt_status tt_provider_ask(struct tt_loader_request *request, const char *uri,
                               struct tt_loader_outcome *ret_outcome, struct tt_error *err)
{
    struct loader *loader = NULL;
    enum tt_status status = new_loader(request, &loader, err);
    if (status != TT_OK)
        return status;
    *ret_outcome = (struct tt_loader_outcome){.ways = &ways, .loader = loader, .pin = &loader->pin};
    ERR_clear_error();
    ret_outcome->matches = load_keys(loader, uri, &ret_outcome->key);
    if (!ret_outcome->key && loader->is_pkcs11) {
        ret_outcome->value = tt_loader_take_value(loader->name);
        ret_outcome->is_login_proven = ret_outcome->value == 0 && shows_any_key(loader);
    }
    ERR_clear_error();
    return TT_OK;
}
