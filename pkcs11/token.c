#include "pkcs11/token.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/log.h"
#include "pkcs11/candidates.h"
#include "pkcs11/ckr.h"
#include "pkcs11/libp11_guard.h"

/* Choosing the token. */

static enum tt_status list_tokens(const struct tt_pkcs11_module *module, const struct tt_pkcs11_uri *uri,
                                  struct tt_candidates *list, PKCS11_SLOT **ret_last, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (unsigned i = 0; status == TT_OK && i < module->slot_count; i++) {
        PKCS11_SLOT *slot = &module->slots[i];
        if (!slot->token || !slot->token->initialized || (uri && !tt_uri_matches_slot(uri, slot)))
            continue;
        *ret_last = slot;
        status = tt_candidates_add(list, slot->token, NULL, err);
    }
    return status;
}

enum tt_status tt_token_choose(const struct tt_pkcs11_module *module, const struct tt_pkcs11_uri *uri,
                               PKCS11_SLOT **ret_slot, struct tt_error *err)
{
    struct tt_candidates matching TT_CLEANUP(tt_candidates_clear) = TT_CANDIDATES_INIT;
    struct tt_candidates all TT_CLEANUP(tt_candidates_clear) = TT_CANDIDATES_INIT;
    PKCS11_SLOT *slot = NULL;
    PKCS11_SLOT *other = NULL;
    enum tt_status status = list_tokens(module, uri, &matching, &slot, err);
    if (status == TT_OK && matching.count == 0)
        status = list_tokens(module, NULL, &all, &other, err);
    if (status != TT_OK)
        return status;
    if (matching.count == 0 && all.count == 0)
        return tt_error_set(err, TT_TOKEN, "module %s shows no token at all; is it plugged in, and is it this module?",
                            module->path);
    char *asked TT_CLEANUP(tt_free_cleanup) = tt_uri_text(uri);
    if (!asked)
        return tt_error_memory(err);
    if (matching.count == 0)
        return tt_error_set(err, TT_TOKEN, "no token matches %s; tokens there are: %s", asked,
                            tt_candidates_text(&all));
    if (matching.count > 1)
        return tt_error_set(err, TT_TOKEN, "%zu tokens match %s; name one of them: %s", matching.count, asked,
                            tt_candidates_text(&matching));
    *ret_slot = slot;
    return TT_OK;
}

static bool is_shown(const struct tt_pkcs11_module *module, const struct tt_pkcs11_uri *uri)
{
    for (unsigned i = 0; i < module->slot_count; i++) {
        PKCS11_SLOT *slot = &module->slots[i];
        if (slot->token && slot->token->initialized && tt_uri_matches_slot(uri, slot))
            return true;
    }
    return false;
}

enum tt_status tt_token_load(const char *path, const struct tt_pkcs11_uri *uri, struct tt_pkcs11_module **ret_module,
                             PKCS11_SLOT **ret_slot, struct tt_error *err)
{
    struct tt_pkcs11_module *module TT_CLEANUP(tt_module_free_cleanup) = NULL;
    enum tt_status status = tt_module_load(path, &module, err);
    /* Such modules look at their tokens when they are initialized, and not later. */
    for (long pause = 30; status == TT_OK && pause <= 240 && !is_shown(module, uri); pause *= 2) {
        tt_module_free(TT_TAKE(module));
        nanosleep(&(struct timespec){.tv_nsec = pause * 1000000}, NULL);
        status = tt_module_load(path, &module, err);
    }
    if (status == TT_OK)
        status = tt_token_choose(module, uri, ret_slot, err);
    if (status == TT_OK)
        *ret_module = TT_TAKE(module);
    return status;
}

/* What can be seen without a PIN. */

