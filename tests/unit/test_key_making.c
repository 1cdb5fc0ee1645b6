#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#include "provisioning/key_file.h"
#include "provisioning/key_wish.h"
#include "provisioning/token_pin.h"
#include "suite.h"

static void mechanisms_are_read(void)
{
    struct tt_key_wish wish = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_key_wish_allow(&wish, "oaep,CKM_RSA_PKCS_PSS,ckm_rsa_x_509,PKCS1", &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(wish.allowed_count, 4);
    CU_ASSERT_EQUAL(wish.allowed[0], CKM_RSA_PKCS_OAEP);
    CU_ASSERT_EQUAL(wish.allowed[1], CKM_RSA_PKCS_PSS);
    CU_ASSERT_EQUAL(wish.allowed[2], CKM_RSA_X_509);
    CU_ASSERT_EQUAL(wish.allowed[3], CKM_RSA_PKCS);
    CU_ASSERT_STRING_EQUAL(tt_mechanism_name(CKM_RSA_PKCS_OAEP), "CKM_RSA_PKCS_OAEP");
    CU_ASSERT_PTR_NULL(tt_mechanism_name(CKM_AES_CBC));
}

static void other_mechanisms_are_refused(void)
{
    static const char *const lists[] = {
        "",      ",",       "oaep,", ",oaep",    "oaep,,pss",
        "oaepx", "CKM_DES", "oae",   "oaep pss", "raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw,raw"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct tt_key_wish wish = {0};
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(tt_key_wish_allow(&wish, lists[i], &err), TT_USAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--allow-mechanisms"));
    }
}

static void reasons_name_what_said_no(void)
{
    const struct tt_probe_result refused = {.native = CKR_ARGUMENTS_BAD, .raw = CKR_MECHANISM_INVALID};
    const struct tt_probe_result wrong = {.native = CKR_OK, .raw = 0x80000001UL, .is_wrong = true};
    char *one TT_CLEANUP(tt_free_cleanup) = tt_probe_reason(&refused, "OAEP");
    char *other TT_CLEANUP(tt_free_cleanup) = tt_probe_reason(&wrong, "PSS");
    CU_ASSERT_STRING_EQUAL(one, "its own OAEP: CKR_ARGUMENTS_BAD, raw RSA: CKR_MECHANISM_INVALID");
    CU_ASSERT_STRING_EQUAL(other, "its own PSS: a wrong outcome, raw RSA: CKR_0x80000001");
    CU_ASSERT_STRING_EQUAL(tt_probe_way_name(TT_PROBE_RAW), "raw");
}

static struct tt_secret *pin_of(const char *text)
{
    struct tt_secret *pin = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_secret_new(TT_PIN_LIMIT + 1, &pin, NULL), TT_OK);
    pin->length = strlen(text);
    memcpy(pin->data, text, pin->length);
    return pin;
}

static void a_new_pin_has_to_fit(void)
{
    struct tt_token token = {.info = {.ulMinPinLen = 4, .ulMaxPinLen = 8}};
    struct tt_error err = TT_ERROR_INIT;
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = pin_of("123456789");
    CU_ASSERT_EQUAL(tt_token_pin_fits(&token, pin, "PIN", &err), TT_PIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "too long"));
    pin->length = 3;
    CU_ASSERT_EQUAL(tt_token_pin_fits(&token, pin, "PIN", &err), TT_PIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "too short"));
    pin->length = 8;
    CU_ASSERT_EQUAL(tt_token_pin_fits(&token, pin, "PIN", &err), TT_OK);
    CU_ASSERT_EQUAL(tt_token_pin_fits(&token, NULL, "PIN", &err), TT_OK);
    token.info.ulMaxPinLen = 0; /* says nothing */
    pin->length = 9;
    CU_ASSERT_EQUAL(tt_token_pin_fits(&token, pin, "PIN", &err), TT_OK);
}

