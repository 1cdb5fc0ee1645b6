#include "pkcs11/ckr.h"

#include <libp11.h>
#include <openssl/err.h>
#include <p11-kit/pkcs11.h>
#include <stdarg.h>

struct return_value {
    unsigned long value;
    const char *name;
    const char *meaning; /* NULL: nothing that an operator could act on */
    enum tt_status status;
};

#define VALUE(name, status, meaning)                                                                                   \
    {                                                                                                                  \
        name, #name, meaning, status                                                                                   \
    }

static const struct return_value values[] = {
    VALUE(CKR_HOST_MEMORY, TT_TOKEN, "the module is out of memory"),
    VALUE(CKR_SLOT_ID_INVALID, TT_TOKEN, "the token is gone"),
    VALUE(CKR_GENERAL_ERROR, TT_TOKEN, "the module failed without saying why"),
    VALUE(CKR_FUNCTION_FAILED, TT_TOKEN, "the module failed without saying why"),
    VALUE(CKR_ARGUMENTS_BAD, TT_TOKEN, NULL),
    VALUE(CKR_NEED_TO_CREATE_THREADS, TT_TOKEN, NULL),
    VALUE(CKR_CANT_LOCK, TT_TOKEN, NULL),
    VALUE(CKR_ATTRIBUTE_SENSITIVE, TT_TOKEN, NULL),
    VALUE(CKR_ATTRIBUTE_TYPE_INVALID, TT_TOKEN, NULL),
    VALUE(CKR_DATA_INVALID, TT_TOKEN, NULL),
    VALUE(CKR_DATA_LEN_RANGE, TT_TOKEN, NULL),
    VALUE(CKR_DEVICE_ERROR, TT_TOKEN, "the token or the way to it is broken"),
    VALUE(CKR_DEVICE_MEMORY, TT_TOKEN, "the token is out of memory"),
    VALUE(CKR_DEVICE_REMOVED, TT_TOKEN, "the token was removed"),
    VALUE(CKR_ENCRYPTED_DATA_INVALID, TT_TAMPERED, NULL),
    VALUE(CKR_ENCRYPTED_DATA_LEN_RANGE, TT_TAMPERED, NULL),
    VALUE(CKR_FUNCTION_CANCELED, TT_PIN, "it was cancelled at the token"),
    VALUE(CKR_FUNCTION_NOT_SUPPORTED, TT_TOKEN, "the module cannot do that"),
    VALUE(CKR_KEY_HANDLE_INVALID, TT_TOKEN, "the key is gone from the token"),
    VALUE(CKR_KEY_SIZE_RANGE, TT_TOKEN, "the token does not work with keys of this size"),
    VALUE(CKR_KEY_TYPE_INCONSISTENT, TT_TOKEN, NULL),
    VALUE(CKR_KEY_FUNCTION_NOT_PERMITTED, TT_TOKEN, NULL),
    VALUE(CKR_MECHANISM_INVALID, TT_TOKEN, NULL),
    VALUE(CKR_MECHANISM_PARAM_INVALID, TT_TOKEN, NULL),
    VALUE(CKR_OBJECT_HANDLE_INVALID, TT_TOKEN, "the key is gone from the token"),
    VALUE(CKR_OPERATION_ACTIVE, TT_TOKEN, "the token is still busy with an earlier operation"),
    VALUE(CKR_OPERATION_NOT_INITIALIZED, TT_TOKEN, NULL),
    VALUE(CKR_PIN_INCORRECT, TT_PIN, "the PIN is wrong"),
    VALUE(CKR_PIN_INVALID, TT_PIN, "the token does not take such a PIN"),
    VALUE(CKR_PIN_LEN_RANGE, TT_PIN, "the PIN is too short or too long for this token, so it is wrong"),
    VALUE(CKR_PIN_EXPIRED, TT_PIN, "the PIN has expired and must be changed first"),
    VALUE(CKR_PIN_LOCKED, TT_PIN, "the PIN is locked; the security officer can unlock it"),
    VALUE(CKR_SESSION_CLOSED, TT_TOKEN, "the token ended the session"),
    VALUE(CKR_SESSION_COUNT, TT_TOKEN, "the token has no free session"),
    VALUE(CKR_SESSION_HANDLE_INVALID, TT_TOKEN, "the token ended the session: was it removed?"),
    VALUE(CKR_TOKEN_NOT_PRESENT, TT_TOKEN, "the token was removed"),
    VALUE(CKR_TOKEN_NOT_RECOGNIZED, TT_TOKEN, "the module does not know this token"),
    VALUE(CKR_USER_NOT_LOGGED_IN, TT_TOKEN, "the token wants a login first"),
    VALUE(CKR_USER_PIN_NOT_INITIALIZED, TT_PIN, "the token has no user PIN yet"),
    VALUE(CKR_USER_TYPE_INVALID, TT_TOKEN, NULL),
    VALUE(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, TT_TOKEN, "somebody else is logged in to the token"),
    VALUE(CKR_USER_TOO_MANY_TYPES, TT_TOKEN, "the token allows no further login"),
    VALUE(CKR_BUFFER_TOO_SMALL, TT_TOKEN, NULL),
    VALUE(CKR_CRYPTOKI_NOT_INITIALIZED, TT_TOKEN, NULL),
    VALUE(CKR_CRYPTOKI_ALREADY_INITIALIZED, TT_TOKEN, NULL),
    VALUE(CKR_FUNCTION_REJECTED, TT_PIN, "it was refused at the token"),
};