enum tt_status tt_token_compare(const EVP_PKEY *held, const EVP_PKEY *expected, struct tt_error *err)
{
    if (!expected || tt_public_key_equal(held, expected))
        return TT_OK;
    char named[TT_FINGERPRINT_SIZE];
    char has[TT_FINGERPRINT_SIZE];
    enum tt_status status = tt_public_key_fingerprint(expected, named, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(held, has, err);
    if (status != TT_OK)
        return status;
    return tt_error_set(err, TT_UNTRUSTED, "this train is for another key: the train names %s, the token holds %s",
                        named, has);
}

/* Public halves that match a URI, told apart by their value. */
struct shown {
    EVP_PKEY *key; /* the first one */
    bool several;
    bool not_rsa; /* there is one of another kind */
};

static void shown_cleanup(struct shown *shown)
{
    EVP_PKEY_free(shown->key);
}

/* Takes over `key`. */
static void show_key(struct shown *shown, EVP_PKEY *key)
{
    if (!key || (shown->key && tt_public_key_equal(shown->key, key))) {
        EVP_PKEY_free(key);
    } else if (shown->key) {
        shown->several = true;
        EVP_PKEY_free(key);
    } else {
        shown->key = key;
    }
}

/* A software copy of a public key in the token, NULL when it cannot be had. libp11 0.4.12 forgets to
 * release the object under such a key, with it the slot, and with that its copy of the PIN; having the key end by way
 * of libp11's RSA_METHOD, as private keys do, makes it remember. Later versions do not mind. */
static EVP_PKEY *public_copy(PKCS11_KEY *key)
{
    RSA_METHOD *method = PKCS11_get_rsa_method(); /* first of all: it decides where keys remember their object */
    EVP_PKEY *held TT_CLEANUP(tt_evp_pkey_cleanup) = PKCS11_get_public_key(key);
    RSA *rsa = held ? (RSA *)EVP_PKEY_get0_RSA(held) : NULL;
    if (!rsa || !method)
        return NULL;
    RSA_set_method(rsa, method);
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(held, &der);
    const unsigned char *place = der;
    EVP_PKEY *copy = length > 0 ? d2i_PUBKEY(NULL, &place, length) : NULL;
    OPENSSL_free(der);
    return copy;
}

static void show(struct shown *shown, PKCS11_KEY *key)
{
    if (PKCS11_get_key_type(key) == EVP_PKEY_RSA)
        show_key(shown, public_copy(key));
    else
        shown->not_rsa = true;
}

static void look(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri, struct shown *shown)
{
    PKCS11_KEY *keys = NULL;
    PKCS11_CERT *certificates = NULL;
    unsigned count = 0;
    if (PKCS11_enumerate_public_keys(slot->token, &keys, &count) == 0)
        for (unsigned i = 0; i < count; i++)
            if (tt_uri_matches_object(uri, keys[i].label, keys[i].id, keys[i].id_len))
                show(shown, &keys[i]);
    count = 0;
    if (PKCS11_enumerate_certs(slot->token, &certificates, &count) == 0)
        for (unsigned i = 0; i < count; i++)
            if (certificates[i].x509 &&
                tt_uri_matches_object(uri, certificates[i].label, certificates[i].id, certificates[i].id_len))
                show_key(shown, X509_get_pubkey(certificates[i].x509));
    ERR_clear_error();
}

enum tt_status tt_token_check_shown(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri, const EVP_PKEY *expected,
                                    struct tt_error *err)
{
    struct shown shown TT_CLEANUP(shown_cleanup) = {0};
    look(slot, uri, &shown);
    if (tt_libp11_refused_session() != 0)
        return tt_ckr_error(tt_libp11_refused_session(), err, "token '%s' opens no session", slot->token->label);
    char what[96];
    snprintf(what, sizeof what, "the key in token '%.32s'", slot->token->label);
    if (shown.not_rsa && !shown.key)
        return tt_error_set(err, TT_TOKEN, "%s is not an RSA key; the protocol works with RSA only", what);
    if (!shown.key || shown.several || shown.not_rsa) /* which one is meant shows after the login */
        return TT_OK;
    enum tt_status status = tt_public_key_check(shown.key, what, err);
    if (status == TT_OK)
        status = tt_token_compare(shown.key, expected, err);
    return status;
}

/* Login. */

static enum tt_status check_tries(const PKCS11_TOKEN *token, bool last_pin_try, struct tt_error *err)
{
    if (token->userPinLocked)
        return tt_error_set(err, TT_PIN, "the PIN of token '%s' is locked; the security officer can unlock it",
                            token->label);
    if (token->userPinFinalTry && !last_pin_try)
        return tt_error_set(err, TT_PIN,
                            "token '%s' has 1 PIN try left; refusing to use it, pass --last-pin-try to go on",
                            token->label);
    if (token->userPinFinalTry)
        tt_log(TT_LOG_WARNING, "token '%s' has 1 PIN try left, which is used now", token->label);
    else if (token->userPinCountLow)
        tt_log(TT_LOG_WARNING, "a wrong PIN was tried on token '%s' before: few tries are left", token->label);
    if (token->userPinToBeChanged)
        tt_log(TT_LOG_WARNING, "token '%s' wants its PIN to be changed", token->label);
    return TT_OK;
}

const char *tt_token_tries_left(bool is_locked, bool is_final_try, bool is_count_low)
{
    return is_locked      ? "; it is locked now, and the security officer can unlock it"
           : is_final_try ? "; 1 try is left before it locks"
           : is_count_low ? "; few tries are left before it locks"
                          : "";
}

/* What the token says of its PIN after a wrong one. The slots' flags are from before, so they are read anew. */
static const char *tries_left(const struct tt_pkcs11_module *module, PKCS11_SLOT *slot)
{
    PKCS11_SLOT *slots = NULL;
    unsigned count = 0;
    const char *text = "";
    if (PKCS11_enumerate_slots(module->context, &slots, &count) != 0)
        return text;
    for (unsigned i = 0; i < count; i++) {
        const PKCS11_TOKEN *token = slots[i].token;
        if (token && PKCS11_get_slotid_from_slot(&slots[i]) == PKCS11_get_slotid_from_slot(slot))
            text = tt_token_tries_left(token->userPinLocked, token->userPinFinalTry, token->userPinCountLow);
    }
    PKCS11_release_all_slots(module->context, slots, count);
    return text;
}

static enum tt_status explain_login(const struct tt_pkcs11_module *module, PKCS11_SLOT *slot, struct tt_error *err)
{
    unsigned long value = tt_ckr_take();
    enum tt_status status = tt_ckr_error(value, err, "cannot log in to token '%s'", slot->token->label);
    if (strcmp(err->detail, "CKR_PIN_INCORRECT") == 0 || strcmp(err->detail, "CKR_PIN_LEN_RANGE") == 0) {
        struct tt_error old = *err;
        tt_error_set(err, old.status, "%s%s", old.message, tries_left(module, slot));
        tt_error_detail(err, "%s", old.detail);
    }
    ERR_clear_error();
    return status;
}

enum tt_status tt_token_get_pin(const PKCS11_TOKEN *token, const struct tt_pin_sources *sources, bool last_pin_try,
                                struct tt_secret **ret_pin, struct tt_error *err)
{
    *ret_pin = NULL;
    if (!token->loginRequired) {
        tt_log(TT_LOG_WARNING, "token '%s' needs no PIN: whoever reaches it can use its keys", token->label);
        return TT_OK;
    }
    enum tt_status status = check_tries(token, last_pin_try, err);
    if (status != TT_OK)
        return status;
    if (!token->secureLogin)
        return tt_pin_get(sources, ret_pin, err);
    tt_log(TT_LOG_WARNING, "token '%s' takes its PIN on its own keypad: enter it there", token->label);
    return TT_OK;
}

/* On a keypad it may take its time, for which nobody else has to wait. */
static int log_in(const struct tt_pkcs11_module *module, PKCS11_SLOT *slot, const struct tt_secret *pin)
{
    int turn = pin ? tt_module_turn(module->path) : -1;
    ERR_clear_error();
    int outcome = PKCS11_login(slot, 0, pin ? (const char *)pin->data : NULL);
    tt_close_cleanup(&turn);
    return outcome;
}

enum tt_status tt_token_login(const struct tt_pkcs11_module *module, PKCS11_SLOT *slot, const struct tt_secret *pin,
                              struct tt_error *err)
{
    if (!slot->token->loginRequired)
        return TT_OK;
    if (log_in(module, slot, pin) == 0)
        return TT_OK;
    struct tt_error said = TT_ERROR_INIT;
    enum tt_status status = explain_login(module, slot, &said);
    if (err)
        *err = said;
    return status;
}

/* The key. */

/* Since libp11 0.4.13; NULL with older ones. */
extern int PKCS11_enumerate_keys_ext(PKCS11_TOKEN *token, const PKCS11_KEY *like, PKCS11_KEY **keys, unsigned *count)
    __attribute__((weak));

/* Listing all keys fails where one of them is of a kind that libp11 does not know. Asking for those of the URI's label
 * and id only then gets along with such a neighbour. */
static bool enumerate(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri, PKCS11_KEY **ret_keys, unsigned *ret_count)
{
    ERR_clear_error();
    if (PKCS11_enumerate_keys(slot->token, ret_keys, ret_count) == 0)
        return true;
    PKCS11_KEY like = {.isPrivate = 1};
    if (!PKCS11_enumerate_keys_ext || !uri || !tt_uri_object(uri, &like.label, &like.id, &like.id_len))
        return false;
    bool listed = PKCS11_enumerate_keys_ext(slot->token, &like, ret_keys, ret_count) == 0;
    free(like.label);
    return listed;
}

static enum tt_status list_keys(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri, struct tt_candidates *list,
                                PKCS11_KEY **ret_last, bool *ret_gave_up, struct tt_error *err)
{
    PKCS11_KEY *keys = NULL;
    unsigned count = 0;
    if (!enumerate(slot, uri, &keys, &count)) {
        unsigned long value = tt_ckr_take();
        *ret_gave_up = value == 0;
        return tt_ckr_error(value, err, "cannot list the private keys of token '%s'%s", slot->token->label,
                            value == 0 ? " (libp11 gives up where one of them is of a kind that it does not know, "
                                         "neither RSA nor a plain elliptic curve)"
                                       : "");
    }
    enum tt_status status = TT_OK;
    for (unsigned i = 0; status == TT_OK && i < count; i++) {
        if (uri && !tt_uri_matches_object(uri, keys[i].label, keys[i].id, keys[i].id_len))
            continue;
        *ret_last = &keys[i];
        status = tt_candidates_add(list, slot->token, &keys[i], err);
    }
    return status;
}

enum tt_status tt_token_find_key(PKCS11_SLOT *slot, const struct tt_pkcs11_uri *uri, PKCS11_KEY **ret_key,
                                 bool *ret_gave_up, struct tt_error *err)
{
    struct tt_candidates matching TT_CLEANUP(tt_candidates_clear) = TT_CANDIDATES_INIT;
    struct tt_candidates all TT_CLEANUP(tt_candidates_clear) = TT_CANDIDATES_INIT;
    *ret_gave_up = false;
    PKCS11_KEY *key = NULL;
    PKCS11_KEY *other = NULL;
    enum tt_status status = list_keys(slot, uri, &matching, &key, ret_gave_up, err);
    if (status == TT_OK && matching.count == 0)
        status = list_keys(slot, NULL, &all, &other, ret_gave_up, err);
    if (status != TT_OK)
        return status;
    if (matching.count != 1)
        return tt_candidates_refuse_keys(slot->token->label, uri, &matching, &all, err);
    *ret_key = key;
    return TT_OK;
}
