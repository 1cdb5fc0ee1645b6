#include <string.h>
#include <time.h>

#include "archive/file_set.h"
#include "base/text.h"
#include "crypto/file_cipher.h"
#include "protocol/content_listing.h"
#include "protocol/manifest.h"
#include "protocol/token_use.h"
#include "statement/envelope.h"
#include "suite.h"
#include "vector_key.h"

/* --- lists --- */

static struct tt_manifest_entry make_entry(const char *path, enum tt_manifest_kind kind, uint32_t mode,
                                           const char *content)
{
    struct tt_manifest_entry entry = {.path = (char *)path, .kind = kind, .mode = mode, .size = strlen(content)};
    CU_ASSERT_EQUAL(tt_digest_once(TT_SHA512, content, strlen(content), entry.sha512, NULL), TT_OK);
    return entry;
}

static struct tt_manifest_list make_list(const struct tt_manifest_entry *entries, size_t count)
{
    struct tt_manifest_listing *listing TT_CLEANUP(tt_manifest_listing_free_cleanup) = NULL;
    struct tt_manifest_list list = {0};
    CU_ASSERT_EQUAL_FATAL(tt_manifest_listing_new(&listing, NULL), TT_OK);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL(tt_manifest_listing_add(listing, &entries[i], NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_manifest_listing_end(listing, &list, NULL), TT_OK);
    return list;
}

static void a_line_has_mode_size_hash_and_path(void)
{
    struct tt_manifest_entry entries[] = {make_entry("a", TT_MANIFEST_FILE, 04755, "abc"),
                                          make_entry("b c", TT_MANIFEST_SYMLINK, 0, "a"),
                                          make_entry("d", TT_MANIFEST_HARDLINK, 0, "")};
    static const char lines[] =
        "4755 3 ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d"
        "4423643ce80e2a9ac94fa54ca49f a\0"
        "symlink 1 1f40fc92da241694750979ee6cf582f2d5d7d28e18335de05abc54d0560e0f5302860c652bf08d560252aa5e74210546f369"
        "fbbbce8c12cfc7957b2652fe9a75 b c\0"
        "hardlink 0 "
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b9"
        "31bd47417a81a538327af927da3e d";
    uint8_t expected[TT_SHA512_SIZE];
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 3);
    CU_ASSERT_EQUAL(tt_digest_once(TT_SHA512, lines, sizeof lines, expected, NULL), TT_OK);
    CU_ASSERT_EQUAL(memcmp(list.sha512, expected, sizeof expected), 0);
    CU_ASSERT_EQUAL(list.files, 1);
    CU_ASSERT_EQUAL(list.links, 2);
    CU_ASSERT_EQUAL(list.bytes, 3);
    CU_ASSERT_TRUE(list.is_explicit);
    CU_ASSERT_EQUAL(list.entry_count, 3);
}

static void expect_difference(const struct tt_manifest_entry *one, size_t one_count,
                              const struct tt_manifest_entry *other, size_t other_count, const char *words)
{
    struct tt_manifest_list listed TT_CLEANUP(tt_manifest_list_clear) = make_list(one, one_count);
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = make_list(other, other_count);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&listed, &found, "opt/x", "the signer", &err),
                    words ? TT_TAMPERED : TT_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words ? words : ""));
    if (words && !strstr(err.message, words))
        printf("\n    %s\n", err.message);
}

static void a_difference_is_named(void)
{
    struct tt_manifest_entry a = make_entry("a", TT_MANIFEST_FILE, 0644, "1");
    struct tt_manifest_entry b = make_entry("b", TT_MANIFEST_FILE, 0644, "2");
    struct tt_manifest_entry link = make_entry("b", TT_MANIFEST_SYMLINK, 0, "a");
    struct tt_manifest_entry ab[] = {a, b};
    struct tt_manifest_entry ba[] = {b, a};
    struct tt_manifest_entry content[] = {a, make_entry("b", TT_MANIFEST_FILE, 0644, "3")};
    struct tt_manifest_entry size[] = {a, make_entry("b", TT_MANIFEST_FILE, 0644, "22")};
    struct tt_manifest_entry mode[] = {a, make_entry("b", TT_MANIFEST_FILE, 0755, "2")};
    struct tt_manifest_entry kind[] = {a, link};
    struct tt_manifest_entry target[] = {a, make_entry("b", TT_MANIFEST_SYMLINK, 0, "c")};
    expect_difference(ab, 2, ab, 2, NULL);
    expect_difference(NULL, 0, NULL, 0, NULL);
    expect_difference(ab, 2, ab, 1, "/opt/x/b is in the manifest that the signer signed, but not in the train");
    expect_difference(ab, 1, ab, 2, "/opt/x/b is in the train, but not in the manifest");
    expect_difference(ab, 2, ba, 2, "order");
    expect_difference(ab, 2, content, 2, "/opt/x/b is not as the signer signed it in the manifest: it has another");
    expect_difference(ab, 2, size, 2, "it had 1 bytes and has 2");
    expect_difference(ab, 2, mode, 2, "it was a file of mode 0644 and is a file of mode 0755");
    expect_difference(ab, 2, kind, 2, "it was a file of mode 0644 and is a symlink");
    expect_difference(kind, 2, target, 2, "leads elsewhere");
}

