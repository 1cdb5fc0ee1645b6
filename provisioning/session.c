#include "provisioning/session.h"

#include "base/log.h"
#include "base/text.h"
#include "pkcs11/ckr.h"
#include "pkcs11/module.h"

enum tt_status tt_session_open(struct tt_cryptoki *cryptoki, const struct tt_token *token, bool writable,
                               struct tt_session **ret_session, struct tt_error *err)
{
    struct tt_session *session = calloc(1, sizeof *session);
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(token);
    if (!session || !label) {
        free(session);
        return tt_error_memory(err);
    }
    CK_FLAGS flags = CKF_SERIAL_SESSION | (writable ? CKF_RW_SESSION : 0);
    CK_RV outcome = cryptoki->functions->C_OpenSession(token->slot, flags, NULL, NULL, &session->handle);
    if (outcome != CKR_OK) {
        free(session);
        return tt_ckr_error(outcome, err, "token '%s' gives no %ssession", label, writable ? "writable " : "");
    }
    session->cryptoki = cryptoki;
    session->token = *token;
    *ret_session = session;
    return TT_OK;
}

void tt_session_free(struct tt_session *session)
{
    if (!session)
        return;
    if (session->is_logged_in)
        session->cryptoki->functions->C_Logout(session->handle);
    session->cryptoki->functions->C_CloseSession(session->handle);
    free(session);
}

/* What the token says of the PIN's tries, before one is spent. */
static enum tt_status check_tries(const struct tt_session *session, bool officer, const char *label, bool last_pin_try,
                                  struct tt_error *err)
{
    CK_FLAGS flags = session->token.info.flags;
    const char *whose = officer ? "security officer's PIN" : "PIN";
    if (flags & (officer ? CKF_SO_PIN_LOCKED : CKF_USER_PIN_LOCKED))
        return tt_error_set(err, TT_PIN, "the %s of token '%s' is locked", whose, label);
    bool is_final = flags & (officer ? CKF_SO_PIN_FINAL_TRY : CKF_USER_PIN_FINAL_TRY);
    if (is_final && last_pin_try)
        tt_log(TT_LOG_WARNING, "token '%s' has 1 try left for the %s, which is used now", label, whose);
    else if (flags & (officer ? CKF_SO_PIN_COUNT_LOW : CKF_USER_PIN_COUNT_LOW))
        tt_log(TT_LOG_WARNING, "a wrong %s was tried on token '%s' before: few tries are left", whose, label);
    if (!is_final || last_pin_try)
        return TT_OK;
    return tt_error_set(err, TT_PIN,
                        "token '%s' has 1 try left for the %s; refusing to use it, pass --last-pin-try to go on", label,
                        whose);
}

/* A PIN that is typed, or comes through a pipe, takes its time: others may have spent tries until it is there. */
static enum tt_status check_tries_again(struct tt_session *session, bool officer, const char *label, bool last_pin_try,
                                        struct tt_error *err)
{
    CK_FLAGS severe = officer ? CKF_SO_PIN_LOCKED | CKF_SO_PIN_FINAL_TRY : CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY;
    CK_TOKEN_INFO now = {0};
    if (session->cryptoki->functions->C_GetTokenInfo(session->token.slot, &now) != CKR_OK ||
        !(now.flags & ~session->token.info.flags & severe))
        return TT_OK;
    session->token.info.flags = now.flags;
    return check_tries(session, officer, label, last_pin_try, err);
}

static enum tt_status get_pin(const struct tt_session *session, const char *label, const struct tt_pin_sources *sources,
                              struct tt_secret **ret_pin, struct tt_error *err)
{
    if (session->token.info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) {
        tt_log(TT_LOG_WARNING, "token '%s' takes its PIN on its own keypad: enter it there", label);
        return TT_OK;
    }
    struct tt_pin_sources with_name = *sources;
    with_name.token = label;
    return tt_pin_get(&with_name, ret_pin, err);
}

/* What the token says of the tries after a wrong one. */
static const char *tries_left(const struct tt_session *session, bool officer)
{
    CK_TOKEN_INFO now;
    if (session->cryptoki->functions->C_GetTokenInfo(session->token.slot, &now) != CKR_OK)
        return "";
    if (now.flags & (officer ? CKF_SO_PIN_LOCKED : CKF_USER_PIN_LOCKED))
        return officer ? "; it is locked now"
                       : "; it is locked now, and the security officer can unlock it "
                         "(traintoken token set-pin --unlock)";
    if (now.flags & (officer ? CKF_SO_PIN_FINAL_TRY : CKF_USER_PIN_FINAL_TRY))
        return "; 1 try is left before it locks";
    return now.flags & (officer ? CKF_SO_PIN_COUNT_LOW : CKF_USER_PIN_COUNT_LOW)
               ? "; few tries are left before it locks"
               : "";
}

static enum tt_status login_failed(CK_RV outcome, const struct tt_session *session, const char *label, bool officer,
                                   struct tt_error *err)
{
    struct tt_error said = TT_ERROR_INIT;
    enum tt_status status =
        tt_ckr_error(outcome, &said, "cannot log in to token '%s'%s", label, officer ? " as its security officer" : "");
    bool is_wrong = outcome == CKR_PIN_INCORRECT || outcome == CKR_PIN_LEN_RANGE;
    tt_error_set(err, status, "%s%s", said.message, is_wrong ? tries_left(session, officer) : "");
    tt_error_detail(err, "%s", said.detail);
    return status;
}

enum tt_status tt_session_login(struct tt_session *session, CK_USER_TYPE user, const struct tt_pin_sources *sources,
                                bool last_pin_try, struct tt_secret **ret_pin, struct tt_error *err)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    if (!label)
        return tt_error_memory(err);
    if (user == CKU_USER && !(session->token.info.flags & CKF_LOGIN_REQUIRED)) {
        tt_log(TT_LOG_WARNING, "token '%s' needs no PIN: whoever reaches it can use its keys", label);
        return TT_OK;
    }
    enum tt_status status = check_tries(session, user == CKU_SO, label, last_pin_try, err);
    if (status == TT_OK)
        status = get_pin(session, label, sources, &pin, err);
    if (status == TT_OK)
        status = check_tries_again(session, user == CKU_SO, label, last_pin_try, err);
    if (status != TT_OK)
        return status;
    int turn = pin ? tt_module_turn(session->cryptoki->path) : -1; /* on a keypad nobody else has to wait */
    CK_RV outcome =
        session->cryptoki->functions->C_Login(session->handle, user, pin ? pin->data : NULL, pin ? pin->length : 0);
    tt_close_cleanup(&turn);
    if (outcome != CKR_OK)
        return login_failed(outcome, session, label, user == CKU_SO, err);
    session->is_logged_in = true;
    if (ret_pin)
        *ret_pin = TT_TAKE(pin);
    return TT_OK;
}
