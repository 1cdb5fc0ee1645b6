#include "pkcs11/libp11_guard.h"

#include <openssl/err.h>
#include <p11-kit/pkcs11.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

/*
 * To put functions of our own before the module's, one must reach into libp11's context: in all the versions concerned
 * its private part begins with the pointer to the module's functions. They are history and will not change; later
 * ones are told by functions that they have, and not touched.
 */

/* Since libp11 0.4.13 and 0.4.14; NULL with older ones. */
extern int PKCS11_enumerate_keys_ext(PKCS11_TOKEN *token, const PKCS11_KEY *like, PKCS11_KEY **keys, unsigned *count)
    __attribute__((weak));
extern void PKCS11_set_vlog_a_method(PKCS11_CTX *context, void (*log)(int level, const char *format, va_list arguments))
    __attribute__((weak));

static CK_FUNCTION_LIST *module;
static CK_FUNCTION_LIST guarded;
static CK_RV refused;

/* Up to 0.4.13, every failure of C_OpenSession in pkcs11_get_session() ends in waiting until another thread gives a
 * session back, also where there is no other. So C_OpenSession does not fail: libp11 gets a session that no token
 * knows, and what it does next with it fails in a way that it hands on. */
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

/*
 * Up to 0.4.12, pkcs11_get_rsa() crashes for a private key whose CKA_PUBLIC_EXPONENT cannot be read (tokens need not
 * have it there) and whose public half is not in the token either. So libp11 never sees that it cannot be read: it gets
 * what it would have found.
 */

enum { EXPONENT_LIMIT = 512, MODULUS_LIMIT = 2048 };

/* The exponent of the public key object with the private key's modulus. */
static bool find_exponent(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *exponent)
{
    CK_BYTE modulus[MODULUS_LIMIT];
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE like[] = {{CKA_MODULUS, modulus, sizeof modulus}, {CKA_CLASS, &class, sizeof class}};
    CK_OBJECT_HANDLE found;
    CK_ULONG count = 0;
    if (module->C_GetAttributeValue(session, object, like, 1) != CKR_OK || like[0].ulValueLen > sizeof modulus ||
        module->C_FindObjectsInit(session, like, 2) != CKR_OK)
        return false;
    bool searched = module->C_FindObjects(session, &found, 1, &count) == CKR_OK;
    module->C_FindObjectsFinal(session);
    return searched && count == 1 && found != object &&
           module->C_GetAttributeValue(session, found, exponent, 1) == CKR_OK && exponent->ulValueLen <= EXPONENT_LIMIT;
}

static CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                            CK_ULONG count)
{
    CK_ULONG room = count == 1 ? attributes->ulValueLen : 0; /* a module may overwrite it when it fails */
    CK_RV outcome = module->C_GetAttributeValue(session, object, attributes, count);
    if (outcome == CKR_OK || count != 1 || attributes->type != CKA_PUBLIC_EXPONENT)
        return outcome;
    CK_BYTE value[EXPONENT_LIMIT];
    CK_ATTRIBUTE exponent = {CKA_PUBLIC_EXPONENT, value, sizeof value};
    if (!find_exponent(session, object, &exponent)) {
        memcpy(value, (CK_BYTE[]){0x01, 0x00, 0x01}, 3); /* 65537, the last resort of libp11 too */
        exponent.ulValueLen = 3;
    }
    if (attributes->pValue && room < exponent.ulValueLen)
        exponent.ulValueLen = room; /* it said another size before: whatever it is, no crash */
    if (attributes->pValue)
        memcpy(attributes->pValue, value, exponent.ulValueLen);
    attributes->ulValueLen = exponent.ulValueLen;
    return CKR_OK;
}

void tt_libp11_guard(PKCS11_CTX *context)
{
    refused = CKR_OK;
    if (PKCS11_set_vlog_a_method)
        return;
    CK_FUNCTION_LIST **functions = context->_private;
    module = *functions;
    guarded = *module;
    guarded.C_OpenSession = open_session;
    if (!PKCS11_enumerate_keys_ext)
        guarded.C_GetAttributeValue = get_attributes;
    *functions = &guarded;
}

unsigned long tt_libp11_refused_session(void)
{
    return refused;
}