/* Above so many entries, or with one that JSON cannot hold, only the digest of the list is left. */
static void long_lists_are_digests(void)
{
    char paths[TT_MANIFEST_ENTRY_LIMIT + 1][8];
    struct tt_manifest_entry entries[TT_MANIFEST_ENTRY_LIMIT + 1];
    for (size_t i = 0; i <= TT_MANIFEST_ENTRY_LIMIT; i++) {
        snprintf(paths[i], sizeof paths[i], "%03zu", i);
        entries[i] = make_entry(paths[i], TT_MANIFEST_FILE, 0600, paths[i]);
    }
    struct tt_manifest_list most TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, TT_MANIFEST_ENTRY_LIMIT);
    struct tt_manifest_list more TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, TT_MANIFEST_ENTRY_LIMIT + 1);
    CU_ASSERT_TRUE(most.is_explicit);
    CU_ASSERT_EQUAL(most.entry_count, TT_MANIFEST_ENTRY_LIMIT);
    CU_ASSERT_FALSE(more.is_explicit);
    CU_ASSERT_EQUAL(more.entry_count, 0);
    CU_ASSERT_PTR_NULL(more.entries);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&most, &more, "opt/x", "the signer", &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "128 files"));
    entries[0].path = (char *)"\xff";
    struct tt_manifest_list odd TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 2);
    CU_ASSERT_FALSE(odd.is_explicit);
    char *long_path TT_CLEANUP(tt_free_cleanup) = calloc(1, TT_MANIFEST_ENTRY_BYTES + 1);
    memset(long_path, 'a', TT_MANIFEST_ENTRY_BYTES);
    entries[0].path = long_path;
    struct tt_manifest_list wide TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 2);
    CU_ASSERT_FALSE(wide.is_explicit);
}

/* --- the lane --- */

struct piece {
    const char *path;
    enum tt_entry_type type;
    const char *content;
    size_t times; /* that the content comes */
};

static struct tt_manifest_list list_pieces(const struct piece *pieces, size_t count)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct tt_manifest_list list = {0};
    CU_ASSERT_EQUAL_FATAL(content_listing_new("opt/x", &listing, NULL), TT_OK);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(pieces[i].content);
        bool is_file = pieces[i].type == TT_ENTRY_FILE;
        struct tt_entry entry = {.path = (char *)pieces[i].path,
                                 .type = pieces[i].type,
                                 .mode = 0640,
                                 .size = is_file ? length * pieces[i].times : 0,
                                 .link_target = is_file ? NULL : (char *)pieces[i].content};
        CU_ASSERT_EQUAL(content_listing_entry(listing, &entry, NULL), TT_OK);
        for (size_t j = 0; is_file && j < pieces[i].times; j++)
            CU_ASSERT_EQUAL(content_listing_data(listing, (const uint8_t *)pieces[i].content, length, NULL), TT_OK);
    }
    CU_ASSERT_EQUAL(content_listing_end(listing, &list, NULL), TT_OK);
    return list;
}

static void what_comes_by_is_listed(void)
{
    const struct piece pieces[] = {{"opt/x/a", TT_ENTRY_FILE, "abc", 1},
                                   {"opt/x/d", TT_ENTRY_FOLDER, "", 0},
                                   {"opt/x/d/empty", TT_ENTRY_FILE, "", 0},
                                   {"opt/x/d/l", TT_ENTRY_SYMLINK, "../opt/x/a", 0},
                                   {"opt/x/h", TT_ENTRY_HARDLINK, "opt/x/a", 0}};
    struct tt_manifest_entry entries[] = {
        make_entry("a", TT_MANIFEST_FILE, 0640, "abc"), make_entry("d/empty", TT_MANIFEST_FILE, 0640, ""),
        make_entry("d/l", TT_MANIFEST_SYMLINK, 0, "../opt/x/a"), make_entry("h", TT_MANIFEST_HARDLINK, 0, "a")};
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = list_pieces(pieces, 5);
    struct tt_manifest_list listed TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 4);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&listed, &found, "opt/x", "nobody", &err), TT_OK);
}

/* Headers, paths and contents fall on the borders of the lane's slots in every way. */
static void borders_of_slots_do_not_matter(void)
{
    enum { COUNT = 4000 };
    static char paths[COUNT][32];
    static struct piece pieces[COUNT];
    struct tt_manifest_listing *listing TT_CLEANUP(tt_manifest_listing_free_cleanup) = NULL;
    struct tt_manifest_list listed TT_CLEANUP(tt_manifest_list_clear) = {0};
    char content[3001] = "";
    memset(content, 'x', sizeof content - 1);
    CU_ASSERT_EQUAL_FATAL(tt_manifest_listing_new(&listing, NULL), TT_OK);
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(paths[i], sizeof paths[i], "opt/x/%08zu", i);
        size_t length = i * 7 % sizeof content;
        pieces[i] = (struct piece){paths[i], TT_ENTRY_FILE, content + (sizeof content - 1 - length), 1};
        struct tt_manifest_entry entry = make_entry(paths[i] + 6, TT_MANIFEST_FILE, 0640, pieces[i].content);
        CU_ASSERT_EQUAL(tt_manifest_listing_add(listing, &entry, NULL), TT_OK);
    }
    CU_ASSERT_EQUAL(tt_manifest_listing_end(listing, &listed, NULL), TT_OK);
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = list_pieces(pieces, COUNT);
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&listed, &found, "opt/x", "nobody", NULL), TT_OK);
    CU_ASSERT_EQUAL(found.files, COUNT);
}

