#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/image.h"
#include "layout_bytes.h"
#include "suite.h"
#include "json/json.h"

static void references(void)
{
    struct tt_error err = TT_ERROR_INIT;
    char *text = NULL;
    static const char digest[] = "h.io/n@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    static const char *const good[] = {"oci:dir",
                                       "oci:/a/b:latest",
                                       "oci:.:v1.2-x_y",
                                       "oci:d:docker.io/lib/x:1@2",
                                       "dir",
                                       "name:Tag_1.2-x",
                                       "localhost:5000/a/b",
                                       "h.example:443/a_b/c--d:t",
                                       "docker-daemon:x",
                                       "docker-daemon:h:1/x:y",
                                       digest};
    static const char *const bad[] = {"",
                                      "Dir",
                                      "a//b",
                                      "a/",
                                      "/a",
                                      "a:",
                                      "a:b:c",
                                      "a@sha256:12",
                                      "a@md5:00",
                                      "a:t@sha256:00",
                                      "-a",
                                      "a-",
                                      "a:.t",
                                      "docker-daemon:",
                                      "docker-daemon:A",
                                      "dir:/tmp",
                                      "h:x/a",
                                      "a b",
                                      "a\x01",
                                      "oci:",
                                      "oci::latest",
                                      "oci:d:",
                                      "oci:d:-",
                                      "oci:d:a b",
                                      "oci:d:\n",
                                      "docker://host/x:1",
                                      "OCI:dir",
                                      "oci:d:\xc3\xa9"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT_EQUAL(tt_image_reference_check(good[i], &err), TT_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(tt_image_reference_check(bad[i], &err), TT_USAGE);
    CU_ASSERT_EQUAL(tt_image_reference_sibling("oci:d", "base", &text, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(text, "oci:d:base");
    free(text);
    CU_ASSERT_EQUAL(tt_image_reference_sibling("oci:d:latest", "base", &text, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(text, "oci:d:base");
    free(text);
}

static struct tt_error last;

static struct tt_image *open_image(const struct made_layout *layout, const char *tag)
{
    struct tt_image *image = NULL;
    last = (struct tt_error)TT_ERROR_INIT;
    if (tt_image_open(layout_reference(layout, tag), NULL, &image, &last) != TT_OK)
        return NULL;
    return image;
}

static enum tt_status open_status(const struct made_layout *layout, const char *tag)
{
    struct tt_image *image = open_image(layout, tag);
    tt_image_free(image);
    return last.status;
}

/* "path=content path2/ path3->target", as the image has it under `path`. */
static char *listing(struct tt_image *image, const char *path)
{
    struct tt_file_set *files = NULL;
    struct tt_buffer text = {0};
    last = (struct tt_error)TT_ERROR_INIT;
    if (tt_image_files(image, path, &files, &last) != TT_OK)
        return NULL;
    for (size_t i = 0; i < tt_file_set_count(files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        char content[64] = "";
        CU_ASSERT_FATAL(entry->size < sizeof content);
        if (entry->type == TT_ENTRY_FILE)
            CU_ASSERT_EQUAL(tt_file_set_read(files, i, 0, content, entry->size, &last), TT_OK);
        CU_ASSERT_EQUAL(tt_buffer_printf(&text, &last, "%s%s%s%s", i ? " " : "", entry->path,
                                         entry->type == TT_ENTRY_FOLDER ? "/"
                                         : entry->type == TT_ENTRY_FILE ? "="
                                                                        : "->",
                                         entry->type == TT_ENTRY_FILE ? content
                                         : entry->link_target         ? entry->link_target
                                                                      : ""),
                        TT_OK);
    }
    tt_file_set_free(files);
    return text.data ? (char *)text.data : strdup("");
}

static void expect_listing(struct tt_image *image, const char *path, const char *want)
{
    char *got = listing(image, path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    if (strcmp(got, want) != 0)
        printf("\n  got  %s\n  want %s\n", got, want);
    CU_ASSERT_STRING_EQUAL(got, want);
    free(got);
}

static void layers_lie_over_each_other(void)
{
    static const char *const filters[] = {NULL, "gzip", "zstd"};
    for (size_t f = 0; f < 3; f++) {
        struct made_layout layout TT_CLEANUP(layout_remove);
        struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_buffer two TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_buffer three TT_CLEANUP(tt_buffer_clear) = {0};
        layout_make(&layout);
        tar_put_folder(&one, "./");
        tar_put_file(&one, "./etc/passwd", "root");
        tar_put_folder(&one, "./opt/pht_train/");
        tar_put_file(&one, "./opt/pht_train/a", "one a");
        tar_put_file(&one, "./opt/pht_train/gone", "x");
        tar_put_file(&one, "./opt/pht_train/lib/deep/x", "x");
        tar_put_file(&one, "./opt/pht_train/lib/deep/y", "y");
        tar_put_file(&one, "./opt/pht_train/turned/below", "x");
        tar_put_file(&one, "./opt/pht_train/lib.txt", "stays");
        tar_put_file(&one, "./opt/pht_train.so", "no part of it");
        tar_put_file(&one, "./opt/pht_results/old", "old");
        tar_put_file(&one, "./opt/pht_results/sub/older", "older");
        tar_put_file(&one, "./opt/exfil.csv", "no part of it");
        tar_put_end(&one);
        tar_put_folder(&two, "opt/");
        tar_put_file(&two, "opt/pht_train/a", "two a");
        tar_put_file(&two, "opt/pht_train/.wh.gone", "");
        tar_put_file(&two, "opt/pht_train/lib/.wh.deep", "");
        tar_put_file(&two, "opt/pht_train/lib/deep/new", "new"); /* whiteouts mean the layers below only */
        tar_put_link(&two, "opt/pht_train/turned", '2', "/etc");
        tar_put_file(&two, "opt/pht_results/kept", "kept");
        tar_put_file(&two, "opt/pht_results/.wh..wh..opq", "");
        tar_put_file(&two, "opt/pht_results/.wh..wh.plnk", "");
        tar_put_end(&two);
        tar_put_link(&three, "opt/pht_train/hard", '1', "opt/pht_train/a");
        tar_put_file(&three, "opt/train_config.json", "first");
        tar_put_file(&three, "opt/train_config.json", "{}");
        tar_put_end(&three);
        layout_put_layer(&layout, &one, filters[f]);
        layout_put_layer(&layout, &two, NULL);
        layout_put_layer(&layout, &three, filters[f]);
        layout_finish(&layout, "latest");
        struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        CU_ASSERT_PTR_NOT_NULL_FATAL(image);
        CU_ASSERT_EQUAL(tt_image_layer_count(image), 3);
        CU_ASSERT_STRING_EQUAL(tt_image_layer_digest(image, 1), layout.layers[1].digest);
        CU_ASSERT_STRING_EQUAL(tt_image_digest(image), layout.manifest);
        expect_listing(image, "opt/pht_train",
                       "opt/pht_train/ opt/pht_train/a=two a opt/pht_train/hard->opt/pht_train/a opt/pht_train/lib/ "
                       "opt/pht_train/lib/deep/ opt/pht_train/lib/deep/new=new opt/pht_train/lib.txt=stays "
                       "opt/pht_train/turned->/etc");
        expect_listing(image, "opt/pht_results", "opt/pht_results/ opt/pht_results/kept=kept");
        expect_listing(image, "opt/train_config.json", "opt/train_config.json={}");
        expect_listing(image, "opt/user_sym_key.key", "");
        expect_listing(image, "opt/pht_train/lib/deep/new", "opt/pht_train/lib/deep/new=new");
        CU_ASSERT_PTR_NULL(listing(image, "opt/exfil.csv"));
        CU_ASSERT_EQUAL(last.status, TT_INTERNAL);
        CU_ASSERT_EQUAL(tt_image_verify_blobs(image, &last), TT_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr((const char *)tt_image_configuration(image)->data, "\"os\":\"linux\""));
    }
}

/* One layer with these entries, written by `fill`. */
static struct made_layout one_layer(void (*fill)(struct tt_buffer *tar), const char *filter)
{
    struct made_layout layout;
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    layout_make(&layout);
    fill(&tar);
    tar_put_end(&tar);
    layout_put_layer(&layout, &tar, filter);
    layout_finish(&layout, "latest");
    return layout;
}

static void fill_train(struct tt_buffer *tar)
{
    tar_put_folder(tar, "opt");
    tar_put_file(tar, "opt/train_config.json", "{}");
    tar_put_file(tar, "opt/pht_train/main.py", "print()");
    tar_put_file(tar, "opt/pht_results/r", "result");
}

static void whiteouts_of_parents(void)
{
    static const char *const hidden[] = {".wh.opt", ".wh..wh..opq", "opt/.wh..wh..opq", "opt/.wh.pht_train"};
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        tar_put_file(&tar, hidden[i], "");
        tar_put_end(&tar);
        layout_put_layer(&layout, &tar, "gzip");
        layout_finish(&layout, "latest");
        struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        CU_ASSERT_PTR_NOT_NULL_FATAL(image);
        expect_listing(image, "opt/pht_train", "");
        expect_listing(image, "opt/pht_results", i == 3 ? "opt/pht_results/ opt/pht_results/r=result" : "");
    }
}

static void fill_link_on_the_way(struct tt_buffer *tar)
{
    tar_put_link(tar, "opt", '2', "/srv");
    tar_put_file(tar, "srv/pht_train/main.py", "x");
}

static void fill_file_below_link(struct tt_buffer *tar)
{
    tar_put_link(tar, "opt/pht_train/lib", '2', "/tmp");
    tar_put_file(tar, "opt/pht_train/lib/x.py", "x");
    tar_put_file(tar, "opt/pht_results/x", "x");
}

static void links_lead_nowhere(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_link_on_the_way, NULL);
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    CU_ASSERT_PTR_NULL(listing(image, "opt/pht_train"));
    CU_ASSERT_EQUAL(last.status, TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.message, "/opt is a symbolic link"));

    struct made_layout other TT_CLEANUP(layout_remove) = one_layer(fill_file_below_link, NULL);
    struct tt_image *second TT_CLEANUP(tt_image_free_cleanup) = open_image(&other, "latest");
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    CU_ASSERT_PTR_NULL(listing(second, "opt/pht_train"));
    CU_ASSERT_EQUAL(last.status, TT_TAMPERED);
    expect_listing(second, "opt/pht_results", "opt/pht_results/ opt/pht_results/x=x");
}

static void fill_root_link(struct tt_buffer *tar)
{
    tar_put_link(tar, "./", '2', "/srv");
}

static void fill_bad_whiteout(struct tt_buffer *tar)
{
    tar_put_file(tar, "opt/.wh...", "");
}

static void fill_dots(struct tt_buffer *tar)
{
    tar_put_file(tar, "usr/../opt/pht_train/x", "x");
}

static void malformed_layers(void)
{
    static void (*const fills[])(struct tt_buffer *) = {fill_root_link, fill_bad_whiteout, fill_dots};
    for (size_t i = 0; i < sizeof fills / sizeof fills[0]; i++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fills[i], i == 1 ? "gzip" : NULL);
        CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_MALFORMED);
        CU_ASSERT_PTR_NOT_NULL(strstr(last.message, layout.layers[0].digest));
        CU_ASSERT_PTR_NOT_NULL(strstr(last.message, layout.path));
    }
}

/* What damage to which blob must end in, and when. */
static void damaged_blobs(void)
{
    enum { MANIFEST, CONFIG, PLAIN_HEADER, PLAIN_CONTENT, GZIP, ZSTD, COUNT };
    for (int which = 0; which < COUNT; which++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, which == GZIP   ? "gzip"
                                                                                    : which == ZSTD ? "zstd"
                                                                                                    : NULL);
        const char *digest = which == MANIFEST ? layout.manifest
                             : which == CONFIG ? layout.config
                                               : layout.layers[0].digest;
        layout_flip(&layout, digest, which == PLAIN_CONTENT ? 512 * 2 + 1 : which == PLAIN_HEADER ? 3 : 40);
        if (which != PLAIN_CONTENT) {
            CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_TAMPERED);
        } else {
            struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
            CU_ASSERT_PTR_NOT_NULL_FATAL(image);
            CU_ASSERT_EQUAL(tt_image_verify_blobs(image, &last), TT_TAMPERED);
        }
        CU_ASSERT_PTR_NOT_NULL(strstr(last.message, digest));
    }
}

