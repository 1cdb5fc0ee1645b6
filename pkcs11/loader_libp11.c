#include "pkcs11/loader_libp11.h"

#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ui.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "pkcs11/ckr.h"
#include "pkcs11/token.h"

struct loader {
    struct tt_pkcs11_module *module;
    PKCS11_SLOT *slot;
    struct tt_secret *pin;
    UI_METHOD *ui;
    const EVP_PKEY *key; /* the private key's own */
    char *name;          /* the key's URI */
    bool is_lost;        /* with its session, as far as the last failure tells */
    bool was_reopened;
    bool pin_was_refused; /* by libp11, for a key that wants it at each use */
};

/*
 * Who does the padding. libp11 tries the token's mechanism and then, by itself and silently, raw RSA through the
 * RSA_METHOD that all its keys share. That method's two private functions are wrapped here: they count what goes
 * through them, and keep a native attempt from falling back, so that private_key.c decides and knows.
 */

typedef int (*rsa_private)(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding);

static rsa_private libp11_decrypt;
static rsa_private libp11_encrypt;

static _Thread_local struct {
    bool native_only;
    PKCS11_SLOT *slot; /* of the operation under way */
    EVP_PKEY *key;
} watch;

static int watched(rsa_private operation, int length, const unsigned char *from, unsigned char *to, RSA *rsa,
                   int padding)
{
    if (padding == RSA_NO_PADDING && watch.native_only)
        return -1;
    int outcome = operation(length, from, to, rsa, padding);
    if (outcome >= 0 || padding != RSA_NO_PADDING || !watch.slot ||
        ERR_GET_REASON(ERR_peek_last_error()) != CKR_OPERATION_ACTIVE)
        return outcome;
    /* The session did not get over the failed native attempt. Asking for the mode that it has makes libp11 forget its
     * pool and open a new session, which stays logged in. Not done without need: where the token has no session left,
     * libp11 waits for one for ever. */
    ERR_clear_error();
    PKCS11_open_session(watch.slot, 0);
    return operation(length, from, to, rsa, padding);
}

/* Since libp11 0.4.19, whose RSA_METHOD decrypts no longer raw; NULL with older ones. */
extern int PKCS11_evp_pkey_decrypt(EVP_PKEY *key, int type, const char *digest, int padding, const char *mask_digest,
                                   unsigned char *label, size_t label_length, unsigned char *out, size_t *out_length,
                                   const unsigned char *in, size_t length) __attribute__((weak));

static int newer_decrypt(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    size_t out_length = (size_t)RSA_size(rsa);
    int outcome = PKCS11_evp_pkey_decrypt(watch.key, EVP_PKEY_RSA, NULL, padding, NULL, NULL, 0, to, &out_length, from,
                                          (size_t)length);
    return outcome > 0 ? (int)out_length : -1;
}

static int watched_decrypt(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    bool newer = padding == RSA_NO_PADDING && PKCS11_evp_pkey_decrypt && watch.key;
    return watched(newer ? newer_decrypt : libp11_decrypt, length, from, to, rsa, padding);
}

static int watched_encrypt(int length, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    return watched(libp11_encrypt, length, from, to, rsa, padding);
}

/* Where a later libp11 does not work this way, nothing is watched and who padded stays unknown. */
static bool watch_method(const EVP_PKEY *key)
{
    const RSA *rsa = EVP_PKEY_get0_RSA(key);
    RSA_METHOD *method = PKCS11_get_rsa_method();
    if (!rsa || !method || RSA_get_method(rsa) != method)
        return false;
    rsa_private decrypt = RSA_meth_get_priv_dec(method);
    rsa_private encrypt = RSA_meth_get_priv_enc(method);
    if (decrypt == watched_decrypt && encrypt == watched_encrypt)
        return true;
    libp11_decrypt = decrypt;
    libp11_encrypt = encrypt;
    return RSA_meth_set_priv_dec(method, watched_decrypt) == 1 && RSA_meth_set_priv_enc(method, watched_encrypt) == 1;
}

static bool is_watched(const EVP_PKEY *key)
{
    const RSA *rsa = EVP_PKEY_get0_RSA(key);
    return rsa && RSA_meth_get_priv_dec(RSA_get_method(rsa)) == watched_decrypt &&
           RSA_meth_get_priv_enc(RSA_get_method(rsa)) == watched_encrypt;
}

/* Attempts go through libp11's EVP_PKEY methods, which OpenSSL takes from an engine only. It is never
 * freed: that would free methods that libp11 keeps pointers to (0.4.13). */