/* The second file's header, then the third one's path, is cut by the end of a slot. */
static void what_is_cut_is_put_together(void)
{
    enum { SLOT = 256 * 1024, HEADER = 24, CUT = 10 };
    static char first[SLOT - HEADER - 1 - CUT + 1];
    static char second[SLOT - (HEADER - CUT) - 1 - HEADER - CUT + 1];
    memset(first, 'x', sizeof first - 1);
    memset(second, 'y', sizeof second - 1);
    const struct piece pieces[] = {{"opt/x/a", TT_ENTRY_FILE, first, 1},
                                   {"opt/x/b", TT_ENTRY_FILE, second, 1},
                                   {"opt/x/cccccccccccccccccccc", TT_ENTRY_FILE, "z", 1}};
    struct tt_manifest_entry entries[] = {make_entry("a", TT_MANIFEST_FILE, 0640, first),
                                          make_entry("b", TT_MANIFEST_FILE, 0640, second),
                                          make_entry("cccccccccccccccccccc", TT_MANIFEST_FILE, 0640, "z")};
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = list_pieces(pieces, 3);
    struct tt_manifest_list listed TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 3);
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&listed, &found, "opt/x", "nobody", NULL), TT_OK);
}

static void content_that_is_missing_is_noticed(void)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct tt_manifest_list list = {0};
    struct tt_entry entry = {.path = (char *)"opt/x/a", .type = TT_ENTRY_FILE, .size = 4};
    struct tt_entry outside = {.path = (char *)"opt/x", .type = TT_ENTRY_FILE};
    CU_ASSERT_EQUAL_FATAL(content_listing_new("opt/x", &listing, NULL), TT_OK);
    CU_ASSERT_EQUAL(content_listing_entry(listing, &outside, NULL), TT_INTERNAL);
    CU_ASSERT_EQUAL(content_listing_entry(listing, &entry, NULL), TT_OK);
    CU_ASSERT_EQUAL(content_listing_data(listing, (const uint8_t *)"abc", 3, NULL), TT_OK);
    CU_ASSERT_EQUAL(content_listing_end(listing, &list, NULL), TT_INTERNAL);
    /* Nothing to do is fine. */
    CU_ASSERT_EQUAL(content_listing_entry(NULL, &entry, NULL), TT_OK);
    CU_ASSERT_EQUAL(content_listing_data(NULL, NULL, 3, NULL), TT_OK);
    CU_ASSERT_EQUAL(content_listing_end(NULL, &list, NULL), TT_OK);
}

/* --- statements --- */

static struct tt_manifest_stop route[] = {{(char *)"alpha", "SHA256:one"}, {(char *)"b\"\\\n", "SHA256:two"}};
static char *layers[] = {
    (char *)"sha256:0000000000000000000000000000000000000000000000000000000000000001",
    (char *)"sha256:0000000000000000000000000000000000000000000000000000000000000002",
};

static struct tt_creator_manifest make_creator(const struct tt_manifest_list *definition)
{
    struct tt_creator_manifest manifest = {.train = (char *)"a train",
                                           .creator = (char *)"Zo\xc3\xab",
                                           .fingerprint = "SHA256:three",
                                           .route = route,
                                           .stop_count = 2,
                                           .definition = *definition,
                                           .base = (char *)"oci:somewhere",
                                           .layers = layers,
                                           .layer_count = 2,
                                           .has_settings = true};
    memset(manifest.settings, 9, sizeof manifest.settings);
    memset(manifest.session_id, 7, sizeof manifest.session_id);
    memset(manifest.hash, 8, sizeof manifest.hash);
    return manifest;
}