static void missing_and_cut_blobs(void)
{
    for (int which = 0; which < 3; which++)
        for (int cut = 0; cut < 3; cut++) {
            struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
            const char *digest = which == 0 ? layout.manifest : which == 1 ? layout.config : layout.layers[0].digest;
            char path[256];
            layout_path_of(&layout, digest, path);
            if (cut == 1)
                CU_ASSERT_EQUAL_FATAL(truncate(path, 100), 0);
            if (cut != 1)
                CU_ASSERT_EQUAL_FATAL(unlink(path), 0);
            if (cut == 2)
                CU_ASSERT_EQUAL_FATAL(symlink("/dev/zero", path), 0);
            CU_ASSERT_EQUAL(open_status(&layout, "latest"), cut == 1 ? TT_TAMPERED : TT_STORE);
            CU_ASSERT_PTR_NOT_NULL(strstr(last.message, digest));
            CU_ASSERT_PTR_NOT_NULL(strstr(last.message, layout.path));
        }
}

static void lies_in_manifests(void)
{
    for (int lie = 0; lie < 8; lie++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, lie == 1 ? "gzip" : NULL);
        struct made_layer *layer = &layout.layers[0];
        enum tt_status want = TT_MALFORMED;
        if (lie < 2)
            layer->diff_id[10] ^= 1, want = TT_TAMPERED;
        if (lie == 2)
            strcpy(layer->digest, "sha256:../../../../etc/passwd");
        if (lie == 3)
            layer->digest[10] = 'A';
        if (lie == 4)
            layer->digest[70] = '\0';
        if (lie == 5)
            memcpy(layer->digest, "sha257", 6);
        if (lie == 6)
            layer->size++, want = TT_TAMPERED;
        if (lie == 7)
            strcat(layer->digest, "00");
        layout_finish(&layout, "latest");
        struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        enum tt_status status = image ? tt_image_verify_blobs(image, &last) : last.status;
        CU_ASSERT_EQUAL(status, want);
    }
}

