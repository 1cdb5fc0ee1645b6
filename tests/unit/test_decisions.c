/* Decisions of the protocol that no whole train leads to easily: what is said of keys that nobody trusts, and files and
 * links at the edges of the rules. */
#include <fcntl.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "protocol/file_list.h"
#include "protocol/protocol.h"
#include "protocol/visit.h"
#include "suite.h"

/* --- keys that are not trusted --- */

enum { NAMES = 40 };

static char said[NAMES + 2][2000];
static size_t said_count;

static void listen_to(void *user, enum tt_log_level level, const char *message)
{
    (void)user, (void)level;
    if (said_count < sizeof said / sizeof said[0])
        snprintf(said[said_count++], sizeof said[0], "%s", message);
}

/* A train with stops of these ids, all with one key. */
static enum tt_status check_keys(const char *const *stations, size_t count, const struct tt_trust_options *options,
                                 const char *own, struct tt_error *err)
{
    static EVP_PKEY *key;
    struct tt_named_key items[NAMES + 1] = {{.role = TT_TRUST_CREATOR, .id = "researcher"}};
    struct tt_stop stops[NAMES] = {0};
    struct tt_train train = {.creator_id = (char *)"researcher", .stops = stops, .stop_count = count};
    struct tt_named_keys keys = {.train = &train, .items = items, .count = count + 1};
    if (!key)
        key = EVP_RSA_gen(2048);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    for (size_t i = 0; i < count; i++) {
        stops[i].station = (char *)stations[i];
        items[i + 1] = (struct tt_named_key){.role = TT_TRUST_STATION, .id = stations[i]};
    }
    for (size_t i = 0; i <= count; i++)
        items[i].key = key;
    said_count = 0;
    tt_log_set_sink(listen_to, NULL);
    enum tt_status status = tt_named_keys_check(&keys, own, options, "oci:it's here", err);
    tt_log_set_sink(NULL, NULL);
    return status;
}

static void expect_said(const char *words)
{
    for (size_t i = 0; i < said_count; i++)
        if (strstr(said[i], words))
            return;
    printf("\n    not said: %s; but: %s\n", words, said_count > 0 ? said[said_count - 1] : "nothing");
    CU_FAIL("not said");
}

static void commands_can_be_pasted(void)
{
    static const char *const stations[] = {"7", "", "a b", "it's", "-x", "$(reboot)"};
    const struct tt_trust_options options = {.folder = "/trust here"};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(check_keys(stations, 6, &options, NULL, &err), TT_UNTRUSTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "7 of 7 keys"));
    CU_ASSERT_EQUAL(said_count, 7);
    expect_said("traintoken trust add --trust '/trust here' --from 'oci:it'\\''s here' creator");
    expect_said("--from 'oci:it'\\''s here' station 7");
    expect_said(" station ''");
    expect_said(" station 'a b'");
    expect_said(" station 'it'\\''s'");
    expect_said(" -- station -x");
    expect_said(" station '$(reboot)'");
    CU_ASSERT_EQUAL(check_keys(stations, 1, &(struct tt_trust_options){0}, NULL, &err), TT_UNTRUSTED);
    expect_said("traintoken trust add --from");
    static const char *const unprintable[] = {"a\nb"};
    CU_ASSERT_EQUAL(check_keys(unprintable, 1, &(struct tt_trust_options){0}, NULL, &err), TT_UNTRUSTED);
    expect_said("traintoken trust add (the names are no names for a command line)");
}

static void own_key_is_not_asked_about(void)
{
    static const char *const stations[] = {"7", "8"};
    const struct tt_trust_options options = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(check_keys(stations, 2, &options, "8", &err), TT_UNTRUSTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "2 of 2 keys"));
    CU_ASSERT_PTR_NULL(strstr(err.message, "station '8'"));
    CU_ASSERT_EQUAL(check_keys(stations, 2, &options, "9", NULL), TT_UNTRUSTED);
    CU_ASSERT_EQUAL(said_count, 3);
}

