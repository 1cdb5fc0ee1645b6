/*
 * Keys in SoftHSM tokens, from the URI to the unwrapped symmetric key. Each case runs in a child of its own, so that no
 * process forks after a module was loaded, and so that what a case leaves in memory can be looked for. All PINs and
 * keys here are throw-away.
 */
#include <fcntl.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/key_wrap.h"
#include "pkcs11/station_key.h"
#include "suite.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifndef HAS_ASAN
#define HAS_ASAN 0
#endif

#define PIN "1234"

/* What the spy leaks is not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:pkcs11-spy.so\n";
}

static char folder[] = "/tmp/tt-station-key-XXXXXX";
static char module_path[512]; /* SoftHSM's */

/* One case: what the child is to do, and what came of it. */

struct plan {
    const char *uri;      /* after "pkcs11:" */
    const char *loader;   /* auto if NULL */
    const char *module;   /* SoftHSM's if NULL */
    const char *pin;      /* for PRIVATE_KEY_PASSWORD */
    const char *mock;     /* through the mock module, playing this */
    bool spy;             /* through pkcs11-spy; its log is in folder/spy.log */
    const char *expected; /* PEM file of the key that the train names */
    bool last_pin_try;
    bool tamper;       /* flip a bit of the wrapped key */
    size_t wrap_size;  /* bytes that are wrapped, if not 32 */
    bool look_for_pin; /* in memory, during and after */
};

struct operation {
    enum tt_status status;
    enum tt_padding_by by;
    char message[TT_ERROR_MESSAGE_SIZE];
    char detail[TT_ERROR_DETAIL_SIZE];
};

struct outcome {
    struct operation open, unwrap, pss, pkcs1;
    bool right_secret;
    char warnings[4096];
    char uri[1024];
    char token[64];
    char serial[64];
    char loader[16];
    unsigned bits;
    bool pin_seen_during, pin_seen_after, key_seen_after;
    int exit_status;
};

static struct outcome *shared; /* with the children */

static void keep_warnings(void *user, enum tt_log_level level, const char *message)
{
    (void)user;
    size_t used = strlen(shared->warnings);
    if (level == TT_LOG_WARNING)
        snprintf(shared->warnings + used, sizeof shared->warnings - used, "%s\n", message);
}

static void note(struct operation *operation, enum tt_status status, const struct tt_error *err)
{
    operation->status = status;
    if (status == TT_OK)
        return;
    snprintf(operation->message, sizeof operation->message, "%s", err->message);
    snprintf(operation->detail, sizeof operation->detail, "%s", err->detail);
}

/* Looking for a secret in this process's memory, without having it there: it is compared masked. */

enum { MASK = 0x5A };

static const unsigned char masked_pin[] = {'T' ^ MASK, 'h' ^ MASK, 'r' ^ MASK, 'o' ^ MASK, 'w' ^ MASK,
                                           '4' ^ MASK, 'w' ^ MASK, 'a' ^ MASK, 'y' ^ MASK, '-' ^ MASK,
                                           '9' ^ MASK, '1' ^ MASK, '3' ^ MASK, '7' ^ MASK};

static void unmask_pin(char *pin)
{
    for (size_t i = 0; i < sizeof masked_pin; i++)
        pin[i] = (char)(masked_pin[i] ^ MASK);
    pin[sizeof masked_pin] = '\0';
}

/* The symmetric key of the cases: recognizable, and never whole in a variable. */
static unsigned char masked_key_byte(size_t i)
{
    return (unsigned char)((i * 37 + 11) ^ MASK);
}

static bool contains(const unsigned char *data, size_t length, bool key)
{
    size_t size = key ? 32 : sizeof masked_pin;
    for (size_t start = 0; start + size <= length; start++) {
        size_t i = 0;
        while (i < size && (data[start + i] ^ MASK) == (key ? masked_key_byte(i) : masked_pin[i]))
            i++;
        if (i == size)
            return true;
    }
    return false;
}

static bool region_contains(int memory, unsigned long start, unsigned long end, bool key)
{
    static unsigned char chunk[65536];
    bool found = false;
    for (unsigned long at = start; !found && at < end; at += sizeof chunk - 64) {
        size_t want = end - at < sizeof chunk ? end - at : sizeof chunk;
        ssize_t count = pread(memory, chunk, want, (off_t)at);
        found = count > 0 && contains(chunk, (size_t)count, key);
    }
    tt_wipe(chunk, sizeof chunk);
    return found;
}

static bool memory_contains(bool key)
{
    bool found = false;
    int memory TT_CLEANUP(tt_close_cleanup) = open("/proc/self/mem", O_RDONLY);
    FILE *maps TT_CLEANUP(tt_fclose_cleanup) = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long start;
    unsigned long end;
    char rights[8];
    while (!found && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && rights[1] == 'w')
            found = region_contains(memory, start, end, key);
    return found;
}

