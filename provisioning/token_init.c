#include "provisioning/token_init.h"

#include <string.h>

#include "base/buffer.h"
#include "base/interrupt.h"
#include "pkcs11/ckr.h"
#include "provisioning/session.h"
#include "provisioning/token_pin.h"

static bool is_initialized(const struct tt_token *token)
{
    return token->info.flags & CKF_TOKEN_INITIALIZED;
}

static bool has_label(const struct tt_token *token, const char *label)
{
    char *own TT_CLEANUP(tt_free_cleanup) = tt_token_label(token);
    return own && strcmp(own, label) == 0;
}

static enum tt_status none(const struct tt_cryptoki *cryptoki, const struct tt_token *used,
                           const struct tt_pkcs11_uri *uri, struct tt_error *err)
{
    if (!used)
        return tt_error_set(err, TT_TOKEN, "module %s has no such token or empty slot; see traintoken token list",
                            cryptoki->path);
    char *there TT_CLEANUP(tt_free_cleanup) = tt_token_uri(used, NULL, NULL, NULL, 0);
    return tt_error_set(
        err, TT_TOKEN,
        uri ? "'%s' is initialized already; with --erase it would be made anew, and every key on it lost"
            : "module %s shows no token that waits for being initialized",
        uri && there ? there : cryptoki->path);
}

static enum tt_status several(const struct tt_token *tokens, size_t count, const struct tt_pkcs11_uri *uri, bool erase,
                              struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < count; i++)
        if ((!uri || tt_uri_matches_token(uri, tokens[i].slot, &tokens[i].slot_info, &tokens[i].info)) &&
            (erase || !is_initialized(&tokens[i])))
            status = tt_buffer_printf(&text, err, "%s'pkcs11:slot-id=%lu'", text.length ? ", " : "", tokens[i].slot);
    if (status != TT_OK)
        return status;
    return tt_error_set(err, TT_TOKEN, "several tokens could be meant: %.700s; name one of them",
                        text.data ? (const char *)text.data : "?");
}

enum tt_status tt_token_init_choose(struct tt_cryptoki *cryptoki, const struct tt_pkcs11_uri *uri, const char *label,
                                    bool erase, struct tt_token *ret_token, struct tt_error *err)
{
    struct tt_token *tokens TT_CLEANUP(tt_free_cleanup) = NULL;
    const struct tt_token *used = NULL;
    const struct tt_token *fit = NULL;
    size_t count = 0;
    size_t found = 0;
    enum tt_status status = tt_tokens_list(cryptoki, &tokens, &count, err);
    if (status != TT_OK)
        return status;
    for (size_t i = 0; i < count; i++) {
        const struct tt_token *token = &tokens[i];
        if (uri && !tt_uri_matches_token(uri, token->slot, &token->slot_info, &token->info))
            continue;
        if (is_initialized(token))
            used = token;
        if (is_initialized(token) && !(erase && uri)) /* what is to be erased has to be named */
            continue;
        fit = token;
        found++;
    }
    if (found == 0)
        return none(cryptoki, used, uri, err);
    if (found > 1)
        return several(tokens, count, uri, erase && uri, err);
    for (size_t i = 0; i < count; i++)
        if (is_initialized(&tokens[i]) && &tokens[i] != fit && has_label(&tokens[i], label))
            return tt_error_set(err, TT_TOKEN, "there is a token '%s' already; choose another label", label);
    if (fit->info.flags & CKF_WRITE_PROTECTED)
        return tt_error_set(err, TT_TOKEN, "the token is write-protected");
    *ret_token = *fit;
    return TT_OK;
}

/* The token under its new label: some modules give it another slot. */
static enum tt_status find_again(struct tt_cryptoki *cryptoki, CK_SLOT_ID slot, const char *label,
                                 struct tt_token *ret_token, struct tt_error *err)
{
    struct tt_token *tokens TT_CLEANUP(tt_free_cleanup) = NULL;
    const struct tt_token *found = NULL;
    size_t count = 0;
    enum tt_status status = tt_tokens_list(cryptoki, &tokens, &count, err);
    if (status != TT_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        if (is_initialized(&tokens[i]) && has_label(&tokens[i], label) && (!found || tokens[i].slot == slot))
            found = &tokens[i];
    if (!found)
        return tt_error_set(err, TT_TOKEN, "the module took the initialization of '%s' but shows no such token", label);
    *ret_token = *found;
    return TT_OK;
}

static enum tt_status give_user_pin(struct tt_cryptoki *cryptoki, const struct tt_token *token,
                                    const struct tt_secret *officer_pin, const struct tt_secret *user_pin,
                                    struct tt_error *err)
{
    struct tt_session *session TT_CLEANUP(tt_session_free_cleanup) = NULL;
    enum tt_status status = tt_session_open(cryptoki, token, true, &session, err);
    if (status != TT_OK)
        return status;
    CK_RV outcome = cryptoki->functions->C_Login(session->handle, CKU_SO, officer_pin ? officer_pin->data : NULL,
                                                 officer_pin ? (CK_ULONG)officer_pin->length : 0);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "cannot log in as its security officer");
    session->is_logged_in = true;
    return tt_token_unlock(session, user_pin, err);
}

