#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "archive/tar_files.h"
#include "base/file.h"
#include "protocol/chain.h"
#include "protocol/file_list.h"
#include "protocol/visit.h"
#include "suite.h"

/* --- file sets without content --- */

static void no_free(void *store)
{
    (void)store;
}

static const struct tt_file_set_ways no_ways = {.free = no_free};

struct item {
    const char *path;
    enum tt_entry_type type;
    const char *target;
    uint64_t size;
};

static struct tt_file_set *make_set(const struct item *items, size_t count)
{
    struct tt_file_set *set = NULL;
    struct tt_error err = TT_ERROR_INIT;
    struct tt_entry *entries = calloc(count, sizeof *entries);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct tt_entry){.path = strdup(items[i].path),
                                       .type = items[i].type,
                                       .mode = 0644,
                                       .size = items[i].size,
                                       .link_target = items[i].target ? strdup(items[i].target) : NULL};
    CU_ASSERT_EQUAL_FATAL(tt_file_set_new(entries, count, &no_ways, NULL, &set, &err), TT_OK);
    return set;
}

#define MAKE_SET(items) make_set(items, sizeof(items) / sizeof(items)[0])

/* --- results --- */

static void expect_link(const char *at, const char *target, bool inside)
{
    const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_results/a", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_results/a/b", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_results/a/b/up", TT_ENTRY_SYMLINK, "/opt/pht_results", 0},
                                 {at, TT_ENTRY_SYMLINK, target, 0}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = results_check(set, false, false, &err);
    CU_ASSERT_EQUAL(status, inside ? TT_OK : TT_TAMPERED);
    if (status != (inside ? TT_OK : TT_TAMPERED))
        printf("\n    %s -> %s: %d %s\n", at, target, status, err.message);
    if (!inside)
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "leads outside"));
}

static void links_stay_inside_the_results(void)
{
    expect_link("opt/pht_results/z", "a", true);
    expect_link("opt/pht_results/z", "a/b/up/a", true);
    expect_link("opt/pht_results/z", "missing", true);
    expect_link("opt/pht_results/z", "./a/../a", true);
    expect_link("opt/pht_results/z", "/opt/pht_results/a", true);
    expect_link("opt/pht_results/z", "/opt/pht_results", true);
    expect_link("opt/pht_results/a/z", "../a", true);
    expect_link("opt/pht_results/z", "/../opt/pht_results/a", true); /* above the root is the root */
    expect_link("opt/pht_results/z", "/opt/../../opt/pht_results", true);
    expect_link("opt/pht_results/z", "/../etc", false);
    expect_link("opt/pht_results/z", "/opt/..", false);
    expect_link("opt/pht_results/z", "..", false);
    expect_link("opt/pht_results/z", "../pht_train/main.py", false);
    expect_link("opt/pht_results/z", "../pht_results/a", false); /* leaves on the way */
    expect_link("opt/pht_results/z", "/etc/passwd", false);
    expect_link("opt/pht_results/z", "/", false);
    expect_link("opt/pht_results/z", "/opt", false);
    expect_link("opt/pht_results/z", "/opt/pht_results.so", false);
    expect_link("opt/pht_results/z", "/opt/pht_results/../pht_train", false);
    expect_link("opt/pht_results/z", "//opt/./pht_results/a", true);
    expect_link("opt/pht_results/z", "/opt/../opt/pht_results/a", true); /* never was inside */
    expect_link("opt/pht_results/z", "/opt/pht_results/../pht_results/a", false);
    expect_link("opt/pht_results/z", "a/b/up/../pht_results/a", false);
    /* By name this is the folder a; a kernel goes from the results folder one up. */
    expect_link("opt/pht_results/z", "a/b/up/..", false);
}