/* In the child. */

static void put_secret(struct tt_secret *secret, size_t size)
{
    for (size_t i = 0; i < size; i++)
        secret->data[i] = masked_key_byte(i) ^ MASK;
    secret->length = size;
}

static void try_unwrap(const struct plan *plan, struct tt_private_key *key)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *opened TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    size_t length = 0;
    size_t size = plan->wrap_size ? plan->wrap_size : 32;
    if (tt_secret_new(64, &secret, &err) != TT_OK)
        exit(90);
    put_secret(secret, size);
    if (tt_key_wrap(tt_private_key_public(key), secret, wrapped, &length, &err) != TT_OK)
        exit(91);
    wrapped[length - 1] ^= plan->tamper ? 1 : 0;
    enum tt_status status = tt_private_key_unwrap(key, wrapped, length, 32, &opened, &shared->unwrap.by, &err);
    note(&shared->unwrap, status, &err);
    shared->right_secret = opened && opened->length == 32 && memcmp(opened->data, secret->data, 32) == 0;
}

static void try_signing(struct tt_private_key *key)
{
    struct tt_error err = TT_ERROR_INIT;
    uint8_t signature[TT_RSA_BYTES_MAX];
    uint8_t digest[TT_SHA512_SIZE] = {1, 2, 3};
    size_t length;
    enum tt_status status = tt_private_key_sign_pss(key, digest, signature, &length, &shared->pss.by, &err);
    note(&shared->pss, status, &err);
    status = tt_private_key_sign_pkcs1(key, digest, sizeof digest, signature, &length, &shared->pkcs1.by, &err);
    note(&shared->pkcs1, status, &err);
}

static EVP_PKEY *read_public(const char *path)
{
    FILE *file TT_CLEANUP(tt_fclose_cleanup) = fopen(path, "r");
    EVP_PKEY *key = file ? PEM_read_PUBKEY(file, NULL, NULL, NULL) : NULL;
    if (!key)
        exit(92);
    return key;
}

static void use_key(const struct plan *plan, struct tt_pkcs11_source *source)
{
    struct tt_key_source seam = tt_pkcs11_key_source(source);
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    EVP_PKEY *expected TT_CLEANUP(tt_evp_pkey_cleanup) = plan->expected ? read_public(plan->expected) : NULL;
    enum tt_status status = seam.open(seam.user, expected, &key, &err);
    note(&shared->open, status, &err);
    if (status != TT_OK)
        return;
    const struct tt_pkcs11_facts *facts = tt_pkcs11_source_facts(source);
    snprintf(shared->uri, sizeof shared->uri, "%s", facts->uri);
    snprintf(shared->token, sizeof shared->token, "%s", facts->token);
    snprintf(shared->serial, sizeof shared->serial, "%s", facts->serial);
    snprintf(shared->loader, sizeof shared->loader, "%s", facts->loader);
    shared->bits = tt_public_key_bits(tt_private_key_public(key));
    try_unwrap(plan, key);
    try_signing(key);
    if (plan->look_for_pin)
        shared->pin_seen_during = memory_contains(false);
}

static void set_up_child(const struct plan *plan)
{
    setsid(); /* no terminal: nothing may wait for an answer */
    tt_log_set_sink(keep_warnings, NULL);
    unsetenv("CREDENTIALS_DIRECTORY");
    if (plan->pin)
        setenv("PRIVATE_KEY_PASSWORD", plan->pin, 1);
    if (plan->look_for_pin) {
        char pin[32];
        unmask_pin(pin);
        setenv("PRIVATE_KEY_PASSWORD", pin, 1);
        tt_wipe(pin, sizeof pin);
    }
    if (plan->mock) {
        setenv("TT_MOCK", plan->mock, 1);
        setenv("TT_MOCK_MODULE", module_path, 1);
    }
    if (plan->spy) {
        char log[256];
        snprintf(log, sizeof log, "%s/spy.log", folder);
        unlink(log);
        setenv("PKCS11SPY_OUTPUT", log, 1);
        setenv("PKCS11SPY", plan->mock ? TT_MOCK_MODULE : module_path, 1);
    }
}

static void child(const struct plan *plan)
{
    set_up_child(plan);
    struct tt_error err = TT_ERROR_INIT;
    struct tt_pkcs11_source *source = NULL;
    char *uri = tt_text_format("pkcs11:%s", plan->uri);
    struct tt_pkcs11_options options = {
        .uri = uri,
        .module = plan->module ? plan->module
                  : plan->spy  ? TT_SPY
                  : plan->mock ? TT_MOCK_MODULE
                               : module_path,
        .loader = plan->loader,
        .pin_fd = -1,
        .last_pin_try = plan->last_pin_try,
        .may_prompt = true,
    };
    enum tt_status status = tt_pkcs11_source_new(&options, &source, &err);
    if (status == TT_OK)
        use_key(plan, source);
    else
        note(&shared->open, status, &err);
    tt_pkcs11_source_free(source);
    free(uri);
    if (plan->look_for_pin) {
        shared->pin_seen_after = memory_contains(false);
        shared->key_seen_after = memory_contains(true);
    }
}