static void long_names_are_cut(void)
{
    static char names[NAMES][64];
    static char longest[1200];
    const char *stations[NAMES];
    const struct tt_trust_options options = {0};
    struct tt_error err = TT_ERROR_INIT;
    for (size_t i = 0; i < NAMES; i++) {
        snprintf(names[i], sizeof names[i], "station with a name that is somewhat long %02zu", i);
        stations[i] = names[i];
    }
    CU_ASSERT_EQUAL(check_keys(stations, NAMES, &options, NULL, &err), TT_UNTRUSTED);
    CU_ASSERT_EQUAL(said_count, NAMES + 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "41 of 41 keys"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "somewhat long 05', "));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, ", ...: compare"));
    memset(longest, 'x', sizeof longest - 1);
    const struct tt_trust_options far = {.folder = longest};
    CU_ASSERT_EQUAL(check_keys(stations, 1, &far, NULL, &err), TT_UNTRUSTED);
    expect_said("traintoken trust add (the names are no names for a command line)");
}

static void keys_of_the_train_are_believed_loudly(void)
{
    static const char *const stations[] = {"7"};
    const struct tt_trust_options options = {.train_keys = true};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(check_keys(stations, 1, &options, NULL, &err), TT_OK);
    expect_said("2 of 2 keys are BELIEVED only because the train names them");
}

/* --- a store that cannot be asked --- */

static bool no_answer;

enum tt_status __real_tt_trust_check(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                     const EVP_PKEY *key, time_t now, struct tt_error *err);
enum tt_status __wrap_tt_trust_check(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                     const EVP_PKEY *key, time_t now, struct tt_error *err);
enum tt_status __wrap_tt_trust_check(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                     const EVP_PKEY *key, time_t now, struct tt_error *err)
{
    return no_answer ? tt_error_memory(err) : __real_tt_trust_check(trust, role, id, key, now, err);
}

/* Not even who believes whatever a train names goes on. */
static void no_answer_is_no_trust(void)
{
    static const char *const stations[] = {"7"};
    no_answer = true;
    for (int believing = 0; believing < 2; believing++) {
        const struct tt_trust_options options = {.train_keys = believing};
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(check_keys(stations, 1, &options, NULL, &err), TT_INTERNAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "memory"));
        CU_ASSERT_EQUAL(check_keys(stations, 1, &options, NULL, NULL), TT_INTERNAL);
        CU_ASSERT_EQUAL(said_count, 0);
    }
    no_answer = false;
}

/* --- the keys of a train that comes as a tar --- */

