#include "pkcs11/station_key.h"

#include <string.h>

#include "base/log.h"
#include "pkcs11/loader.h"
#include "pkcs11/loader_libp11.h"
#include "pkcs11/pin.h"
#include "pkcs11/token.h"

struct tt_pkcs11_source {
    struct tt_pkcs11_uri *uri;
    char *module;
    struct tt_loader_choice loader;
    int pin_fd;
    bool last_pin_try;
    bool may_prompt;
    bool keep_pin;
    struct tt_secret *kept_pin; /* the one that served; NULL before */
    char *asked;                /* the URI without its query */
    char *key_uri;              /* facts, owned */
    char *token;
    char *serial;
    char loader_text[80];
    struct tt_pkcs11_facts facts;
};

/* The PIN of the environment is there once, and a run may have two sources (creator and builder). */
static struct tt_secret *environment_pin;
static unsigned sources;

static enum tt_status hold_environment_pin(struct tt_error *err)
{
    struct tt_secret *pin = NULL;
    enum tt_status status = tt_pin_take_environment(&pin, err);
    if (status != TT_OK)
        return status;
    if (pin) {
        tt_secret_free(environment_pin);
        environment_pin = pin;
    }
    sources++;
    return TT_OK;
}

static void release_environment_pin(void)
{
    if (--sources > 0)
        return;
    tt_secret_free(environment_pin);
    environment_pin = NULL;
}

static char *copy_text(const char *text)
{
    return strdup(text ? text : "");
}

/* The URI as it was given, without its query and without a PIN that was put elsewhere. */
static char *without_pin(const char *uri)
{
    char *copy = strdup(uri);
    if (copy) {
        tt_pkcs11_uri_hide_pin(copy);
        copy[strcspn(copy, "?")] = '\0';
    }
    return copy;
}

enum tt_status tt_pkcs11_source_new(const struct tt_pkcs11_options *options, struct tt_pkcs11_source **ret_source,
                                    struct tt_error *err)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = NULL;
    struct tt_loader_choice loader;
    enum tt_status status = tt_loader_parse(options->loader, &loader, err);
    if (status == TT_OK)
        status = tt_uri_parse(options->uri, &uri, err);
    if (status != TT_OK)
        return status;
    if (tt_uri_pin_is_misplaced(uri))
        tt_log(TT_LOG_WARNING, "the key's URI has its PIN in the path; RFC 7512 wants '?pin-value=' there, and a "
                               "pin-source is safer");
    struct tt_pkcs11_source *source = calloc(1, sizeof *source);
    char *module TT_CLEANUP(tt_free_cleanup) = options->module ? strdup(options->module) : NULL;
    char *asked TT_CLEANUP(tt_free_cleanup) = without_pin(options->uri);
    if (!source || !asked || (options->module && !module)) {
        free(source);
        return tt_error_memory(err);
    }
    status = hold_environment_pin(err);
    if (status != TT_OK) {
        free(source);
        return status;
    }
    source->uri = TT_TAKE(uri);
    source->module = TT_TAKE(module);
    source->asked = TT_TAKE(asked);
    source->loader = loader;
    source->pin_fd = options->pin_fd;
    source->last_pin_try = options->last_pin_try;
    source->may_prompt = options->may_prompt;
    source->keep_pin = options->keep_pin;
    source->facts = (struct tt_pkcs11_facts){.uri = "", .token = "", .serial = "", .loader = ""};
    /* The provider would take it for stronger than what it is told: the module is chosen here. */
    unsetenv("PKCS11_PROVIDER_MODULE");
    *ret_source = source;
    return TT_OK;
}

static void forget_facts(struct tt_pkcs11_source *source)
{
    free(source->key_uri);
    free(source->token);
    free(source->serial);
    source->key_uri = source->token = source->serial = NULL;
    source->facts.uri = source->facts.token = source->facts.serial = "";
}

void tt_pkcs11_source_free(struct tt_pkcs11_source *source)
{
    if (!source)
        return;
    release_environment_pin();
    forget_facts(source);
    tt_secret_free(source->kept_pin);
    tt_uri_free(source->uri);
    free(source->module);
    free(source->asked);
    free(source);
}

