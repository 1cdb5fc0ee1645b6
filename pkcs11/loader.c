#include "pkcs11/loader.h"

#include <openssl/err.h>
#include <p11-kit/pkcs11.h>
#include <string.h>

#include "base/log.h"
#include "pkcs11/ckr.h"
#include "pkcs11/glance.h"
#include "pkcs11/module.h"
#include "pkcs11/token.h"

/* The choice. */

static bool is_name(const char *text)
{
    return *text && strlen(text) < sizeof((struct tt_loader_choice *)NULL)->name &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0' &&
           text[0] != '.';
}

enum tt_status tt_loader_parse(const char *text, struct tt_loader_choice *ret_choice, struct tt_error *err)
{
    static const struct {
        const char *word;
        enum tt_loader_kind kind;
    } words[] = {{"auto", TT_LOADER_AUTO},
                 {"libp11", TT_LOADER_LIBP11},
                 {"provider", TT_LOADER_PROVIDER},
                 {"engine", TT_LOADER_ENGINE}};
    text = text ? text : "auto";
    size_t length = strcspn(text, ":");
    const char *name = text[length] == ':' ? text + length + 1 : NULL;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i].word) != length || strncmp(words[i].word, text, length) != 0)
            continue;
        if (name && (words[i].kind < TT_LOADER_PROVIDER || !is_name(name)))
            break;
        ret_choice->kind = words[i].kind;
        snprintf(ret_choice->name, sizeof ret_choice->name, "%s", name ? name : "pkcs11");
        return TT_OK;
    }
    return tt_error_set(
        err, TT_USAGE, "there is no key loader '%.80s'; there are auto, libp11, provider[:NAME] and engine[:ID]", text);
}

void tt_loader_text(const struct tt_loader_choice *choice, char text[80])
{
    static const char *const words[] = {"auto", "libp11", "provider", "engine"};
    bool plain = choice->kind < TT_LOADER_PROVIDER || strcmp(choice->name, "pkcs11") == 0;
    snprintf(text, 80, "%s%s%s", words[choice->kind], plain ? "" : ":", plain ? "" : choice->name);
}

/* The token, when no module is loaded any more. */

PKCS11_TOKEN *tt_loader_copy_token(const PKCS11_TOKEN *token)
{
    PKCS11_TOKEN *copy TT_CLEANUP(tt_loader_free_token_cleanup) = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = (PKCS11_TOKEN){.initialized = token->initialized,
                           .loginRequired = token->loginRequired,
                           .secureLogin = token->secureLogin,
                           .userPinSet = token->userPinSet,
                           .readOnly = token->readOnly,
                           .userPinCountLow = token->userPinCountLow,
                           .userPinFinalTry = token->userPinFinalTry,
                           .userPinLocked = token->userPinLocked,
                           .userPinToBeChanged = token->userPinToBeChanged};
    copy->label = strdup(token->label ? token->label : "");
    copy->manufacturer = strdup(token->manufacturer ? token->manufacturer : "");
    copy->model = strdup(token->model ? token->model : "");
    copy->serialnr = strdup(token->serialnr ? token->serialnr : "");
    return copy->label && copy->manufacturer && copy->model && copy->serialnr ? TT_TAKE(copy) : NULL;
}

void tt_loader_free_token(PKCS11_TOKEN *token)
{
    if (!token)
        return;
    free(token->label);
    free(token->manufacturer);
    free(token->model);
    free(token->serialnr);
    free(token);
}

enum tt_status tt_loader_check(const struct tt_loader_choice *choice, const PKCS11_TOKEN *token, struct tt_error *err)
{
    bool is_strict = choice->kind == TT_LOADER_PROVIDER && strcmp(choice->name, "pkcs11") == 0;
    if (!is_strict || !token->loginRequired || !(token->userPinFinalTry || token->userPinToBeChanged))
        return TT_OK;
    return tt_error_set(err, TT_PIN,
                        "token '%s' %s, and OpenSSL's pkcs11 provider does not log in then; '--key-loader libp11' does",
                        token->label, token->userPinFinalTry ? "has 1 PIN try left" : "wants its PIN to be changed");
}