static enum tt_status check_tries(const struct tt_token *token, bool last_pin_try, struct tt_error *err)
{
    CK_FLAGS flags = is_initialized(token) ? token->info.flags : 0;
    if (flags & CKF_SO_PIN_LOCKED)
        return tt_error_set(err, TT_PIN, "the security officer's PIN of the token is locked");
    if ((flags & CKF_SO_PIN_FINAL_TRY) && !last_pin_try)
        return tt_error_set(err, TT_PIN,
                            "the token has 1 try left for the security officer's PIN; refusing to use it, "
                            "pass --last-pin-try to go on");
    return TT_OK;
}

/* Between the choice and the making, people type PINs: a card can be changed, or an empty token made by somebody else.
 */
static enum tt_status check_it_is_the_same(const struct tt_cryptoki *cryptoki, const struct tt_token *token,
                                           struct tt_error *err)
{
    struct tt_token now = {0};
    CK_RV outcome = cryptoki->functions->C_GetTokenInfo(token->slot, &now.info);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the token in slot %lu cannot be looked at any more; nothing was changed",
                            token->slot);
    bool is_same = is_initialized(&now) == is_initialized(token);
    if (is_initialized(token))
        is_same = is_same && memcmp(now.info.label, token->info.label, sizeof now.info.label) == 0 &&
                  memcmp(now.info.serialNumber, token->info.serialNumber, sizeof now.info.serialNumber) == 0;
    if (!is_same)
        return tt_error_set(err, TT_TOKEN,
                            "slot %lu has another token now than the one that was chosen, or somebody else has "
                            "initialized it; nothing was changed: look at traintoken token list, and try again",
                            token->slot);
    return TT_OK;
}

enum tt_status tt_token_init(struct tt_cryptoki *cryptoki, const struct tt_token *token, const char *label,
                             const struct tt_secret *officer_pin, const struct tt_secret *user_pin, bool last_pin_try,
                             struct tt_token *ret_token, struct tt_error *err)
{
    CK_UTF8CHAR padded[TT_TOKEN_LABEL_LIMIT];
    struct tt_token made;
    size_t length = strlen(label);
    if (length > sizeof padded)
        return tt_error_set(err, TT_USAGE, "a token's label has at most %d bytes", (int)TT_TOKEN_LABEL_LIMIT);
    for (size_t i = 0; i < sizeof padded; i++)
        padded[i] = i < length ? (CK_UTF8CHAR)label[i] : ' ';
    enum tt_status status = check_tries(token, last_pin_try, err);
    if (status == TT_OK)
        status = tt_token_pin_fits(token, officer_pin, "security officer's PIN", err);
    if (status == TT_OK)
        status = tt_token_pin_fits(token, user_pin, "PIN", err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = check_it_is_the_same(cryptoki, token, err);
    if (status != TT_OK)
        return status;
    CK_RV outcome = cryptoki->functions->C_InitToken(token->slot, officer_pin ? officer_pin->data : NULL,
                                                     officer_pin ? (CK_ULONG)officer_pin->length : 0, padded);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the token in slot %lu cannot be initialized%s", token->slot,
                            outcome != CKR_PIN_INCORRECT ? ""
                            : is_initialized(token)      ? ", its security officer's PIN is the one it had"
                                                         : ", it came with a security officer's PIN, which is needed");
    status = find_again(cryptoki, token->slot, label, &made, err);
    if (status == TT_OK)
        status = give_user_pin(cryptoki, &made, officer_pin, user_pin, err);
    if (status == TT_OK)
        status = find_again(cryptoki, made.slot, label, ret_token, err);
    if (status != TT_OK)
        return tt_error_context(err,
                                "token '%s' is initialized, but has no PIN for its user yet; give it one with "
                                "traintoken token set-pin --unlock",
                                label);
    return TT_OK;
}
