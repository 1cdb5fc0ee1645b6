#include "pkcs11/glance.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <string.h>

enum { SLOT_LIMIT = 256, LABEL_LIMIT = 255, ID_LIMIT = 255 };

static CK_FUNCTION_LIST *functions_of(const char *path, void **ret_library)
{
    CK_FUNCTION_LIST *functions = NULL;
    void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    CK_C_GetFunctionList get = NULL;
    memcpy(&get, &symbol, sizeof get); /* a function's address from an object's, as POSIX has it */
    *ret_library = library;
    return get && get(&functions) == CKR_OK ? functions : NULL;
}

static bool is_text(const unsigned char *field, size_t size, const char *text)
{
    size_t length = size;
    while (length > 0 && field[length - 1] == ' ')
        length--;
    return text && strlen(text) == length && memcmp(field, text, length) == 0;
}

/* Whether a slot has the token, which is told by what libp11 showed of it. */
static bool is_slot_of(CK_FUNCTION_LIST *functions, CK_SLOT_ID id, const PKCS11_TOKEN *token,
                       const struct tt_pkcs11_uri *uri, CK_TOKEN_INFO *info)
{
    CK_SLOT_INFO slot;
    return functions->C_GetSlotInfo(id, &slot) == CKR_OK && functions->C_GetTokenInfo(id, info) == CKR_OK &&
           is_text(info->label, sizeof info->label, token->label) &&
           is_text(info->serialNumber, sizeof info->serialNumber, token->serialnr) &&
           tt_uri_matches_token(uri, id, &slot, info);
}

static bool find_slot(CK_FUNCTION_LIST *functions, const PKCS11_TOKEN *token, const struct tt_pkcs11_uri *uri,
                      CK_SLOT_ID *ret_id, CK_TOKEN_INFO *info)
{
    CK_SLOT_ID ids[SLOT_LIMIT];
    CK_ULONG count = SLOT_LIMIT;
    if (functions->C_GetSlotList(CK_TRUE, ids, &count) != CKR_OK)
        return false;
    for (CK_ULONG i = 0; i < count; i++) {
        *ret_id = ids[i];
        if (is_slot_of(functions, ids[i], token, uri, info))
            return true;
    }
    return false;
}

static bool is_denied(CK_FUNCTION_LIST *functions, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                      CK_ATTRIBUTE_TYPE right)
{
    CK_BBOOL value = CK_TRUE;
    CK_ATTRIBUTE attribute = {right, &value, sizeof value};
    return functions->C_GetAttributeValue(session, object, &attribute, 1) == CKR_OK && value == CK_FALSE;
}

static enum tt_status add_key(CK_FUNCTION_LIST *functions, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                              const PKCS11_TOKEN *token, const struct tt_pkcs11_uri *uri, struct tt_glance *glance,
                              struct tt_error *err)
{
    char label[LABEL_LIMIT + 1] = "";
    unsigned char id[ID_LIMIT];
    CK_KEY_TYPE type = CKK_RSA;
    CK_ATTRIBUTE facts[] = {
        {CKA_LABEL, label, LABEL_LIMIT}, {CKA_ID, id, ID_LIMIT}, {CKA_KEY_TYPE, &type, sizeof type}};
    (void)functions->C_GetAttributeValue(session, object, facts, 3); /* each says for itself whether it is there */
    bool has_id = facts[1].ulValueLen <= ID_LIMIT;
    PKCS11_KEY key = {.label = label, .id = id, .id_len = has_id ? facts[1].ulValueLen : 0, .isPrivate = 1};
    enum tt_status status = tt_candidates_add(&glance->all, token, &key, err);
    if (status != TT_OK || !tt_uri_matches_object(uri, key.label, key.id, key.id_len))
        return status;
    free(glance->key_uri);
    glance->key_uri = tt_uri_format(token, &key, true);
    if (!glance->key_uri)
        return tt_error_memory(err);
    glance->has_other_type = type != CKK_RSA;
    glance->lacks_decrypt = is_denied(functions, session, object, CKA_DECRYPT);
    glance->lacks_sign = is_denied(functions, session, object, CKA_SIGN);
    return tt_candidates_add(&glance->matching, token, &key, err);
}

static enum tt_status list_keys(CK_FUNCTION_LIST *functions, CK_SESSION_HANDLE session, const PKCS11_TOKEN *token,
                                const struct tt_pkcs11_uri *uri, struct tt_glance *glance, struct tt_error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE object;
    CK_ULONG count = 0;
    enum tt_status status = TT_OK;
    if (functions->C_FindObjectsInit(session, &wanted, 1) != CKR_OK)
        return TT_OK;
    glance->are_keys_listed = true;
    CK_OBJECT_HANDLE objects[SLOT_LIMIT];
    size_t listed = 0;
    while (listed < SLOT_LIMIT && functions->C_FindObjects(session, &object, 1, &count) == CKR_OK && count == 1)
        objects[listed++] = object;
    functions->C_FindObjectsFinal(session);
    for (size_t i = 0; status == TT_OK && i < listed; i++)
        status = add_key(functions, session, objects[i], token, uri, glance, err);
    return status;
}

static enum tt_status look(CK_FUNCTION_LIST *functions, const PKCS11_TOKEN *token, const struct tt_pkcs11_uri *uri,
                           struct tt_glance *glance, struct tt_error *err)
{
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    CK_SESSION_HANDLE session;
    CK_SESSION_INFO state;
    if (!find_slot(functions, token, uri, &slot, &info))
        return TT_OK;
    glance->is_token_seen = true;
    glance->is_pin_count_low = info.flags & CKF_USER_PIN_COUNT_LOW;
    glance->is_pin_final_try = info.flags & CKF_USER_PIN_FINAL_TRY;
    glance->is_pin_locked = info.flags & CKF_USER_PIN_LOCKED;
    if (functions->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK)
        return TT_OK;
    enum tt_status status = TT_OK;
    if (functions->C_GetSessionInfo(session, &state) == CKR_OK) {
        glance->is_login_known = true;
        glance->is_logged_in = state.state == CKS_RO_USER_FUNCTIONS || state.state == CKS_RW_USER_FUNCTIONS;
    }
    if (glance->is_logged_in || !(info.flags & CKF_LOGIN_REQUIRED))
        status = list_keys(functions, session, token, uri, glance, err);
    functions->C_CloseSession(session);
    return status;
}

enum tt_status tt_glance_take(const char *path, const PKCS11_TOKEN *token, const struct tt_pkcs11_uri *uri,
                              struct tt_glance *ret_glance, struct tt_error *err)
{
    *ret_glance = (struct tt_glance){.matching = TT_CANDIDATES_INIT, .all = TT_CANDIDATES_INIT};
    void *library = NULL;
    CK_FUNCTION_LIST *functions = functions_of(path, &library);
    enum tt_status status = functions ? look(functions, token, uri, ret_glance, err) : TT_OK;
    if (library)
        dlclose(library);
    return status;
}

void tt_glance_clear(struct tt_glance *glance)
{
    tt_candidates_clear(&glance->matching);
    tt_candidates_clear(&glance->all);
    free(glance->key_uri);
}