static struct outcome run(const struct plan *plan)
{
    memset(shared, 0, sizeof *shared);
    fflush(NULL);
    pid_t pid = fork();
    CU_ASSERT_FATAL(pid >= 0);
    if (pid == 0) {
        child(plan);
        exit(0); /* not _exit: a leak counts as a failure where the build looks for them */
    }
    int status = 0;
    waitpid(pid, &status, 0);
    shared->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
    CU_ASSERT_EQUAL(shared->exit_status, 0);
    return *shared;
}

/* Asserting. */

static void says(const struct operation *operation, enum tt_status status, const char *words)
{
    CU_ASSERT_EQUAL(operation->status, status);
    CU_ASSERT_PTR_NOT_NULL(strstr(operation->message, words));
    if (operation->status != status || !strstr(operation->message, words))
        printf("\n  got [%d] %s (%s)\n", (int)operation->status, operation->message, operation->detail);
}

static void works(const struct outcome *outcome, enum tt_padding_by unwrapped, enum tt_padding_by signed_)
{
    says(&outcome->open, TT_OK, "");
    says(&outcome->unwrap, TT_OK, "");
    says(&outcome->pss, TT_OK, "");
    says(&outcome->pkcs1, TT_OK, "");
    CU_ASSERT_TRUE(outcome->right_secret);
    CU_ASSERT_EQUAL(outcome->unwrap.by, unwrapped);
    CU_ASSERT_EQUAL(outcome->pss.by, signed_);
    CU_ASSERT_EQUAL(outcome->pkcs1.by, TT_PADDING_NATIVE);
}

/* Calls in the spy's log whose text has all of the words; of those that returned CKR_OK where `ok` is set. */
static int calls(const char *function, const char *word, bool ok)
{
    char path[256];
    char name[64];
    snprintf(path, sizeof path, "%s/spy.log", folder);
    snprintf(name, sizeof name, ": %s\n", function);
    struct tt_buffer log = TT_BUFFER_INIT(0);
    CU_ASSERT_EQUAL_FATAL(tt_file_read(AT_FDCWD, path, 1 << 24, &log, NULL), TT_OK);
    int count = 0;
    for (char *place = (char *)log.data; place && (place = strstr(place, name)) != NULL;) {
        char *end = strstr(place, "\n\n");
        if (end)
            *end = '\0';
        if ((!word || strstr(place, word)) && (!ok || strstr(place, "CKR_OK")))
            count++;
        place = end ? end + 1 : NULL;
    }
    tt_buffer_clear(&log);
    return count;
}

static bool log_has(const char *word)
{
    char path[256];
    snprintf(path, sizeof path, "%s/spy.log", folder);
    struct tt_buffer log = TT_BUFFER_INIT(0);
    CU_ASSERT_EQUAL_FATAL(tt_file_read(AT_FDCWD, path, 1 << 24, &log, NULL), TT_OK);
    bool has = strstr((const char *)log.data, word) != NULL;
    tt_buffer_clear(&log);
    return has;
}

/* The cases. */

static void a_key_works_and_is_told_of(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = PIN});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE); /* SoftHSM has OAEP with SHA-1 only */
    CU_ASSERT_STRING_EQUAL(outcome.token, "station");
    CU_ASSERT_STRING_EQUAL(outcome.loader, "libp11");
    CU_ASSERT_EQUAL(strlen(outcome.serial), 16);
    CU_ASSERT_EQUAL(outcome.bits, 2048);
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.uri, "token=station"));
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.uri, "object=train"));
    CU_ASSERT_PTR_NULL(strstr(outcome.uri, "pin"));
    CU_ASSERT_STRING_EQUAL(outcome.warnings, "");
}

static void keys_of_all_sizes_work(void)
{
    struct outcome outcome = run(&(struct plan){
        .uri = "token=station;object=aachen", .pin = PIN, .expected = TT_VECTORS "/wide/keys/aachen.pub.pem"});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    unsigned bits = outcome.bits;
    outcome = run(&(struct plan){
        .uri = "token=station;object=tuebingen", .pin = PIN, .expected = TT_VECTORS "/wide/keys/tuebingen.pub.pem"});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_EQUAL(bits + outcome.bits, 4096 + 3072);
}