/* The PIN. */

static int give_pin(UI *ui, UI_STRING *string)
{
    struct tt_loader_pin *pin = UI_get0_user_data(ui);
    if (UI_get_string_type(string) != UIT_PROMPT)
        return 1;
    if (!pin || !pin->secret || (pin->was_given && !pin->is_open)) /* a wrong one is not tried twice */
        return 0;
    if (UI_set_result_ex(ui, string, (const char *)pin->secret->data, (int)pin->secret->length) != 0) {
        pin->was_too_long = true;
        return 0;
    }
    pin->was_given = true;
    return 1;
}

enum tt_status tt_loader_pin_init(struct tt_loader_pin *pin, struct tt_secret *secret, struct tt_error *err)
{
    *pin = (struct tt_loader_pin){.secret = secret, .ui = UI_create_method("traintoken")};
    return pin->ui && UI_method_set_reader(pin->ui, give_pin) == 0 ? TT_OK : tt_error_memory(err);
}

void tt_loader_pin_clear(struct tt_loader_pin *pin)
{
    if (pin->ui)
        UI_destroy_method(pin->ui);
    tt_secret_free(pin->secret);
    *pin = (struct tt_loader_pin){0};
}

unsigned long tt_loader_take_value(const char *library)
{
    unsigned long first = 0;
    for (unsigned long code; (code = ERR_get_error()) != 0;) {
        const char *name = ERR_lib_error_string(code);
        tt_log(TT_LOG_DEBUG, "from OpenSSL's queue: %s, reason 0x%x", name ? name : "?", ERR_GET_REASON(code));
        if (first == 0 && ERR_GET_LIB(code) >= ERR_LIB_USER && name && strcmp(name, library) == 0)
            first = (unsigned long)ERR_GET_REASON(code);
    }
    return first;
}

enum tt_status tt_loader_keep_evidence(const struct tt_loader_request *request, struct tt_loader_evidence *ret_evidence,
                                       struct tt_error *err)
{
    ret_evidence->uri = request->uri;
    ret_evidence->module = strdup(request->module);
    ret_evidence->token = tt_loader_copy_token(request->token);
    return ret_evidence->module && ret_evidence->token ? TT_OK : tt_error_memory(err);
}

void tt_loader_clear_evidence(struct tt_loader_evidence *evidence)
{
    free(evidence->module);
    tt_loader_free_token(evidence->token);
}

bool tt_loader_find_cause(const struct tt_loader_evidence *evidence, bool signing, struct tt_error *err)
{
    struct tt_glance glance TT_CLEANUP(tt_glance_clear);
    if (tt_glance_take(evidence->module, evidence->token, evidence->uri, &glance, NULL) != TT_OK)
        return false;
    unsigned long cause = 0;
    if (glance.are_keys_listed && glance.matching.count == 0)
        cause = CKR_KEY_HANDLE_INVALID;
    else if (signing ? glance.lacks_sign : glance.lacks_decrypt)
        cause = CKR_KEY_FUNCTION_NOT_PERMITTED;
    if (cause == 0)
        return false;
    tt_ckr_explain_use(cause, evidence->token->label, signing, err);
    tt_error_detail(err, "%s", "");
    return true;
}

enum tt_status tt_loader_refuse(const char *kind, const char *name, const char *what, struct tt_error *err)
{
    char text[TT_ERROR_DETAIL_SIZE] = "";
    const char *data = NULL;
    int flags = 0;
    unsigned long code = ERR_peek_error_data(&data, &flags);
    if (data && (flags & ERR_TXT_STRING) && *data)
        snprintf(text, sizeof text, "%s", data);
    else if (code != 0)
        ERR_error_string_n(code, text, sizeof text);
    ERR_clear_error();
    tt_error_set(err, TT_TOKEN, "OpenSSL's %s '%s' %s", kind, name, what);
    tt_error_detail(err, "%s", text);
    return TT_TOKEN;
}

/* Why it failed. */

static bool is_about_pin(unsigned long value)
{
    struct tt_error said = TT_ERROR_INIT;
    return value != 0 && tt_ckr_error(value, &said, "-") == TT_PIN;
}