static void sha512_digests(void)
{
    for (int way = 0; way < 3; way++) {
        struct made_layout layout TT_CLEANUP(layout_remove);
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        layout_make(&layout);
        fill_train(&tar);
        tar_put_end(&tar);
        layout_put_layer(&layout, &tar, NULL);
        struct made_layer *layer = &layout.layers[0];
        if (way != 1)
            layout_put_blob(&layout, "sha512", tar.data, tar.length, layer->digest);
        if (way > 0)
            layout_digest("sha512", tar.data, tar.length, layer->diff_id);
        layout_finish(&layout, "latest");
        for (int damaged = 0; damaged < 2; damaged++) {
            struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
            CU_ASSERT_PTR_NOT_NULL_FATAL(image);
            CU_ASSERT_EQUAL(tt_image_verify_blobs(image, &last), damaged ? TT_TAMPERED : TT_OK);
            layout_flip(&layout, layer->digest, -1);
        }
    }
}

static void tags_are_found_or_listed(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    char *nameless = layout_entry(&layout, NULL, NULL);
    char *first = layout_entry(&layout, "v1", NULL);
    char *second = layout_entry(&layout, "v2", NULL);
    char *entries = NULL;
    layout_put_index(&layout, nameless);
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.message, "no tags at all"));
    CU_ASSERT_TRUE(asprintf(&entries, "%s,%s,%s", nameless, first, second) > 0);
    layout_put_index(&layout, entries);
    CU_ASSERT_EQUAL(open_status(&layout, "v2"), TT_OK);
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.message, "the tags there are: v1, v2"));
    layout_put_index(&layout, "");
    CU_ASSERT_EQUAL(open_status(&layout, "v1"), TT_STORE);
    free(entries);
    CU_ASSERT_TRUE(asprintf(&entries,
                            "{\"digest\":\"%s\",\"size\":%zu,\"annotations\":{\"io.containerd.image.name\":"
                            "\"docker.io/library/x:latest\"}}",
                            layout.manifest, layout.manifest_size) > 0);
    layout_put_index(&layout, entries);
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_OK);
    free(entries);
    free(nameless);
    free(first);
    free(second);
}

static void unreadable_indexes(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"manifests\":{}}",
                                        "{\"manifests\":[7]}",
                                        "{\"manifests\":[],\"manifests\":[]}",
                                        "{\"a\":\"\\u0000\",\"manifests\":[]}"};
    char path[256];
    snprintf(path, sizeof path, "%s/index.json", layout.path);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *file = fopen(path, "wb");
        fputs(texts[i], file);
        fclose(file);
        CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_MALFORMED);
        CU_ASSERT_PTR_NOT_NULL(strstr(last.message, layout.path));
    }
    CU_ASSERT_EQUAL(truncate(path, 5 << 20), 0);
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_MALFORMED);
    unlink(path);
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_STORE);
    snprintf(path, sizeof path, "%s/oci-layout", layout.path);
    unlink(path);
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_STORE);
    struct made_layout nowhere = {.path = "/nonexistent/layout"};
    CU_ASSERT_EQUAL(open_status(&nowhere, "latest"), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.message, "/nonexistent/layout"));
}

