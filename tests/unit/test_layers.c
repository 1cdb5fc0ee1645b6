/* Layers out of what an engine hands out, and the rules for a train's own. */
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "crypto/digest.h"
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
    };
    return SUITE_RUN("layers", tests);
}
