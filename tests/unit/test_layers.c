/* Layers out of what an engine hands out, and the rules for a train's own. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "crypto/digest.h"
#include "failing_calls.h"
#include "image/docker_saved.h"
#include "protocol/layer_rules.h"
#include "suite.h"
#include "tar_bytes.h"

enum { LAYERS = 4 };

/* An image of some layers, and the archive that an engine makes of it. */
struct saved_image {
    char texts[LAYERS][7 + 2 * TT_SHA256_SIZE + 1];
    const char *diff_ids[LAYERS];
    size_t count;
    struct tt_buffer archive;
    uint64_t fails_at; /* the source fails after so many bytes; 0: it does not */
    uint64_t given;
    struct tar_memory memory;
};

static void saved_clear(struct saved_image *saved)
{
    tt_buffer_clear(&saved->archive);
}

static void put_file(struct tt_buffer *archive, const char *name, const struct tt_buffer *content)
{
    tar_put_header(archive, &(struct tar_block){.name = name, .type = '0', .size = content->length, .mode = 0644});
    tar_put_data(archive, content->data, content->length);
}

static void name_layer(struct saved_image *saved, const struct tt_buffer *layer)
{
    uint8_t value[TT_SHA256_SIZE];
    char *text = saved->texts[saved->count];
    CU_ASSERT_EQUAL_FATAL(tt_digest_once(TT_SHA256, layer->data, layer->length, value, NULL), TT_OK);
    strcpy(text, "sha256:");
    tt_hex_encode(value, sizeof value, text + 7);
    saved->diff_ids[saved->count++] = text;
}

static void put_layer(struct saved_image *saved, const struct tt_buffer *layer)
{
    char name[32];
    name_layer(saved, layer);
    snprintf(name, sizeof name, "%zu/layer.tar", saved->count);
    put_file(&saved->archive, name, layer);
}

static enum tt_status failing_read(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct saved_image *saved = user;
    struct tt_source source = tar_source(&saved->memory, false);
    enum tt_status status = source.read(source.user, data, capacity < 700 ? capacity : 700, ret_length, err);
    saved->given += *ret_length;
    return saved->fails_at && saved->given > saved->fails_at ? tt_error_set(err, TT_STORE, "the source broke") : status;
}

static enum tt_status visit(struct saved_image *saved, size_t first, struct tt_error *err)
{
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
    struct tt_docker_saved request = {
        .what = "the test", .layers = saved->diff_ids, .count = saved->count, .first = first};
    saved->memory = (struct tar_memory){.tar = &saved->archive};
    saved->given = 0;
    struct tt_source source = {.read = failing_read, .user = saved};
    CU_ASSERT_EQUAL_FATAL(layer_rules_new(first, saved->count, &rules, NULL), TT_OK);
    struct tt_layer_visitor visitor = layer_rules_visitor(rules);
    enum tt_status status = tt_docker_saved_visit(&request, &source, &visitor, err);
    return status == TT_OK ? layer_rules_finish(rules, err) : status;
}

static void expect(struct saved_image *saved, size_t first, enum tt_status wanted, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = visit(saved, first, &err);
    if (status != wanted || !strstr(err.message, words))
        printf("\n  %d: %s\n", (int)status, err.message);
    CU_ASSERT_EQUAL(status, wanted);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    if (wanted != TT_OK)
        CU_ASSERT_NOT_EQUAL(visit(saved, first, NULL), TT_OK);
}

static struct tt_buffer results_layer(const char *name)
{
    struct tt_buffer layer = {0};
    tar_put_folder(&layer, "opt/");
    tar_put_folder(&layer, "opt/pht_results/");
    tar_put_file(&layer, name, "content");
    tar_put_end(&layer);
    return layer;
}