static ENGINE *engine;

static void make_engine(void)
{
    engine = ENGINE_new();
    if (engine && ENGINE_set_pkey_meths(engine, PKCS11_pkey_meths) != 1) {
        ENGINE_free(engine);
        engine = NULL;
    }
}

/* Raw attempts too: later versions of libp11 do raw RSA through these methods only. */
static EVP_PKEY_CTX *new_context(void *user, EVP_PKEY *key, enum tt_padding_by attempt)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const struct loader *loader = user;
    pthread_once(&once, make_engine);
    watch.native_only = attempt == TT_PADDING_NATIVE;
    watch.slot = loader->slot;
    watch.key = key;
    return engine ? EVP_PKEY_CTX_new(key, engine) : NULL;
}

static enum tt_padding_by padding_by(void *user)
{
    const struct loader *loader = user;
    return is_watched(loader->key) ? TT_PADDING_NATIVE : TT_PADDING_UNKNOWN;
}

/* Keys that want the PIN at each use (CKA_ALWAYS_AUTHENTICATE): libp11 asks for it like this. */
static int give_pin(UI *ui, UI_STRING *string)
{
    struct loader *loader = UI_get0_user_data(ui);
    if (UI_get_string_type(string) != UIT_PROMPT)
        return 1;
    if (loader->pin && UI_set_result_ex(ui, string, (const char *)loader->pin->data, (int)loader->pin->length) == 0)
        return 1;
    loader->pin_was_refused = true;
    return 0;
}

static enum tt_status make_ui(struct loader *loader, struct tt_error *err)
{
    loader->ui = UI_create_method("traintoken");
    if (!loader->ui || UI_method_set_reader(loader->ui, give_pin) != 0 ||
        PKCS11_set_ui_method(loader->module->context, loader->ui, loader) != 0)
        return tt_error_memory(err);
    return TT_OK;
}

static void explain(void *user, enum tt_private_key_use use, struct tt_error *err)
{
    struct loader *loader = user;
    if (!loader->module)
        return;
    const char *token = loader->slot->token->label;
    bool signing = use == TT_USE_SIGN;
    unsigned long value = tt_ckr_take();
    loader->is_lost = value == CKR_SESSION_HANDLE_INVALID || value == CKR_SESSION_CLOSED ||
                      value == CKR_USER_NOT_LOGGED_IN || value == CKR_KEY_HANDLE_INVALID ||
                      value == CKR_OBJECT_HANDLE_INVALID; /* with libp11 from 0.4.13 on, which opens a new session */
    if (loader->pin_was_refused) {
        tt_error_set(err, TT_PIN,
                     "the key in token '%s' wants its PIN at each use; the libp11 of this machine can give one of 4 to "
                     "32 characters only",
                     token);
        return;
    }
    tt_ckr_explain_use(value, token, signing, err);
}

/*
 * A session that the token ended (it was idle for too long, or taken out and put back) is opened again, once. Its login
 * is gone too, and handles of objects with it, of all of which libp11 knows nothing: so everything is made anew from
 * the module up.
 */

static enum tt_status get_key(PKCS11_SLOT *slot, PKCS11_KEY *key, const EVP_PKEY *expected, EVP_PKEY **ret_key,
                              struct tt_error *err);

/* The PIN was right a while ago. It is given again only where the token would not mind a wrong one yet, and never asked
 * for again on a keypad. */
static enum tt_status log_in_again(PKCS11_SLOT *slot, const struct tt_secret *pin, struct tt_error *err)
{
    const PKCS11_TOKEN *token = slot->token;
    if (!token->loginRequired)
        return TT_OK;
    if (!pin || token->userPinCountLow || token->userPinFinalTry || token->userPinLocked)
        return tt_error_set(err, TT_TOKEN, "no PIN is tried a second time with token '%s'", token->label);
    ERR_clear_error();
    if (PKCS11_login(slot, 0, (const char *)pin->data) != 0)
        return tt_ckr_error(tt_ckr_take(), err, "cannot log in to token '%s' again", token->label);
    return TT_OK;
}