static void the_token_is_used_sparingly(void)
{
    static const char *const private_attributes[] = {
        "CKA_PRIVATE_EXPONENT", "CKA_PRIME_1",     "CKA_PRIME_2", "CKA_EXPONENT_1",
        "CKA_EXPONENT_2",       "CKA_COEFFICIENT", "CKA_VALUE "};
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = PIN, .spy = true});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 1);
    CU_ASSERT_EQUAL(calls("C_Decrypt", NULL, false), 1);
    CU_ASSERT_EQUAL(calls("C_Decrypt", NULL, true), 1);
    CU_ASSERT_EQUAL(calls("C_Sign", NULL, false), 2);
    CU_ASSERT_EQUAL(calls("C_Sign", NULL, true), 2);
    CU_ASSERT_EQUAL(calls("C_DecryptInit", "CKM_RSA_PKCS_OAEP", false), 1);
    CU_ASSERT_EQUAL(calls("C_DecryptInit", "CKM_RSA_X_509", true), 1);
    CU_ASSERT_EQUAL(calls("C_SignInit", "CKM_RSA_PKCS_PSS", true), 1);
    CU_ASSERT_EQUAL(calls("C_SignInit", "CKM_RSA_X_509", false), 0);
    CU_ASSERT_EQUAL(calls("C_Encrypt", NULL, false) + calls("C_Verify", NULL, false), 0);
    CU_ASSERT_EQUAL(calls("C_Initialize", NULL, true), 1);
    CU_ASSERT_EQUAL(calls("C_Finalize", NULL, true), 1);
    for (size_t i = 0; i < sizeof private_attributes / sizeof private_attributes[0]; i++)
        CU_ASSERT_FALSE(log_has(private_attributes[i]));
    CU_ASSERT_TRUE(log_has("CKA_MODULUS")); /* the log is what we take it for */
}

static void a_train_for_another_key_is_refused_before_the_pin(void)
{
    struct plan plan = {.uri = "token=station;object=train",
                        .pin = PIN,
                        .spy = true,
                        .expected = TT_VECTORS "/basic/keys/station_1.pub.pem"};
    struct outcome outcome = run(&plan);
    says(&outcome.open, TT_UNTRUSTED, "the train names SHA256:");
    says(&outcome.open, TT_UNTRUSTED, "the token holds SHA256:");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
    CU_ASSERT_EQUAL(calls("C_Finalize", NULL, true), 1);
    plan.uri = "token=odd;object=hidden"; /* shows its public half after the login only */
    outcome = run(&plan);
    says(&outcome.open, TT_UNTRUSTED, "the train names SHA256:");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 1);
    CU_ASSERT_EQUAL(calls("C_Decrypt", NULL, false) + calls("C_Sign", NULL, false), 0);
}

static void a_wrong_pin_is_tried_once(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = "0000", .spy = true});
    says(&outcome.open, TT_PIN, "the PIN is wrong; few tries are left");
    CU_ASSERT_STRING_EQUAL(outcome.open.detail, "CKR_PIN_INCORRECT");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 1);
    CU_ASSERT_EQUAL(calls("C_Finalize", NULL, true), 1);
    outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = PIN});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "a wrong PIN was tried"));
    outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = PIN});
    CU_ASSERT_STRING_EQUAL(outcome.warnings, "");
}

static void the_last_try_is_not_risked(void)
{
    struct plan plan = {.uri = "token=station;object=train", .pin = PIN, .mock = "final-try", .spy = true};
    struct outcome outcome = run(&plan);
    says(&outcome.open, TT_PIN, "has 1 PIN try left; refusing to use it, pass --last-pin-try");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
    plan.last_pin_try = true;
    outcome = run(&plan);
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    plan.mock = "locked";
    outcome = run(&plan);
    says(&outcome.open, TT_PIN, "is locked");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
    plan.mock = "locks";
    plan.pin = "0000";
    outcome = run(&plan);
    says(&outcome.open, TT_PIN, "it is locked now");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 1);
}

static void a_keypad_takes_the_pin_itself(void)
{
    setenv("TT_MOCK_PIN", PIN, 1);
    struct plan plan = {.uri = "token=station;object=train", .mock = "keypad", .pin = "0000"};
    struct outcome outcome = run(&plan);
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "keypad"));
    plan.uri = "token=odd;object=always-authenticate";
    outcome = run(&plan);
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    unsetenv("TT_MOCK_PIN");
}

static void no_pin_is_a_clear_error(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train", .spy = true});
    says(&outcome.open, TT_PIN, "no PIN for token 'station'");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
}

static void tokens_without_login_are_warned_of(void)
{
    struct plan plan = {.uri = "token=odd;object=open", .mock = "no-login", .spy = true};
    struct outcome outcome = run(&plan);
    says(&outcome.open, TT_OK, "");
    says(&outcome.unwrap, TT_OK, "");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "needs no PIN"));
}

