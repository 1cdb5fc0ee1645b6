/* What a train is built on, and other questions that need a whole image: layouts that are made by hand. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "layout_bytes.h"
#include "protocol/against.h"
#include "protocol/base_image.h"
#include "protocol/blob_check.h"
#include "protocol/visit.h"
#include "suite.h"

/* --- a train's image and the one that it is built on --- */

enum { MOST = 4 };

struct pair {
    struct made_layout layout;
    char master[128];
    struct tt_image *image;
    char heard[256]; /* names of the checks that held */
};

typedef void (*make_layer)(struct tt_buffer *tar);

static void put_layer(struct made_layout *layout, make_layer make)
{
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    make(&tar);
    tar_put_end(&tar);
    layout_put_layer(layout, &tar, NULL);
}

static void system_files(struct tt_buffer *tar)
{
    tar_put_folder(tar, "etc/");
    tar_put_file(tar, "etc/passwd", "root:x:0:0::/:/bin/sh\n");
}

static void more_files(struct tt_buffer *tar)
{
    tar_put_file(tar, "usr/bin/python3", "ELF");
}

static void opt_link(struct tt_buffer *tar)
{
    tar_put_link(tar, "opt", '2', "srv");
}

static void results_link(struct tt_buffer *tar)
{
    tar_put_folder(tar, "opt/pht_results/");
    tar_put_link(tar, "opt/pht_results/l", '2', "/etc");
}

static void files_below_a_link(struct tt_buffer *tar)
{
    tar_put_link(tar, "opt/pht_results", '2', "/srv");
    tar_put_file(tar, "opt/pht_results/x", "x");
}

static void own_files(struct tt_buffer *tar)
{
    tar_put_folder(tar, "opt/pht_train/");
    tar_put_file(tar, "opt/pht_train/main.py", "print()");
    tar_put_file(tar, "opt/train_config.json", "{}");
}

static void files_through_a_link(struct tt_buffer *tar)
{
    tar_put_file(tar, "opt/pht_results/l/x", "x");
}

static void pair_clear(struct pair *pair)
{
    tt_image_free(pair->image);
    layout_remove(&pair->layout);
}

#define CONFIG(members) "\"config\":{\"Env\":[\"A=B\"]" members "},"
#define RUNS(words) ",\"Entrypoint\":[" words "]"
#define MAIN "\"/opt/pht_train/main.py\""

/* The train has the first `shared` of the master's layers, and then its own. */
static void pair_make_with(struct pair *pair, const make_layer *master, size_t shared, const make_layer *own,
                           const char *master_config, const char *own_config)
{
    char both[2048];
    *pair = (struct pair){.image = NULL};
    layout_make(&pair->layout);
    for (size_t i = 0; master[i]; i++)
        put_layer(&pair->layout, master[i]);
    layout_put_manifest(&pair->layout, master_config);
    char *master_entry TT_CLEANUP(tt_free_cleanup) = layout_entry(&pair->layout, "master", NULL);
    pair->layout.layer_count = shared;
    for (size_t i = 0; own[i]; i++)
        put_layer(&pair->layout, own[i]);
    layout_put_manifest(&pair->layout, own_config);
    char *train_entry TT_CLEANUP(tt_free_cleanup) = layout_entry(&pair->layout, "train", NULL);
    snprintf(both, sizeof both, "%s,%s", master_entry, train_entry);
    layout_put_index(&pair->layout, both);
    snprintf(pair->master, sizeof pair->master, "%s", layout_reference(&pair->layout, "master"));
    CU_ASSERT_EQUAL_FATAL(tt_image_open(layout_reference(&pair->layout, "train"), NULL, &pair->image, NULL), TT_OK);
}

static void pair_make(struct pair *pair, const make_layer *master, size_t shared, const make_layer *own)
{
    pair_make_with(pair, master, shared, own, CONFIG(), CONFIG(RUNS(MAIN)));
}

static void hear(void *user, const char *name, bool passed, const char *says)
{
    struct pair *pair = user;
    size_t used = strlen(pair->heard);
    CU_ASSERT_TRUE(passed && says[0]);
    snprintf(pair->heard + used, sizeof pair->heard - used, "%s ", name);
}