static void the_creators_is_read_as_written(void)
{
    struct tt_manifest_entry entries[] = {make_entry("a\n", TT_MANIFEST_FILE, 0755, "1"),
                                          make_entry("query.json", TT_MANIFEST_FILE, 0644, "{}")};
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 2);
    struct tt_creator_manifest said = make_creator(&list);
    struct tt_creator_manifest read TT_CLEANUP(tt_creator_manifest_clear) = {0};
    struct tt_stop_manifest other TT_CLEANUP(tt_stop_manifest_clear) = {0};
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_creator_manifest_write(&said, TT_MANIFEST_ENTRY_BYTES, &payload, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_creator_manifest_parse(payload.data, payload.length, &read, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(read.train, said.train);
    CU_ASSERT_STRING_EQUAL(read.creator, said.creator);
    CU_ASSERT_STRING_EQUAL(read.fingerprint, said.fingerprint);
    CU_ASSERT_STRING_EQUAL(read.base, said.base);
    CU_ASSERT_EQUAL(read.stop_count, 2);
    CU_ASSERT_STRING_EQUAL(read.route[1].station, route[1].station);
    CU_ASSERT_STRING_EQUAL(read.route[1].fingerprint, route[1].fingerprint);
    CU_ASSERT_EQUAL(read.layer_count, 2);
    CU_ASSERT_STRING_EQUAL(read.layers[1], layers[1]);
    CU_ASSERT_EQUAL(memcmp(read.session_id, said.session_id, sizeof said.session_id), 0);
    CU_ASSERT_EQUAL(memcmp(read.hash, said.hash, sizeof said.hash), 0);
    CU_ASSERT_TRUE(read.has_settings);
    CU_ASSERT_EQUAL(memcmp(read.settings, said.settings, sizeof said.settings), 0);
    CU_ASSERT_TRUE(read.definition.has_query);
    CU_ASSERT_EQUAL(memcmp(read.definition.query, entries[1].sha512, TT_SHA512_SIZE), 0);
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&said.definition, &read.definition, "a", "b", &err), TT_OK);
    CU_ASSERT_EQUAL(tt_stop_manifest_parse(payload.data, payload.length, &other, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another kind"));
}

static void entries_need_room(void)
{
    struct tt_manifest_entry entries[] = {make_entry("a", TT_MANIFEST_FILE, 0755, "1")};
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 1);
    struct tt_creator_manifest said = make_creator(&list);
    struct tt_creator_manifest read TT_CLEANUP(tt_creator_manifest_clear) = {0};
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    said.train = said.base = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_creator_manifest_write(&said, 100, &payload, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_creator_manifest_parse(payload.data, payload.length, &read, NULL), TT_OK);
    CU_ASSERT_FALSE(read.definition.is_explicit);
    CU_ASSERT_FALSE(read.definition.has_query);
    CU_ASSERT_PTR_NULL(read.train);
    CU_ASSERT_PTR_NULL(read.base);
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&said.definition, &read.definition, "a", "b", NULL), TT_OK);
    /* However many stops: their lists, and what they need besides, fit together. */
    bool fits = true;
    for (size_t stops = 0; stops <= TT_TRAIN_STOP_LIMIT; stops++) {
        size_t used = 0;
        for (size_t left = stops + 1; left-- > 0;)
            used += MANIFEST_STOP_BYTES + manifest_room(used, left) / 3 * 4;
        fits = fits && (used <= TT_TRAIN_CONFIG_LIMIT || manifest_room(0, stops) == 0);
    }
    CU_ASSERT_TRUE(fits);
    CU_ASSERT_TRUE(manifest_room(100000, 10) > TT_MANIFEST_ENTRY_BYTES);
    CU_ASSERT_EQUAL(manifest_room(TT_TRAIN_CONFIG_LIMIT + 1, 0), 0);
}

static void a_stops_is_read_as_written(void)
{
    struct tt_manifest_entry entries[] = {make_entry("a", TT_MANIFEST_FILE, 0755, "1")};
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 1);
    struct tt_stop_manifest said = {
        .station = (char *)"alpha", .index = 3, .results = list, .time = "2026-01-31T12:00:00Z"};
    struct tt_stop_manifest read TT_CLEANUP(tt_stop_manifest_clear) = {0};
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    memset(said.session_id, 1, sizeof said.session_id);
    memset(said.digest, 2, sizeof said.digest);
    memset(said.previous, 3, sizeof said.previous);
    CU_ASSERT_EQUAL_FATAL(tt_stop_manifest_write(&said, TT_MANIFEST_ENTRY_BYTES, &payload, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_stop_manifest_parse(payload.data, payload.length, &read, NULL), TT_OK);
    CU_ASSERT_STRING_EQUAL(read.station, said.station);
    CU_ASSERT_STRING_EQUAL(read.time, said.time);
    CU_ASSERT_EQUAL(read.index, 3);
    CU_ASSERT_EQUAL(memcmp(read.session_id, said.session_id, sizeof said.session_id), 0);
    CU_ASSERT_EQUAL(memcmp(read.digest, said.digest, sizeof said.digest), 0);
    CU_ASSERT_EQUAL(memcmp(read.previous, said.previous, sizeof said.previous), 0);
    CU_ASSERT_EQUAL(tt_manifest_list_compare(&said.results, &read.results, "a", "b", NULL), TT_OK);
}

/* --- what can be said of encrypted files --- */

/* A file of a results folder as its image shows it. */
struct shown {
    const char *path; /* NULL: there is none */
    enum tt_entry_type type;
    uint32_t mode;
    uint64_t plain; /* bytes before it was encrypted */
    const char *target;
};

enum { SHOWN = 7 };

static const struct shown honest[SHOWN] = {
    {"opt/pht_results", TT_ENTRY_FOLDER, 0755, 0, NULL},
    {"opt/pht_results/a", TT_ENTRY_FILE, 0640, 5, NULL},
    {"opt/pht_results/d", TT_ENTRY_FOLDER, 0755, 0, NULL},
    {"opt/pht_results/d/l", TT_ENTRY_SYMLINK, 0777, 0, "../a"},
    {"opt/pht_results/h", TT_ENTRY_HARDLINK, 0640, 0, "opt/pht_results/a"},
    {"opt/pht_results/z", TT_ENTRY_FILE, 04755, 16, NULL},
};