/* Takes over `uri`. */
static enum tt_status note_facts(struct tt_pkcs11_source *source, const PKCS11_TOKEN *token, char *uri,
                                 const struct tt_loader_choice *loader, struct tt_error *err)
{
    forget_facts(source);
    source->key_uri = uri;
    source->token = copy_text(token->label);
    source->serial = copy_text(token->serialnr);
    if (!source->key_uri || !source->token || !source->serial)
        return tt_error_memory(err);
    tt_loader_text(loader, source->loader_text);
    source->facts.uri = source->key_uri;
    source->facts.token = source->token;
    source->facts.serial = source->serial;
    source->facts.loader = source->loader_text;
    return TT_OK;
}

static enum tt_status load(const struct tt_pkcs11_source *source, struct tt_pkcs11_module **ret_module,
                           PKCS11_SLOT **ret_slot, struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = tt_module_path(source->module, source->uri, &path, err);
    if (status == TT_OK && tt_uri_names_library(source->uri))
        status = tt_module_check_library(path, source->uri, err);
    if (status == TT_OK)
        status = tt_token_load(path, source->uri, ret_module, ret_slot, err);
    return status;
}

static enum tt_status get_pin(const struct tt_pkcs11_source *source, const PKCS11_TOKEN *token,
                              struct tt_secret **ret_pin, struct tt_error *err)
{
    const struct tt_pin_sources pins = {
        .value = source->kept_pin ? source->kept_pin : tt_uri_pin_value(source->uri),
        .source = tt_uri_pin_source(source->uri),
        .environment = environment_pin,
        .descriptor = source->pin_fd,
        .may_prompt = source->may_prompt,
        .token = token->label,
    };
    return tt_token_get_pin(token, &pins, source->last_pin_try, ret_pin, err);
}

static enum tt_status keep(struct tt_pkcs11_source *source, const struct tt_secret *pin, struct tt_error *err)
{
    if (!source->keep_pin || source->kept_pin || !pin)
        return TT_OK;
    enum tt_status status = tt_secret_new(pin->capacity, &source->kept_pin, err);
    if (status != TT_OK)
        return status;
    memcpy(source->kept_pin->data, pin->data, pin->capacity);
    source->kept_pin->length = pin->length;
    return TT_OK;
}

/* A key that is being opened. */
struct opening {
    struct tt_pkcs11_module *module;
    PKCS11_SLOT *slot; /* in it */
    struct tt_secret *pin;
    bool libp11_gave_up; /* logged in, over a token that is well */
};

static void opening_cleanup(struct opening *opening)
{
    tt_module_free(opening->module);
    tt_secret_free(opening->pin);
}

static enum tt_status open_by_libp11(struct tt_pkcs11_source *source, struct opening *opening, const EVP_PKEY *expected,
                                     struct tt_private_key **ret_key, struct tt_error *err)
{
    static const struct tt_loader_choice libp11 = {.kind = TT_LOADER_LIBP11};
    PKCS11_SLOT *slot = opening->slot;
    PKCS11_KEY *key = NULL;
    enum tt_status status = tt_token_login(opening->module, slot, opening->pin, err);
    if (status == TT_OK)
        status = keep(source, opening->pin, err);
    if (status != TT_OK)
        return status;
    status = tt_token_find_key(slot, source->uri, &key, &opening->libp11_gave_up, err);
    if (status == TT_OK)
        status = note_facts(source, slot->token, tt_uri_format(slot->token, key, true), &libp11, err);
    if (status == TT_OK)
        status = tt_libp11_key_new(opening->module, slot, key, opening->pin, source->key_uri, expected, ret_key, err);
    if (status != TT_OK)
        return status;
    tt_log(TT_LOG_INFO, "opened %s by libp11 and module %s", source->key_uri, opening->module->path);
    opening->module = NULL;
    opening->pin = NULL;
    return TT_OK;
}