static enum tt_status compare(struct pair *pair, struct tt_error *err)
{
    char *files[] = {"main.py"};
    const struct tt_train train = {.files = files, .file_count = 1};
    pair->heard[0] = '\0';
    return against_check_image(pair->image, &train, pair->master, NULL, hear, pair, err);
}

static void expect(struct pair *pair, enum tt_status wanted, const char *words, const char *heard)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = compare(pair, &err);
    if (status != wanted || !strstr(err.message, words))
        printf("\n    %d: %s\n", (int)status, err.message);
    CU_ASSERT_EQUAL(status, wanted);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    CU_ASSERT_STRING_EQUAL(pair->heard, heard);
}

static void what_a_train_is_built_on(void)
{
    static const char all[] = "base-layers own-layers settings command ";
    static const char before[] = "base-layers ";
    static const struct {
        make_layer master[MOST];
        size_t shared;
        make_layer own[MOST];
        enum tt_status status;
        const char *words;
        const char *heard;
    } rows[] = {
        {{system_files}, 1, {own_files}, TT_OK, "", all},
        {{system_files, more_files}, 2, {own_files}, TT_OK, "", all},
        {{system_files, more_files}, 1, {NULL}, TT_TAMPERED, "its layer 2 should be sha256:", ""},
        {{system_files, more_files}, 1, {NULL}, TT_TAMPERED, "(unpacked) and is missing", ""},
        {{system_files, more_files}, 1, {own_files}, TT_TAMPERED, "its layer 2 should be sha256:", ""},
        {{more_files}, 0, {system_files, own_files}, TT_TAMPERED, "its layer 1 should be sha256:", ""},
        {{system_files}, 1, {own_files, more_files}, TT_TAMPERED, "'/usr/bin/python3' is none of a train's", before},
        {{system_files, own_files}, 2, {own_files}, TT_USAGE, ":master is a train itself", ""},
        {{opt_link}, 1, {own_files}, TT_TAMPERED, "/opt is a symbolic link where a folder must be", ""},
        {{results_link}, 1, {own_files}, TT_OK, "", all},
        {{results_link}, 1, {own_files, files_through_a_link}, TT_TAMPERED, "'/opt/pht_results/l' is a link", before},
        {{system_files}, 1, {own_files, files_through_a_link}, TT_OK, "", all},
        {{files_below_a_link}, 1, {own_files}, TT_TAMPERED, ":master: /opt/pht_results is a symbolic link", before},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pair pair TT_CLEANUP(pair_clear);
        pair_make(&pair, rows[i].master, rows[i].shared, rows[i].own);
        expect(&pair, rows[i].status, rows[i].words, rows[i].heard);
    }
}

static void blobs_come_first(void)
{
    static const make_layer master[] = {system_files, NULL};
    static const make_layer own[] = {own_files, NULL};
    for (size_t layer = 0; layer < 2; layer++) {
        struct pair pair TT_CLEANUP(pair_clear);
        pair_make(&pair, master, 1, own);
        layout_flip(&pair.layout, pair.layout.layers[layer].digest, -1);
        expect(&pair, TT_TAMPERED, pair.layout.layers[layer].digest, "");
        layout_flip(&pair.layout, pair.layout.layers[layer].digest, -1);
        expect(&pair, TT_OK, "", "base-layers own-layers settings command ");
    }
}