static void layers_are_found_by_their_digests(void)
{
    struct saved_image saved TT_CLEANUP(saved_clear) = {0};
    struct tt_buffer low TT_CLEANUP(tt_buffer_clear) = results_layer("etc/passwd");
    struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = results_layer("opt/pht_results/one");
    struct tt_buffer packed TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer noise TT_CLEANUP(tt_buffer_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&noise, "\x1F\x8B noise", 8, NULL), TT_OK);
    tar_compress(&one, "zstd", &packed);
    tar_put_folder(&saved.archive, "a/");
    put_file(&saved.archive, "a/VERSION", &noise);
    put_layer(&saved, &low);
    name_layer(&saved, &one);
    put_file(&saved.archive, "blobs/sha256/x", &packed);
    name_layer(&saved, &one); /* the same once more, as empty layers are */
    tar_put_link(&saved.archive, "b/layer.tar", '2', "../a");
    tar_put_end(&saved.archive);
    expect(&saved, 1, TT_OK, "");
    expect(&saved, 2, TT_OK, "");
    expect(&saved, 3, TT_OK, "");
    expect(&saved, 0, TT_TAMPERED, "1/layer.tar in the test: the file '/etc/passwd' is none of a train's files");
    saved.diff_ids[2] = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    expect(&saved, 1, TT_STORE, "did not send the layer sha256:00000000");
    expect(&saved, 2, TT_STORE, "did not send the layer sha256:00000000");
}

static void names_only_save_work(void)
{
    struct saved_image saved TT_CLEANUP(saved_clear) = {0};
    struct tt_buffer low TT_CLEANUP(tt_buffer_clear) = results_layer("etc/passwd");
    struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = results_layer("opt/pht_results/one");
    char name[100];
    name_layer(&saved, &low);
    name_layer(&saved, &one);
    snprintf(name, sizeof name, "blobs/sha256/%s", saved.diff_ids[1] + 7);
    put_file(&saved.archive, name, &low); /* under another's name */
    snprintf(name, sizeof name, "%s.tar", saved.diff_ids[0] + 7);
    put_file(&saved.archive, name, &one); /* under the name of one that nobody wants */
    tar_put_end(&saved.archive);
    expect(&saved, 1, TT_STORE, "did not send the layer");
    expect(&saved, 0, TT_TAMPERED, "/etc/passwd");
}

static void archives_that_make_no_sense(void)
{
    struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = results_layer("opt/pht_results/one");
    for (uint64_t at = 1; at < 9000; at += 499) {
        struct saved_image saved TT_CLEANUP(saved_clear) = {.fails_at = at};
        put_layer(&saved, &one);
        tar_put_end(&saved.archive);
        struct tt_error err = TT_ERROR_INIT;
        enum tt_status status = visit(&saved, 0, &err);
        CU_ASSERT_TRUE(status == TT_OK || (status == TT_STORE && strstr(err.message, "the source broke")));
        CU_ASSERT_TRUE(status != TT_OK || at > one.length);
    }
    for (size_t length = 0; length < one.length; length += 300) {
        struct saved_image saved TT_CLEANUP(saved_clear) = {0};
        put_layer(&saved, &one);
        saved.archive.length = length;
        CU_ASSERT_EQUAL(visit(&saved, 0, NULL), TT_STORE);
    }
}

static void an_endless_archive_has_an_end(void)
{
    struct saved_image saved TT_CLEANUP(saved_clear) = {0};
    struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = results_layer("opt/pht_results/one");
    name_layer(&saved, &one);
    for (size_t i = 0; i <= TT_DOCKER_SAVED_LIMIT; i++)
        tar_put_file(&saved.archive, "x", "");
    put_file(&saved.archive, "late", &one);
    tar_put_end(&saved.archive);
    expect(&saved, 0, TT_STORE, "more than 20000 files");
}

static void holes_are_refused(void)
{
    static const char map[] = "1\n1000000000000\n0\n";
    struct saved_image saved TT_CLEANUP(saved_clear) = {0};
    struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = results_layer("opt/pht_results/one");
    name_layer(&saved, &one);
    struct tt_buffer records TT_CLEANUP(tt_buffer_clear) = {0};
    static const char text[] = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=x\n"
                               "37 GNU.sparse.realsize=1000000000000\n";
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&records, text, sizeof text - 1, NULL), TT_OK);
    tar_put_header(&saved.archive,
                   &(struct tar_block){.name = "pax", .type = 'x', .size = records.length, .mode = 0644});
    tar_put_data(&saved.archive, records.data, records.length);
    tar_put_header(&saved.archive, &(struct tar_block){.name = "x", .type = '0', .size = 512, .mode = 0644});
    tar_put_data(&saved.archive, map, sizeof map - 1);
    put_file(&saved.archive, "one", &one);
    tar_put_end(&saved.archive);
    expect(&saved, 0, TT_STORE, "a sparse file");
}