static void no_free(void *store)
{
    (void)store;
}

static struct tt_file_set *show(const struct shown *shown, size_t count)
{
    static const struct tt_file_set_ways ways = {.free = no_free};
    struct tt_entry *entries = calloc(count, sizeof *entries);
    struct tt_file_set *set = NULL;
    size_t used = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (size_t i = 0; i < count; i++)
        if (shown[i].path)
            entries[used++] =
                (struct tt_entry){.path = strdup(shown[i].path),
                                  .type = shown[i].type,
                                  .mode = shown[i].mode,
                                  .size = shown[i].type == TT_ENTRY_FILE ? tt_file_encrypted_size(shown[i].plain) : 0,
                                  .link_target = shown[i].target ? strdup(shown[i].target) : NULL};
    CU_ASSERT_EQUAL_FATAL(tt_file_set_new(entries, used, &ways, NULL, &set, NULL), TT_OK);
    return set;
}

static struct tt_manifest_list list_honest(void)
{
    const struct tt_manifest_entry entries[] = {
        make_entry("a", TT_MANIFEST_FILE, 0640, "12345"), make_entry("d/l", TT_MANIFEST_SYMLINK, 0, "../a"),
        make_entry("h", TT_MANIFEST_HARDLINK, 0, "a"), make_entry("z", TT_MANIFEST_FILE, 04755, "0123456789abcdef")};
    return make_list(entries, 4);
}

/* What the last stop signed, and an image whose results differ from it in one place. */
static void expect_shown(const struct tt_manifest_list *signed_, size_t place, const struct shown *instead,
                         const char *words)
{
    struct shown shown[SHOWN];
    const struct manifests manifests = {
        .there = true, .last = {.station = (char *)"alpha", .results = *signed_}, .creator.definition = *signed_};
    struct tt_error err = TT_ERROR_INIT;
    memcpy(shown, honest, sizeof shown);
    shown[place] = *instead;
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = show(shown, SHOWN);
    enum tt_status status = manifest_check_result_names(&manifests, set, &err);
    bool good = words ? status == TT_TAMPERED && strstr(err.message, words) : status == TT_OK;
    CU_ASSERT_TRUE(good);
    if (!good)
        printf("\n    %s: %d %s\n", words ? words : "honest", status, err.message);
}

#define FILE_A "opt/pht_results/a"
#define LINK_L "opt/pht_results/d/l"
#define LINK_H "opt/pht_results/h"

static void encrypted_files_are_those_of_the_list(void)
{
    static const char another_link[] = "is another link than";
    static const char another_mode[] = "has another mode than";
    static const struct {
        size_t place;
        struct shown shown;
        const char *words;
    } cases[] = {
        {6, {NULL, TT_ENTRY_FILE, 0, 0, NULL}, NULL},
        {1, {FILE_A, TT_ENTRY_FILE, 0640, 15, NULL}, NULL}, /* as far as it shows */
        {1, {FILE_A, TT_ENTRY_FILE, 0100640, 5, NULL}, NULL},
        {1, {FILE_A, TT_ENTRY_FILE, 0640, 16, NULL}, "/opt/pht_results/a has another size than in the signed manifest"},
        {1, {FILE_A, TT_ENTRY_FILE, 0644, 5, NULL}, another_mode},
        {1, {FILE_A, TT_ENTRY_FILE, 04640, 5, NULL}, another_mode},
        {5, {"opt/pht_results/z", TT_ENTRY_FILE, 0755, 16, NULL}, another_mode},
        {1, {FILE_A, TT_ENTRY_SYMLINK, 0640, 0, "z"}, another_link},
        {1, {FILE_A, TT_ENTRY_HARDLINK, 0640, 0, "opt/pht_results/z"}, another_link},
        {3, {LINK_L, TT_ENTRY_FILE, 0, 4, NULL}, another_mode}, /* of a link there is none */
        {3, {LINK_L, TT_ENTRY_SYMLINK, 0, 0, "../z"}, another_link},
        {3, {LINK_L, TT_ENTRY_SYMLINK, 0, 0, "../aa"}, another_link},
        {3, {LINK_L, TT_ENTRY_HARDLINK, 0, 0, "opt/pht_results/../a"}, another_link},
        {4, {LINK_H, TT_ENTRY_HARDLINK, 0, 0, "opt/pht_results/z"}, another_link},
        {4, {LINK_H, TT_ENTRY_HARDLINK, 0, 0, "opt/pht_results/"}, another_link},
        {4, {LINK_H, TT_ENTRY_HARDLINK, 0, 0, "b"}, another_link},
        {4, {LINK_H, TT_ENTRY_SYMLINK, 0, 0, "a"}, another_link},
        {1, {NULL, TT_ENTRY_FILE, 0, 0, NULL}, "/opt/pht_results/a is in the signed manifest, but not in the train"},
        {5, {NULL, TT_ENTRY_FILE, 0, 0, NULL}, "/opt/pht_results/z is in the signed manifest, but not in the train"},
        {2, {"opt/pht_results/b", TT_ENTRY_FILE, 0, 0, NULL}, "/opt/pht_results/b is in the train, but not in the"},
        {6, {"opt/pht_results/zz", TT_ENTRY_FILE, 0, 0, NULL}, "/opt/pht_results/zz is in the train, but not in the"},
        {6, {"opt/pht_results/zz", TT_ENTRY_FOLDER, 0, 0, NULL}, NULL}, /* folders are not listed */
    };
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = list_honest();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_shown(&list, cases[i].place, &cases[i].shown, cases[i].words);
    list.entries[0].size = INT64_MAX; /* the most that a manifest can say */
    expect_shown(&list, 6, &honest[6], "/opt/pht_results/a has another size");
}

