/*
 * A PKCS#11 module for tests that stands before a real one and lets its calls fail. The environment tells it what to
 * do:
 *
 *   TT_FAULT_MODULE   path of the real module
 *   TT_FAULT          rules, with commas in between: FUNCTION:N=WHAT for the N-th call of a C_ function (* for any of
 *                     them), FUNCTION:N+=WHAT for that one and all after it. The first rule that fits counts. WHAT:
 *                       CKR_... or a number   the call fails with that, and the real module does not hear of it
 *                       session               all sessions are closed behind the caller's back, then the call goes on
 *                       token                 the token is gone from then on
 *                       MILLISECONDSms        the call goes on after so long
 *   TT_FAULT_FORBID   what the token cannot do, with commas in between: raw, oaep, pss, pkcs1 (mechanisms), long-salt
 * (PSS with a salt longer than 64 bytes). It says so as a token does, CKR_MECHANISM_INVALID or
 *                     CKR_MECHANISM_PARAM_INVALID.
 *   TT_FAULT_LOG      file to which the name of every call is added as it begins, one per line, without its arguments
 */
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Every function of a CK_FUNCTION_LIST but C_GetFunctionList: its name and the types of its arguments. */

#define HANDLE CK_ULONG
#define BYTES CK_BYTE *
#define COUNT CK_ULONG *
#define MECHANISM CK_MECHANISM *
#define TEMPLATE CK_ATTRIBUTE *