static void what_is_remembered_has_a_limit(void)
{
    struct saved_image saved TT_CLEANUP(saved_clear) = {0};
    struct tt_buffer links TT_CLEANUP(tt_buffer_clear) = {0};
    char name[64];
    for (int i = 0; i <= TT_ENTRY_LIMIT; i++) {
        snprintf(name, sizeof name, "opt/pht_results/%d", i);
        tar_put_link(&links, name, '2', "x");
    }
    tar_put_end(&links);
    put_layer(&saved, &links);
    tar_put_end(&saved.archive);
    expect(&saved, 0, TT_MALFORMED, "too many folders and links");
}

/* A layer that counts twice has one memory, which is freed once, and its links lie below it the second time. */
static void layers_that_are_equal(void)
{
    for (int twice = 0; twice < 2; twice++) {
        struct saved_image saved TT_CLEANUP(saved_clear) = {0};
        struct tt_buffer link TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_buffer through TT_CLEANUP(tt_buffer_clear) = results_layer("opt/pht_results/link/x");
        tar_put_folder(&link, "opt/pht_results/");
        tar_put_link(&link, "opt/pht_results/link", '2', "/etc");
        tar_put_link(&link, "opt/pht_results/hard", '1', "opt/pht_results/link");
        tar_put_end(&link);
        put_layer(&saved, &link);
        name_layer(&saved, &link);
        if (twice)
            put_layer(&saved, &through);
        tar_put_end(&saved.archive);
        expect(&saved, 0, twice ? TT_TAMPERED : TT_OK, twice ? "/opt/pht_results/link' is a link" : "");
    }
}

static void links_of_the_image_below(void)
{
    struct tt_entry link = {.path = (char *)"opt/pht_results/l", .type = TT_ENTRY_SYMLINK};
    struct tt_entry file = {.path = (char *)"opt/pht_results/f", .type = TT_ENTRY_FILE};
    struct tt_entry inside = {.path = (char *)"opt/pht_results/l/x", .type = TT_ENTRY_FILE};
    struct tt_entry folder = {.path = (char *)"opt/pht_results/l", .type = TT_ENTRY_FOLDER};
    for (int replaced = 0; replaced < 2; replaced++) {
        struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
        CU_ASSERT_EQUAL_FATAL(layer_rules_new(2, 3, &rules, NULL), TT_OK);
        CU_ASSERT_EQUAL(layer_rules_below(rules, &link, NULL), TT_OK);
        CU_ASSERT_EQUAL(layer_rules_below(rules, &file, NULL), TT_OK);
        struct tt_layer_visitor visitor = layer_rules_visitor(rules);
        visitor.begin(visitor.user);
        if (replaced)
            CU_ASSERT_EQUAL(visitor.entry(visitor.user, &folder, NULL), TT_OK);
        CU_ASSERT_EQUAL(visitor.entry(visitor.user, &inside, NULL), TT_OK);
        CU_ASSERT_EQUAL(visitor.end(visitor.user, 1, NULL), TT_INTERNAL);
        CU_ASSERT_EQUAL(visitor.end(visitor.user, 3, NULL), TT_INTERNAL);
        CU_ASSERT_EQUAL(visitor.end(visitor.user, 2, NULL), TT_OK);
        CU_ASSERT_EQUAL(layer_rules_finish(rules, NULL), replaced ? TT_OK : TT_TAMPERED);
    }
}

/* --- single entries --- */

struct judged {
    const char *path;
    enum tt_entry_type type;
    const char *target;
    const char *words; /* why it is refused; NULL when it may be there */
};