/* An image per platform, told apart by a member of the configuration; the index nested `depth` times. */
static void put_platforms(struct made_layout *layout, unsigned depth)
{
    static const char *const platforms[] = {"\"os\":\"linux\",\"architecture\":\"amd64\"",
                                            "\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"",
                                            "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"",
                                            "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"",
                                            "\"os\":\"unknown\",\"architecture\":\"unknown\""};
    struct tt_buffer entries TT_CLEANUP(tt_buffer_clear) = {0};
    for (size_t i = 0; i < sizeof platforms / sizeof platforms[0]; i++) {
        char members[64];
        snprintf(members, sizeof members, "\"which\":%zu,", i);
        layout_put_manifest(layout, members);
        char *entry = layout_entry(layout, NULL, platforms[i]);
        CU_ASSERT_EQUAL(tt_buffer_printf(&entries, NULL, "%s%s", i ? "," : "", entry), TT_OK);
        free(entry);
    }
    char *index = NULL;
    CU_ASSERT_TRUE(asprintf(&index, "{\"schemaVersion\":2,\"manifests\":[%s]}", entries.data) > 0);
    for (unsigned i = 1;; i++) {
        char digest[MADE_DIGEST];
        char *next = NULL;
        layout_put_blob(layout, "sha256", index, strlen(index), digest);
        CU_ASSERT_TRUE(asprintf(&next,
                                "%s{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"digest\":\"%s\","
                                "\"size\":%zu,\"annotations\":{\"org.opencontainers.image.ref.name\":\"latest\"}}%s",
                                i == depth ? "" : "{\"schemaVersion\":2,\"manifests\":[", digest, strlen(index),
                                i == depth ? "" : "]}") > 0);
        free(index);
        index = next;
        if (i == depth)
            break;
    }
    layout_put_index(layout, index);
    free(index);
}

static void platforms_are_chosen(void)
{
    static const struct {
        const char *platform;
        const char *which; /* NULL: there is none */
        enum tt_status status;
    } cases[] = {{"linux/amd64", "\"which\":0,", TT_OK},
                 {"linux/arm64", "\"which\":1,", TT_OK},
                 {"linux/arm64/v8", "\"which\":1,", TT_OK},
                 {"linux/arm/v7", "\"which\":3,", TT_OK},
                 {"linux/arm", "\"which\":2,", TT_OK},
                 {"linux/s390x", NULL, TT_STORE},
                 {"linux/arm/v5", NULL, TT_STORE},
                 {"windows/amd64", NULL, TT_STORE},
                 {"linux", NULL, TT_USAGE},
                 {"/", NULL, TT_USAGE},
                 {"linux/amd64/v1/x", NULL, TT_USAGE}};
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    for (unsigned depth = 1; depth <= 5; depth++) {
        put_platforms(&layout, depth);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct tt_image_options options = {.platform = cases[i].platform};
            struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
            struct tt_error err = TT_ERROR_INIT;
            enum tt_status status = tt_image_open(layout_reference(&layout, "latest"), &options, &image, &err);
            bool too_deep = depth > 4 && cases[i].status != TT_USAGE;
            CU_ASSERT_EQUAL(status, too_deep ? TT_MALFORMED : cases[i].status);
            if (status == TT_OK)
                CU_ASSERT_PTR_NOT_NULL(strstr((const char *)tt_image_configuration(image)->data, cases[i].which));
            if (status == TT_STORE)
                CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "linux/amd64, linux/arm64/v8"));
        }
    }
}

static void fill_many(struct tt_buffer *tar)
{
    for (int i = 0; i <= TT_ENTRY_LIMIT; i++) {
        char name[64];
        snprintf(name, sizeof name, "opt/pht_results/%d", i);
        tar_put_file(tar, name, "");
    }
}

static void fill_long_names(struct tt_buffer *tar)
{
    char name[4001];
    memset(name, 'n', sizeof name);
    for (size_t i = 200; i < sizeof name; i += 200)
        name[i] = '/';
    memcpy(name, "opt/pht_results/", 16);
    for (int i = 0; i < 5000; i++) {
        snprintf(name + 3990, 11, "%010d", i);
        tar_put_pax(tar, 'x', "path", name, 4000);
        tar_put_file(tar, "x", "");
    }
}

static void limits_hold(void)
{
    static void (*const fills[])(struct tt_buffer *) = {fill_many, fill_long_names};
    for (size_t i = 0; i < 2; i++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fills[i], i ? "gzip" : NULL);
        CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_MALFORMED);
        CU_ASSERT_PTR_NOT_NULL(strstr(last.message, "more than 100000 files"));
    }
}

/* Members of one gzip file, each a run of zeros: 1.6 GiB from less than 2 MiB. */
static void bombs_end(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove);
    struct tt_buffer zeros TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer head TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer member TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer bomb TT_CLEANUP(tt_buffer_clear) = {0};
    char *block = calloc(1, 16 << 20);
    layout_make(&layout);
    tar_put_header(&head, &(struct tar_block){.name = "var/bomb", .type = '0', .size = 4ULL << 30});
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&zeros, block, 16 << 20, NULL), TT_OK);
    free(block);
    tar_compress(&head, "gzip", &bomb);
    tar_compress(&zeros, "gzip", &member);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&bomb, member.data, member.length, NULL), TT_OK);
    layout_put_layer(&layout, &head, NULL);
    layout_put_blob(&layout, "sha256", bomb.data, bomb.length, layout.layers[0].digest);
    layout.layers[0].size = bomb.length;
    layout_finish(&layout, "latest");
    CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.message, "grows beyond all measure"));
}

