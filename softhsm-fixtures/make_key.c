/*
 * Makes keys in throw-away tokens, for tests: what pkcs11-tool cannot make. Usage:
 *   make_key MODULE TOKEN-LABEL PIN OBJECT-LABEL ID-HEX KIND
 * KIND is rsa2048, rsa3072 or rsa4096 to generate a sound pair, import:FILE for a private key that is there (PKCS #1 in
 * DER), or an odd one that the script softhsm tells of. An empty PIN is no login. What TRAINTOKEN_MODULE_ARGUMENTS says
 * goes to the module. Talks to the module directly; libp11 is not in this process.
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
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK, .pReserved = getenv("TRAINTOKEN_MODULE_ARGUMENTS")};
    check(module->C_Initialize(&arguments), "C_Initialize");
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

enum { ATTRIBUTES = 24 };

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

/* Both halves: what they are called, and what every private one is. */
static void describe(struct template *public_half, struct template *private_half, struct plan *plan)
{
    for (int i = 0; i < 2; i++) {
        struct template *half = i == 0 ? public_half : private_half;
        add(half, CKA_LABEL, plan->label, strlen(plan->label));
        add(half, CKA_ID, plan->id, plan->id_length);
        add_flag(half, CKA_TOKEN, 1);
    }
    add_flag(public_half, CKA_PRIVATE, is(plan, "hidden"));
    add_flag(private_half, CKA_SIGN, !is(plan, "no-sign"));
    add_flag(private_half, CKA_PRIVATE, !is(plan, "open"));
    add_flag(private_half, CKA_SENSITIVE, 1);
    add_flag(private_half, CKA_EXTRACTABLE, 0);
}

/* Reads the next value of DER with that tag, steps over it (into it, if it is a sequence), and gives its content. */
static CK_BYTE *der_step(CK_BYTE **place, const CK_BYTE *end, CK_BYTE tag, CK_ULONG *ret_length)
{
    CK_BYTE *at = *place;
    CK_ULONG length = end - at >= 2 ? at[1] : 0;
    int more = length > 0x80 && length <= 0x83 ? (int)length - 0x80 : 0;
    if (end - at < 2 + more || at[0] != tag || (length >= 0x80 && !more))
        check(CKR_DATA_INVALID, "the file is no PKCS #1 key in DER");
    at += 2;
    if (more)
        for (length = 0; more > 0; more--)
            length = length << 8 | *at++;
    if (length > (CK_ULONG)(end - at))
        check(CKR_DATA_LEN_RANGE, "the file is cut short");
    *place = tag == 0x30 ? at : at + length;
    *ret_length = length;
    return at;
}

static void import(CK_SESSION_HANDLE session, struct plan *plan)
{
    static const CK_ATTRIBUTE_TYPE numbers[] = {CKA_MODULUS,    CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT,
                                                CKA_PRIME_1,    CKA_PRIME_2,         CKA_EXPONENT_1,
                                                CKA_EXPONENT_2, CKA_COEFFICIENT};
    CK_BYTE der[8192];
    FILE *file = fopen(plan->kind + strlen("import:"), "rb");
    CK_BYTE *at = der;
    const CK_BYTE *end = der + (file ? fread(der, 1, sizeof der, file) : 0);
    CK_ULONG length;
    CK_OBJECT_CLASS classes[] = {CKO_PUBLIC_KEY, CKO_PRIVATE_KEY};
    CK_KEY_TYPE type = CKK_RSA;
    struct template halves[2] = {{.count = 0}, {.count = 0}};

    if (file)
        fclose(file);
    der_step(&at, end, 0x30, &length);
    der_step(&at, end, 0x02, &length); /* version */
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        CK_BYTE *number = der_step(&at, end, 0x02, &length);
        while (length > 1 && *number == 0) { /* a sign, which Cryptoki's numbers have not */
            number++;
            length--;
        }
        add(&halves[1], numbers[i], number, length);
        if (i < 2)
            add(&halves[0], numbers[i], number, length);
    }
    describe(&halves[0], &halves[1], plan);
    add_flag(&halves[1], CKA_DECRYPT, 1);
    for (int i = 0; i < 2; i++) {
        CK_OBJECT_HANDLE made;
        add(&halves[i], CKA_CLASS, &classes[i], sizeof classes[i]);
        add(&halves[i], CKA_KEY_TYPE, &type, sizeof type);
        check(module->C_CreateObject(session, halves[i].list, halves[i].count, &made), "C_CreateObject");
    }
}

static void generate(CK_SESSION_HANDLE session, struct plan *plan)
{
    static CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}; /* prime256v1 */
    static CK_BYTE ed25519[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5', '1', '9'};
    static CK_BYTE exponent[] = {1, 0, 1};
    static CK_MECHANISM_TYPE allowed[] = {CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP, CKM_RSA_PKCS_PSS};
    CK_ULONG bits = strncmp(plan->kind, "rsa", 3) == 0 ? strtoul(plan->kind + 3, NULL, 10) : 2048;
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
    describe(&public_half, &private_half, plan);
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
    static const char *const kinds[] = {"rsa2048", "rsa3072",    "rsa4096", "ec",
                                        "ed25519", "rsa1024",    "hidden",  "always-authenticate",
                                        "no-sign", "no-decrypt", "no-raw",  "open"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kind, kinds[i]) == 0)
            return 1;
    return strncmp(kind, "import:", strlen("import:")) == 0;
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
    if (*argv[3])
        check(module->C_Login(session, CKU_USER, (CK_UTF8CHAR *)argv[3], strlen(argv[3])), "C_Login");
    if (strncmp(plan.kind, "import:", strlen("import:")) == 0)
        import(session, &plan);
    else
        generate(session, &plan);
    check(module->C_Finalize(NULL), "C_Finalize");
    return 0;
}