static struct layer_rules *rules_of_one_layer(void)
{
    struct layer_rules *rules = NULL;
    CU_ASSERT_EQUAL_FATAL(layer_rules_new(0, 1, &rules, NULL), TT_OK);
    layer_rules_visitor(rules).begin(rules);
    return rules;
}

static enum tt_status show(struct layer_rules *rules, const char *path, enum tt_entry_type type, const char *target,
                           struct tt_error *err)
{
    struct tt_entry entry = {.path = (char *)path, .type = type, .link_target = (char *)target};
    return layer_rules_visitor(rules).entry(rules, &entry, err);
}

/* Each in a layer of its own. */
static void judge(const struct judged *rows, size_t count, const char *run_in)
{
    for (size_t i = 0; i < count; i++) {
        struct tt_error err = TT_ERROR_INIT;
        struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = rules_of_one_layer();
        if (run_in)
            CU_ASSERT_EQUAL(layer_rules_run_in(rules, run_in, &err), TT_OK);
        enum tt_status status = show(rules, rows[i].path, rows[i].type, rows[i].target, &err);
        bool good = rows[i].words ? status == TT_TAMPERED && strstr(err.message, rows[i].words) : status == TT_OK;
        if (!good)
            printf("\n  %s (runs in %s): %d: %s\n", rows[i].path, run_in ? run_in : "?", (int)status, err.message);
        CU_ASSERT_TRUE(good);
    }
}

#define JUDGE(rows, run_in) judge(rows, sizeof(rows) / sizeof(rows)[0], run_in)

static void what_is_where(void)
{
    static const struct judged rows[] = {
        {"", TT_ENTRY_FOLDER, NULL, NULL},
        {"", TT_ENTRY_FILE, NULL, "the file '/' is where a folder must be"},
        {"opt", TT_ENTRY_FOLDER, NULL, NULL},
        {"opt", TT_ENTRY_SYMLINK, "srv", "the symbolic link '/opt' is where a folder must be"},
        {"opt/pht_train", TT_ENTRY_FOLDER, NULL, NULL},
        {"opt/pht_train", TT_ENTRY_SYMLINK, "/srv", "is where a folder must be"},
        {"opt/pht_results", TT_ENTRY_FOLDER, NULL, NULL},
        {"opt/pht_results", TT_ENTRY_FILE, NULL, "the file '/opt/pht_results' is where a folder must be"},
        {"opt/pht_results/x", TT_ENTRY_FILE, NULL, NULL},
        {"opt/pht_results/x", TT_ENTRY_SPECIAL, NULL, "is a device, pipe or socket"},
        {"opt/train_config.json", TT_ENTRY_FILE, NULL, NULL},
        {"opt/train_config.json", TT_ENTRY_SYMLINK, "x", "is where a file must be"},
        {"opt/user_sym_key.key", TT_ENTRY_FILE, NULL, NULL},
        {"opt/user_sym_key.key", TT_ENTRY_FOLDER, NULL, "is where a file must be"},
        {"opt/pht_results.so", TT_ENTRY_FILE, NULL, "is none of a train's files"},
        {"etc/passwd", TT_ENTRY_FILE, NULL, "is none of a train's files"},
        {"etc", TT_ENTRY_FOLDER, NULL, "is none of a train's files"},
    };
    JUDGE(rows, NULL);
}