static void fill_sparse_bomb(struct tt_buffer *tar)
{
    static const char body[] = "35 GNU.sparse.size=99999999999999\n22 GNU.sparse.map=0,4\n";
    tar_put_header(tar, &(struct tar_block){.name = "pax", .type = 'x', .size = sizeof body - 1});
    tar_put_data(tar, body, sizeof body - 1);
    tar_put_file(tar, "opt/pht_results/holes", "text");
}

static void fill_sparse(struct tt_buffer *tar)
{
    static const char body[] = "22 GNU.sparse.size=20\n22 GNU.sparse.map=3,4\n";
    tar_put_header(tar, &(struct tar_block){.name = "pax", .type = 'x', .size = sizeof body - 1});
    tar_put_data(tar, body, sizeof body - 1);
    tar_put_file(tar, "opt/pht_results/holes", "text");
    tar_put_file(tar, "opt/pht_results/zz", "after");
}

static void sparse_files_in_layers(void)
{
    struct made_layout bomb TT_CLEANUP(layout_remove) = one_layer(fill_sparse_bomb, NULL);
    CU_ASSERT_EQUAL(open_status(&bomb, "latest"), TT_MALFORMED);
    for (int packed = 0; packed < 2; packed++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_sparse, packed ? "zstd" : NULL);
        struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
        char content[20];
        CU_ASSERT_PTR_NOT_NULL_FATAL(image);
        CU_ASSERT_EQUAL_FATAL(tt_image_files(image, "opt/pht_results", &files, &last), TT_OK);
        CU_ASSERT_EQUAL_FATAL(tt_file_set_read(files, 1, 0, content, 20, &last), TT_OK);
        CU_ASSERT_EQUAL(memcmp(content, "\0\0\0text\0\0\0\0\0\0\0\0\0\0\0\0\0", 20), 0);
        expect_listing(image, "opt/pht_results/zz", "opt/pht_results/zz=after");
    }
}

static const struct tt_entry results_folder = {
    .path = (char *)"opt/pht_results", .type = TT_ENTRY_FOLDER, .mode = 0755, .mtime_seconds = 5};

static enum tt_status add_text(struct tt_image_change *change, const char *path, const char *text)
{
    struct tt_entry entry = {.path = (char *)path, .type = TT_ENTRY_FILE, .mode = 0600, .size = strlen(text)};
    enum tt_status status = tt_image_change_add(change, &entry, &last);
    return status == TT_OK ? tt_image_change_data(change, text, strlen(text), &last) : status;
}

static enum tt_status fill_change(struct tt_image_change *change, const char *text)
{
    static const char *const command[] = {"sh", "/opt/x \"y\"\n", NULL};
    static const struct tt_image_settings settings = {.command = command, .created_by = "a test"};
    const char *digest = NULL;
    enum tt_status status = tt_image_change_replace(change, &results_folder, &last);
    if (status == TT_OK)
        status = tt_image_change_add(change, &results_folder, &last); /* saying it again is fine */
    if (status == TT_OK)
        status = add_text(change, "opt/pht_results/new \xff\xc3\xa4", text);
    if (status == TT_OK)
        status = tt_image_change_seal(change, &settings, &digest, &last);
    return status;
}

static void changes_show_when_committed(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, "gzip");
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    struct tt_image_change *change = NULL;
    size_t before = layout_count_files(layout.path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new(image, &change, &last), TT_OK);
    CU_ASSERT_EQUAL_FATAL(fill_change(change, "new text"), TT_OK);
    CU_ASSERT_EQUAL(layout_count_files(layout.path), before);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&layout, "latest"), NULL, NULL, &last), TT_OK);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&layout, "again"), NULL, NULL, &last), TT_OK);
    tt_image_change_free(change);
    CU_ASSERT_EQUAL(layout_count_files(layout.path), before + 3);
    static const char *const tags[] = {"latest", "again"};
    for (size_t i = 0; i < 2; i++) {
        struct tt_image *changed TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, tags[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(changed);
        expect_listing(changed, "opt/pht_results", "opt/pht_results/ opt/pht_results/new \xff\xc3\xa4=new text");
        expect_listing(changed, "opt/pht_train", "opt/pht_train/ opt/pht_train/main.py=print()");
        CU_ASSERT_EQUAL(tt_image_verify_blobs(changed, &last), TT_OK);
        const char *text = (const char *)tt_image_configuration(changed)->data;
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"Entrypoint\":[\"sh\",\"/opt/x \\\"y\\\"\\n\"]"));
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"created_by\":\"a test\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "{\"os\":\"linux\","));
    }
    expect_listing(image, "opt/pht_results", "opt/pht_results/ opt/pht_results/r=result"); /* still open */
}

static void abandoned_changes_leave_nothing(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    size_t before = layout_count_files(layout.path);
    char nowhere[128];
    snprintf(nowhere, sizeof nowhere, "oci:%s-new:latest", layout.path);
    for (int way = 0; way < 4; way++) {
        struct tt_image_change *change = NULL;
        enum tt_status status = way % 2 ? tt_image_change_new_in(image, nowhere, &change, &last)
                                        : tt_image_change_new(image, &change, &last);
        CU_ASSERT_EQUAL_FATAL(status, TT_OK);
        status = way < 2 ? fill_change(change, "text") : add_text(change, "opt/pht_results/x", "text");
        CU_ASSERT_EQUAL(status, TT_OK);
        tt_image_change_free(change);
        CU_ASSERT_EQUAL(layout_count_files(layout.path), before);
        CU_ASSERT_NOT_EQUAL(access(nowhere + 4, F_OK), 0);
    }
}

