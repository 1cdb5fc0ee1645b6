/*
 * A PKCS#11 module for tests: SoftHSM, behaving like tokens that SoftHSM is not. TT_MOCK_MODULE names the real module,
 * TT_MOCK what to play, words with commas in between:
 *   final-try, locked, no-login   what the token says of itself
 *   keypad                        the PIN (TT_MOCK_PIN) is entered at the token
 *   locks                         a wrong PIN locks it
 *   native-oaep                   C_Decrypt does OAEP with SHA-512
 *   no-raw                        CKM_RSA_X_509 is refused
 *   sticky                        a failed decryption leaves its session unusable (as tpm2-pkcs11 does)
 *   bad-pss, bad-raw              PSS or raw signatures come out wrong
 *   removed                       the token goes away after the login
 */
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST mock;

static struct {
    bool locked;
    bool logged_in;
    CK_SESSION_HANDLE oaep; /* sessions; 0 for none */
    CK_SESSION_HANDLE stuck;
    CK_MECHANISM_TYPE signing;
} state;

static bool plays(const char *word)
{
    const char *words = getenv("TT_MOCK");
    size_t length = strlen(word);
    for (const char *place = words; place && (place = strstr(place, word)) != NULL; place += length)
        if ((place == words || place[-1] == ',') && (place[length] == '\0' || place[length] == ','))
            return true;
    return false;
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    CK_RV outcome = real->C_GetTokenInfo(slot, info);
    if (outcome != CKR_OK)
        return outcome;
    if (plays("final-try"))
        info->flags |= CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW;
    if (plays("locked") || state.locked)
        info->flags |= CKF_USER_PIN_LOCKED;
    if (plays("keypad"))
        info->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
    if (plays("no-login"))
        info->flags &= ~(CK_FLAGS)CKF_LOGIN_REQUIRED;
    return CKR_OK;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length)
{
    if (state.locked)
        return CKR_PIN_LOCKED;
    if (plays("keypad")) {
        if (pin)
            return CKR_ARGUMENTS_BAD;
        pin = (CK_UTF8CHAR *)getenv("TT_MOCK_PIN");
        length = strlen((const char *)pin);
    }
    CK_RV outcome = real->C_Login(session, user, pin, length);
    state.locked = outcome == CKR_PIN_INCORRECT && plays("locks");
    state.logged_in = outcome == CKR_OK;
    return outcome;
}

static bool is_gone(void)
{
    return state.logged_in && plays("removed");
}

static CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    state.oaep = 0;
    if (is_gone())
        return CKR_DEVICE_REMOVED;
    if (state.stuck == session)
        return CKR_OPERATION_ACTIVE;
    if (mechanism->mechanism == CKM_RSA_X_509 && plays("no-raw"))
        return CKR_MECHANISM_INVALID;
    if (mechanism->mechanism != CKM_RSA_PKCS_OAEP || !(plays("native-oaep") || plays("sticky")))
        return real->C_DecryptInit(session, mechanism, key);
    CK_MECHANISM raw = {CKM_RSA_X_509, NULL, 0};
    CK_RV outcome = real->C_DecryptInit(session, &raw, key);
    state.oaep = outcome == CKR_OK ? session : 0;
    return outcome;
}

static CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *out, CK_ULONG *out_length)
{
    if (state.oaep != session)
        return real->C_Decrypt(session, data, length, out, out_length);
    CK_BYTE block[1024];
    CK_ULONG block_length = sizeof block;
    CK_RV outcome = real->C_Decrypt(session, data, length, block, &block_length);
    if (outcome != CKR_OK)
        return outcome;
    state.stuck = plays("sticky") ? session : 0;
    if (state.stuck)
        return CKR_FUNCTION_FAILED;
    ERR_set_mark();
    int opened = RSA_padding_check_PKCS1_OAEP_mgf1(out, (int)*out_length, block, (int)block_length, (int)length, NULL,
                                                   0, EVP_sha512(), EVP_sha512());
    ERR_pop_to_mark();
    OPENSSL_cleanse(block, sizeof block);
    if (opened < 0)
        return CKR_ENCRYPTED_DATA_INVALID;
    *out_length = (CK_ULONG)opened;
    return CKR_OK;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    state.signing = mechanism->mechanism;
    if (is_gone())
        return CKR_DEVICE_REMOVED;
    if (mechanism->mechanism == CKM_RSA_X_509 && plays("no-raw"))
        return CKR_MECHANISM_INVALID;
    return real->C_SignInit(session, mechanism, key);
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG length, CK_BYTE *out, CK_ULONG *out_length)
{
    CK_RV outcome = real->C_Sign(session, data, length, out, out_length);
    bool bad =
        (state.signing == CKM_RSA_PKCS_PSS && plays("bad-pss")) || (state.signing == CKM_RSA_X_509 && plays("bad-raw"));
    if (outcome == CKR_OK && out && bad)
        out[*out_length - 1] ^= 1;
    return outcome;
}

static CK_RV get_function_list(CK_FUNCTION_LIST **ret_list)
{
    const char *path = getenv("TT_MOCK_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    CK_C_GetFunctionList get;
    if (!symbol)
        return CKR_GENERAL_ERROR;
    memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from an object to a function pointer */
    CK_RV outcome = get(&real);
    if (outcome != CKR_OK)
        return outcome;
    memset(&state, 0, sizeof state);
    mock = *real;
    mock.C_GetTokenInfo = get_token_info;
    mock.C_Login = login;
    mock.C_DecryptInit = decrypt_init;
    mock.C_Decrypt = decrypt;
    mock.C_SignInit = sign_init;
    mock.C_Sign = sign;
    mock.C_GetFunctionList = get_function_list;
    *ret_list = &mock;
    return CKR_OK;
}

/* The module's one symbol. */
CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    return get_function_list(ret_list);
}