static enum tt_status open_again(struct loader *loader, const char *path, const EVP_PKEY *expected, EVP_PKEY **ret_key,
                                 struct tt_error *err)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = NULL;
    PKCS11_KEY *key = NULL;
    bool gave_up;
    enum tt_status status = tt_uri_parse(loader->name, &uri, err);
    if (status == TT_OK)
        status = tt_token_load(path, uri, &loader->module, &loader->slot, err);
    if (status == TT_OK)
        status = tt_token_check_shown(loader->slot, uri, expected, err);
    if (status == TT_OK)
        status = log_in_again(loader->slot, loader->pin, err);
    if (status == TT_OK)
        status = tt_token_find_key(loader->slot, uri, &key, &gave_up, err);
    if (status == TT_OK && PKCS11_set_ui_method(loader->module->context, loader->ui, loader) != 0)
        status = tt_error_memory(err);
    return status == TT_OK ? get_key(loader->slot, key, expected, ret_key, err) : status;
}

static bool reopen(void *user, const EVP_PKEY *public_half, EVP_PKEY **key)
{
    struct loader *loader = user;
    struct tt_error err = TT_ERROR_INIT;
    if (!loader->is_lost || loader->was_reopened)
        return false;
    loader->was_reopened = true;
    tt_log(TT_LOG_WARNING, "token '%s' ended the session; opening it again", loader->slot->token->label);
    char *path TT_CLEANUP(tt_free_cleanup) = TT_TAKE(loader->module->path);
    EVP_PKEY_free(*key); /* before what it reaches into */
    *key = NULL;
    loader->key = NULL;
    memset(&watch, 0, sizeof watch);
    tt_module_free(TT_TAKE(loader->module));
    if (open_again(loader, path, public_half, key, &err) != TT_OK) {
        tt_log(TT_LOG_WARNING, "that failed: %s (%s)", err.message, err.detail);
        tt_module_free(TT_TAKE(loader->module));
        return false;
    }
    loader->key = *key;
    return true;
}

/* The EVP_PKEY is gone by now. Slots go before the module, the PIN last: libp11 wipes its own copy of the PIN with the
 * slot. */
static void free_loader(void *user)
{
    struct loader *loader = user;
    if (!loader)
        return;
    memset(&watch, 0, sizeof watch);
    tt_module_free(loader->module);
    if (loader->ui)
        UI_destroy_method(loader->ui);
    tt_secret_free(loader->pin);
    free(loader->name);
    free(loader);
}

static const struct tt_private_key_loader ways = {
    .context = new_context,
    .padding_by = padding_by,
    .explain = explain,
    .reopen = reopen,
    .free = free_loader,
};

static enum tt_status get_key(PKCS11_SLOT *slot, PKCS11_KEY *key, const EVP_PKEY *expected, EVP_PKEY **ret_key,
                              struct tt_error *err)
{
    char what[96];
    snprintf(what, sizeof what, "the key in token '%.32s'", slot->token->label);
    if (PKCS11_get_key_type(key) != EVP_PKEY_RSA)
        return tt_error_set(err, TT_TOKEN, "%s is not an RSA key; the protocol works with RSA only", what);
    ERR_clear_error();
    EVP_PKEY *made TT_CLEANUP(tt_evp_pkey_cleanup) = PKCS11_get_private_key(key);
    if (!made)
        return tt_ckr_error(tt_ckr_take(), err, "%s cannot be used", what);
    ERR_clear_error();
    enum tt_status status = tt_public_key_check(made, what, err);
    if (status == TT_OK)
        status = tt_token_compare(made, expected, err);
    if (status == TT_OK)
        *ret_key = TT_TAKE(made);
    return status;
}

enum tt_status tt_libp11_key_new(struct tt_pkcs11_module *module, PKCS11_SLOT *slot, PKCS11_KEY *key,
                                 struct tt_secret *pin, const char *name, const EVP_PKEY *expected,
                                 struct tt_private_key **ret_key, struct tt_error *err)
{
    EVP_PKEY *made TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = get_key(slot, key, expected, &made, err);
    if (status != TT_OK)
        return status;
    struct loader *loader = calloc(1, sizeof *loader);
    if (!loader || !(loader->name = strdup(name))) {
        free(loader);
        return tt_error_memory(err);
    }
    loader->module = module;
    loader->slot = slot;
    loader->key = made;
    loader->pin = pin;
    if (!watch_method(made))
        tt_log(TT_LOG_DEBUG, "this libp11 does not show who does the padding");
    status = make_ui(loader, err);
    if (status == TT_OK)
        status = tt_private_key_new(made, &ways, loader, name, ret_key, err);
    if (status != TT_OK) {
        if (loader->ui)
            UI_destroy_method(loader->ui);
        free(loader->name);
        free(loader); /* module and PIN stay the caller's */
        return status;
    }
    (void)TT_TAKE(made);
    return TT_OK;
}