static void nothing_to_compare_with(void)
{
    static const make_layer master[] = {system_files, NULL};
    static const make_layer own[] = {own_files, NULL};
    struct pair pair TT_CLEANUP(pair_clear);
    pair_make(&pair, master, 1, own);
    char *files[] = {"main.py"};
    const char *const diff_ids[] = {pair.layout.layers[0].diff_id};
    const struct tt_train train = {.files = files, .file_count = 1};
    struct against_layers layers = {.diff_ids = diff_ids, .name = "the creator's manifest"};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(against_check_layers(pair.image, &train, &layers, NULL, NULL, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the creator's manifest has no layers: there is nothing"));
    layers.count = 1;
    CU_ASSERT_EQUAL(against_check_layers(pair.image, &train, &layers, NULL, NULL, &err), TT_OK);
    strcpy(pair.master, "oci:/nowhere:master");
    expect(&pair, TT_STORE, "/nowhere", "");
}

static void what_a_train_runs(void)
{
    static const make_layer master[] = {system_files, NULL};
    static const make_layer own[] = {own_files, NULL};
    static const char why[] = "is neither that of the image it is built on nor a file of its definition";
    static const struct {
        const char *own;
        enum tt_status status;
        const char *words;
    } rows[] = {
        {CONFIG(RUNS(MAIN)), TT_OK, ""},
        {CONFIG(RUNS("\"python3\"," MAIN)), TT_OK, ""},
        {CONFIG(RUNS("\"/usr/bin/python3\"," MAIN)), TT_OK, ""},
        {CONFIG(RUNS("\"/bin/../srv/x\"," MAIN)), TT_TAMPERED, why},
        {CONFIG(RUNS("\"-c\"," MAIN)), TT_TAMPERED, why},
        {CONFIG(RUNS("\"python3\",\"-i\"," MAIN)), TT_TAMPERED, why},
        {CONFIG(RUNS("\"/opt/pht_train/other.py\"")), TT_TAMPERED, why},
        {CONFIG(RUNS("\"/opt/pht_train.py\"")), TT_TAMPERED, why},
        {CONFIG(RUNS(MAIN) ",\"Cmd\":[\"x\"]"), TT_TAMPERED, why},
        {CONFIG(RUNS("\"/bin/sh\"")), TT_OK, ""}, /* the master's */
        {CONFIG(RUNS(MAIN) ",\"User\":\"root:root\""), TT_TAMPERED, "User"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pair pair TT_CLEANUP(pair_clear);
        bool holds = rows[i].status == TT_OK;
        bool others = holds || rows[i].words == why;
        pair_make_with(&pair, master, 1, own, CONFIG(RUNS("\"/bin/sh\"")), rows[i].own);
        expect(&pair, rows[i].status, rows[i].words,
               holds    ? "base-layers own-layers settings command "
               : others ? "base-layers own-layers settings "
                        : "base-layers own-layers ");
    }
}

static void programs(void)
{
    static const char *const good[] = {"python3", "/usr/bin/python3", "/.hidden/x", "/.a/x",    "/...",
                                       "/a/..b",  "/optical/x",       "/process",   "/devel/x", "/system/x"};
    static const char *const bad[] = {"",
                                      "-c",
                                      "./x",
                                      "bin/x",
                                      "/",
                                      "//bin/x",
                                      "/bin/",
                                      "/bin/./x",
                                      "/bin/../x",
                                      "/bin/..",
                                      "/bin/.",
                                      "/../bin/x",
                                      "/./x",
                                      "../x",
                                      "/opt/pht_train/x",
                                      "/opt/pht_results/x",
                                      "/proc/self/exe",
                                      "/dev/fd/3",
                                      "/sys/x"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT_TRUE(against_is_program(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(against_is_program(bad[i]));
}

/* --- threads beside the main work --- */

static void blobs_are_checked_beside_the_work(void)
{
    static const make_layer master[] = {system_files, NULL};
    static const make_layer own[] = {own_files, NULL};
    for (int broken = 0; broken < 2; broken++) {
        struct pair pair TT_CLEANUP(pair_clear);
        struct blob_check *check = NULL;
        struct tt_error err = TT_ERROR_INIT;
        pair_make(&pair, master, 1, own);
        if (broken)
            layout_flip(&pair.layout, pair.layout.layers[1].digest, -1);
        CU_ASSERT_EQUAL_FATAL(blob_check_start(pair.image, NULL, &check, &err), TT_OK);
        CU_ASSERT_EQUAL(blob_check_finish(check, &err), broken ? TT_TAMPERED : TT_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, broken ? pair.layout.layers[1].digest : ""));
        CU_ASSERT_EQUAL_FATAL(blob_check_start(pair.image, NULL, &check, &err), TT_OK);
        CU_ASSERT_EQUAL(blob_check_finish(check, NULL), broken ? TT_TAMPERED : TT_OK);
        CU_ASSERT_EQUAL_FATAL(blob_check_start(pair.image, NULL, &check, &err), TT_OK);
        blob_check_free(check);
    }
    blob_check_free(NULL);
}

static void a_base_that_is_not_there(void)
{
    struct base_image base = {0};
    struct tt_error err = TT_ERROR_INIT;
    const struct tt_stop_options options = {.image = "oci:/nowhere:latest", .base = "oci:/nowhere/else"};
    CU_ASSERT_EQUAL_FATAL(base_image_start(&base, &options, &err), TT_OK);
    CU_ASSERT_EQUAL(base_image_wait(&base, NULL), TT_STORE);
    CU_ASSERT_EQUAL(base_image_wait(&base, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the train's base image oci:/nowhere/else is needed"));
    base_image_clear(&base);
}

/* --- trains that leave, and tars that come --- */

static void only_trains_that_hold_leave(void)
{
    static const struct {
        const char *vector; /* NULL: no train */
        enum tt_status status;
        const char *words;
    } rows[] = {{NULL, TT_OK, ""},
                {"basic/stop1.opt.tar", TT_OK, ""},
                {"basic/stop1.decrypted.opt.tar", TT_WRONG_STOP, "is decrypted: whoever can read the registry"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct made_layout layout;
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        char path[512];
        layout_make(&layout);
        snprintf(path, sizeof path, "%s/%s", TT_VECTORS, rows[i].vector ? rows[i].vector : "");
        enum tt_status status = TT_OK;
        if (rows[i].vector)
            status = tt_file_read(AT_FDCWD, path, 1 << 24, &tar, &err);
        else
            system_files(&tar);
        CU_ASSERT_EQUAL_FATAL(status, TT_OK);
        layout_put_layer(&layout, &tar, NULL);
        layout_finish(&layout, "latest");
        const struct tt_image_options options = {.platform = NULL};
        const char *image = layout_reference(&layout, "latest");
        for (int with = 0; with < 2; with++) {
            CU_ASSERT_EQUAL(tt_departure_check(image, with ? &options : NULL, &err), rows[i].status);
            CU_ASSERT_PTR_NOT_NULL(strstr(err.message, rows[i].words));
        }
        layout_remove(&layout);
    }
}

static void config_of_size(struct tt_buffer *tar, size_t size)
{
    char *text TT_CLEANUP(tt_free_cleanup) = calloc(1, size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, ' ', size);
    tar_put_header(tar, &(struct tar_block){.name = "train_config.json", .type = '0', .size = size, .mode = 0644});
    tar_put_data(tar, text, size);
}

static void folder_config(struct tt_buffer *tar)
{
    tar_put_folder(tar, "train_config.json/");
}

static void link_config(struct tt_buffer *tar)
{
    tar_put_link(tar, "train_config.json", '2', "/etc/passwd");
}

static void large_config(struct tt_buffer *tar)
{
    config_of_size(tar, TT_TRAIN_CONFIG_LIMIT + 1);
}

static void largest_config(struct tt_buffer *tar)
{
    config_of_size(tar, TT_TRAIN_CONFIG_LIMIT);
}

static void tars_have_a_configuration(void)
{
    static const char why[] = "has no train_config.json of a fitting size";
    static const struct {
        make_layer make;
        const char *words;
    } rows[] = {{system_files, why},
                {folder_config, why},
                {link_config, why},
                {large_config, why},
                {largest_config, "train_config.json"}}; /* is read, and is none */
    char name[] = "/tmp/traintoken-tar-XXXXXX";
    int file TT_CLEANUP(tt_close_cleanup) = mkstemp(name);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_train *train = NULL;
        struct tt_error err = TT_ERROR_INIT;
        rows[i].make(&tar);
        tar_put_end(&tar);
        CU_ASSERT_EQUAL_FATAL(ftruncate(file, 0), 0);
        CU_ASSERT_EQUAL_FATAL(lseek(file, 0, SEEK_SET), 0);
        CU_ASSERT_EQUAL_FATAL(tt_file_write_all(file, tar.data, tar.length, name, &err), TT_OK);
        CU_ASSERT_EQUAL(visit_read_tar(name, &train, &err), TT_MALFORMED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, rows[i].words));
        CU_ASSERT_EQUAL(strstr(err.message, why) != NULL, i < 4);
    }
    unlink(name);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"what a train is built on", what_a_train_is_built_on},
        {"blobs come first", blobs_come_first},
        {"nothing to compare with", nothing_to_compare_with},
        {"what a train runs", what_a_train_runs},
        {"programs", programs},
        {"blobs are checked beside the work", blobs_are_checked_beside_the_work},
        {"a base that is not there", a_base_that_is_not_there},
        {"only trains that hold leave", only_trains_that_hold_leave},
        {"tars have a configuration", tars_have_a_configuration},
    };
    return SUITE_RUN("against", tests);
}