static enum tt_status read_changed(const char *from, const char *to, struct tt_error *err)
{
    static char text[1 << 17];
    struct tt_named_keys keys TT_CLEANUP(tt_named_keys_clear) = {0};
    char name[] = "/tmp/train-XXXXXX";
    FILE *vector TT_CLEANUP(tt_fclose_cleanup) = fopen(TT_VECTORS "/basic/stop1.opt.tar", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(vector);
    size_t length = fread(text, 1, sizeof text, vector);
    char *place = from ? memmem(text, length, from, strlen(from)) : text;
    CU_ASSERT_PTR_NOT_NULL_FATAL(place);
    if (from)
        memcpy(place, to, strlen(from));
    int file TT_CLEANUP(tt_close_cleanup) = mkstemp(name);
    CU_ASSERT_EQUAL_FATAL(tt_file_write_all(file, text, length, name, err), TT_OK);
    enum tt_status status = tt_named_keys(name, NULL, &keys, err);
    CU_ASSERT_EQUAL(keys.count, status == TT_OK ? 4 : 0);
    unlink(name);
    return status;
}

/* Nobody takes a key from a train whose route, or what signs it, does not hold. */
static void a_changed_train_names_no_keys(void)
{
    static const char first_digest[] = "6335a2a81d4f";
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(read_changed(NULL, NULL, &err), TT_OK);
    CU_ASSERT_EQUAL(read_changed("\"result_hash\"", "\"result_none\"", &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "result_hash"));
    CU_ASSERT_EQUAL(read_changed(first_digest, "6335a2a81d4e", &err), TT_TAMPERED);
    CU_ASSERT_EQUAL(read_changed("44bec8566eb9", "44bec8566eb8", &err), TT_TAMPERED); /* the session id */
    CU_ASSERT_EQUAL(read_changed("\"route\"", "\"rouge\"", &err), TT_MALFORMED);
}

/* --- the trust store --- */

static void times_are_whole(void)
{
    static const char whole[] = "2026-11-22T01:02:03Z";
    char text[sizeof whole];
    int64_t time = 0;
    CU_ASSERT_TRUE(tt_trust_time_parse(whole, &time));
    CU_ASSERT_EQUAL(time, 1795309323);
    for (size_t i = 0; i + 1 < sizeof whole; i++) {
        memcpy(text, whole, sizeof whole);
        text[i] = '/'; /* before the digits */
        CU_ASSERT_FALSE(tt_trust_time_parse(text, &time));
        text[i] = ';'; /* behind them */
        CU_ASSERT_FALSE(tt_trust_time_parse(text, &time));
        text[i] = '\0';
        CU_ASSERT_EQUAL(tt_trust_time_parse(text, &time), i == 10);
    }
    CU_ASSERT_FALSE(tt_trust_time_parse("2026-11-22T01:02:03Zx", &time));
    CU_ASSERT_FALSE(tt_trust_time_parse("2026-00-22", &time));
    CU_ASSERT_FALSE(tt_trust_time_parse("2026-02-29", &time));
    CU_ASSERT_FALSE(tt_trust_time_parse("2026-11-22T24:00:00Z", &time));
    CU_ASSERT_FALSE(tt_trust_time_parse("2026-11-22T01:60:00Z", &time));
    CU_ASSERT_FALSE(tt_trust_time_parse("2026-11-22T01:00:61Z", &time));
    CU_ASSERT_TRUE(tt_trust_time_parse("2028-02-29", &time));
}

static void expect_folder(const char *named, const char *config_home, const char *home, const char *expected)
{
    const char *const settings[][2] = {{"TRAINTOKEN_TRUST", named}, {"XDG_CONFIG_HOME", config_home}, {"HOME", home}};
    char *folder TT_CLEANUP(tt_free_cleanup) = NULL;
    for (size_t i = 0; i < 3; i++) {
        int outcome = settings[i][1] ? setenv(settings[i][0], settings[i][1], 1) : unsetenv(settings[i][0]);
        CU_ASSERT_EQUAL_FATAL(outcome, 0);
    }
    CU_ASSERT_EQUAL_FATAL(tt_trust_default_folder(&folder, NULL), TT_OK);
    CU_ASSERT_STRING_EQUAL(folder, expected);
}

/* Root, and whoever is on a machine that has one, uses the machine's store. */
static void the_usual_store(void)
{
    static const char machine[] = "/etc/traintoken/trust";
    bool is_root = geteuid() == 0;
    expect_folder("/named", "/config", "/home/x", "/named");
    if (is_root) {
        expect_folder("", "/config", "/home/x", machine);
        CU_ASSERT_EQUAL_FATAL(seteuid(65534), 0);
    }
    bool has_store = access(machine, F_OK) == 0;
    expect_folder("/named", NULL, NULL, "/named");
    expect_folder(NULL, "/config", "/home/x", has_store ? machine : "/config/traintoken/trust");
    expect_folder("", "", "/home/x", has_store ? machine : "/home/x/.config/traintoken/trust");
    expect_folder(NULL, "config", "/home/x", has_store ? machine : "/home/x/.config/traintoken/trust");
    expect_folder(NULL, NULL, "/home/x", has_store ? machine : "/home/x/.config/traintoken/trust");
    expect_folder(NULL, NULL, "x", machine);
    expect_folder(NULL, NULL, "", machine);
    expect_folder(NULL, NULL, NULL, machine);
    if (is_root)
        CU_ASSERT_EQUAL_FATAL(seteuid(0), 0);
}

/* --- files --- */

static void no_free(void *store)
{
    (void)store;
}

struct item {
    const char *path;
    enum tt_entry_type type;
    const char *target;
};

static struct tt_file_set *make_set(const struct item *items, size_t count)
{
    static const struct tt_file_set_ways ways = {.free = no_free};
    struct tt_file_set *set = NULL;
    struct tt_entry *entries = calloc(count, sizeof *entries);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct tt_entry){.path = strdup(items[i].path),
                                       .type = items[i].type,
                                       .mode = 0644,
                                       .link_target = items[i].target ? strdup(items[i].target) : NULL};
    CU_ASSERT_EQUAL_FATAL(tt_file_set_new(entries, count, &ways, NULL, &set, NULL), TT_OK);
    return set;
}