/* Where the module shows nothing beside the loader, it is asked anew, once the loader let go of it. */
static void look_anew(const struct tt_loader_request *request, struct tt_glance *glance)
{
    struct tt_pkcs11_module *module TT_CLEANUP(tt_module_free_cleanup) = NULL;
    PKCS11_SLOT *slot = NULL;
    if (tt_token_load(request->module, request->uri, &module, &slot, NULL) != TT_OK)
        return;
    glance->is_token_seen = true;
    glance->is_pin_count_low = slot->token->userPinCountLow;
    glance->is_pin_final_try = slot->token->userPinFinalTry;
    glance->is_pin_locked = slot->token->userPinLocked;
}

static enum tt_status refuse_pin(const struct tt_loader_request *request, const struct tt_glance *glance,
                                 unsigned long value, struct tt_error *err)
{
    const char *left = tt_token_tries_left(glance->is_pin_locked, glance->is_pin_final_try, glance->is_pin_count_low);
    if (!is_about_pin(value))
        return tt_error_set(err, TT_PIN, "cannot log in to token '%s': the PIN is wrong%s", request->token->label,
                            left);
    struct tt_error said = TT_ERROR_INIT;
    tt_ckr_error(value, &said, "cannot log in to token '%s'", request->token->label);
    tt_error_set(err, TT_PIN, "%s%s", said.message, left);
    tt_error_detail(err, "%s", said.detail);
    return TT_PIN;
}

/* A loader that failed says little of why: what the token shows afterwards tells a wrong PIN from a key that is not
 * there. A token sets its flags at a wrong PIN and clears them at a right one. */
static enum tt_status explain(const struct tt_loader_request *request, const struct tt_loader_outcome *outcome,
                              struct tt_glance *glance, struct tt_error *err)
{
    char loader[80];
    tt_loader_text(&request->choice, loader);
    const char *token = request->token->label;
    bool is_flagged = glance->is_pin_count_low || glance->is_pin_final_try || glance->is_pin_locked;
    bool is_login_missing = request->token->loginRequired && !glance->is_logged_in;
    if (outcome->pin->was_too_long && !outcome->pin->was_given)
        return tt_error_set(err, TT_PIN,
                            "the key loader %s does not take a PIN of this length; '--key-loader libp11' does", loader);
    if (is_about_pin(outcome->value) || (is_login_missing && is_flagged))
        return refuse_pin(request, glance, outcome->value, err);
    if (outcome->value != 0)
        return tt_ckr_error(outcome->value, err, "the key loader %s cannot open the key in token '%s'", loader, token);
    if (!glance->is_token_seen)
        return tt_error_set(err, TT_TOKEN, "token '%s' was removed", token);
    if (is_login_missing && !outcome->is_login_proven)
        return tt_error_set(
            err, TT_PIN,
            "cannot log in to token '%s': the PIN is wrong, or the token failed; the key loader %s does "
            "not tell, '--key-loader libp11' does",
            token, loader);
    if (glance->are_keys_listed && glance->matching.count != 1)
        return tt_candidates_refuse_keys(token, request->uri, &glance->matching, &glance->all, err);
    if (glance->has_other_type)
        return tt_error_set(err, TT_TOKEN, "the key in token '%s' is not an RSA key; the protocol works with RSA only",
                            token);
    if (glance->are_keys_listed)
        return tt_error_set(err, TT_TOKEN,
                            "the key loader %s cannot open the key in token '%s', without saying why; another "
                            "--key-loader may",
                            loader, token);
    char *asked TT_CLEANUP(tt_free_cleanup) = tt_uri_text(request->uri);
    if (!asked)
        return tt_error_memory(err);
    return tt_error_set(err, TT_TOKEN,
                        "no private key in token '%s' matches %s; '--key-loader libp11' lists those there are", token,
                        asked);
}

/* Opening. */

