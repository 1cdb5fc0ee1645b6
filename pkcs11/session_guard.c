#include "pkcs11/session_guard.h"

#include <openssl/err.h>
#include <p11-kit/pkcs11.h>
#include <stdarg.h>

/*
 * In pkcs11_get_session() of those versions every failure of C_OpenSession ends in waiting until another thread gives
 * a session back, also where there is no other. So C_OpenSession does not fail: libp11 gets a session that no
 * token knows, and what it does next with it fails in a way that it hands on.
 *
 * To put a function of our own before the module's, one must reach into libp11's context: in all these versions its
 * private part begins with the pointer to the module's functions. They are history and will not change; later ones are
 * told by a function that they have, and not touched.
 */

/* Since libp11 0.4.14; NULL with older ones. */
extern void PKCS11_set_vlog_a_method(PKCS11_CTX *context, void (*log)(int level, const char *format, va_list arguments))
    __attribute__((weak));

static CK_FUNCTION_LIST *module;
static CK_FUNCTION_LIST guarded;
static CK_RV refused;

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *ret_session)
{
    CK_RV outcome = module->C_OpenSession(slot, flags, application, notify, ret_session);
    if (outcome == CKR_OK)
        return CKR_OK;
    refused = outcome;
    ERR_raise(ERR_get_CKR_code(), (int)outcome);
    *ret_session = CK_INVALID_HANDLE;
    return CKR_OK;
}

void tt_session_guard(PKCS11_CTX *context)
{
    refused = CKR_OK;
    if (PKCS11_set_vlog_a_method)
        return;
    CK_FUNCTION_LIST **functions = context->_private;
    module = *functions;
    guarded = *module;
    guarded.C_OpenSession = open_session;
    *functions = &guarded;
}

unsigned long tt_session_refused(void)
{
    return refused;
}