/* A link that leads through the folder link `d`, with so many bytes behind that on its way. */
static void expect_way(size_t way, size_t behind, enum tt_status expected)
{
    static char through[PATH_MAX + 8];
    static char there[PATH_MAX + 8];
    const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_results/d", TT_ENTRY_SYMLINK, there, 0},
                                 {"opt/pht_results/z", TT_ENTRY_SYMLINK, through, 0}};
    struct tt_error err = TT_ERROR_INIT;
    memset(there, '/', sizeof there);
    memcpy(there, ".", 1);
    there[way] = '\0';
    memset(through, '/', sizeof through);
    memcpy(through, "d", 1);
    through[1 + behind] = '\0';
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
    CU_ASSERT_EQUAL(results_check(set, false, false, &err), expected);
    if (expected != TT_OK)
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is a symbolic link to"));
}

static void long_ways_are_refused(void)
{
    char path[2 * PATH_MAX] = "opt/pht_results/";
    expect_way(1, 1, TT_OK);
    expect_way(PATH_MAX - 2, 1, TT_TAMPERED);
    expect_way(PATH_MAX - 4, 1, TT_OK);
    expect_way(PATH_MAX - 1, 0, TT_TAMPERED);
    expect_way(2000, 2000, TT_OK);
    expect_way(2000, 2200, TT_TAMPERED);
    memset(path + strlen(path), 'y', PATH_MAX);
    for (int too_long = 0; too_long < 2; too_long++) {
        path[PATH_MAX - 1 + too_long] = '\0';
        const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL, 0}, {path, TT_ENTRY_SYMLINK, "x", 0}};
        struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
        CU_ASSERT_EQUAL(results_check(set, false, false, NULL), too_long ? TT_TAMPERED : TT_OK);
        path[PATH_MAX - 1] = 'y';
    }
}

static void links_that_loop_are_refused(void)
{
    const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_results/x", TT_ENTRY_SYMLINK, "y", 0},
                                 {"opt/pht_results/y", TT_ENTRY_SYMLINK, "x", 0}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(results_check(set, false, false, &err), TT_TAMPERED);
}

static enum tt_status check_one_result(enum tt_entry_type type, const char *target, uint64_t size, bool encrypted,
                                       bool first_stop, struct tt_error *err)
{
    const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_results/x", type, target, size}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
    return results_check(set, encrypted, first_stop, err);
}

static void results_hold_files_folders_and_links(void)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_FILE, NULL, 5, false, false, &err), TT_OK);
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_FOLDER, NULL, 0, true, true, &err), TT_OK);
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_FILE, NULL, 32, true, false, &err), TT_OK);
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_FILE, NULL, 33, true, false, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_results/x cannot be an encrypted file"));
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_FILE, NULL, 32, true, true, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "before the first stop"));
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_SPECIAL, NULL, 0, false, false, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "special file"));
    CU_ASSERT_EQUAL(check_one_result(TT_ENTRY_HARDLINK, "etc/passwd", 0, false, false, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "hard link to /etc/passwd"));
    struct tt_file_set *none TT_CLEANUP(tt_file_set_free_cleanup) = make_set(NULL, 0);
    CU_ASSERT_EQUAL(results_check(none, true, true, &err), TT_OK);
}

static void hard_links_lead_to_files(void)
{
    static const struct {
        const char *target;
        const char *words;
    } rows[] = {
        {"opt/pht_results/file", NULL},
        {"opt/pht_results/folder", "is a hard link to /opt/pht_results/folder, which is no file among the results"},
        {"opt/pht_results/link", "is a hard link to /opt/pht_results/link, which is no file among the results"},
        {"opt/pht_results/missing", "which is no file among the results"},
        {"opt/pht_results/x", "is a hard link to /opt/pht_results/x, which is no file among the results"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct item items[] = {{"opt/pht_results", TT_ENTRY_FOLDER, NULL, 0},
                                     {"opt/pht_results/file", TT_ENTRY_FILE, NULL, 32},
                                     {"opt/pht_results/folder", TT_ENTRY_FOLDER, NULL, 0},
                                     {"opt/pht_results/link", TT_ENTRY_SYMLINK, "file", 0},
                                     {"opt/pht_results/x", TT_ENTRY_HARDLINK, rows[i].target, 0}};
        struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(results_check(set, true, false, &err), rows[i].words ? TT_TAMPERED : TT_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, rows[i].words ? rows[i].words : ""));
    }
}

