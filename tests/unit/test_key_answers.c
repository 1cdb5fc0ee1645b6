/* What modules answer is not believed: a module of lies, played by a few functions. */
#include <openssl/evp.h>
#include <string.h>

#include "provisioning/key_check.h"
#include "provisioning/session.h"
#include "provisioning/token_init.h"
#include "suite.h"

static CK_ULONG said_first, said_then; /* lengths and counts, when asked how many, and when asked for them */

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    (void)present;
    *count = slots ? said_then : said_first;
    return CKR_OK;
}

static CK_RV get_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    (void)session, (void)object, (void)count;
    attributes->ulValueLen = attributes->pValue ? said_then : said_first;
    return CKR_OK;
}

static CK_RV hide_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                            CK_ULONG count)
{
    (void)session, (void)object, (void)count;
    attributes->ulValueLen = CK_UNAVAILABLE_INFORMATION;
    return CKR_ATTRIBUTE_TYPE_INVALID;
}

static CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count)
{
    (void)session, (void)template, (void)count;
    return CKR_OK;
}

static CK_RV find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *handles, CK_ULONG room, CK_ULONG *found)
{
    (void)session, (void)handles, (void)room;
    *found = said_then;
    return CKR_OK;
}

static CK_RV find_final(CK_SESSION_HANDLE session)
{
    (void)session;
    return CKR_OK;
}

static CK_FLAGS flags_now;
static char serial_now;
static unsigned logins, makings;

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    (void)slot;
    *info = (CK_TOKEN_INFO){.flags = flags_now};
    info->serialNumber[0] = (CK_CHAR)serial_now;
    return CKR_OK;
}

static CK_RV init_token(CK_SLOT_ID slot, CK_UTF8CHAR *pin, CK_ULONG length, CK_UTF8CHAR *label)
{
    (void)slot, (void)pin, (void)length, (void)label;
    makings++;
    return CKR_DEVICE_ERROR; /* that it came to this is enough */
}

static CK_RV login(CK_SESSION_HANDLE handle, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG length)
{
    (void)handle, (void)user, (void)pin, (void)length;
    logins++;
    return CKR_OK;
}

static CK_FUNCTION_LIST functions = {.C_GetSlotList = get_slot_list,
                                     .C_GetTokenInfo = get_token_info,
                                     .C_Login = login,
                                     .C_InitToken = init_token,
                                     .C_GetAttributeValue = get_attribute,
                                     .C_FindObjectsInit = find_init,
                                     .C_FindObjects = find,
                                     .C_FindObjectsFinal = find_final};
static struct tt_cryptoki cryptoki = {.path = (char *)"/a/module/of/lies.so", .functions = &functions};
static struct tt_session session = {.cryptoki = &cryptoki};

static void slots_that_found_no_room(void)
{
    static const CK_ULONG lies[][2] = {{2, 3}, {0, 2}, {1, (CK_ULONG)-1}, {(CK_ULONG)-1, 1}, {1000000, 1000000}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        struct tt_token *tokens = NULL;
        size_t count = 0;
        said_first = lies[i][0];
        said_then = lies[i][1];
        CU_ASSERT_EQUAL(tt_tokens_list(&cryptoki, &tokens, &count, &err), TT_TOKEN);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "lies.so cannot list its slots"));
        CU_ASSERT_PTR_NULL(tokens);
    }
}

static void values_longer_than_their_room(void)
{
    static const CK_ULONG lies[][2] = {{4, 5}, {0, 1}, {16, (CK_ULONG)-1}};
    functions.C_GetAttributeValue = get_attribute;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        unsigned char *value = NULL;
        size_t length = 0;
        said_first = lies[i][0];
        said_then = lies[i][1];
        CU_ASSERT_FALSE(tt_object_value(&session, 1, CKA_LABEL, 256, &value, &length));
        CU_ASSERT_PTR_NULL(value);
    }
}

static void more_objects_than_were_asked_for(void)
{
    CK_OBJECT_HANDLE handles[4] = {0};
    struct tt_error err = TT_ERROR_INIT;
    size_t count = 0;
    for (said_then = 5; said_then != 4; said_then = said_then == 5 ? (CK_ULONG)-1 : 4) {
        CU_ASSERT_EQUAL(tt_objects_find(&session, NULL, 0, handles, 4, &count, &err), TT_TOKEN);
        CU_ASSERT_EQUAL(count, 0);
    }
}