static void removals(void)
{
    static const struct judged rows[] = {
        {"opt/.wh.pht_results", TT_ENTRY_FILE, NULL, NULL},
        {"opt/.wh.train_config.json", TT_ENTRY_FILE, NULL, NULL},
        {"opt/pht_train/.wh.x", TT_ENTRY_FILE, NULL, NULL},
        {"opt/pht_train/.wh..x", TT_ENTRY_FILE, NULL, NULL},
        {"opt/pht_train/.wh.x", TT_ENTRY_FOLDER, NULL, "has the name of a removal, but is no file"},
        {"opt/pht_train/.wh.", TT_ENTRY_FILE, NULL, "has the name of a removal, but of nothing"},
        {"opt/pht_train/.wh..", TT_ENTRY_FILE, NULL, "has the name of a removal, but of nothing"},
        {"opt/pht_train/.wh...", TT_ENTRY_FILE, NULL, "has the name of a removal, but of nothing"},
        {"opt/.wh.x", TT_ENTRY_FILE, NULL, "removes what is none of a train's files"},
        {".wh.opt", TT_ENTRY_FILE, NULL, "removes what is none of a train's files"},
        {"opt/pht_results/.wh..wh..opq", TT_ENTRY_FILE, NULL, NULL},
        {"opt/.wh..wh..opq", TT_ENTRY_FILE, NULL, "hides what the image below has there"},
        {".wh..wh..opq", TT_ENTRY_FILE, NULL, "hides what the image below has there"},
        {"opt/pht_results/.wh.d/x", TT_ENTRY_FILE, NULL, "lies in a folder whose name is that of a removal"},
    };
    JUDGE(rows, NULL);
}

static void what_hard_links_lead_to(void)
{
    static const char why[] = "leads to what is none of a train's files";
    static const struct judged rows[] = {
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_results/x", NULL},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_train/x", NULL},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "etc/shadow", why},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/train_config.json", why},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_train", why},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_results", why},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_results/.wh.d/x", why},
        {"opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_results/.wh.x", why},
        {"opt/train_config.json", TT_ENTRY_HARDLINK, "opt/pht_results/x", "is where a file must be"},
        {"opt/pht_results/s", TT_ENTRY_SYMLINK, "/etc/shadow", NULL}, /* for results_check */
    };
    JUDGE(rows, NULL);
}

static void where_the_image_runs(void)
{
    static const char why[] = "is none of a train's files";
    static const struct judged made[] = {
        {"srv", TT_ENTRY_FOLDER, NULL, NULL},        {"srv/.x", TT_ENTRY_FOLDER, NULL, NULL},
        {"srv/.x/...", TT_ENTRY_FOLDER, NULL, NULL}, {"srv/.x/.../y", TT_ENTRY_FOLDER, NULL, why},
        {"srv/x", TT_ENTRY_FOLDER, NULL, why},       {"sr", TT_ENTRY_FOLDER, NULL, why},
        {"srv", TT_ENTRY_FILE, NULL, why},           {"srv/.x", TT_ENTRY_SYMLINK, "/etc", why},
    };
    static const struct judged nowhere[] = {{"srv", TT_ENTRY_FOLDER, NULL, why}, {"opt", TT_ENTRY_FOLDER, NULL, NULL}};
    static const char *const odd[] = {"srv", "/", "", "//srv", "/srv/", "/srv//x", "/srv/.", "/srv/..", "/./srv"};
    JUDGE(made, "/srv/.x/...");
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        JUDGE(nowhere, odd[i]);
}

/* --- entries together --- */

/* A name of so many bytes in the results. */
static const char *long_name(char *room, size_t length, size_t number)
{
    int start = sprintf(room, "opt/pht_results/%zu-", number);
    memset(room + start, 'x', length - (size_t)start);
    room[length] = '\0';
    return room;
}

/* How many folders with long names are remembered. */
static size_t fill(struct layer_rules *rules, struct tt_error *err)
{
    char name[TT_PATH_LIMIT + 1];
    for (size_t i = 0; i < 10000; i++)
        if (show(rules, long_name(name, 4000, i), TT_ENTRY_FOLDER, NULL, err) != TT_OK)
            return i;
    return 0;
}