static void exactly_one_key_has_to_match(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=twin", .pin = PIN});
    says(&outcome.open, TT_TOKEN, "2 private keys match");
    says(&outcome.open, TT_TOKEN, "id=%04;object=twin;type=private'");
    says(&outcome.open, TT_TOKEN, "id=%05;object=twin;type=private'");
    outcome = run(&(struct plan){.uri = "token=station;object=twin;id=%05", .pin = PIN});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    outcome = run(&(struct plan){.uri = "token=station;object=nobody", .pin = PIN});
    says(&outcome.open, TT_TOKEN, "no private key in token 'station' matches");
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.open.message, "object=train;type=private'"));
    outcome = run(&(struct plan){.uri = "token=odd", .pin = PIN}); /* more than fit into a message */
    says(&outcome.open, TT_TOKEN, "private keys match");
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "object=no-sign"));
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "object=always-authenticate"));
}

static void exactly_one_token_has_to_match(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=double;object=train", .pin = PIN});
    says(&outcome.open, TT_TOKEN, "2 tokens match");
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.open.message, "token=double'"));
    outcome = run(&(struct plan){.uri = "token=nowhere;object=train", .pin = PIN});
    says(&outcome.open, TT_TOKEN, "no token matches");
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.open.message, "token=station'"));
    outcome = run(&(struct plan){.uri = "slot-id=99999;token=station;object=train", .pin = PIN});
    says(&outcome.open, TT_TOKEN, "no token matches");
    outcome = run(&(struct plan){.uri = "model=SoftHSM%20v2;manufacturer=SoftHSM%20project;token=station;object=train",
                                 .pin = PIN});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
}

static void modules_that_are_none(void)
{
    struct plan plan = {.uri = "token=station;object=train", .pin = PIN, .module = "/nowhere/module.so"};
    struct outcome outcome = run(&plan);
    says(&outcome.open, TT_TOKEN, "/nowhere/module.so cannot be loaded");
    plan.module = "/bin/true";
    outcome = run(&plan);
    CU_ASSERT_EQUAL(outcome.open.status, TT_TOKEN);
    plan.module = "nowhere";
    outcome = run(&plan);
    says(&outcome.open, TT_TOKEN, "no PKCS#11 module 'nowhere'");
}

static void libraries_can_be_named(void)
{
    struct outcome outcome = run(&(struct plan){
        .uri = "token=station;object=train;library-version=2.6;library-manufacturer=SoftHSM", .pin = PIN});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    outcome = run(&(struct plan){.uri = "token=station;object=train;library-version=9.9", .pin = PIN, .spy = true});
    says(&outcome.open, TT_TOKEN, "is not the library that the key's URI names");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
}

static void keys_that_cannot_serve(void)
{
    struct plan plan = {.uri = "token=odd;object=ec", .pin = PIN, .spy = true};
    struct outcome outcome = run(&plan);
    says(&outcome.open, TT_TOKEN, "not an RSA key");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
    plan.uri = "token=odd;object=rsa1024";
    outcome = run(&plan);
    says(&outcome.open, TT_TOKEN, "2048");
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
    plan.uri = "token=odd;object=no-decrypt";
    outcome = run(&plan);
    says(&outcome.unwrap, TT_TOKEN, "lacks the right to decrypt (CKA_DECRYPT)");
    CU_ASSERT_STRING_EQUAL(outcome.unwrap.detail, "CKR_KEY_FUNCTION_NOT_PERMITTED");
    says(&outcome.pss, TT_OK, "");
    plan.uri = "token=odd;object=no-sign";
    outcome = run(&plan);
    says(&outcome.unwrap, TT_OK, "");
    says(&outcome.pss, TT_TOKEN, "lacks the right to sign (CKA_SIGN)");
    says(&outcome.pkcs1, TT_TOKEN, "lacks the right to sign (CKA_SIGN)");
    plan.uri = "token=odd;object=no-raw";
    outcome = run(&plan);
    says(&outcome.unwrap, TT_TOKEN, "neither RSA-OAEP with SHA-512 nor raw RSA");
    says(&outcome.pss, TT_OK, "");
    CU_ASSERT_EQUAL(outcome.pss.by, TT_PADDING_NATIVE);
}

/* A neighbour that libp11 does not know: older versions cannot list the keys then, and say so. */
static void an_unknown_neighbour(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=mixed;object=train", .loader = "libp11", .pin = PIN});
    if (outcome.open.status == TT_OK)
        works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    else
        says(&outcome.open, TT_TOKEN, "cannot list the private keys of token 'mixed'");
}