static void pins_are_compared(void)
{
    struct tt_secret *one TT_CLEANUP(tt_secret_free_cleanup) = pin_of("1234");
    struct tt_secret *same TT_CLEANUP(tt_secret_free_cleanup) = pin_of("1234");
    struct tt_secret *longer TT_CLEANUP(tt_secret_free_cleanup) = pin_of("12345");
    CU_ASSERT_TRUE(tt_pin_equal(one, same));
    CU_ASSERT_FALSE(tt_pin_equal(one, longer));
    CU_ASSERT_FALSE(tt_pin_equal(one, NULL));
    CU_ASSERT_FALSE(tt_pin_equal(NULL, NULL));
}

static void variables_are_taken_away(void)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    setenv("TT_TEST_PIN", "throw-away", 1);
    char *place = getenv("TT_TEST_PIN");
    CU_ASSERT_EQUAL(tt_pin_take_variable("TT_TEST_PIN", &pin, NULL), TT_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pin);
    CU_ASSERT_EQUAL(pin->length, strlen("throw-away"));
    CU_ASSERT_EQUAL(place[0], '\0'); /* where it stood */
    CU_ASSERT_PTR_NULL(getenv("TT_TEST_PIN"));
}

/* Files. */

static char path[] = "/tmp/traintoken-test-key-XXXXXX";

static void write_key(EVP_PKEY *key, const char *passphrase)
{
    FILE *file TT_CLEANUP(tt_fclose_cleanup) = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(
        PEM_write_PKCS8PrivateKey(file, key, passphrase ? EVP_aes_256_cbc() : NULL, NULL, 0, NULL, (void *)passphrase),
        1);
}

static void files_are_read_and_shredded(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    struct tt_secret *passphrase TT_CLEANUP(tt_secret_free_cleanup) = pin_of("throw-away");
    struct tt_pin_sources sources = {.descriptor = -1, .environment = passphrase, .token = path, .name = "passphrase"};
    struct tt_key_file file TT_CLEANUP(tt_key_file_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    write_key(key, "throw-away");
    CU_ASSERT_EQUAL_FATAL(tt_key_file_read(path, &sources, &file, &err), TT_OK);
    CU_ASSERT_EQUAL(EVP_PKEY_eq(file.key, key), 1);
    CU_ASSERT_EQUAL(tt_key_file_can_shred(path, &file, &err), TT_OK);
    struct tt_key_file another = file;
    another.inode++;
    CU_ASSERT_EQUAL(tt_key_file_shred(path, &another, &err), TT_STORE);
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    CU_ASSERT_EQUAL(tt_key_file_shred(path, &file, &err), TT_OK);
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    CU_ASSERT_EQUAL(tt_key_file_shred(path, &file, &err), TT_STORE);
    EVP_PKEY_free(key);
}

static void a_wrong_passphrase_is_no_other_fault(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    struct tt_secret *passphrase TT_CLEANUP(tt_secret_free_cleanup) = pin_of("wrong");
    struct tt_pin_sources sources = {.descriptor = -1, .environment = passphrase, .token = path, .name = "passphrase"};
    struct tt_key_file file TT_CLEANUP(tt_key_file_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    write_key(key, "throw-away");
    CU_ASSERT_EQUAL(tt_key_file_read(path, &sources, &file, &err), TT_PIN);
    CU_ASSERT_PTR_NULL(file.key);
    unlink(path);
    EVP_PKEY_free(key);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"mechanisms are read", mechanisms_are_read},
        {"other mechanisms are refused", other_mechanisms_are_refused},
        {"reasons name what said no", reasons_name_what_said_no},
        {"a new PIN has to fit", a_new_pin_has_to_fit},
        {"PINs are compared", pins_are_compared},
        {"variables are taken away", variables_are_taken_away},
        {"files are read and shredded", files_are_read_and_shredded},
        {"a wrong passphrase is no other fault", a_wrong_passphrase_is_no_other_fault},
    };
    tt_key_file_prepare();
    int descriptor = mkstemp(path);
    if (descriptor < 0)
        return 1;
    close(descriptor);
    return SUITE_RUN("making keys", tests);
}