static void long_names_have_a_limit(void)
{
    char name[TT_PATH_LIMIT + 1];
    struct tt_error err = TT_ERROR_INIT;
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = rules_of_one_layer();
    struct tt_layer_visitor visitor = layer_rules_visitor(rules);
    size_t count = fill(rules, &err);
    CU_ASSERT_TRUE(count > 4000 && count < 4200);
    CU_ASSERT_EQUAL(err.status, TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "too long names"));
    /* What little there is room for, and what not even that. */
    CU_ASSERT_EQUAL(show(rules, "opt/pht_results/h", TT_ENTRY_HARDLINK, "opt/pht_results/x", &err), TT_OK);
    strcpy(name + strlen(long_name(name, 4000, 0)), "/x");
    CU_ASSERT_EQUAL(show(rules, "opt/pht_results/i", TT_ENTRY_HARDLINK, name, &err), TT_MALFORMED);
    /* An archive that was no layer is forgotten, */
    visitor.begin(rules);
    CU_ASSERT_EQUAL(fill(rules, &err), count);
    CU_ASSERT_EQUAL(visitor.end(rules, 0, &err), TT_OK);
    /* and a layer is not. */
    visitor.begin(rules);
    CU_ASSERT_EQUAL(fill(rules, &err), 0);
    struct tt_entry below = {.path = (char *)long_name(name, 4000, 0), .type = TT_ENTRY_SYMLINK};
    CU_ASSERT_EQUAL(layer_rules_below(rules, &below, &err), TT_MALFORMED);
}

/* One layer of these entries above a hard link and a symbolic one at opt/pht_results/h and /l. */
static enum tt_status finish(const struct judged *rows, size_t count, struct tt_error *err)
{
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
    struct tt_entry hard = {.path = (char *)"opt/pht_results/h", .type = TT_ENTRY_HARDLINK};
    struct tt_entry link = {.path = (char *)"opt/pht_results/l", .type = TT_ENTRY_SYMLINK};
    enum tt_status status = layer_rules_new(0, 1, &rules, err);
    if (status == TT_OK)
        status = layer_rules_run_in(rules, "/srv", err);
    if (status == TT_OK)
        status = layer_rules_below(rules, &hard, err);
    if (status == TT_OK)
        status = layer_rules_below(rules, &link, err);
    for (size_t i = 0; status == TT_OK && i < count; i++)
        status = show(rules, rows[i].path, rows[i].type, rows[i].target, err);
    if (status == TT_OK)
        status = layer_rules_visitor(rules).end(rules, 0, err);
    return status == TT_OK ? layer_rules_finish(rules, err) : status;
}

#define EXPECT_FINISH(wanted, words, rows)                                                                             \
    do {                                                                                                               \
        struct tt_error expected = TT_ERROR_INIT;                                                                      \
        CU_ASSERT_EQUAL(finish(rows, sizeof(rows) / sizeof(rows)[0], &expected), wanted);                              \
        CU_ASSERT_PTR_NOT_NULL(strstr(expected.message, words));                                                       \
    } while (0)

static void places_in_a_layer(void)
{
    static const char link[] = "opt/pht_results/l";
    static const char file[] = "opt/pht_results/l/x";
    const struct judged first[] = {{link, TT_ENTRY_FOLDER, NULL, NULL},
                                   {file, TT_ENTRY_FILE, NULL, NULL},
                                   {link, TT_ENTRY_FOLDER, NULL, NULL},
                                   {link, TT_ENTRY_FOLDER, NULL, NULL}};
    const struct judged late[] = {
        {file, TT_ENTRY_FILE, NULL, NULL}, {link, TT_ENTRY_FOLDER, NULL, NULL}, {link, TT_ENTRY_FOLDER, NULL, NULL}};
    const struct judged hard[] = {{"opt/pht_results/h/x", TT_ENTRY_FILE, NULL, NULL}};
    const struct judged other[] = {{"opt/pht_results/i/x", TT_ENTRY_FILE, NULL, NULL},
                                   {"opt/pht_results/j/x", TT_ENTRY_FILE, NULL, NULL}};
    const struct judged second[] = {{"opt/pht_results/i/x", TT_ENTRY_FILE, NULL, NULL},
                                    {file, TT_ENTRY_FILE, NULL, NULL}};
    EXPECT_FINISH(TT_OK, "", first);
    EXPECT_FINISH(TT_TAMPERED, "has files in '/opt/pht_results/l', where '/opt/pht_results/l' is a link", late);
    EXPECT_FINISH(TT_TAMPERED, "where '/opt/pht_results/h' is a link", hard);
    EXPECT_FINISH(TT_OK, "", other);
    EXPECT_FINISH(TT_TAMPERED, "where '/opt/pht_results/l' is a link", second);
}