/* Where the list is too long to be there, the numbers are left. */
static void encrypted_files_are_counted(void)
{
    static const char words[] = "but station 'alpha' signed 2 and 2 in the manifest";
    struct tt_manifest_list whole TT_CLEANUP(tt_manifest_list_clear) = list_honest();
    const struct tt_manifest_list list = {.files = whole.files, .links = whole.links};
    const struct shown file = {"opt/pht_results/zz", TT_ENTRY_FILE, 0, 0, NULL};
    const struct shown link = {"opt/pht_results/zz", TT_ENTRY_SYMLINK, 0, 0, "a"};
    const struct shown renamed = {"opt/pht_results/b", TT_ENTRY_FILE, 0, 0, NULL};
    const struct shown unlinked = {LINK_H, TT_ENTRY_FILE, 0, 0, NULL};
    expect_shown(&list, 6, &honest[6], NULL);
    expect_shown(&list, 1, &renamed, NULL); /* that shows when it is opened */
    expect_shown(&list, 6, &file, words);
    expect_shown(&list, 6, &link, words);
    expect_shown(&list, 4, &unlinked, words);
}

/* When they are open, everything shows. */
static void opened_files_are_those_of_the_list(void)
{
    const struct tt_manifest_entry other = make_entry("a", TT_MANIFEST_FILE, 0640, "54321");
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = list_honest();
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = make_list(&other, 1);
    const struct manifests manifests = {.there = true, .last = {.station = (char *)"alpha", .results = list}};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(manifest_check_results(&manifests, &list, &err), TT_OK);
    CU_ASSERT_EQUAL(manifest_check_results(&manifests, &found, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_results/a is not as station 'alpha' signed it"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another content"));
}