static const struct return_value *find(unsigned long value)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (values[i].value == value)
            return &values[i];
    return NULL;
}

unsigned long tt_ckr_take(void)
{
    unsigned long first = 0;
    for (unsigned long code; (code = ERR_get_error()) != 0;)
        if (first == 0 && ERR_GET_LIB(code) == ERR_get_CKR_code())
            first = (unsigned long)ERR_GET_REASON(code);
    return first;
}

const char *tt_ckr_name(unsigned long value, char buffer[32])
{
    const struct return_value *known = find(value);
    if (known)
        return known->name;
    if (value == 0)
        return "no CKR";
    snprintf(buffer, 32, "CKR_0x%08lx", value);
    return buffer;
}

enum tt_status tt_ckr_error(unsigned long value, struct tt_error *err, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const struct return_value *known = find(value);
    enum tt_status status = known && known->status == TT_PIN ? TT_PIN : TT_TOKEN;
    if (known && known->meaning)
        tt_error_set(err, status, "%s: %s", what, known->meaning);
    else
        tt_error_set(err, status, "%s", what);
    char buffer[32];
    tt_error_detail(err, "%s", tt_ckr_name(value, buffer));
    return status;
}

void tt_ckr_explain_use(unsigned long value, const char *token, bool signing, struct tt_error *err)
{
    char buffer[32];
    switch (value) {
    case CKR_KEY_FUNCTION_NOT_PERMITTED:
    case CKR_KEY_TYPE_INCONSISTENT: /* what NSS says */
        tt_error_set(err, TT_TOKEN, "the key in token '%s' lacks the right to %s", token,
                     signing ? "sign (CKA_SIGN)" : "decrypt (CKA_DECRYPT)");
        break;
    case CKR_MECHANISM_INVALID:
    case CKR_MECHANISM_PARAM_INVALID:
        tt_error_set(err, TT_TOKEN,
                     "token '%s' can do neither %s nor raw RSA with this key: it cannot serve the protocol", token,
                     signing ? "RSA signatures with SHA-512 and the protocol's salt" : "RSA-OAEP with SHA-512");
        break;
    case CKR_ENCRYPTED_DATA_INVALID:
    case CKR_ENCRYPTED_DATA_LEN_RANGE:
        tt_error_set(err, signing ? TT_TOKEN : TT_TAMPERED, "token '%s' rejects the data", token);
        break;
    default:
        tt_ckr_error(value, err, "token '%s' failed to %s", token, signing ? "sign" : "unwrap the symmetric key");
        return;
    }
    tt_error_detail(err, "%s", tt_ckr_name(value, buffer));
}