/* One layer, remembered once, as often as an image may have it: what is looked up has a limit, too. */
static void layers_that_come_again_and_again(void)
{
    enum { COPIES = 60, FOLDERS = 40, DEPTH = 2000 };
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    char path[TT_PATH_LIMIT + 1];
    CU_ASSERT_EQUAL_FATAL(layer_rules_new(0, COPIES, &rules, NULL), TT_OK);
    struct tt_layer_visitor visitor = layer_rules_visitor(rules);
    visitor.begin(visitor.user);
    for (int i = 0; i < FOLDERS; i++) {
        char *end = stpcpy(path, "opt/pht_results");
        for (int depth = 0; depth < DEPTH; depth++)
            end = stpcpy(end, "/a");
        snprintf(end, sizeof path - (size_t)(end - path), "/%d/file", i % 2);
        CU_ASSERT_EQUAL_FATAL(show(rules, path, TT_ENTRY_FILE, NULL, NULL), TT_OK);
    }
    for (size_t i = 0; i < COPIES; i++)
        CU_ASSERT_EQUAL_FATAL(visitor.end(visitor.user, i, NULL), TT_OK);
    CU_ASSERT_EQUAL(layer_rules_finish(rules, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "on the ways to their entries"));
}

static void long_links_are_cut_in_messages(void)
{
    char name[TT_PATH_LIMIT + 1];
    char inside[TT_PATH_LIMIT + 3];
    snprintf(inside, sizeof inside, "%s/x", long_name(name, 400, 1));
    const struct judged rows[] = {{name, TT_ENTRY_SYMLINK, "/etc", NULL}, {inside, TT_ENTRY_FILE, NULL, NULL}};
    const struct judged twin[] = {{name, TT_ENTRY_FOLDER, NULL, NULL}, {inside, TT_ENTRY_FILE, NULL, NULL}};
    EXPECT_FINISH(TT_TAMPERED, "xxx' is a link", rows);
    EXPECT_FINISH(TT_OK, "", twin);
}

/* Whatever allocation fails, nothing is let through for it. */
static void rules_without_memory(void)
{
    const struct judged rows[] = {{"srv", TT_ENTRY_FOLDER, NULL, NULL},
                                  {"opt/pht_results/i", TT_ENTRY_SYMLINK, "x", NULL},
                                  {"opt/pht_results/.wh.k", TT_ENTRY_FILE, NULL, NULL}};
    struct tt_error err = TT_ERROR_INIT;
    unsigned long tried = 0;
    failing_calls_arm(ULONG_MAX);
    CU_ASSERT_EQUAL(finish(rows, 3, &err), TT_OK);
    unsigned long count = failing_calls_count();
    for (unsigned long nth = 1; nth <= count; nth++) {
        failing_calls_arm(nth);
        tried += finish(rows, 3, &err) == TT_INTERNAL && strstr(err.message, "out of memory");
    }
    CU_ASSERT_TRUE(failing_calls_disarm());
    CU_ASSERT_EQUAL(tried, count);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"layers are found by their digests", layers_are_found_by_their_digests},
        {"names only save work", names_only_save_work},
        {"archives that make no sense", archives_that_make_no_sense},
        {"an endless archive has an end", an_endless_archive_has_an_end},
        {"holes are refused", holes_are_refused},
        {"what is remembered has a limit", what_is_remembered_has_a_limit},
        {"layers that are equal", layers_that_are_equal},
        {"links of the image below", links_of_the_image_below},
        {"what is where", what_is_where},
        {"removals", removals},
        {"what hard links lead to", what_hard_links_lead_to},
        {"where the image runs", where_the_image_runs},
        {"long names have a limit", long_names_have_a_limit},
        {"places in a layer", places_in_a_layer},
        {"layers that come again and again", layers_that_come_again_and_again},
        {"long links are cut in messages", long_links_are_cut_in_messages},
        {"rules without memory", rules_without_memory},
    };
    return SUITE_RUN("layers", tests);
}