static void keys_that_want_the_pin_at_each_use(void)
{
    struct plan plan = {.uri = "token=odd;object=always-authenticate", .pin = PIN, .spy = true};
    struct outcome outcome = run(&plan);
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_EQUAL(calls("C_Login", "CKU_USER", true), 1);
    CU_ASSERT_EQUAL(calls("C_Login", "CKU_CONTEXT_SPECIFIC", true), 3);
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 4);
}

static void a_token_with_its_own_oaep(void)
{
    struct plan plan = {.uri = "token=station;object=train", .pin = PIN, .mock = "native-oaep", .spy = true};
    struct outcome outcome = run(&plan);
    works(&outcome, TT_PADDING_NATIVE, TT_PADDING_NATIVE);
    CU_ASSERT_EQUAL(calls("C_DecryptInit", "CKM_RSA_X_509", false), 0);
    CU_ASSERT_EQUAL(calls("C_Decrypt", NULL, false), 1);
    plan.mock = "native-oaep,no-raw";
    outcome = run(&plan);
    works(&outcome, TT_PADDING_NATIVE, TT_PADDING_NATIVE);
}

/* However a token does it, a bad ciphertext is one and the same error. */
static void bad_ciphertexts_are_all_alike(void)
{
    static const char *const mocks[] = {"", "native-oaep", "native-oaep,no-raw"};
    for (size_t i = 0; i < 3; i++) {
        struct plan plan = {.uri = "token=station;object=train", .pin = PIN, .mock = mocks[i], .tamper = true};
        struct outcome outcome = run(&plan);
        says(&outcome.unwrap, TT_TAMPERED, "the wrapped symmetric key does not open with this key");
        CU_ASSERT_STRING_EQUAL(outcome.unwrap.detail, "");
        plan.tamper = false;
        plan.wrap_size = 31;
        struct outcome other = run(&plan);
        CU_ASSERT_EQUAL(other.unwrap.status, TT_TAMPERED);
        CU_ASSERT_STRING_EQUAL(outcome.unwrap.message, other.unwrap.message);
        CU_ASSERT_STRING_EQUAL(other.unwrap.detail, "");
    }
}

static void a_token_that_can_do_neither(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = PIN, .mock = "no-raw"});
    says(&outcome.unwrap, TT_TOKEN, "cannot serve the protocol");
    CU_ASSERT_STRING_EQUAL(outcome.unwrap.detail, "CKR_MECHANISM_INVALID");
    outcome = run(&(struct plan){.uri = "token=strict;object=train", .pin = PIN});
    says(&outcome.open, TT_TOKEN, "no token matches"); /* the strict one lives in a folder of its own */
}

static void a_stuck_session_is_left_behind(void)
{
    struct plan plan = {.uri = "token=station;object=train", .pin = PIN, .mock = "sticky", .spy = true};
    struct outcome outcome = run(&plan);
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_EQUAL(calls("C_DecryptInit", "CKR_OPERATION_ACTIVE", false), 1);
    CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 1);
}

static void wrong_signatures_go_nowhere(void)
{
    struct plan plan = {.uri = "token=station;object=train", .pin = PIN, .mock = "bad-pss"};
    struct outcome outcome = run(&plan);
    works(&outcome, TT_PADDING_RAW, TT_PADDING_RAW);
    plan.mock = "bad-pss,bad-raw";
    outcome = run(&plan);
    says(&outcome.pss, TT_TOKEN, "wrong signature");
}

static void a_token_that_goes_away(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train", .pin = PIN, .mock = "removed"});
    says(&outcome.unwrap, TT_TOKEN, "the token was removed");
    CU_ASSERT_STRING_EQUAL(outcome.unwrap.detail, "CKR_DEVICE_REMOVED");
    says(&outcome.pss, TT_TOKEN, "the token was removed");
}

static void a_pin_in_the_uri_works(void)
{
    struct outcome outcome = run(&(struct plan){.uri = "token=station;object=train?pin-value=%31234", .pin = "0000"});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_STRING_EQUAL(outcome.warnings, "");
    outcome = run(&(struct plan){.uri = "token=station;object=train;pin-value=1234"});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "RFC 7512"));
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_text_format("token=station;object=train?pin-source=file:%s/pin", folder);
    outcome = run(&(struct plan){.uri = uri, .pin = "0000"});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "everyone on this machine can read"));
}

static void no_secret_survives(void)
{
    if (HAS_ASAN)
        return; /* its allocator keeps freed memory as it was */
    struct outcome outcome = run(&(struct plan){.uri = "token=secret;object=train", .look_for_pin = true});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_TRUE(outcome.pin_seen_during); /* looking for it can find it */
    CU_ASSERT_FALSE(outcome.pin_seen_after);
    CU_ASSERT_FALSE(outcome.key_seen_after);
    outcome = run(&(struct plan){.uri = "token=secret;object=always", .look_for_pin = true});
    works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
    CU_ASSERT_FALSE(outcome.pin_seen_after);
    CU_ASSERT_FALSE(outcome.key_seen_after);
    outcome = run(&(struct plan){.uri = "token=station;object=train", .look_for_pin = true}); /* a wrong one there */
    says(&outcome.open, TT_PIN, "the PIN is wrong");
    CU_ASSERT_FALSE(outcome.pin_seen_after);
}