/* The URI that the loader gets: this token and the key's label and id, "type=private", no PIN. */
static char *exact_uri(const struct tt_loader_request *request)
{
    PKCS11_KEY key = {.isPrivate = 1};
    if (!tt_uri_object(request->uri, &key.label, &key.id, &key.id_len))
        key = (PKCS11_KEY){.isPrivate = 1};
    char *text = tt_uri_format(request->token, &key, true);
    free(key.label);
    return text;
}

static enum tt_status check_number(const struct tt_loader_request *request, const struct tt_loader_outcome *outcome,
                                   struct tt_glance *glance, struct tt_error *err)
{
    if (glance->are_keys_listed && glance->matching.count != 1)
        return tt_candidates_refuse_keys(request->token->label, request->uri, &glance->matching, &glance->all, err);
    if (outcome->matches <= 1)
        return TT_OK;
    char *asked TT_CLEANUP(tt_free_cleanup) = tt_uri_text(request->uri);
    if (!asked)
        return tt_error_memory(err);
    return tt_error_set(err, TT_TOKEN, "%zu private keys match %s; name one of them by its id", outcome->matches,
                        asked);
}

/* Makes the outcome's key the result; what is not taken over stays the outcome's. */
static enum tt_status finish(const struct tt_loader_request *request, struct tt_loader_outcome *outcome,
                             const char *name, const EVP_PKEY *expected, struct tt_private_key **ret_key,
                             struct tt_error *err)
{
    struct tt_private_key *made TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    if (EVP_PKEY_get_base_id(outcome->key) != EVP_PKEY_RSA && !EVP_PKEY_is_a(outcome->key, "RSA"))
        return tt_error_set(err, TT_TOKEN, "the key in token '%s' is not an RSA key; the protocol works with RSA only",
                            request->token->label);
    enum tt_status status = tt_private_key_new(outcome->key, outcome->ways, outcome->loader, name, &made, err);
    if (status != TT_OK)
        return status;
    outcome->pin->is_open = true;
    outcome->key = NULL;
    outcome->loader = NULL;
    status = tt_token_compare(tt_private_key_public(made), expected, err);
    if (status == TT_OK)
        *ret_key = TT_TAKE(made);
    return status;
}

static enum tt_status judge(const struct tt_loader_request *request, struct tt_loader_outcome *outcome,
                            const EVP_PKEY *expected, const char *uri, struct tt_private_key **ret_key, char **ret_uri,
                            struct tt_error *err)
{
    struct tt_glance glance TT_CLEANUP(tt_glance_clear);
    enum tt_status status = tt_glance_take(request->module, request->token, request->uri, &glance, err);
    if (status != TT_OK)
        return status;
    if (!outcome->key) {
        if (!glance.is_token_seen)
            look_anew(request, &glance);
        return explain(request, outcome, &glance, err);
    }
    status = check_number(request, outcome, &glance, err);
    char *name TT_CLEANUP(tt_free_cleanup) = strdup(glance.key_uri ? glance.key_uri : uri);
    if (status == TT_OK && !name)
        status = tt_error_memory(err);
    if (status == TT_OK)
        status = finish(request, outcome, name, expected, ret_key, err);
    if (status == TT_OK)
        *ret_uri = TT_TAKE(name);
    return status;
}

enum tt_status tt_loader_open(struct tt_loader_request *request, const EVP_PKEY *expected,
                              struct tt_private_key **ret_key, char **ret_uri, struct tt_error *err)
{
    struct tt_loader_outcome outcome = {0};
    char *uri TT_CLEANUP(tt_free_cleanup) = exact_uri(request);
    enum tt_status status = uri ? TT_OK : tt_error_memory(err);
    int turn = request->pin ? tt_module_turn(request->module) : -1;
    if (status == TT_OK)
        status = request->choice.kind == TT_LOADER_ENGINE ? tt_engine_ask(request, uri, &outcome, err)
                                                          : tt_provider_ask(request, uri, &outcome, err);
    tt_close_cleanup(&turn);
    tt_secret_free(TT_TAKE(request->pin));
    if (status == TT_OK)
        status = judge(request, &outcome, expected, uri, ret_key, ret_uri, err);
    EVP_PKEY_free(outcome.key);
    if (outcome.loader)
        outcome.ways->free(outcome.loader);
    return status;
}
