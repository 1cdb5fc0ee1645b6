#include "provisioning/token_pin.h"

#include "base/interrupt.h"
#include "pkcs11/ckr.h"
#include "pkcs11/module.h"

enum tt_status tt_token_pin_fits(const struct tt_token *token, const struct tt_secret *pin, const char *what,
                                 struct tt_error *err)
{
    CK_ULONG least = token->info.ulMinPinLen;
    CK_ULONG most = token->info.ulMaxPinLen;
    bool says = most != 0 && most != CK_UNAVAILABLE_INFORMATION && least <= most;
    if (!pin || !says || (pin->length >= least && pin->length <= most))
        return TT_OK;
    return tt_error_set(err, TT_PIN, "the new %s is too %s: the token takes %lu to %lu bytes; nothing was changed",
                        what, pin->length < least ? "short" : "long", least, most);
}

enum tt_status tt_token_set_pin(struct tt_session *session, const struct tt_secret *old_pin,
                                const struct tt_secret *new_pin, struct tt_error *err)
{
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    enum tt_status status = label ? tt_token_pin_fits(&session->token, new_pin, "PIN", err) : tt_error_memory(err);
    if (status == TT_OK && tt_pin_equal(old_pin, new_pin))
        status = tt_error_set(err, TT_PIN, "the new PIN is the old one; nothing was changed");
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status != TT_OK)
        return status;
    int turn = tt_module_turn(session->cryptoki->path);
    CK_RV outcome = session->cryptoki->functions->C_SetPIN(
        session->handle, old_pin ? old_pin->data : NULL, old_pin ? (CK_ULONG)old_pin->length : 0,
        new_pin ? new_pin->data : NULL, new_pin ? (CK_ULONG)new_pin->length : 0);
    tt_close_cleanup(&turn);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "token '%s' does not let its PIN be changed; the old one is still in force",
                            label);
    return TT_OK;
}

enum tt_status tt_token_unlock(struct tt_session *session, const struct tt_secret *new_pin, struct tt_error *err)
{
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    enum tt_status status = label ? tt_token_pin_fits(&session->token, new_pin, "PIN", err) : tt_error_memory(err);
    if (status != TT_OK)
        return status;
    CK_RV outcome = session->cryptoki->functions->C_InitPIN(session->handle, new_pin ? new_pin->data : NULL,
                                                            new_pin ? (CK_ULONG)new_pin->length : 0);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "token '%s' does not let its user have this PIN", label);
    return TT_OK;
}