#define FUNCTIONS(X)                                                                                                   \
    X(C_Initialize, A1(void *))                                                                                        \
    X(C_Finalize, A1(void *))                                                                                          \
    X(C_GetInfo, A1(CK_INFO *))                                                                                        \
    X(C_GetSlotList, A3(CK_BBOOL, CK_SLOT_ID *, COUNT))                                                                \
    X(C_GetSlotInfo, A2(CK_SLOT_ID, CK_SLOT_INFO *))                                                                   \
    X(C_GetTokenInfo, A2(CK_SLOT_ID, CK_TOKEN_INFO *))                                                                 \
    X(C_GetMechanismList, A3(CK_SLOT_ID, CK_MECHANISM_TYPE *, COUNT))                                                  \
    X(C_GetMechanismInfo, A3(CK_SLOT_ID, CK_MECHANISM_TYPE, CK_MECHANISM_INFO *))                                      \
    X(C_InitToken, A4(CK_SLOT_ID, BYTES, CK_ULONG, BYTES))                                                             \
    X(C_InitPIN, A3(HANDLE, BYTES, CK_ULONG))                                                                          \
    X(C_SetPIN, A5(HANDLE, BYTES, CK_ULONG, BYTES, CK_ULONG))                                                          \
    X(C_OpenSession, A5(CK_SLOT_ID, CK_FLAGS, void *, CK_NOTIFY, HANDLE *))                                            \
    X(C_CloseSession, A1(HANDLE))                                                                                      \
    X(C_CloseAllSessions, A1(CK_SLOT_ID))                                                                              \
    X(C_GetSessionInfo, A2(HANDLE, CK_SESSION_INFO *))                                                                 \
    X(C_GetOperationState, A3(HANDLE, BYTES, COUNT))                                                                   \
    X(C_SetOperationState, A5(HANDLE, BYTES, CK_ULONG, HANDLE, HANDLE))                                                \
    X(C_Login, A4(HANDLE, CK_USER_TYPE, BYTES, CK_ULONG))                                                              \
    X(C_Logout, A1(HANDLE))                                                                                            \
    X(C_CreateObject, A4(HANDLE, TEMPLATE, CK_ULONG, HANDLE *))                                                        \
    X(C_CopyObject, A5(HANDLE, HANDLE, TEMPLATE, CK_ULONG, HANDLE *))                                                  \
    X(C_DestroyObject, A2(HANDLE, HANDLE))                                                                             \
    X(C_GetObjectSize, A3(HANDLE, HANDLE, COUNT))                                                                      \
    X(C_GetAttributeValue, A4(HANDLE, HANDLE, TEMPLATE, CK_ULONG))                                                     \
    X(C_SetAttributeValue, A4(HANDLE, HANDLE, TEMPLATE, CK_ULONG))                                                     \
    X(C_FindObjectsInit, A3(HANDLE, TEMPLATE, CK_ULONG))                                                               \
    X(C_FindObjects, A4(HANDLE, HANDLE *, CK_ULONG, COUNT))                                                            \
    X(C_FindObjectsFinal, A1(HANDLE))                                                                                  \
    X(C_EncryptInit, A3(HANDLE, MECHANISM, HANDLE))                                                                    \
    X(C_Encrypt, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                            \
    X(C_EncryptUpdate, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                      \
    X(C_EncryptFinal, A3(HANDLE, BYTES, COUNT))                                                                        \
    X(C_DecryptInit, A3(HANDLE, MECHANISM, HANDLE))                                                                    \
    X(C_Decrypt, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                            \
    X(C_DecryptUpdate, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                      \
    X(C_DecryptFinal, A3(HANDLE, BYTES, COUNT))                                                                        \
    X(C_DigestInit, A2(HANDLE, MECHANISM))                                                                             \
    X(C_Digest, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                             \
    X(C_DigestUpdate, A3(HANDLE, BYTES, CK_ULONG))                                                                     \
    X(C_DigestKey, A2(HANDLE, HANDLE))                                                                                 \
    X(C_DigestFinal, A3(HANDLE, BYTES, COUNT))                                                                         \
    X(C_SignInit, A3(HANDLE, MECHANISM, HANDLE))                                                                       \
    X(C_Sign, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                               \
    X(C_SignUpdate, A3(HANDLE, BYTES, CK_ULONG))                                                                       \
    X(C_SignFinal, A3(HANDLE, BYTES, COUNT))                                                                           \
    X(C_SignRecoverInit, A3(HANDLE, MECHANISM, HANDLE))                                                                \
    X(C_SignRecover, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                        \
    X(C_VerifyInit, A3(HANDLE, MECHANISM, HANDLE))                                                                     \
    X(C_Verify, A5(HANDLE, BYTES, CK_ULONG, BYTES, CK_ULONG))                                                          \
    X(C_VerifyUpdate, A3(HANDLE, BYTES, CK_ULONG))                                                                     \
    X(C_VerifyFinal, A3(HANDLE, BYTES, CK_ULONG))                                                                      \
    X(C_VerifyRecoverInit, A3(HANDLE, MECHANISM, HANDLE))                                                              \
    X(C_VerifyRecover, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                      \
    X(C_DigestEncryptUpdate, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                \
    X(C_DecryptDigestUpdate, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                \
    X(C_SignEncryptUpdate, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                  \
    X(C_DecryptVerifyUpdate, A5(HANDLE, BYTES, CK_ULONG, BYTES, COUNT))                                                \
    X(C_GenerateKey, A5(HANDLE, MECHANISM, TEMPLATE, CK_ULONG, HANDLE *))                                              \
    X(C_GenerateKeyPair, A8(HANDLE, MECHANISM, TEMPLATE, CK_ULONG, TEMPLATE, CK_ULONG, HANDLE *, HANDLE *))            \
    X(C_WrapKey, A6(HANDLE, MECHANISM, HANDLE, HANDLE, BYTES, COUNT))                                                  \
    X(C_UnwrapKey, A8(HANDLE, MECHANISM, HANDLE, BYTES, CK_ULONG, TEMPLATE, CK_ULONG, HANDLE *))                       \
    X(C_DeriveKey, A6(HANDLE, MECHANISM, HANDLE, TEMPLATE, CK_ULONG, HANDLE *))                                        \
    X(C_SeedRandom, A3(HANDLE, BYTES, CK_ULONG))                                                                       \
    X(C_GenerateRandom, A3(HANDLE, BYTES, CK_ULONG))                                                                   \
    X(C_GetFunctionStatus, A1(HANDLE))                                                                                 \
    X(C_CancelFunction, A1(HANDLE))                                                                                    \
    X(C_WaitForSlotEvent, A3(CK_FLAGS, CK_SLOT_ID *, void *))

/* Types to a list of parameters, and to the arguments that hand them on. */
#define A1(a) (a p1), (p1)
#define A2(a, b) (a p1, b p2), (p1, p2)
#define A3(a, b, c) (a p1, b p2, c p3), (p1, p2, p3)
#define A4(a, b, c, d) (a p1, b p2, c p3, d p4), (p1, p2, p3, p4)
#define A5(a, b, c, d, e) (a p1, b p2, c p3, d p4, e p5), (p1, p2, p3, p4, p5)
#define A6(a, b, c, d, e, f) (a p1, b p2, c p3, d p4, e p5, f p6), (p1, p2, p3, p4, p5, p6)
#define A8(a, b, c, d, e, f, g, h) (a p1, b p2, c p3, d p4, e p5, f p6, g p7, h p8), (p1, p2, p3, p4, p5, p6, p7, p8)

enum function {
#define X(name, ...) DO_##name,
    FUNCTIONS(X)
#undef X
        FUNCTION_COUNT
};

static const char *const names[] = {
#define X(name, ...) #name,
    FUNCTIONS(X)
#undef X
};

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST faulty;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned counts[FUNCTION_COUNT];
static unsigned total;
static bool token_is_gone;

/* The rules. */

static const struct {
    const char *name;
    CK_RV value;
} values[] = {
#define VALUE(name)                                                                                                    \
    {                                                                                                                  \
#name, name                                                                                                    \
    }
    VALUE(CKR_OK),
    VALUE(CKR_HOST_MEMORY),
    VALUE(CKR_SLOT_ID_INVALID),
    VALUE(CKR_GENERAL_ERROR),
    VALUE(CKR_FUNCTION_FAILED),
    VALUE(CKR_ARGUMENTS_BAD),
    VALUE(CKR_DEVICE_ERROR),
    VALUE(CKR_DEVICE_MEMORY),
    VALUE(CKR_DEVICE_REMOVED),
    VALUE(CKR_FUNCTION_CANCELED),
    VALUE(CKR_FUNCTION_NOT_SUPPORTED),
    VALUE(CKR_KEY_HANDLE_INVALID),
    VALUE(CKR_KEY_FUNCTION_NOT_PERMITTED),
    VALUE(CKR_MECHANISM_INVALID),
    VALUE(CKR_MECHANISM_PARAM_INVALID),
    VALUE(CKR_OBJECT_HANDLE_INVALID),
    VALUE(CKR_OPERATION_ACTIVE),
    VALUE(CKR_OPERATION_NOT_INITIALIZED),
    VALUE(CKR_PIN_EXPIRED),
    VALUE(CKR_PIN_INCORRECT),
    VALUE(CKR_PIN_LOCKED),
    VALUE(CKR_SESSION_CLOSED),
    VALUE(CKR_SESSION_COUNT),
    VALUE(CKR_SESSION_HANDLE_INVALID),
    VALUE(CKR_TOKEN_NOT_PRESENT),
    VALUE(CKR_TOKEN_NOT_RECOGNIZED),
    VALUE(CKR_USER_NOT_LOGGED_IN),
    VALUE(CKR_USER_PIN_NOT_INITIALIZED),
    VALUE(CKR_CRYPTOKI_NOT_INITIALIZED),
#undef VALUE
};

/* A test that is told wrongly must not pass for that reason. */
static _Noreturn void complain(const char *what, const char *text)
{
    fprintf(stderr, "fault_module: %s: %s\n", what, text);
    abort();
}

/* What the first rule that fits this call says, NULL for none. The caller frees. */
static char *find_rule(enum function function, unsigned count, unsigned count_of_all)
{
    const char *text = getenv("TT_FAULT");
    char *rules = strdup(text ? text : "");
    char *found = NULL;
    char *place = NULL;
    for (char *rule = strtok_r(rules, ",", &place); rule && !found; rule = strtok_r(NULL, ",", &place)) {
        char name[32];
        unsigned number;
        int used = 0;
        if (sscanf(rule, "%31[^:]:%u%n", name, &number, &used) != 2)
            complain("not a rule", rule);
        bool on = rule[used] == '+';
        used += on ? 1 : 0;
        if (rule[used] != '=')
            complain("not a rule", rule);
        bool any = strcmp(name, "*") == 0;
        unsigned now = any ? count_of_all : count;
        if ((any || strcmp(name, names[function]) == 0) && (now == number || (on && now > number)))
            found = strdup(rule + used + 1);
    }
    free(rules);
    return found;
}

static void close_sessions(void)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = sizeof slots / sizeof slots[0];
    if (real->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
        return;
    for (CK_ULONG i = 0; i < count; i++)
        real->C_CloseAllSessions(slots[i]);
}

static void wait_for(unsigned long milliseconds)
{
    struct timespec left = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

static CK_RV carry_out(const char *what)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (strcmp(what, values[i].name) == 0)
            return values[i].value;
    char *end;
    unsigned long number = strtoul(what, &end, 0);
    if (end != what && *end == '\0')
        return number;
    if (end != what && strcmp(end, "ms") == 0)
        wait_for(number);
    else if (strcmp(what, "session") == 0)
        close_sessions();
    else if (strcmp(what, "token") == 0)
        token_is_gone = true;
    else
        complain("cannot do", what);
    return CKR_OK;
}

/* As a module does once its reader is empty. */
static CK_RV say_gone(enum function function)
{
    switch (function) {
    case DO_C_Initialize:
    case DO_C_Finalize:
    case DO_C_GetInfo:
    case DO_C_GetSlotList:
    case DO_C_GetSlotInfo:
    case DO_C_CloseAllSessions:
        return CKR_OK;
    case DO_C_GetTokenInfo:
    case DO_C_OpenSession:
        return CKR_TOKEN_NOT_PRESENT;
    default:
        return CKR_DEVICE_REMOVED;
    }
}

static void note(const char *name)
{
    const char *path = getenv("TT_FAULT_LOG");
    int log = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (log < 0)
        return;
    if (dprintf(log, "%s\n", name) < 0)
        complain("cannot write", path);
    close(log);
}

/* Before the real module hears of a call: CKR_OK lets it. */
static CK_RV before(enum function function)
{
    pthread_mutex_lock(&lock);
    unsigned count = ++counts[function];
    unsigned count_of_all = ++total;
    note(names[function]);
    pthread_mutex_unlock(&lock);
    char *what = find_rule(function, count, count_of_all);
    CK_RV outcome = what ? carry_out(what) : CKR_OK;
    free(what);
    return outcome == CKR_OK && token_is_gone ? say_gone(function) : outcome;
}

/* What the token cannot do. */

static bool forbids(const char *word)
{
    const char *words = getenv("TT_FAULT_FORBID");
    size_t length = strlen(word);
    for (const char *place = words; place && (place = strstr(place, word)) != NULL; place += length)
        if ((place == words || place[-1] == ',') && (place[length] == '\0' || place[length] == ','))
            return true;
    return false;
}

static CK_RV judge(const CK_MECHANISM *mechanism)
{
    static const struct {
        CK_MECHANISM_TYPE type;
        const char *word;
    } words[] = {
        {CKM_RSA_X_509, "raw"}, {CKM_RSA_PKCS_OAEP, "oaep"}, {CKM_RSA_PKCS_PSS, "pss"}, {CKM_RSA_PKCS, "pkcs1"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (mechanism->mechanism == words[i].type && forbids(words[i].word))
            return CKR_MECHANISM_INVALID;
    const CK_RSA_PKCS_PSS_PARAMS *pss = mechanism->pParameter;
    if (mechanism->mechanism == CKM_RSA_PKCS_PSS && pss && mechanism->ulParameterLen == sizeof *pss && pss->sLen > 64 &&
        forbids("long-salt"))
        return CKR_MECHANISM_PARAM_INVALID;
    return CKR_OK;
}

/* The functions themselves. */

#define FORWARD(name, parameters, arguments)                                                                           \
    static CK_RV do_##name parameters                                                                                  \
    {                                                                                                                  \
        CK_RV outcome = before(DO_##name);                                                                             \
        return outcome == CKR_OK ? real->name arguments : outcome;                                                     \
    }
#define X(name, ...) FORWARD_LISTS(name, __VA_ARGS__)
#define FORWARD_LISTS(name, ...) FORWARD(name, __VA_ARGS__)
FUNCTIONS(X)
#undef X

static CK_RV judged_decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    CK_RV outcome = before(DO_C_DecryptInit);
    if (outcome == CKR_OK)
        outcome = judge(mechanism);
    return outcome == CKR_OK ? real->C_DecryptInit(session, mechanism, key) : outcome;
}

static CK_RV judged_sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    CK_RV outcome = before(DO_C_SignInit);
    if (outcome == CKR_OK)
        outcome = judge(mechanism);
    return outcome == CKR_OK ? real->C_SignInit(session, mechanism, key) : outcome;
}

static CK_RV get_function_list(CK_FUNCTION_LIST **ret_list)
{
    const char *path = getenv("TT_FAULT_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    CK_C_GetFunctionList get;
    if (!symbol)
        return CKR_GENERAL_ERROR;
    memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from an object to a function pointer */
    CK_RV outcome = get(&real);
    if (outcome != CKR_OK)
        return outcome;
    faulty.version = real->version;
    faulty.C_GetFunctionList = get_function_list;
#define X(name, ...) faulty.name = do_##name;
    FUNCTIONS(X)
#undef X
    faulty.C_DecryptInit = judged_decrypt_init;
    faulty.C_SignInit = judged_sign_init;
    *ret_list = &faulty;
    return CKR_OK;
}

/* The module's one symbol. */
CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    return get_function_list(ret_list);
}