/* OpenSSL's other ways to a key. The provider opens modules with RTLD_DEEPBIND, which ASan's run-time refuses. */
static const char *const other_loaders[] = {"engine", "provider"};

enum { OTHER_LOADERS = HAS_ASAN ? 1 : 2 };

static void other_loaders_spend_one_try(void)
{
    for (size_t i = 0; i < OTHER_LOADERS; i++) {
        bool is_engine = i == 0;
        struct plan plan = {.uri = "token=station;object=train", .loader = other_loaders[i], .spy = true};
        plan.mock = "locked";
        plan.pin = PIN;
        struct outcome outcome = run(&plan);
        says(&outcome.open, TT_PIN, "is locked");
        CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
        plan.mock = "final-try";
        outcome = run(&plan);
        says(&outcome.open, TT_PIN, "has 1 PIN try left");
        CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
        plan.last_pin_try = true;
        outcome = run(&plan);
        if (is_engine)
            works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
        else
            says(&outcome.open, TT_PIN, "'--key-loader libp11' does");
        CU_ASSERT_EQUAL(calls("C_Login", NULL, false), is_engine ? 1 : 0);
        plan.mock = "locks";
        plan.pin = "0000";
        outcome = run(&plan);
        says(&outcome.open, TT_PIN, "the PIN is wrong; it is locked now");
        CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 1);
    }
}

static void other_loaders_log_in_as_the_token_wants(void)
{
    for (size_t i = 0; i < OTHER_LOADERS; i++) {
        setenv("TT_MOCK_PIN", PIN, 1);
        struct plan plan = {.uri = "token=station;object=train", .loader = other_loaders[i], .mock = "keypad"};
        struct outcome outcome = run(&plan);
        works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
        CU_ASSERT_PTR_NOT_NULL(strstr(outcome.warnings, "keypad"));
        unsetenv("TT_MOCK_PIN");
        plan =
            (struct plan){.uri = "token=odd;object=open", .loader = other_loaders[i], .mock = "no-login", .spy = true};
        outcome = run(&plan);
        says(&outcome.unwrap, TT_OK, "");
        CU_ASSERT_EQUAL(calls("C_Login", NULL, false), 0);
        plan = (struct plan){.uri = "token=station;object=train", .loader = other_loaders[i], .pin = PIN};
        plan.mock = "native-oaep";
        outcome = run(&plan);
        works(&outcome, TT_PADDING_NATIVE, TT_PADDING_NATIVE);
        CU_ASSERT_STRING_EQUAL(outcome.loader, other_loaders[i]);
    }
}

static void other_loaders_keep_no_secret(void)
{
    static const char *const uris[] = {"token=secret;object=train", "token=secret;object=always"};
    for (size_t i = 0; i < OTHER_LOADERS && !HAS_ASAN; i++) {
        struct outcome outcome;
        for (size_t j = 0; j < 2; j++) {
            outcome = run(&(struct plan){.uri = uris[j], .loader = other_loaders[i], .look_for_pin = true});
            works(&outcome, TT_PADDING_RAW, TT_PADDING_NATIVE);
            CU_ASSERT_TRUE(outcome.pin_seen_during);
            CU_ASSERT_FALSE(outcome.pin_seen_after);
            CU_ASSERT_FALSE(outcome.key_seen_after);
        }
        outcome =
            run(&(struct plan){.uri = "token=station;object=train", .loader = other_loaders[i], .look_for_pin = true});
        says(&outcome.open, TT_PIN, "the PIN is wrong");
        CU_ASSERT_FALSE(outcome.pin_seen_after);
    }
}

/* The tokens. */

static bool softhsm(const char *command, ...)
{
    const char *arguments[12] = {TT_SOFTHSM, command, folder};
    size_t count = 3;
    va_list rest;
    va_start(rest, command);
    for (const char *argument; count < 11 && (argument = va_arg(rest, const char *)) != NULL;)
        arguments[count++] = argument;
    va_end(rest);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("TT_MAKE_KEY", TT_MAKE_KEY, 1);
        execv(TT_SOFTHSM, (char *const *)arguments);
        _exit(127);
    }
    int status = 1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "softhsm %s failed\n", command);
        return false;
    }
    return true;
}