static void new_layouts(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, "zstd");
    struct made_layout made TT_CLEANUP(layout_remove) = {0};
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    struct tt_image_change *change = NULL;
    snprintf(made.path, sizeof made.path, "%.50s-new", layout.path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new_in(image, layout_reference(&made, "base"), &change, &last), TT_OK);
    CU_ASSERT_EQUAL_FATAL(fill_change(change, "text"), TT_OK);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&made, "latest"), "base", NULL, &last), TT_OK);
    tt_image_change_free(change);
    CU_ASSERT_EQUAL(layout_count_files(made.path), 6); /* oci-layout, index, manifest, configuration, two layers */
    struct tt_image *base TT_CLEANUP(tt_image_free_cleanup) = open_image(&made, "base");
    CU_ASSERT_PTR_NOT_NULL_FATAL(base);
    CU_ASSERT_EQUAL(tt_image_verify_blobs(base, &last), TT_OK);
    expect_listing(base, "opt/train_config.json", "opt/train_config.json={}");

    /* What is no layout and not empty is left alone. */
    char path[256];
    struct made_layout busy TT_CLEANUP(layout_remove);
    layout_make(&busy);
    snprintf(path, sizeof path, "%s/oci-layout", busy.path);
    unlink(path);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new_in(image, layout_reference(&busy, "x"), &change, &last), TT_OK);
    CU_ASSERT_EQUAL_FATAL(fill_change(change, "text"), TT_OK);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&busy, "x"), NULL, NULL, &last), TT_STORE);
    tt_image_change_free(change);
    CU_ASSERT_EQUAL(layout_count_files(busy.path), 0);
}

/* A corrupted base is not copied, and nothing of it stays. */
static void copies_are_verified(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    struct made_layout made = {0};
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    struct tt_image_change *change = NULL;
    snprintf(made.path, sizeof made.path, "%.50s-new", layout.path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    layout_flip(&layout, layout.layers[0].digest, 512 * 2 + 1);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new_in(image, layout_reference(&made, "x"), &change, &last), TT_OK);
    CU_ASSERT_EQUAL_FATAL(fill_change(change, "text"), TT_OK);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&made, "x"), NULL, NULL, &last), TT_TAMPERED);
    tt_image_change_free(change);
    CU_ASSERT_NOT_EQUAL(access(made.path, F_OK), 0);
}

static void other_entries_of_the_index_stay(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    struct tt_image_change *change = NULL;
    char *entry = layout_entry(&layout, "latest", NULL);
    char *entries = NULL;
    CU_ASSERT_TRUE(asprintf(&entries,
                            "{\"digest\":\"%s\",\"size\":%zu,\"mediaType\":\"x/y\",\"unknown\":[1.5,null]},%s,%s",
                            layout.config, layout.config_size, entry, entry) > 0);
    layout_put_index(&layout, entries);
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new(image, &change, &last), TT_OK);
    CU_ASSERT_EQUAL_FATAL(fill_change(change, "text"), TT_OK);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&layout, "latest"), NULL, NULL, &last), TT_OK);
    tt_image_change_free(change);
    char path[256];
    char text[4096] = "";
    snprintf(path, sizeof path, "%s/index.json", layout.path);
    FILE *file = fopen(path, "rb");
    CU_ASSERT_TRUE(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "{\"schemaVersion\":2,\"x\":1.50,\"manifests\":[{\"digest\":"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"unknown\":[1.5,null]"));
    CU_ASSERT_PTR_NULL(strstr(text, layout.manifest));
    char *first = strstr(text, "ref.name");
    CU_ASSERT_TRUE(first && !strstr(first + 1, "ref.name"));
    free(entry);
    free(entries);
}

static enum tt_status change_to(const char *reference, const char *text, char removed[MADE_DIGEST])
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    last = (struct tt_error)TT_ERROR_INIT;
    enum tt_status status = tt_image_open(reference, NULL, &image, &last);
    if (status == TT_OK)
        status = tt_image_change_new(image, &change, &last);
    if (status == TT_OK)
        status = fill_change(change, text);
    if (status == TT_OK)
        status = tt_image_change_commit(change, reference, NULL, NULL, &last);
    if (status == TT_OK)
        snprintf(removed, MADE_DIGEST, "%s", tt_image_digest(image));
    return status;
}

/* Base, plaintext on it, then the new state on the base: the plaintext goes, the base stays. */
static void sweeping(void)
{
    for (int kept = 0; kept < 2; kept++) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
        struct tt_image_change *change = NULL;
        char digest[MADE_DIGEST];
        char plain[MADE_DIGEST];
        char *still_used = NULL;
        char *entry = layout_entry(&layout, "latest", NULL);
        char *base_entry = layout_entry(&layout, "base", NULL);
        char *entries = NULL;
        CU_ASSERT_TRUE(asprintf(&entries, "%s,%s", base_entry, entry) > 0);
        layout_put_index(&layout, entries);
        CU_ASSERT_EQUAL_FATAL(change_to(layout_reference(&layout, "latest"), "plaintext", digest), TT_OK);
        struct tt_image *decrypted TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        struct tt_image *base TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "base");
        CU_ASSERT_FATAL(decrypted && base);
        snprintf(plain, sizeof plain, "%s", tt_image_layer_digest(decrypted, 1));
        if (kept) {
            CU_ASSERT_EQUAL_FATAL(tt_image_change_new(decrypted, &change, &last), TT_OK);
            CU_ASSERT_EQUAL_FATAL(fill_change(change, "backup"), TT_OK);
            CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&layout, "backup"), NULL, NULL, &last),
                            TT_OK);
            tt_image_change_free(change);
        }
        CU_ASSERT_EQUAL_FATAL(tt_image_change_new(base, &change, &last), TT_OK);
        CU_ASSERT_EQUAL_FATAL(fill_change(change, "ciphertext"), TT_OK);
        CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&layout, "latest"), NULL, NULL, &last), TT_OK);
        CU_ASSERT_EQUAL(
            tt_image_sweep(layout_reference(&layout, "latest"), tt_image_digest(decrypted), &still_used, &last), TT_OK);
        tt_image_change_free(change);
        CU_ASSERT_EQUAL(layout_has(&layout, plain), kept == 1);
        CU_ASSERT_FALSE(layout_has(&layout, tt_image_digest(decrypted)));
        CU_ASSERT_EQUAL(still_used != NULL, kept == 1);
        if (kept && still_used)
            CU_ASSERT_PTR_NOT_NULL(strstr(still_used, "'backup'"));
        CU_ASSERT_EQUAL(open_status(&layout, "base"), TT_OK);
        CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_OK);
        CU_ASSERT_EQUAL(layout_count_files(layout.path), 2 + 3 + 3 + (kept ? 4 : 0));
        free(still_used);
        free(entry);
        free(base_entry);
        free(entries);
    }
}

