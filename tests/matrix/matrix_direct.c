#include "matrix_direct.h"

#include <dlfcn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/digest.h"
#include "crypto/signature.h"

static CK_FUNCTION_LIST *module;

static void check(CK_RV outcome, const char *what)
{
    if (outcome == CKR_OK)
        return;
    printf("failed direct\nmessage %s: 0x%lx\ndetail\n", what, outcome);
    exit(1);
}

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    CK_C_GetFunctionList get = NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    if (symbol)
        memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from an object to a function pointer */
    check(symbol ? get(&module) : CKR_GENERAL_ERROR, path);
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK, .pReserved = getenv("TRAINTOKEN_MODULE_ARGUMENTS")};
    check(module->C_Initialize(&arguments), "C_Initialize");
}

static CK_SLOT_ID find_slot(const char *label)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    size_t length = strlen(label);
    check(module->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        check(module->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
        if (length <= sizeof info.label && memcmp(info.label, label, length) == 0 &&
            (length == sizeof info.label || info.label[length] == ' '))
            return slots[i];
    }
    check(CKR_TOKEN_NOT_PRESENT, label);
    return 0;
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE session, const char *label)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, (char *)label, strlen(label)}};
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_ULONG count = 0;
    check(module->C_FindObjectsInit(session, wanted, 2), "C_FindObjectsInit");
    check(module->C_FindObjects(session, &object, 1, &count), "C_FindObjects");
    check(module->C_FindObjectsFinal(session), "C_FindObjectsFinal");
    check(count == 1 ? CKR_OK : CKR_KEY_HANDLE_INVALID, label);
    return object;
}

/* The public half, for wrapping: private keys of all these modules show it. */
static EVP_PKEY *read_public(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    CK_BYTE modulus[TT_RSA_BYTES_MAX];
    CK_BYTE exponent[TT_RSA_BYTES_MAX];
    CK_ATTRIBUTE wanted[] = {{CKA_MODULUS, modulus, sizeof modulus}, {CKA_PUBLIC_EXPONENT, exponent, sizeof exponent}};
    check(module->C_GetAttributeValue(session, object, wanted, 2), "C_GetAttributeValue");
    BIGNUM *n = BN_bin2bn(modulus, (int)wanted[0].ulValueLen, NULL);
    BIGNUM *e = BN_bin2bn(exponent, (int)wanted[1].ulValueLen, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    OSSL_PARAM *parameters = builder && n && e && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
                                     OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1
                                 ? OSSL_PARAM_BLD_to_param(builder)
                                 : NULL;
    bool is_read = parameters && context && EVP_PKEY_fromdata_init(context) == 1 &&
                   EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) == 1;
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    BN_free(n);
    BN_free(e);
    check(is_read ? CKR_OK : CKR_DEVICE_ERROR, "the public half");
    return key;
}

/* What goes in: for raw RSA any number below the modulus does. */
struct input {
    CK_MECHANISM mechanism;
    CK_BYTE bytes[TT_RSA_BYTES_MAX];
    CK_ULONG length;
};

static void prepare(const struct matrix_direct *what, EVP_PKEY *public_half, struct input *input)
{
    static CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA512, CKG_MGF1_SHA512, CKZ_DATA_SPECIFIED, NULL, 0};
    static CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA512, CKG_MGF1_SHA512, 0};
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    size_t length = (size_t)EVP_PKEY_get_size(public_half);
    enum tt_status status = tt_random(input->bytes, sizeof input->bytes, NULL);
    if (!what->is_native) {
        input->mechanism = (CK_MECHANISM){CKM_RSA_X_509, NULL, 0};
        input->bytes[0] = 0;
    } else if (what->sign) {
        pss.sLen = (CK_ULONG)tt_pss_salt_length(public_half);
        input->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &pss, sizeof pss};
        length = TT_SHA512_SIZE;
    } else {
        input->mechanism = (CK_MECHANISM){CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
        status = matrix_wrap(public_half, &secret, input->bytes, &length, NULL);
    }
    check(status == TT_OK ? CKR_OK : CKR_HOST_MEMORY, "the input");
    input->length = (CK_ULONG)length;
}

static double once(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, bool sign, struct input *input)
{
    CK_BYTE out[TT_RSA_BYTES_MAX];
    CK_ULONG length = sizeof out;
    double start = matrix_now();
    if (sign) {
        check(module->C_SignInit(session, &input->mechanism, key), "C_SignInit");
        check(module->C_Sign(session, input->bytes, input->length, out, &length), "C_Sign");
    } else {
        check(module->C_DecryptInit(session, &input->mechanism, key), "C_DecryptInit");
        check(module->C_Decrypt(session, input->bytes, input->length, out, &length), "C_Decrypt");
    }
    return matrix_now() - start;
}

int matrix_direct(const struct matrix_direct *what)
{
    static struct matrix_times times;
    const char *pin = getenv("PRIVATE_KEY_PASSWORD");
    CK_SESSION_HANDLE session;
    double start = matrix_now();
    load(what->module);
    check(module->C_OpenSession(find_slot(what->token), CKF_SERIAL_SESSION, NULL, NULL, &session), "C_OpenSession");
    check(module->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, pin ? (CK_ULONG)strlen(pin) : 0), "C_Login");
    CK_OBJECT_HANDLE key = find_key(session, what->object);
    times.open = matrix_now() - start;

    EVP_PKEY *public_half TT_CLEANUP(tt_evp_pkey_cleanup) = read_public(session, key);
    struct input input = {0};
    while (!matrix_is_enough(&times, what->count)) {
        prepare(what, public_half, &input);
        times.operations[times.count] = once(session, key, what->sign, &input);
        times.count++;
    }
    start = matrix_now();
    check(module->C_CloseSession(session), "C_CloseSession");
    check(module->C_Finalize(NULL), "C_Finalize");
    times.close = matrix_now() - start;
    matrix_print(&times, what->is_native ? "native" : "raw");
    return 0;
}