static void entries_that_come_by(void)
{
    static const struct {
        const char *path;
        enum tt_entry_type type;
        enum tt_status status;
        const char *words;
    } rows[] = {{"opt/pht_results", TT_ENTRY_FOLDER, TT_OK, ""},
                {"opt/pht_results", TT_ENTRY_FILE, TT_TAMPERED, "/opt/pht_results is a file where a folder must be"},
                {"opt/pht_results/x", TT_ENTRY_FILE, TT_OK, ""},
                {"opt/pht_results/x", TT_ENTRY_SPECIAL, TT_TAMPERED, "results have only files, folders and links"},
                {"opt/pht_results/.wh.x", TT_ENTRY_FILE, TT_MALFORMED, "stands for a removed file"},
                {"opt/pht_results/.whx", TT_ENTRY_FILE, TT_OK, ""},
                {".wh.x", TT_ENTRY_FILE, TT_MALFORMED, "stands for a removed file"},
                {"x", TT_ENTRY_FILE, TT_OK, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        const struct tt_entry entry = {.path = (char *)rows[i].path, .type = rows[i].type};
        CU_ASSERT_EQUAL(results_check_entry(&entry, &err), rows[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, rows[i].words));
    }
}

static void the_results_folder_is_a_folder(void)
{
    const struct item items[] = {{"opt/pht_results", TT_ENTRY_SYMLINK, "/tmp", 0}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(results_check(set, false, false, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_results is a symbolic link where a folder must be"));
}

/* --- the definition --- */

static enum tt_status check_definition(const struct item *items, size_t count, bool arrives, struct tt_error *err)
{
    char *files[] = {"main.py", "lib/a.py"};
    struct tt_train train = {.files = files, .file_count = 2};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = make_set(items, count);
    return definition_check(&train, set, arrives ? DEFINITION_ARRIVES : DEFINITION_RAN, NULL, err);
}

static void the_definition_is_exactly_what_is_listed(void)
{
    struct item items[] = {{"opt/pht_train", TT_ENTRY_FOLDER, NULL, 0},
                           {"opt/pht_train/lib", TT_ENTRY_FOLDER, NULL, 0},
                           {"opt/pht_train/lib/a.py", TT_ENTRY_FILE, NULL, 32},
                           {"opt/pht_train/main.py", TT_ENTRY_FILE, NULL, 48},
                           {"opt/pht_train/query.json", TT_ENTRY_FILE, NULL, 64}};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(check_definition(items, 5, true, &err), TT_OK);
    CU_ASSERT_EQUAL(check_definition(items, 4, true, &err), TT_OK);
    CU_ASSERT_EQUAL(check_definition(items, 3, true, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_train/main.py is in file_list but not in the image"));
    items[4].path = "opt/pht_train/shadow.py";
    CU_ASSERT_EQUAL(check_definition(items, 5, true, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_train/shadow.py is not in file_list"));
    items[3].size = 47;
    CU_ASSERT_EQUAL(check_definition(items, 4, true, &err), TT_TAMPERED);
    CU_ASSERT_EQUAL(check_definition(items, 4, false, &err), TT_OK);
    items[3] = (struct item){"opt/pht_train/main.py", TT_ENTRY_SYMLINK, "lib/a.py", 0};
    CU_ASSERT_EQUAL(check_definition(items, 4, true, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is a symbolic link"));
    items[3] = (struct item){"opt/pht_train/main.py", TT_ENTRY_HARDLINK, "opt/pht_train/lib/a.py", 0};
    CU_ASSERT_EQUAL(check_definition(items, 4, true, &err), TT_TAMPERED);
    items[3] = (struct item){"opt/pht_train/main.py", TT_ENTRY_FOLDER, NULL, 0};
    CU_ASSERT_EQUAL(check_definition(items, 4, true, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is in file_list but is no file"));
    items[0].type = TT_ENTRY_FILE;
    CU_ASSERT_EQUAL(check_definition(items, 1, false, &err), TT_TAMPERED);
    CU_ASSERT_EQUAL(check_definition(NULL, 0, false, &err), TT_MALFORMED);
}

/* A Python interpreter that runs as root leaves compiled modules beside the train's own: they go nowhere. */
static void compiled_python_is_left_out(void)
{
    struct item items[] = {{"opt/pht_train", TT_ENTRY_FOLDER, NULL, 0},
                           {"opt/pht_train/__pycache__", TT_ENTRY_FOLDER, NULL, 0},
                           {"opt/pht_train/__pycache__/a.pyc", TT_ENTRY_FILE, NULL, 47},
                           {"opt/pht_train/lib", TT_ENTRY_FOLDER, NULL, 0},
                           {"opt/pht_train/lib/a.py", TT_ENTRY_FILE, NULL, 32},
                           {"opt/pht_train/main.py", TT_ENTRY_FILE, NULL, 32},
                           {"opt/pht_train/x__pycache__", TT_ENTRY_FILE, NULL, 32}};
    static const bool taken[] = {false, false, false, true, true, true};
    char *listed[] = {"main.py", "lib/a.py"};
    struct tt_train train = {.files = listed, .file_count = 2};
    struct tt_error err = TT_ERROR_INIT;
    for (enum definition_moment moment = DEFINITION_ARRIVES; moment <= DEFINITION_RAN; moment++) {
        struct definition_files files TT_CLEANUP(definition_files_clear) = {0};
        struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = make_set(items, 6);
        CU_ASSERT_EQUAL_FATAL(definition_check(&train, set, moment, &files, &err), TT_OK);
        CU_ASSERT_EQUAL(files.left_out, 1);
        for (size_t i = 1; i < sizeof taken / sizeof taken[0]; i++)
            CU_ASSERT_EQUAL(files.taken[i], taken[i]);
        struct tt_file_set *more TT_CLEANUP(tt_file_set_free_cleanup) = make_set(items, 7);
        CU_ASSERT_EQUAL(definition_check(&train, more, moment, NULL, &err), TT_TAMPERED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_train/x__pycache__ is not in file_list"));
    }
    items[2] = (struct item){"opt/pht_train/__pycache__/a.pyc", TT_ENTRY_SYMLINK, "/etc", 0};
    struct tt_file_set *link TT_CLEANUP(tt_file_set_free_cleanup) = make_set(items, 6);
    CU_ASSERT_EQUAL(definition_check(&train, link, DEFINITION_RAN, NULL, &err), TT_TAMPERED);
}

static void names_like_that_of_compiled_python(void)
{
    static const struct {
        const char *path;
        uint64_t size;
        const char *words; /* why it is refused; NULL when it is not */
        size_t left_out;
    } rows[] = {
        {"opt/pht_train/__pycache__/a.pyc", 5, NULL, 1},
        {"opt/pht_train/lib/__pycache__", 5, NULL, 1},
        {"opt/pht_train/__pycache__x/__pycache__/a.pyc", 5, NULL, 1},
        {"opt/pht_train/__pycache__x/a.pyc", 32, "/opt/pht_train/__pycache__x/a.pyc is not in file_list", 0},
        {"opt/pht_train/x__pycache__/a.pyc", 32, "is not in file_list", 0},
        {"opt/pht_train/__pycache__/listed.pyc", 32, NULL, 0},
        {"opt/pht_train/__pycache__/listed.pyc", 5, "cannot be an encrypted file: it has 5 bytes", 0},
        {"opt/pht_train.so", 32, "/opt/pht_train.so is not in file_list", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct item items[] = {{"opt/pht_train", TT_ENTRY_FOLDER, NULL, 0},
                                     {rows[i].path, TT_ENTRY_FILE, NULL, rows[i].size}};
        char *listed[] = {"__pycache__/listed.pyc"};
        struct tt_train train = {.files = listed, .file_count = strstr(rows[i].path, "listed") != NULL};
        struct definition_files files TT_CLEANUP(definition_files_clear) = {0};
        struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
        struct tt_error err = TT_ERROR_INIT;
        enum tt_status status = definition_check(&train, set, DEFINITION_ARRIVES, &files, &err);
        CU_ASSERT_EQUAL(status, rows[i].words ? TT_TAMPERED : TT_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, rows[i].words ? rows[i].words : ""));
        CU_ASSERT_EQUAL(files.left_out, rows[i].left_out);
    }
}

/* --- the chain of signatures, on the vectors --- */

static struct tt_train *read_train(const char *tar)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    struct tt_train *train = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_tar_files(tar, "train_config.json", TT_TRAIN_CONFIG_PATH, &files, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_file_set_count(files), 1);
    size_t size = (size_t)tt_file_set_entry(files, 0)->size;
    char *text TT_CLEANUP(tt_free_cleanup) = malloc(size);
    CU_ASSERT_EQUAL_FATAL(tt_file_set_read(files, 0, 0, text, size, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_train_parse(text, size, &train, &err), TT_OK);
    return train;
}

static enum tt_status verify_chain(const struct tt_train *train, struct tt_error *err)
{
    struct train_keys keys TT_CLEANUP(train_keys_clear) = {0};
    size_t position = 0;
    CU_ASSERT_EQUAL_FATAL(train_keys_parse(train, &keys, err), TT_OK);
    enum tt_status status = tt_route_position(train, &position, err);
    return status == TT_OK ? chain_verify(train, &keys, position, NULL, NULL, err) : status;
}

static void the_vectors_chains_hold(void)
{
    static const char *const tars[] = {
        TT_VECTORS "/basic/stop0.opt.tar", TT_VECTORS "/basic/stop1.opt.tar", TT_VECTORS "/basic/stop2.opt.tar",
        TT_VECTORS "/basic/stop3.opt.tar", TT_VECTORS "/wide/stop0.opt.tar",  TT_VECTORS "/wide/stop1.opt.tar",
        TT_VECTORS "/wide/stop2.opt.tar",
    };
    for (size_t i = 0; i < sizeof tars / sizeof tars[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = read_train(tars[i]);
        CU_ASSERT_EQUAL(verify_chain(train, &err), TT_OK);
    }
}

static void expect_broken(uint8_t *byte, const struct tt_train *train, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    *byte ^= 0x01;
    CU_ASSERT_EQUAL(verify_chain(train, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    if (!strstr(err.message, words))
        printf("\n    expected '%s' in '%s'\n", words, err.message);
    *byte ^= 0x01;
    CU_ASSERT_EQUAL(verify_chain(train, &err), TT_OK);
}

static void every_bit_of_the_chain_counts(void)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = read_train(TT_VECTORS "/basic/stop2.opt.tar");
    expect_broken(&train->hash[5], train, "the creator's signature of the definition hash");
    expect_broken(&train->signature.data[7], train, "the creator's signature of the definition hash");
    expect_broken(&train->build_signature.data[0], train, "the builder's signature");
    expect_broken(&train->stops[0].digest[1], train, "the signature of stop 0");
    expect_broken(&train->stops[0].signature.data[1], train, "the signature of stop 0");
    expect_broken(&train->stops[1].signature.data[200], train, "the signature of stop 1");
    expect_broken(&train->result_hash[63], train, "the last station's signature of the result hash");
    expect_broken(&train->result_signature.data[63], train, "the last station's signature of the result hash");
}

static void a_digest_of_another_run_is_refused(void)
{
    /* Stop 0 of a train that is at stop 1: its signature is good, but for another session. */
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = read_train(TT_VECTORS "/basic/stop1.opt.tar");
    expect_broken(&train->session_id[0], train, "comes from another train or another run");
}

static void a_train_is_at_one_stop_only(void)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = read_train(TT_VECTORS "/basic/stop1.opt.tar");
    CU_ASSERT_EQUAL(chain_is_at(train, 1, &err), TT_OK);
    CU_ASSERT_EQUAL(chain_is_at(train, 0, &err), TT_WRONG_STOP);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "was at station 'station_1'"));
    CU_ASSERT_EQUAL(chain_is_at(train, 2, &err), TT_WRONG_STOP);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "out of order"));
}

/* The configuration's parser lets none so long through. */
static void long_signatures_are_refused(void)
{
    static uint8_t longest[TT_TRAIN_SIGNATURE_LIMIT + 1];
    struct tt_error err = TT_ERROR_INIT;
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = read_train(TT_VECTORS "/basic/stop1.opt.tar");
    const struct tt_bytes own = train->signature;
    train->signature = (struct tt_bytes){.data = longest, .length = sizeof longest};
    CU_ASSERT_EQUAL(verify_chain(train, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "signature is too long"));
    train->signature.length--;
    CU_ASSERT_EQUAL(verify_chain(train, &err), TT_TAMPERED);
    train->signature = own;
    CU_ASSERT_EQUAL(verify_chain(train, &err), TT_OK);
}

/* --- file_list of a new train --- */

static void file_lists_follow_the_order_that_was_asked_for(void)
{
    const struct item items[] = {{"opt/pht_train", TT_ENTRY_FOLDER, NULL, 0},
                                 {"opt/pht_train/a", TT_ENTRY_FILE, NULL, 1},
                                 {"opt/pht_train/b", TT_ENTRY_FILE, NULL, 1},
                                 {"opt/pht_train/query.json", TT_ENTRY_FILE, NULL, 1}};
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = MAKE_SET(items);
    struct tt_error err = TT_ERROR_INIT;
    struct file_list list TT_CLEANUP(file_list_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(file_list_make(set, NULL, &list, &err), TT_OK);
    CU_ASSERT_EQUAL(list.count, 2);
    CU_ASSERT_STRING_EQUAL(list.names[0], "a");
    file_list_clear(&list);

    char name[] = "order-XXXXXX";
    int file = mkstemp(name);
    CU_ASSERT_EQUAL(tt_file_write_all(file, "./b\na\n", 6, name, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(file_list_make(set, name, &list, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(list.names[0], "b");
    CU_ASSERT_STRING_EQUAL(list.names[1], "a");
    file_list_clear(&list);
    CU_ASSERT_EQUAL(ftruncate(file, 4), 0);
    CU_ASSERT_EQUAL(file_list_make(set, name, &list, &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "does not name 'a'"));
    close(file);
    unlink(name);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"links stay inside the results", links_stay_inside_the_results},
        {"long ways are refused", long_ways_are_refused},
        {"links that loop are refused", links_that_loop_are_refused},
        {"results hold files, folders and links", results_hold_files_folders_and_links},
        {"hard links lead to files", hard_links_lead_to_files},
        {"entries that come by", entries_that_come_by},
        {"the results folder is a folder", the_results_folder_is_a_folder},
        {"the definition is exactly what is listed", the_definition_is_exactly_what_is_listed},
        {"compiled Python is left out", compiled_python_is_left_out},
        {"names like that of compiled Python", names_like_that_of_compiled_python},
        {"the vectors' chains hold", the_vectors_chains_hold},
        {"every bit of the chain counts", every_bit_of_the_chain_counts},
        {"a digest of another run is refused", a_digest_of_another_run_is_refused},
        {"a train is at one stop only", a_train_is_at_one_stop_only},
        {"long signatures are refused", long_signatures_are_refused},
        {"file lists follow the order that was asked for", file_lists_follow_the_order_that_was_asked_for},
    };
    return SUITE_RUN("protocol", tests);
}