static enum tt_status list_one(const char *path, enum tt_entry_type type, const char *order, struct tt_error *err)
{
    const struct item items[] = {{"opt/pht_train", TT_ENTRY_FOLDER, NULL}, {path, type, "x"}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = make_set(items, 2);
    struct file_list list TT_CLEANUP(file_list_clear) = {0};
    return file_list_make(set, order, &list, err);
}

static void expect_unlisted(const char *path, enum tt_entry_type type, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(list_one(path, type, NULL, &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
}

static void definitions_have_plain_files(void)
{
    char longest[5000] = "opt/pht_train/";
    expect_unlisted("opt/pht_train/.wh.x", TT_ENTRY_FILE, "stands for a removed file");
    expect_unlisted("opt/pht_train/lib/.wh.x", TT_ENTRY_FILE, "stands for a removed file");
    expect_unlisted("opt/pht_train/link", TT_ENTRY_SYMLINK, "a train takes only files and folders");
    expect_unlisted("opt/pht_train/\xff", TT_ENTRY_FILE, "not UTF-8");
    expect_unlisted("opt/pht_train/folder", TT_ENTRY_FOLDER, "has no file");
    expect_unlisted("opt/pht_train/query.json", TT_ENTRY_FILE, "has no file");
    memset(longest + strlen(longest), 'x', 4900);
    expect_unlisted(longest, TT_ENTRY_FILE, "the definition's file name 'xxx");
}

static void orders_may_be_odd(void)
{
    struct tt_error err = TT_ERROR_INIT;
    char name[] = "/tmp/order-XXXXXX";
    int file = mkstemp(name);
    CU_ASSERT_EQUAL(list_one("opt/pht_train/a", TT_ENTRY_FILE, name, &err), TT_USAGE); /* an empty one */
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "does not name 'a'"));
    CU_ASSERT_EQUAL(tt_file_write_all(file, "query.json\na\n", 13, name, &err), TT_OK);
    CU_ASSERT_EQUAL(list_one("opt/pht_train/a", TT_ENTRY_FILE, name, &err), TT_OK);
    CU_ASSERT_EQUAL(list_one("opt/pht_train/b", TT_ENTRY_FILE, name, &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "names 'a', which is not in the definition"));
    close(file);
    unlink(name);
    CU_ASSERT_NOT_EQUAL(list_one("opt/pht_train/a", TT_ENTRY_FILE, name, &err), TT_OK);
}

static void expect_link(const char *at, const char *target, enum tt_status expected)
{
    const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL}, {at, TT_ENTRY_SYMLINK, target}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = make_set(items, 2);
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = results_check(set, false, false, &err);
    CU_ASSERT_EQUAL(status, expected);
    if (status != expected)
        printf("\n    %.40s -> %.40s: %d %s\n", at, target, status, err.message);
}

static void links_have_limits(void)
{
    static char text[3 * 4096];
    char path[4096] = "opt/pht_results/";
    memset(text, 'x', 300);
    expect_link("opt/pht_results/z", text, TT_TAMPERED); /* a component that no file can have */
    for (size_t i = 0; i < 4000; i += 2)
        memcpy(text + i, "./", 3);
    expect_link("opt/pht_results/z", text, TT_OK);
    for (size_t i = 0; i < 4090; i += 2)
        memcpy(text + i, "d/", 3);
    memset(path + strlen(path), 'y', 200);
    strcpy(path + 216, "/z");
    expect_link("opt/pht_results/z", text, TT_TAMPERED); /* where it leads, no path does */
    expect_link("opt/pht_results/z", "a//b/", TT_OK);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"commands can be pasted", commands_can_be_pasted},
        {"our own key is not asked about", own_key_is_not_asked_about},
        {"long names are cut", long_names_are_cut},
        {"keys of the train are believed loudly", keys_of_the_train_are_believed_loudly},
        {"no answer is no trust", no_answer_is_no_trust},
        {"a changed train names no keys", a_changed_train_names_no_keys},
        {"times are whole", times_are_whole},
        {"the usual store", the_usual_store},
        {"definitions have plain files", definitions_have_plain_files},
        {"orders may be odd", orders_may_be_odd},
        {"links have limits", links_have_limits},
    };
    return SUITE_RUN("decisions", tests);
}