/* Sweeping takes only what was put there as a blob. */
static void sweeping_is_careful(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    char *still_used = NULL;
    char path[256];
    static const char *const strangers[] = {"README", "0123", ".hidden"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/blobs/sha256/%s", layout.path, strangers[i]);
        fclose(fopen(path, "wb"));
    }
    char orphan[MADE_DIGEST];
    layout_put_blob(&layout, "sha256", "orphan", 6, orphan);
    layout_put_blob(&layout, "sha512", "orphan", 6, orphan);
    size_t before = layout_count_files(layout.path);
    CU_ASSERT_EQUAL(tt_image_sweep(layout_reference(&layout, "latest"), layout.manifest, &still_used, &last), TT_OK);
    CU_ASSERT_PTR_NULL(still_used);
    CU_ASSERT_EQUAL(layout_count_files(layout.path), before - 2);
    /* When it cannot be told what is in use, nothing is removed. */
    layout_put_blob(&layout, "sha512", "orphan", 6, orphan);
    layout_flip(&layout, layout.manifest, 5);
    CU_ASSERT_EQUAL(tt_image_sweep(layout_reference(&layout, "latest"), layout.manifest, &still_used, &last),
                    TT_TAMPERED);
    CU_ASSERT_TRUE(layout_has(&layout, orphan));
}

/* A run that is killed at any time: afterwards the image is the old or the new one, and after recovery only its blobs
 * are there. */
static void kills_leave_old_or_new(void)
{
    unsigned new_states = 0;
    /* A machine that is busy with other things needs longer for a new state. */
    for (useconds_t delay = 0; delay < 24000 || (new_states == 0 && delay < 3000000);
         delay += delay < 24000 ? 400 : 100000) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
        const char *reference = layout_reference(&layout, "latest");
        pid_t child = fork();
        if (child == 0) {
            char removed[MADE_DIGEST];
            char text[16];
            for (unsigned i = 0;; i++) {
                snprintf(text, sizeof text, "text %u", i);
                if (change_to(reference, text, removed) != TT_OK)
                    _exit(1);
            }
        }
        usleep(delay);
        kill(child, SIGKILL);
        int outcome = 0;
        CU_ASSERT_EQUAL(waitpid(child, &outcome, 0), child);
        CU_ASSERT_TRUE(WIFSIGNALED(outcome));
        CU_ASSERT_EQUAL(tt_image_recover(reference, &last), TT_OK);
        struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        CU_ASSERT_PTR_NOT_NULL_FATAL(image);
        CU_ASSERT_EQUAL(tt_image_verify_blobs(image, &last), TT_OK);
        new_states += tt_image_layer_count(image) > 1;
        /* Blobs of states that were replaced and not swept stay; nothing else does. */
        char *still_used = NULL;
        CU_ASSERT_EQUAL(tt_image_sweep(reference, layout.manifest, &still_used, &last), TT_OK);
        CU_ASSERT_EQUAL(layout_count_files(layout.path), 2 + 2 + tt_image_layer_count(image));
    }
    CU_ASSERT_TRUE(new_states > 0);
}

static void kills_leave_no_new_layout(void)
{
    for (useconds_t delay = 0; delay < 12000; delay += 300) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
        struct made_layout made TT_CLEANUP(layout_remove) = {0};
        snprintf(made.path, sizeof made.path, "%.50s-new", layout.path);
        const char *reference = layout_reference(&made, "latest");
        pid_t child = fork();
        if (child == 0) {
            struct tt_image *image = open_image(&layout, "latest");
            struct tt_image_change *change = NULL;
            if (!image || tt_image_change_new_in(image, reference, &change, &last) != TT_OK ||
                fill_change(change, "text") != TT_OK ||
                tt_image_change_commit(change, reference, NULL, NULL, &last) != TT_OK)
                _exit(1);
            pause();
        }
        usleep(delay);
        kill(child, SIGKILL);
        int outcome = 0;
        CU_ASSERT_EQUAL(waitpid(child, &outcome, 0), child);
        CU_ASSERT_TRUE(WIFSIGNALED(outcome));
        CU_ASSERT_EQUAL(tt_image_recover(reference, &last), TT_OK);
        bool there = access(made.path, F_OK) == 0;
        size_t files = layout_count_files(made.path);
        CU_ASSERT_TRUE(there ? files == 6 || files == 0 : files == 0);
        if (files == 6)
            CU_ASSERT_EQUAL(open_status(&made, "latest"), TT_OK);
        /* Either way the next run finds its way. */
        struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
        struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
        CU_ASSERT_EQUAL_FATAL(tt_image_change_new_in(image, reference, &change, &last), TT_OK);
        CU_ASSERT_EQUAL_FATAL(fill_change(change, "text"), TT_OK);
        CU_ASSERT_EQUAL(tt_image_change_commit(change, reference, NULL, NULL, &last), TT_OK);
    }
}