/* Files that are not taken (compiled Python of an earlier stop) are in nobody's list. */
static void only_what_is_taken_counts(void)
{
    const struct shown shown[] = {{"opt/pht_train", TT_ENTRY_FOLDER, 0755, 0, NULL},
                                  {"opt/pht_train/a", TT_ENTRY_FILE, 0640, 5, NULL},
                                  {"opt/pht_train/b", TT_ENTRY_FILE, 0640, 5, NULL}};
    const struct tt_manifest_entry entry = make_entry("a", TT_MANIFEST_FILE, 0640, "12345");
    bool taken[] = {true, true, false};
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = make_list(&entry, 1);
    struct tt_file_set *set TT_CLEANUP(tt_file_set_free_cleanup) = show(shown, 3);
    struct manifests manifests = {.there = true, .creator.definition = list};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(manifest_check_definition_names(&manifests, set, taken, &err), TT_OK);
    taken[2] = true;
    CU_ASSERT_EQUAL(manifest_check_definition_names(&manifests, set, taken, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_train/b is in the train, but not"));
    /* Where there are no manifests, or no stop that signed one, they say nothing. */
    manifests.there = false;
    struct tt_manifest_list none = {0};
    size_t layers_known = 7;
    CU_ASSERT_EQUAL(manifest_check_definition_names(&manifests, set, taken, &err), TT_OK);
    CU_ASSERT_EQUAL(manifest_check_definition(&manifests, &none, &err), TT_OK);
    CU_ASSERT_EQUAL(manifest_check_result_names(&manifests, set, &err), TT_OK);
    CU_ASSERT_EQUAL(manifest_check_results(&manifests, &list, &err), TT_OK);
    CU_ASSERT_EQUAL(manifest_check_image(&manifests, NULL, &err), TT_OK);
    (void)manifest_layers(&manifests, &layers_known);
    CU_ASSERT_EQUAL(layers_known, 0);
}

/* A list too long to be there can say otherwise of the query than the files do. */
static void the_query_is_the_creators(void)
{
    const struct tt_manifest_entry entries[] = {make_entry("query.json", TT_MANIFEST_FILE, 0644, "{}")};
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = make_list(entries, 1);
    struct manifests manifests = {.there = true, .creator.definition = found};
    struct tt_manifest_list *listed = &manifests.creator.definition;
    struct tt_error err = TT_ERROR_INIT;
    listed->is_explicit = false;
    CU_ASSERT_EQUAL(manifest_check_definition(&manifests, &found, &err), TT_OK);
    listed->query[TT_SHA512_SIZE - 1] ^= 1;
    CU_ASSERT_EQUAL(manifest_check_definition(&manifests, &found, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the query is not the one that the creator signed"));
    memset(listed->query, 0, sizeof listed->query);
    listed->has_query = false;
    CU_ASSERT_EQUAL(manifest_check_definition(&manifests, &found, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the query is not the one that the creator signed"));
}

/* --- manifests and their train --- */

/* The text of an envelope that this key signs, whoever it says it is. */
static char *sign(EVP_PKEY *signer, const struct tt_buffer *payload, bool other_name)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct tt_token_use use = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(vector_key_open(signer, &key, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(manifest_sign(key, payload, &use, &text, NULL), TT_OK);
    char *made = strdup((const char *)text.data);
    char *name = strstr(made, "SHA256:");
    if (other_name)
        name[10] = name[10] == 'A' ? 'B' : 'A';
    return made;
}

/* A train with two stops of which one has signed, and what its manifests say. */
static struct {
    struct tt_creator_manifest creator;
    struct tt_stop_manifest stop;
    struct tt_manifest_stop route[4];
    struct tt_train train;
    struct tt_stop stops[2];
    struct train_keys keys;
    EVP_PKEY *stop_keys[2];
    bool creators_name, stops_name; /* another one stands in the envelope */
} told;

static void tell(void)
{
    memset(told.train.session_id, 7, sizeof told.train.session_id);
    memset(told.train.hash, 8, sizeof told.train.hash);
    memset(told.stops[0].digest, 9, sizeof told.stops[0].digest);
    told.stops[0].station = (char *)"alpha";
    told.stops[1].station = (char *)"beta";
    told.train.id = (char *)"a train";
    told.train.creator_id = (char *)"researcher";
    told.train.stops = told.stops;
    told.train.stop_count = 2;
    told.train.has_manifests = true;
    told.train.manifest_count = 2;
    told.keys.stops = told.stop_keys;
    told.keys.stop_count = 2;
    told.creator = (struct tt_creator_manifest){
        .train = told.train.id, .creator = told.train.creator_id, .route = told.route, .stop_count = 2};
    memcpy(told.creator.session_id, told.train.session_id, sizeof told.creator.session_id);
    memcpy(told.creator.hash, told.train.hash, sizeof told.creator.hash);
    CU_ASSERT_EQUAL(tt_public_key_fingerprint(told.keys.creator, told.creator.fingerprint, NULL), TT_OK);
    for (size_t i = 0; i < 4; i++) {
        told.route[i].station = told.stops[i % 2].station;
        CU_ASSERT_EQUAL(tt_public_key_fingerprint(told.stop_keys[i % 2], told.route[i].fingerprint, NULL), TT_OK);
    }
    told.stop = (struct tt_stop_manifest){.station = told.stops[0].station, .time = "2026-01-31T12:00:00Z"};
    memcpy(told.stop.session_id, told.train.session_id, sizeof told.stop.session_id);
    memcpy(told.stop.digest, told.stops[0].digest, sizeof told.stop.digest);
    told.creators_name = told.stops_name = false;
}

/* As many stops as said have signed; `previous` goes into the stop's manifest with this on it. */
static enum tt_status verify_told(size_t position, uint8_t change, struct tt_error *err)
{
    struct manifests manifests TT_CLEANUP(manifests_clear) = {0};
    struct tt_buffer first TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer second TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = list_honest();
    told.creator.definition = told.stop.results = list;
    CU_ASSERT_EQUAL_FATAL(tt_creator_manifest_write(&told.creator, 0, &first, NULL), TT_OK);
    char *creators TT_CLEANUP(tt_free_cleanup) = sign(told.keys.creator, &first, told.creators_name);
    CU_ASSERT_EQUAL(tt_digest_once(TT_SHA256, creators, strlen(creators), told.stop.previous, NULL), TT_OK);
    told.stop.previous[0] ^= change;
    CU_ASSERT_EQUAL_FATAL(tt_stop_manifest_write(&told.stop, 0, &second, NULL), TT_OK);
    char *stops TT_CLEANUP(tt_free_cleanup) = sign(told.stop_keys[0], &second, told.stops_name);
    char *texts[] = {creators, stops};
    told.train.manifests = texts;
    enum tt_status status = manifest_verify(&told.train, &told.keys, position, NULL, &manifests, err);
    CU_ASSERT_EQUAL(manifests.there, status == TT_OK);
    told.train.manifests = NULL;
    return status;
}

static void expect_told(size_t position, uint8_t change, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = verify_told(position, change, &err);
    bool good = words ? status == TT_TAMPERED && strstr(err.message, words) : status == TT_OK;
    CU_ASSERT_TRUE(good);
    if (!good)
        printf("\n    %s: %d %s\n", words ? words : "honest", status, err.message);
}

/* One thing after the other is not as the train's configuration has it; the signatures are right. */
static void manifests_belong_to_their_train(void)
{
    static const struct {
        void *byte;  /* to be another one, */
        char **text; /* or a text */
        const char *words;
    } cases[] = {
        {NULL, NULL, NULL},
        {told.creator.session_id, NULL, "the creator's manifest does not belong to this train: its session id"},
        {NULL, &told.creator.train, "the creator's manifest does not belong to this train: its train id"},
        {NULL, &told.creator.creator, "its creator's id"},
        {told.creator.hash, NULL, "its definition hash"},
        {told.creator.fingerprint + 10, NULL, "its creator's key"},
        {&told.creator.stop_count, NULL, "its number of stops"},
        {NULL, &told.route[0].station, "its station of stop 0"},
        {NULL, &told.route[1].station, "its station of stop 1"},
        {told.route[0].fingerprint + 10, NULL, "its public key of stop 0"},
        {told.route[1].fingerprint + 10, NULL, "its public key of stop 1"},
        {&told.creators_name, NULL, "the creator's manifest does not belong to this train: its signing key"},
        {told.stop.session_id, NULL,
         "the manifest of stop 0 (station 'alpha') does not belong to this train: its sess"},
        {&told.stop.index, NULL, "its stop is not"},
        {NULL, &told.stop.station, "its station is not"},
        {told.stop.digest, NULL, "its route digest"},
        {&told.stops_name, NULL, "(station 'alpha') does not belong to this train: its signing key"},
    };
    told.keys.creator = vector_key("user");
    told.stop_keys[0] = vector_key("station_1");
    told.stop_keys[1] = vector_key("station_2");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tell();
        if (cases[i].byte)
            *(uint8_t *)cases[i].byte ^= 1;
        if (cases[i].text)
            *cases[i].text = (char *)"another";
        expect_told(1, 0, cases[i].words);
    }
    tell();
    expect_told(1, 1, "was made after another manifest than the one that is before it");
    expect_told(0, 0, "the train has 2 signed manifests, but its creator and the stops that signed make 1");
    told.train.manifest_count = 1;
    expect_told(0, 0, NULL);
    expect_told(1, 0, "has 1 signed manifests");
    told.train.manifest_count = 0;
    expect_told(0, 0, "has 0 signed manifests");
}

static void trains_may_have_no_id(void)
{
    tell();
    told.creator.train = NULL;
    expect_told(1, 0, "its train id");
    told.train.id = NULL;
    expect_told(1, 0, NULL);
    told.creator.train = (char *)"a train";
    expect_told(1, 0, "its train id");
    EVP_PKEY_free(told.keys.creator);
    EVP_PKEY_free(told.stop_keys[0]);
    EVP_PKEY_free(told.stop_keys[1]);
}

/* --- the time in it --- */

static time_t now; /* 0: the clock's */

time_t __real_time(time_t *ret_time);
time_t __wrap_time(time_t *ret_time);
time_t __wrap_time(time_t *ret_time)
{
    return now ? now : __real_time(ret_time);
}

static void clocks_may_show_anything(void)
{
    static const time_t none[] = {253402300800, INT64_MAX}; /* the year 10000, and a year that is no number */
    struct tt_stop stop = {.station = (char *)"alpha"};
    const struct tt_train train = {.stops = &stop, .stop_count = 1};
    const struct manifests manifests = {0};
    const uint8_t digest[TT_SHA512_SIZE] = {0};
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = list_honest();
    struct tt_stop_manifest read TT_CLEANUP(tt_stop_manifest_clear) = {0};
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    for (size_t i = 0; i < 2; i++) {
        now = none[i];
        CU_ASSERT_EQUAL(manifest_stop_payload(&manifests, &train, 0, digest, &list, &payload, &err), TT_INTERNAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "this machine's clock shows no time that can be written down"));
    }
    now = 253402300799;
    CU_ASSERT_EQUAL(manifest_stop_payload(&manifests, &train, 0, digest, &list, &payload, &err), TT_OK);
    now = 0;
    CU_ASSERT_EQUAL_FATAL(tt_stop_manifest_parse(payload.data, payload.length, &read, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(read.time, "9999-12-31T23:59:59Z");
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"a line has mode, size, hash and path", a_line_has_mode_size_hash_and_path},
        {"a difference is named", a_difference_is_named},
        {"long lists are digests", long_lists_are_digests},
        {"what comes by is listed", what_comes_by_is_listed},
        {"borders of slots do not matter", borders_of_slots_do_not_matter},
        {"what is cut is put together", what_is_cut_is_put_together},
        {"content that is missing is noticed", content_that_is_missing_is_noticed},
        {"the creator's is read as written", the_creators_is_read_as_written},
        {"entries need room", entries_need_room},
        {"a stop's is read as written", a_stops_is_read_as_written},
        {"encrypted files are those of the list", encrypted_files_are_those_of_the_list},
        {"encrypted files are counted", encrypted_files_are_counted},
        {"opened files are those of the list", opened_files_are_those_of_the_list},
        {"only what is taken counts", only_what_is_taken_counts},
        {"the query is the creator's", the_query_is_the_creators},
        {"manifests belong to their train", manifests_belong_to_their_train},
        {"trains may have no id", trains_may_have_no_id},
        {"clocks may show anything", clocks_may_show_anything},
    };
    return SUITE_RUN("manifest", tests);
}