static enum tt_verdict other_use(const struct tt_key_policy *policy)
{
    const struct tt_key_object key = {
        .type = CKK_RSA, .unwrap = TT_ATTRIBUTE_UNKNOWN, .sign_recover = TT_ATTRIBUTE_UNKNOWN};
    struct tt_findings findings;
    CU_ASSERT_EQUAL_FATAL(tt_key_check(&session, &key, NULL, policy, &findings, NULL), TT_OK);
    for (size_t i = 0; i < findings.count; i++)
        if (strcmp(findings.items[i].name, "other-use") == 0)
            return findings.items[i].verdict;
    CU_FAIL_FATAL("nothing was said of other uses");
    return TT_VERDICT_OK;
}

static void rights_that_a_token_hides(void)
{
    const struct tt_key_policy easy = {0};
    const struct tt_key_policy strict = {.no_other_use = true};
    functions.C_GetAttributeValue = hide_attribute;
    CU_ASSERT_EQUAL(other_use(&easy), TT_VERDICT_OK);
    CU_ASSERT_EQUAL(other_use(&strict), TT_VERDICT_WRONG);
}

/* Others spend tries while the PIN is being typed. */
static void tries_that_are_spent_meanwhile(void)
{
    static const struct {
        CK_USER_TYPE user;
        CK_FLAGS flags;
        bool last_pin_try;
        enum tt_status status;
    } cases[] = {{CKU_USER, CKF_USER_PIN_FINAL_TRY, false, TT_PIN}, {CKU_USER, CKF_USER_PIN_LOCKED, true, TT_PIN},
                 {CKU_SO, CKF_SO_PIN_FINAL_TRY, false, TT_PIN},     {CKU_USER, CKF_SO_PIN_FINAL_TRY, false, TT_OK},
                 {CKU_USER, CKF_USER_PIN_FINAL_TRY, true, TT_OK},   {CKU_USER, 0, false, TT_OK}};
    struct tt_secret *typed TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_secret_new(TT_PIN_LIMIT + 1, &typed, NULL), TT_OK);
    typed->data[typed->length++] = '1';
    const struct tt_pin_sources sources = {.environment = typed, .descriptor = -1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_session one = session;
        struct tt_error err = TT_ERROR_INIT;
        one.token.info.flags = CKF_LOGIN_REQUIRED;
        flags_now = CKF_LOGIN_REQUIRED | cases[i].flags;
        logins = 0;
        CU_ASSERT_EQUAL(tt_session_login(&one, cases[i].user, &sources, cases[i].last_pin_try, NULL, &err),
                        cases[i].status);
        CU_ASSERT_EQUAL(logins, cases[i].status == TT_OK ? 1 : 0);
    }
}

/* Another card is in the reader, or somebody else was faster: nothing of theirs is erased. */
static void a_token_that_was_changed_meanwhile(void)
{
    static const struct {
        CK_FLAGS chosen, now;
        char serial, serial_now;
        unsigned makings;
    } cases[] = {{0, CKF_TOKEN_INITIALIZED, 'a', 'a', 0},
                 {CKF_TOKEN_INITIALIZED, CKF_TOKEN_INITIALIZED, 'a', 'b', 0},
                 {CKF_TOKEN_INITIALIZED, 0, 'a', 'a', 0},
                 {CKF_TOKEN_INITIALIZED, CKF_TOKEN_INITIALIZED, 'a', 'a', 1},
                 {0, 0, 'a', 'a', 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_token chosen = {.info = {.flags = cases[i].chosen}};
        struct tt_token made;
        struct tt_error err = TT_ERROR_INIT;
        chosen.info.serialNumber[0] = (CK_CHAR)cases[i].serial;
        flags_now = cases[i].now;
        serial_now = cases[i].serial_now;
        makings = 0;
        CU_ASSERT_EQUAL(tt_token_init(&cryptoki, &chosen, "station", NULL, NULL, false, &made, &err), TT_TOKEN);
        CU_ASSERT_EQUAL(makings, cases[i].makings);
        CU_ASSERT_EQUAL(strstr(err.message, "nothing was changed") != NULL, cases[i].makings == 0);
    }
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"slots that found no room", slots_that_found_no_room},
        {"values longer than their room", values_longer_than_their_room},
        {"more objects than were asked for", more_objects_than_were_asked_for},
        {"rights that a token hides", rights_that_a_token_hides},
        {"tries that are spent meanwhile", tries_that_are_spent_meanwhile},
        {"a token that was changed meanwhile", a_token_that_was_changed_meanwhile},
    };
    return SUITE_RUN("answers of modules", tests);
}