/* By an OpenSSL provider or engine: this process lets go of the module first, which the loader then loads itself. */
static enum tt_status open_by_other(struct tt_pkcs11_source *source, struct opening *opening,
                                    const struct tt_loader_choice *loader, const EVP_PKEY *expected,
                                    struct tt_private_key **ret_key, struct tt_error *err)
{
    bool is_kept_already = source->kept_pin != NULL;
    char *path TT_CLEANUP(tt_free_cleanup) = strdup(opening->module->path);
    PKCS11_TOKEN *token TT_CLEANUP(tt_loader_free_token_cleanup) = tt_loader_copy_token(opening->slot->token);
    enum tt_status status = path && token ? keep(source, opening->pin, err) : tt_error_memory(err);
    if (status != TT_OK)
        return status;
    tt_module_free(TT_TAKE(opening->module));
    opening->slot = NULL;
    struct tt_loader_request request = {
        .choice = *loader, .module = path, .uri = source->uri, .token = token, .pin = opening->pin};
    opening->pin = NULL;
    char *uri = NULL;
    status = tt_loader_open(&request, expected, ret_key, &uri, err);
    if (status == TT_OK)
        status = note_facts(source, token, uri, loader, err);
    if (status == TT_OK) {
        tt_log(TT_LOG_INFO, "opened %s by %s and module %s", source->key_uri, source->loader_text, path);
    } else if (!is_kept_already) { /* perhaps a wrong one */
        tt_secret_free(TT_TAKE(source->kept_pin));
    }
    return status;
}

/* libp11 first; where it stands in its own way, after a login with the right PIN, the provider. */
static enum tt_status open_by_any(struct tt_pkcs11_source *source, struct opening *opening, const EVP_PKEY *expected,
                                  struct tt_private_key **ret_key, struct tt_error *err)
{
    static const struct tt_loader_choice provider = {.kind = TT_LOADER_PROVIDER, .name = "pkcs11"};
    struct tt_error libp11 = TT_ERROR_INIT;
    enum tt_status status = open_by_libp11(source, opening, expected, ret_key, &libp11);
    if (status == TT_OK)
        tt_log(TT_LOG_INFO, "key loader: libp11, which serves this token");
    if (status != TT_OK && err)
        *err = libp11;
    if (status == TT_OK || !opening->libp11_gave_up || opening->slot->token->secureLogin)
        return status;
    struct tt_error other = TT_ERROR_INIT;
    if (open_by_other(source, opening, &provider, expected, ret_key, &other) == TT_OK) {
        tt_log(TT_LOG_INFO, "key loader: provider, because libp11 failed: %s", libp11.message);
        return TT_OK;
    }
    tt_log(TT_LOG_INFO, "the key loader provider cannot either: %s", other.message);
    return status;
}

/* All that the public can see comes first; the PIN is asked for when nothing else is left to check. */
static enum tt_status open_key(void *user, const EVP_PKEY *expected, struct tt_private_key **ret_key,
                               struct tt_error *err)
{
    struct tt_pkcs11_source *source = user;
    struct opening opening TT_CLEANUP(opening_cleanup) = {0};
    enum tt_status status = load(source, &opening.module, &opening.slot, err);
    if (status == TT_OK)
        status = tt_token_check_shown(opening.slot, source->uri, expected, err);
    if (status == TT_OK)
        status = tt_loader_check(&source->loader, opening.slot->token, err);
    if (status == TT_OK)
        status = get_pin(source, opening.slot->token, &opening.pin, err);
    if (status != TT_OK)
        return status;
    if (source->loader.kind == TT_LOADER_LIBP11)
        return open_by_libp11(source, &opening, expected, ret_key, err);
    if (source->loader.kind == TT_LOADER_AUTO)
        return open_by_any(source, &opening, expected, ret_key, err);
    return open_by_other(source, &opening, &source->loader, expected, ret_key, err);
}

static void tell_place(void *user, struct tt_key_place *ret_place)
{
    const struct tt_pkcs11_source *source = user;
    const struct tt_pkcs11_facts *facts = &source->facts;
    *ret_place = (struct tt_key_place){.uri = *facts->uri ? facts->uri : source->asked,
                                       .token = facts->token,
                                       .serial = facts->serial,
                                       .loader = facts->loader};
}

struct tt_key_source tt_pkcs11_key_source(struct tt_pkcs11_source *source)
{
    return (struct tt_key_source){.open = open_key, .place = tell_place, .user = source};
}

const struct tt_pkcs11_facts *tt_pkcs11_source_facts(const struct tt_pkcs11_source *source)
{
    return &source->facts;
}