static bool find_module(void)
{
    FILE *pipe = popen(TT_SOFTHSM " module", "r");
    bool found = pipe && fgets(module_path, sizeof module_path, pipe);
    module_path[strcspn(module_path, "\n")] = '\0';
    return pipe && pclose(pipe) == 0 && found;
}

static bool make_odd_keys(void)
{
    static const char *const kinds[] = {"ec",     "rsa1024", "no-decrypt", "no-sign", "always-authenticate",
                                        "hidden", "no-raw",  "open"};
    bool made = softhsm("token", "odd", PIN, NULL) &&
                softhsm("key", "odd", PIN, "a key with a label so long that the list of all keys fits no message", "20",
                        "2048", NULL);
    for (size_t i = 0; made && i < sizeof kinds / sizeof kinds[0]; i++) {
        char id[3] = {'1', (char)('0' + i), '\0'};
        made = softhsm("odd-key", "odd", PIN, kinds[i], id, kinds[i], NULL);
    }
    return made;
}

static bool make_tokens(void)
{
    char pin[32];
    char pin_file[64];
    unmask_pin(pin);
    snprintf(pin_file, sizeof pin_file, "%s/pin", folder);
    FILE *file = fopen(pin_file, "w");
    bool made = file && fputs(PIN "\n", file) >= 0 && fclose(file) == 0 && chmod(pin_file, 0644) == 0;
    made = made && find_module() && softhsm("init", NULL) && softhsm("token", "station", PIN, NULL) &&
           softhsm("key", "station", PIN, "train", "01", "2048", NULL) &&
           softhsm("import", "station", PIN, "aachen", "02", TT_VECTORS "/wide/keys/aachen.pem", NULL) &&
           softhsm("import", "station", PIN, "tuebingen", "03", TT_VECTORS "/wide/keys/tuebingen.pem", NULL) &&
           softhsm("key", "station", PIN, "twin", "04", "2048", NULL) &&
           softhsm("key", "station", PIN, "twin", "05", "2048", NULL) && softhsm("token", "double", PIN, NULL) &&
           softhsm("token", "double", PIN, NULL) && softhsm("token", "mixed", PIN, NULL) &&
           softhsm("odd-key", "mixed", PIN, "edwards", "01", "ed25519", NULL) &&
           softhsm("key", "mixed", PIN, "train", "02", "2048", NULL) && softhsm("token", "secret", pin, NULL) &&
           softhsm("key", "secret", pin, "train", "01", "2048", NULL) &&
           softhsm("odd-key", "secret", pin, "always", "02", "always-authenticate", NULL) && make_odd_keys();
    tt_wipe(pin, sizeof pin);
    return made;
}

static void remove_folder(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", folder, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"a key works and is told of", a_key_works_and_is_told_of},
        {"keys of all sizes work", keys_of_all_sizes_work},
        {"the token is used sparingly", the_token_is_used_sparingly},
        {"a train for another key is refused before the PIN", a_train_for_another_key_is_refused_before_the_pin},
        {"a wrong PIN is tried once", a_wrong_pin_is_tried_once},
        {"the last try is not risked", the_last_try_is_not_risked},
        {"a keypad takes the PIN itself", a_keypad_takes_the_pin_itself},
        {"no PIN is a clear error", no_pin_is_a_clear_error},
        {"tokens without login are warned of", tokens_without_login_are_warned_of},
        {"exactly one key has to match", exactly_one_key_has_to_match},
        {"exactly one token has to match", exactly_one_token_has_to_match},
        {"modules that are none", modules_that_are_none},
        {"libraries can be named", libraries_can_be_named},
        {"keys that cannot serve", keys_that_cannot_serve},
        {"an unknown neighbour", an_unknown_neighbour},
        {"keys that want the PIN at each use", keys_that_want_the_pin_at_each_use},
        {"a token with its own OAEP", a_token_with_its_own_oaep},
        {"bad ciphertexts are all alike", bad_ciphertexts_are_all_alike},
        {"a token that can do neither", a_token_that_can_do_neither},
        {"a stuck session is left behind", a_stuck_session_is_left_behind},
        {"wrong signatures go nowhere", wrong_signatures_go_nowhere},
        {"a token that goes away", a_token_that_goes_away},
        {"a PIN in the URI works", a_pin_in_the_uri_works},
        {"no secret survives", no_secret_survives},
        {"other loaders spend one try", other_loaders_spend_one_try},
        {"other loaders log in as the token wants", other_loaders_log_in_as_the_token_wants},
        {"other loaders keep no secret", other_loaders_keep_no_secret},
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || !mkdtemp(folder))
        return 1;
    char config[64];
    snprintf(config, sizeof config, "%s/softhsm2.conf", folder);
    setenv("SOFTHSM2_CONF", config, 1);
    int failed = make_tokens() ? SUITE_RUN("station_key", tests) : 1;
    remove_folder();
    return failed;
}
