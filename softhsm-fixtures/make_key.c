/*
 * Makes odd keys in throw-away tokens, for tests: what pkcs11-tool cannot make. Usage:
 *   make_key MODULE TOKEN-LABEL PIN OBJECT-LABEL ID-HEX KIND
 * The kinds are told in the script softhsm. Talks to the module directly; libp11 is not in this process.
 */
#include <p11-kit/pkcs11.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *module;

static void check(CK_RV outcome, const char *what)
{
    if (outcome == CKR_OK)
        return;
    fprintf(stderr, "make_key: %s: 0x%lx\n", what, outcome);
    exit(1);
}

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    CK_C_GetFunctionList get = NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    if (!symbol) {
        fprintf(stderr, "make_key: cannot load %s\n", path);
        exit(1);
    }
    memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from an object to a function pointer */
    check(get(&module), "C_GetFunctionList");
    check(module->C_Initialize(NULL), "C_Initialize");
}

static CK_SLOT_ID find_slot(const char *label)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64;
    check(module->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        check(module->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
        size_t length = strlen(label);
        if (length <= sizeof info.label && memcmp(info.label, label, length) == 0 &&
            (length == sizeof info.label || info.label[length] == ' '))
            return slots[i];
    }
    fprintf(stderr, "make_key: no token '%s'\n", label);
    exit(1);
}

struct plan {
    char *label;
    CK_BYTE id[32];
    CK_ULONG id_length;
    const char *kind;
};

static int is(const struct plan *plan, const char *kind)
{
    return strcmp(plan->kind, kind) == 0;
}

enum { ATTRIBUTES = 16 };

struct template
{
    CK_ATTRIBUTE list[ATTRIBUTES];
    CK_ULONG count;
};

static CK_BBOOL yes = CK_TRUE;
static CK_BBOOL no = CK_FALSE;

static void add(struct template *template, CK_ATTRIBUTE_TYPE type, void *value, CK_ULONG length)
{
    template->list[template->count++] = (CK_ATTRIBUTE){type, value, length};
}

static void add_flag(struct template *template, CK_ATTRIBUTE_TYPE type, int value)
{
    add(template, type, value ? &yes : &no, sizeof yes);
}

static void generate(CK_SESSION_HANDLE session, struct plan *plan)
{
    static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}; /* prime256v1 */
    static CK_BYTE ed25519[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'};
    static CK_BYTE exponent[] = {1, 0, 1};
    static CK_MECHANISM_TYPE allowed[] = {CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS};
    CK_ULONG bits = is(plan, "rsa1024") ? 1024 : 2048;
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    struct template public_half = {.count = 0};
    struct template private_half = {.count = 0};

    if (is(plan, "ec") || is(plan, "ed25519")) {
        mechanism.mechanism = is(plan, "ec") ? CKM_EC_KEY_PAIR_GEN : CKM_EC_EDWARDS_KEY_PAIR_GEN;
        add(&public_half, CKA_EC_PARAMS, is(plan, "ec") ? p256 : ed25519,
            is(plan, "ec") ? sizeof p256 : sizeof ed25519);
    } else {
        add(&public_half, CKA_MODULUS_BITS, &bits, sizeof bits);
        add(&public_half, CKA_PUBLIC_EXPONENT, exponent, sizeof exponent);
        add_flag(&private_half, CKA_DECRYPT, !is(plan, "no-decrypt"));
    }
    for (int i = 0; i < 2; i++) {
        struct template *half = i == 0 ? &public_half : &private_half;
        add(half, CKA_LABEL, plan->label, strlen(plan->label));
        add(half, CKA_ID, plan->id, plan->id_length);
        add_flag(half, CKA_TOKEN, 1);
    }
    add_flag(&public_half, CKA_PRIVATE, is(plan, "hidden"));
    add_flag(&private_half, CKA_SIGN, !is(plan, "no-sign"));
    add_flag(&private_half, CKA_PRIVATE, !is(plan, "open"));
    add_flag(&private_half, CKA_SENSITIVE, 1);
    add_flag(&private_half, CKA_EXTRACTABLE, 0);
    if (is(plan, "always-authenticate"))
        add_flag(&private_half, CKA_ALWAYS_AUTHENTICATE, 1);
    if (is(plan, "no-raw"))
        add(&private_half, CKA_ALLOWED_MECHANISMS, allowed, sizeof allowed);
    CK_OBJECT_HANDLE handles[2];
    check(module->C_GenerateKeyPair(session, &mechanism, public_half.list, public_half.count, private_half.list,
                                    private_half.count, &handles[0], &handles[1]),
          "C_GenerateKeyPair");
}

static void read_id(struct plan *plan, const char *hex)
{
    while (plan->id_length < sizeof plan->id) {
        unsigned byte;
        if (sscanf(hex, "%2x", &byte) != 1)
            break;
        plan->id[plan->id_length++] = (CK_BYTE)byte;
        hex += hex[1] ? 2 : 1;
    }
}

static int is_kind(const char *kind)
{
    static const char *const kinds[] = {"ec",     "ed25519", "rsa1024", "no-decrypt", "no-sign", "always-authenticate",
                                        "hidden", "no-raw",  "open"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kind, kinds[i]) == 0)
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 7 || !is_kind(argv[6])) {
        fprintf(stderr, "usage: make_key MODULE TOKEN PIN OBJECT ID KIND\n");
        return 2;
    }
    struct plan plan = {.label = argv[4], .kind = argv[6]};
    read_id(&plan, argv[5]);
    load(argv[1]);
    CK_SESSION_HANDLE session;
    check(module->C_OpenSession(find_slot(argv[2]), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
          "C_OpenSession");
    check(module->C_Login(session, CKU_USER, (CK_UTF8CHAR *)argv[3], strlen(argv[3])), "C_Login");
    generate(session, &plan);
    check(module->C_Finalize(NULL), "C_Finalize");
    return 0;
}