/* Recovery does not touch what a living process is at. */
static void the_living_are_left_alone(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "latest");
    struct tt_image_change *change = NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(image);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new(image, &change, &last), TT_OK);
    CU_ASSERT_EQUAL_FATAL(fill_change(change, "text"), TT_OK);
    CU_ASSERT_EQUAL(tt_image_change_commit(change, layout_reference(&layout, "latest"), NULL, NULL, &last), TT_OK);
    CU_ASSERT_EQUAL(tt_image_recover(layout_reference(&layout, "latest"), &last), TT_OK);
    CU_ASSERT_TRUE(layout_has(&layout, layout.manifest));
    tt_image_change_free(change);
    CU_ASSERT_TRUE(layout_has(&layout, layout.manifest));
    CU_ASSERT_EQUAL(tt_image_recover("oci:/nonexistent/layout", &last), TT_OK);
}

/* A file that may not grow beyond what the disk holds: the layer, then the configuration. */
static void full_disks_leave_nothing(void)
{
    for (int limit = 1000; limit <= 5000; limit += 4000) {
        struct made_layout layout TT_CLEANUP(layout_remove) = one_layer(fill_train, NULL);
        size_t before = layout_count_files(layout.path);
        pid_t child = fork();
        if (child == 0) {
            char removed[MADE_DIGEST];
            static char text[8000];
            memset(text, 'x', sizeof text - 1);
            signal(SIGXFSZ, SIG_IGN);
            struct rlimit most = {(rlim_t)limit, (rlim_t)limit};
            setrlimit(RLIMIT_FSIZE, &most);
            _exit((int)change_to(layout_reference(&layout, "latest"), text, removed));
        }
        int outcome = 0;
        CU_ASSERT_EQUAL(waitpid(child, &outcome, 0), child);
        CU_ASSERT_TRUE(WIFEXITED(outcome));
        CU_ASSERT_EQUAL(WEXITSTATUS(outcome), TT_STORE);
        CU_ASSERT_EQUAL(layout_count_files(layout.path), before);
        CU_ASSERT_EQUAL(open_status(&layout, "latest"), TT_OK);
    }
}

/* A layer may store the content of a file under any of its names. What counts is the order of the archive: the first
 * name is the file. And a name keeps its file when a later layer gives the other name another one. */
static void the_first_name_of_a_file_is_the_file(void)
{
    struct made_layout layout TT_CLEANUP(layout_remove);
    struct tt_buffer one TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer two TT_CLEANUP(tt_buffer_clear) = {0};
    layout_make(&layout);
    tar_put_file(&one, "opt/pht_results/m", "content");
    tar_put_link(&one, "opt/pht_results/b", '1', "opt/pht_results/m");
    tar_put_link(&one, "opt/pht_results/z", '1', "opt/pht_results/b");
    tar_put_link(&one, "opt/pht_results/lost", '1', "opt/pht_results/nothing");
    tar_put_link(&one, "opt/pht_results/away", '1', "etc/passwd");
    tar_put_end(&one);
    tar_put_file(&two, "opt/pht_results/b", "other");
    tar_put_link(&two, "opt/pht_results/a", '1', "opt/pht_results/b");
    tar_put_link(&two, "opt/pht_train/run", '1', "opt/pht_results/m");
    tar_put_end(&two);
    layout_put_layer(&layout, &one, NULL);
    layout_finish(&layout, "first");
    struct tt_image *first TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "first");
    CU_ASSERT_PTR_NOT_NULL_FATAL(first);
    expect_listing(first, "opt/pht_results",
                   "opt/pht_results/ opt/pht_results/away->etc/passwd opt/pht_results/b=content "
                   "opt/pht_results/lost->opt/pht_results/nothing opt/pht_results/m->opt/pht_results/b "
                   "opt/pht_results/z->opt/pht_results/b");
    layout_put_layer(&layout, &two, NULL);
    layout_finish(&layout, "second");
    struct tt_image *second TT_CLEANUP(tt_image_free_cleanup) = open_image(&layout, "second");
    CU_ASSERT_PTR_NOT_NULL_FATAL(second);
    expect_listing(second, "opt/pht_results",
                   "opt/pht_results/ opt/pht_results/a=other opt/pht_results/away->etc/passwd "
                   "opt/pht_results/b->opt/pht_results/a opt/pht_results/lost->opt/pht_results/nothing "
                   "opt/pht_results/m=content opt/pht_results/z->opt/pht_results/m");
    expect_listing(second, "opt/pht_train", "opt/pht_train/ opt/pht_train/run->opt/pht_results/m");
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"the first name of a file is the file", the_first_name_of_a_file_is_the_file},
        {"references", references},
        {"layers lie over each other", layers_lie_over_each_other},
        {"whiteouts of parents", whiteouts_of_parents},
        {"links lead nowhere", links_lead_nowhere},
        {"malformed layers", malformed_layers},
        {"damaged blobs", damaged_blobs},
        {"missing and cut blobs", missing_and_cut_blobs},
        {"lies in manifests", lies_in_manifests},
        {"sha512 digests", sha512_digests},
        {"tags are found or listed", tags_are_found_or_listed},
        {"unreadable indexes", unreadable_indexes},
        {"platforms are chosen", platforms_are_chosen},
        {"limits hold", limits_hold},
        {"bombs end", bombs_end},
        {"sparse files in layers", sparse_files_in_layers},
        {"changes show when committed", changes_show_when_committed},
        {"abandoned changes leave nothing", abandoned_changes_leave_nothing},
        {"new layouts", new_layouts},
        {"copies are verified", copies_are_verified},
        {"other entries of the index stay", other_entries_of_the_index_stay},
        {"sweeping", sweeping},
        {"sweeping is careful", sweeping_is_careful},
        {"kills leave old or new", kills_leave_old_or_new},
        {"kills leave no new layout", kills_leave_no_new_layout},
        {"the living are left alone", the_living_are_left_alone},
        {"full disks leave nothing", full_disks_leave_nothing},
    };
    return SUITE_RUN("image", tests);
}
