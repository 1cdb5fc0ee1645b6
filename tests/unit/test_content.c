/* Moving a train's files: what is hashed, listed, encrypted and decrypted, on an image that is made up; and that
 * whatever of it fails ends it. */
#include <signal.h>
#include <string.h>

#include "base/interrupt.h"
#include "failing_calls.h"
#include "image/store.h"
#include "protocol/content.h"
#include "protocol/content_reader.h"
#include "protocol/visit.h"
#include "suite.h"

/* --- an image and a disk that fail on demand --- */

enum { ITEMS = 8 };

struct item {
    struct tt_entry entry;
    struct tt_buffer content;
};

/* Files that are read, and a change that takes them. */
struct desk {
    struct item items[ITEMS];
    size_t count;
    unsigned calls;
    unsigned fails_at; /* the call that fails; 0: none */
    unsigned late;     /* calls after that */
    bool starves;      /* from the next file on the next allocation fails, and contents are not kept */
    bool starving;
};

static enum tt_status call(struct desk *desk, struct tt_error *err)
{
    desk->calls++;
    if (desk->fails_at == 0 || desk->calls < desk->fails_at)
        return TT_OK;
    desk->late += desk->calls > desk->fails_at;
    return tt_error_set(err, TT_STORE, "call %u failed", desk->fails_at);
}

static void put(struct desk *desk, const struct tt_entry *entry, const void *data, size_t length)
{
    CU_ASSERT_TRUE_FATAL(desk->count < ITEMS);
    struct item *item = &desk->items[desk->count++];
    CU_ASSERT_EQUAL_FATAL(tt_entry_copy(entry, &item->entry, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&item->content, data, length, NULL), TT_OK);
}

static void desk_clear(struct desk *desk)
{
    for (size_t i = 0; i < desk->count; i++) {
        tt_entry_clear(&desk->items[i].entry);
        tt_buffer_clear(&desk->items[i].content);
    }
    *desk = (struct desk){0};
}

static enum tt_status change_add(void *state, const struct tt_entry *entry, struct tt_error *err)
{
    struct desk *desk = state;
    enum tt_status status = call(desk, err);
    if (status == TT_OK)
        put(desk, entry, "", 0);
    if (desk->starves && entry->size > 0) {
        desk->starving = true;
        failing_calls_arm(1);
    }
    return status;
}

static enum tt_status change_data(void *state, const void *data, size_t length, struct tt_error *err)
{
    struct desk *desk = state;
    enum tt_status status = call(desk, err);
    if (desk->starving)
        return status;
    return status == TT_OK ? tt_buffer_append(&desk->items[desk->count - 1].content, data, length, err) : status;
}

static const struct tt_image_store made_up = {
    .change_replace = change_add, .change_add = change_add, .change_data = change_data};

static enum tt_status read_item(void *store, size_t index, uint64_t offset, void *data, size_t length,
                                struct tt_error *err)
{
    struct desk *desk = store;
    enum tt_status status = call(desk, err);
    if (status == TT_OK)
        memcpy(data, desk->items[index].content.data + offset, length);
    return status;
}

static int compare_items(const void *one, const void *other)
{
    const struct item *left = one;
    const struct item *right = other;
    return tt_path_compare(left->entry.path, right->entry.path);
}

/* What lies on the desk, in archive order. */
static struct tt_file_set *files_on(struct desk *desk)
{
    static const struct tt_file_set_ways ways = {.read = read_item};
    struct tt_file_set *set = NULL;
    qsort(desk->items, desk->count, sizeof desk->items[0], compare_items);
    struct tt_entry *entries = calloc(desk->count, sizeof *entries);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (size_t i = 0; i < desk->count; i++)
        CU_ASSERT_EQUAL_FATAL(tt_entry_copy(&desk->items[i].entry, &entries[i], NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_file_set_new(entries, desk->count, &ways, desk, &set, NULL), TT_OK);
    return set;
}

static void put_item(struct desk *desk, const char *path, enum tt_entry_type type, const char *text)
{
    bool is_file = type == TT_ENTRY_FILE;
    bool is_link = type == TT_ENTRY_SYMLINK || type == TT_ENTRY_HARDLINK;
    put(desk,
        &(struct tt_entry){.path = (char *)path,
                           .type = type,
                           .mode = 0640,
                           .size = is_file ? strlen(text) : 0,
                           .link_target = is_link ? (char *)text : NULL},
        text, is_file ? strlen(text) : 0);
}

#define ROOT TT_TRAIN_RESULTS

static void lay_out(struct desk *desk)
{
    put_item(desk, ROOT, TT_ENTRY_FOLDER, "");
    put_item(desk, ROOT "/a", TT_ENTRY_HARDLINK, ROOT "/b/file");
    put_item(desk, ROOT "/b", TT_ENTRY_FOLDER, "");
    put_item(desk, ROOT "/b/empty", TT_ENTRY_FILE, "");
    put_item(desk, ROOT "/b/file", TT_ENTRY_FILE, "what the train has found at this station");
    put_item(desk, ROOT "/link", TT_ENTRY_SYMLINK, "b");
}

static const struct item *find_item(const struct desk *desk, const char *path)
{
    for (size_t i = 0; i < desk->count; i++)
        if (strcmp(desk->items[i].entry.path, path) == 0)
            return &desk->items[i];
    return NULL;
}

/* --- a transfer with all that belongs to it --- */

struct work {
    struct tt_file_cipher *cipher;
    struct content_hash *hash;
    struct content_listing *listing;
    struct tt_image_change change;
    struct content_transfer transfer;
    uint8_t value[TT_SHA512_SIZE];
    struct tt_manifest_list list;
};

static void work_begin(struct work *work, struct desk *to, const char *folder)
{
    struct tt_secret *key TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    *work = (struct work){.change = {.store = &made_up, .state = to}};
    CU_ASSERT_EQUAL_FATAL(tt_secret_new(TT_FILE_KEY_SIZE, &key, NULL), TT_OK);
    memset(key->data, 7, TT_FILE_KEY_SIZE);
    key->length = TT_FILE_KEY_SIZE;
    CU_ASSERT_EQUAL_FATAL(tt_file_cipher_new(key, &work->cipher, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(content_hash_new(&work->hash, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(content_listing_new(folder, &work->listing, NULL), TT_OK);
    work->transfer = (struct content_transfer){
        .folder = ROOT, .cipher = work->cipher, .hash = work->hash, .listing = work->listing, .change = &work->change};
}

static void work_end(struct work *work)
{
    content_listing_free(work->listing);
    content_hash_free(work->hash);
    tt_file_cipher_free(work->cipher);
    tt_manifest_list_clear(&work->list);
}

static void work_sum_up(struct work *work)
{
    CU_ASSERT_EQUAL(content_hash_final(work->hash, work->value, NULL), TT_OK);
    CU_ASSERT_EQUAL(content_listing_end(work->listing, &work->list, NULL), TT_OK);
}

enum way { ENCRYPT, DECRYPT };

static enum tt_status move(enum way way, struct work *work, struct desk *from, const bool *taken, struct tt_error *err)
{
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = files_on(from);
    return way == ENCRYPT ? content_encrypt_files(&work->transfer, files, taken, err)
                          : content_decrypt(&work->transfer, files, taken, err);
}

/* Encrypted and decrypted again. */
static void there_and_back(struct desk *plain, const bool *taken, struct desk *ret_encrypted, struct desk *ret_back)
{
    struct work there TT_CLEANUP(work_end);
    struct work back TT_CLEANUP(work_end);
    work_begin(&there, ret_encrypted, ROOT);
    work_begin(&back, ret_back, ROOT);
    CU_ASSERT_EQUAL(move(ENCRYPT, &there, plain, taken, NULL), TT_OK);
    work_sum_up(&there);
    CU_ASSERT_EQUAL(move(DECRYPT, &back, ret_encrypted, NULL, NULL), TT_OK);
    work_sum_up(&back);
    CU_ASSERT_EQUAL(memcmp(there.value, back.value, sizeof back.value), 0);
    CU_ASSERT_EQUAL(memcmp(there.list.sha512, back.list.sha512, sizeof back.list.sha512), 0);
    CU_ASSERT_EQUAL(there.transfer.done.bytes, back.transfer.done.bytes);
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = files_on(plain);
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = {0};
    CU_ASSERT_EQUAL(content_list(files, ROOT, taken, &list, NULL), TT_OK);
    CU_ASSERT_EQUAL(memcmp(list.sha512, back.list.sha512, sizeof back.list.sha512), 0);
}

static void files_go_there_and_back(void)
{
    struct desk plain TT_CLEANUP(desk_clear) = {0};
    struct desk encrypted TT_CLEANUP(desk_clear) = {0};
    struct desk back TT_CLEANUP(desk_clear) = {0};
    lay_out(&plain);
    there_and_back(&plain, NULL, &encrypted, &back);
    CU_ASSERT_EQUAL(back.count, plain.count);
    CU_ASSERT_STRING_EQUAL(back.items[5].entry.path, ROOT "/a"); /* after the file that it is */
    for (size_t i = 0; i < plain.count; i++) {
        const struct item *item = find_item(&back, plain.items[i].entry.path);
        const struct item *hidden = find_item(&encrypted, plain.items[i].entry.path);
        CU_ASSERT_TRUE_FATAL(item && hidden);
        CU_ASSERT_EQUAL(item->entry.type, plain.items[i].entry.type);
        CU_ASSERT_STRING_EQUAL(item->content.data, plain.items[i].content.data);
        CU_ASSERT_EQUAL(hidden->entry.size, hidden->content.length);
    }
    CU_ASSERT_EQUAL(find_item(&encrypted, ROOT "/b/empty")->content.length, 32);
}

static void what_is_not_taken_stays(void)
{
    static const bool links[] = {true, true, true, false, true, false};
    static const bool files[] = {true, false, true, true, true, true};
    for (int which = 0; which < 2; which++) {
        struct desk plain TT_CLEANUP(desk_clear) = {0};
        struct desk encrypted TT_CLEANUP(desk_clear) = {0};
        struct desk back TT_CLEANUP(desk_clear) = {0};
        const bool *taken = which ? files : links;
        lay_out(&plain);
        there_and_back(&plain, taken, &encrypted, &back);
        for (size_t i = 0; i < plain.count; i++)
            CU_ASSERT_EQUAL(find_item(&back, plain.items[i].entry.path) != NULL, taken[i]);
    }
}

/* Each read of a file and each call of the change fails in turn: that is what is said, and nothing comes after it. */
static void what_fails_ends_the_transfer(void)
{
    struct desk plain TT_CLEANUP(desk_clear) = {0};
    struct desk encrypted TT_CLEANUP(desk_clear) = {0};
    struct desk back TT_CLEANUP(desk_clear) = {0};
    lay_out(&plain);
    there_and_back(&plain, NULL, &encrypted, &back);
    for (enum way way = ENCRYPT; way <= DECRYPT; way++) {
        struct desk *from = way == ENCRYPT ? &plain : &encrypted;
        for (unsigned at = 1, failures = 2; failures > 0; at++) {
            struct desk to TT_CLEANUP(desk_clear) = {.fails_at = at};
            struct work on_disk TT_CLEANUP(work_end);
            struct work in_change TT_CLEANUP(work_end);
            struct tt_error err = TT_ERROR_INIT;
            failures = 0;
            work_begin(&in_change, &to, ROOT);
            from->fails_at = 0;
            enum tt_status status = move(way, &in_change, from, NULL, &err);
            failures += status != TT_OK;
            CU_ASSERT_TRUE(status == TT_OK || (status == TT_STORE && strstr(err.message, "failed")));
            CU_ASSERT_EQUAL(to.late, 0);
            desk_clear(&to);
            work_begin(&on_disk, &to, ROOT);
            from->calls = 0;
            from->fails_at = at;
            status = move(way, &on_disk, from, NULL, &err);
            failures += status != TT_OK;
            CU_ASSERT_TRUE(status == TT_OK || (status == TT_STORE && strstr(err.message, "failed")));
            CU_ASSERT_EQUAL(from->late, 0);
        }
    }
}

/* What a listing cannot take ends it, too: here everything lies outside of its folder. */
static void listings_of_another_folder(void)
{
    static const char *const paths[] = {ROOT "/b/file", ROOT "/link", ROOT "/a"};
    static const enum tt_entry_type types[] = {TT_ENTRY_FILE, TT_ENTRY_SYMLINK, TT_ENTRY_HARDLINK};
    static const char far[] = ROOT "/a/folder/with/a/name/that/is/longer/than/theirs";
    for (size_t i = 0; i < 3; i++) {
        struct desk plain TT_CLEANUP(desk_clear) = {0};
        struct desk encrypted TT_CLEANUP(desk_clear) = {0};
        struct desk back TT_CLEANUP(desk_clear) = {0};
        struct tt_manifest_list list = {0};
        put_item(&plain, ROOT, TT_ENTRY_FOLDER, "");
        put_item(&plain, paths[i], types[i], "x");
        there_and_back(&plain, NULL, &encrypted, &back);
        for (enum way way = ENCRYPT; way <= DECRYPT; way++) {
            struct work work TT_CLEANUP(work_end);
            struct desk to TT_CLEANUP(desk_clear) = {0};
            struct tt_error err = TT_ERROR_INIT;
            work_begin(&work, &to, far);
            CU_ASSERT_EQUAL(move(way, &work, way == ENCRYPT ? &plain : &encrypted, NULL, &err), TT_INTERNAL);
            CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is outside the folder that is listed"));
            CU_ASSERT_EQUAL(to.count, 1);
        }
        struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = files_on(&plain);
        CU_ASSERT_EQUAL(content_list(files, far, NULL, &list, NULL), TT_INTERNAL);
        CU_ASSERT_EQUAL(content_list(files, ROOT, NULL, &list, NULL), TT_OK);
        tt_manifest_list_clear(&list);
    }
}

/* A listing is made on another thread. That it failed is noticed while the contents still come, if there are many. */
static void listings_without_memory(void)
{
    enum { MANY = 5 * 1024 * 1024 };
    char *text TT_CLEANUP(tt_free_cleanup) = malloc(MANY + 1);
    struct desk plain TT_CLEANUP(desk_clear) = {0};
    struct desk encrypted TT_CLEANUP(desk_clear) = {0};
    struct desk back TT_CLEANUP(desk_clear) = {0};
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, 'x', MANY);
    text[MANY] = '\0';
    put_item(&plain, ROOT, TT_ENTRY_FOLDER, "");
    put_item(&plain, ROOT "/a-link", TT_ENTRY_SYMLINK, "b");
    put_item(&plain, ROOT "/b", TT_ENTRY_FILE, text);
    there_and_back(&plain, NULL, &encrypted, &back);
    for (enum way way = ENCRYPT; way <= DECRYPT; way++) {
        struct work work TT_CLEANUP(work_end);
        struct desk to TT_CLEANUP(desk_clear) = {.starves = true};
        struct tt_error err = TT_ERROR_INIT;
        struct tt_entry next = {.path = (char *)ROOT "/c", .type = TT_ENTRY_SYMLINK, .link_target = (char *)"b"};
        work_begin(&work, &to, ROOT);
        enum tt_status status = move(way, &work, way == ENCRYPT ? &plain : &encrypted, NULL, &err);
        CU_ASSERT_TRUE(failing_calls_disarm());
        CU_ASSERT_EQUAL(status, TT_INTERNAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "out of memory"));
        /* Small entries, too, by when there are many. */
        for (size_t i = 0; i < MANY / sizeof next && (i == 0 || status == TT_OK); i++)
            status = content_listing_entry(work.listing, &next, NULL);
        CU_ASSERT_EQUAL(status, TT_INTERNAL);
        CU_ASSERT_EQUAL(content_listing_end(work.listing, &work.list, NULL), TT_INTERNAL);
    }
}

static void sizes_that_no_encrypted_file_has(void)
{
    static const char *const texts[] = {"", "0123456789abcdef", "0123456789abcdef0123456789abcde",
                                        "0123456789abcdef0123456789abcdef0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct desk encrypted TT_CLEANUP(desk_clear) = {0};
        struct desk to TT_CLEANUP(desk_clear) = {0};
        struct work work TT_CLEANUP(work_end);
        struct tt_error err = TT_ERROR_INIT;
        put_item(&encrypted, ROOT, TT_ENTRY_FOLDER, "");
        put_item(&encrypted, ROOT "/x", TT_ENTRY_FILE, texts[i]);
        work_begin(&work, &to, ROOT);
        CU_ASSERT_EQUAL(move(DECRYPT, &work, &encrypted, NULL, &err), TT_TAMPERED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_results/x cannot be an encrypted file"));
        CU_ASSERT_EQUAL(encrypted.calls, 0);
    }
}

static void listed_files_must_be_there(void)
{
    char *names[] = {"main.py", "more.py"};
    uint8_t hash[TT_SHA512_SIZE];
    struct tt_error err = TT_ERROR_INIT;
    struct tt_train train = {.creator_id = (char *)"researcher", .files = names, .file_count = 1};
    struct desk desk TT_CLEANUP(desk_clear) = {0};
    put_item(&desk, "opt/pht_train", TT_ENTRY_FOLDER, "");
    put_item(&desk, "opt/pht_train/main.py", TT_ENTRY_FILE, "print()");
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = files_on(&desk);
    CU_ASSERT_EQUAL(content_definition_hash(&train, files, NULL, hash, &err), TT_OK);
    train.file_count = 2;
    CU_ASSERT_EQUAL(content_definition_hash(&train, files, NULL, hash, &err), TT_TAMPERED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/opt/pht_train/more.py is in file_list but not in the image"));
}

/* Files tell whether they are plaintext; a disk that fails does not. */
static void what_cannot_be_read_is_not_called_encrypted(void)
{
    char *names[] = {"main.py"};
    struct tt_train train = {.creator_id = (char *)"researcher", .files = names, .file_count = 1};
    struct tt_image image = {.reference = (char *)"oci:train"};
    struct tt_error err = TT_ERROR_INIT;
    struct desk none TT_CLEANUP(desk_clear) = {0};
    struct desk desk TT_CLEANUP(desk_clear) = {0};
    put_item(&desk, "opt/pht_train", TT_ENTRY_FOLDER, "");
    put_item(&desk, "opt/pht_train/main.py", TT_ENTRY_FILE, "print()");
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = files_on(&desk);
    struct tt_file_set *no_files TT_CLEANUP(tt_file_set_free_cleanup) = files_on(&none);
    CU_ASSERT_EQUAL_FATAL(content_definition_hash(&train, files, NULL, train.hash, &err), TT_OK);
    struct visit visit = {.image = &image, .train = &train, .definition = files};
    bool decrypted = false;
    CU_ASSERT_EQUAL(visit_is_decrypted(&visit, &decrypted, &err), TT_OK);
    CU_ASSERT_TRUE(decrypted);
    desk.fails_at = desk.calls + 1;
    CU_ASSERT_EQUAL(visit_is_decrypted(&visit, &decrypted, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "cannot tell whether the train lies decrypted in oci:train: call"));
    desk.fails_at = 0;
    train.hash[0] ^= 1;
    CU_ASSERT_EQUAL(visit_is_decrypted(&visit, &decrypted, &err), TT_OK);
    CU_ASSERT_FALSE(decrypted);
    train.hash[0] ^= 1;
    train.file_count = 0; /* TT_TAMPERED: a file that is not listed */
    CU_ASSERT_EQUAL(visit_is_decrypted(&visit, &decrypted, &err), TT_OK);
    CU_ASSERT_FALSE(decrypted);
    visit.definition = no_files; /* TT_MALFORMED */
    CU_ASSERT_EQUAL(visit_is_decrypted(&visit, &decrypted, &err), TT_OK);
    CU_ASSERT_FALSE(decrypted);
}

static void small_files_are_added(void)
{
    for (unsigned at = 0; at <= 2; at++) {
        struct desk to TT_CLEANUP(desk_clear) = {.fails_at = at};
        struct tt_image_change change = {.store = &made_up, .state = &to};
        CU_ASSERT_EQUAL(content_add(&change, TT_TRAIN_KEY_PATH, "key", 3, NULL), at == 0 ? TT_OK : TT_STORE);
        CU_ASSERT_EQUAL(to.late, 0);
    }
}

/* --- listings --- */

static void list_one(struct content_listing *listing, const char *path, enum tt_entry_type type, const char *target,
                     uint64_t size)
{
    struct tt_entry entry = {
        .path = (char *)path, .type = type, .mode = 0644, .size = size, .link_target = (char *)target};
    CU_ASSERT_EQUAL(content_listing_entry(listing, &entry, NULL), TT_OK);
}

static void add_expected(struct tt_manifest_listing *listing, const char *path, enum tt_manifest_kind kind,
                         const void *data, size_t size)
{
    struct tt_manifest_entry entry = {
        .path = (char *)path, .kind = kind, .mode = kind == TT_MANIFEST_FILE ? 0644 : 0, .size = size};
    CU_ASSERT_EQUAL(tt_digest_once(TT_SHA512, data, size, entry.sha512, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_manifest_listing_add(listing, &entry, NULL), TT_OK);
}

/* Whatever of an entry meets the end of a lane's slot. */
static void listings_across_slots(void)
{
    enum { SLOT = 4 * 1024 * 1024 / 16, MOST = 64 };
    static uint8_t zeros[SLOT];
    for (size_t less = 0; less < MOST; less++) {
        struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
        struct tt_manifest_listing *expected TT_CLEANUP(tt_manifest_listing_free_cleanup) = NULL;
        struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = {0};
        struct tt_manifest_list wanted TT_CLEANUP(tt_manifest_list_clear) = {0};
        size_t size = SLOT - less;
        CU_ASSERT_EQUAL_FATAL(content_listing_new(ROOT, &listing, NULL), TT_OK);
        CU_ASSERT_EQUAL_FATAL(tt_manifest_listing_new(&expected, NULL), TT_OK);
        list_one(listing, ROOT "/a", TT_ENTRY_FILE, NULL, size);
        CU_ASSERT_EQUAL(content_listing_data(listing, zeros, size, NULL), TT_OK);
        list_one(listing, ROOT "/b-name", TT_ENTRY_FILE, NULL, 3);
        CU_ASSERT_EQUAL(content_listing_data(listing, zeros, 3, NULL), TT_OK);
        add_expected(expected, "a", TT_MANIFEST_FILE, zeros, size);
        add_expected(expected, "b-name", TT_MANIFEST_FILE, zeros, 3);
        CU_ASSERT_EQUAL(content_listing_end(listing, &list, NULL), TT_OK);
        CU_ASSERT_EQUAL(tt_manifest_listing_end(expected, &wanted, NULL), TT_OK);
        CU_ASSERT_EQUAL(memcmp(list.sha512, wanted.sha512, sizeof list.sha512), 0);
    }
}

static void what_is_listed(void)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct tt_manifest_listing *expected TT_CLEANUP(tt_manifest_listing_free_cleanup) = NULL;
    struct tt_manifest_list list TT_CLEANUP(tt_manifest_list_clear) = {0};
    struct tt_manifest_list wanted TT_CLEANUP(tt_manifest_list_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(content_listing_new(ROOT, &listing, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_manifest_listing_new(&expected, NULL), TT_OK);
    list_one(listing, ROOT "/a", TT_ENTRY_FILE, NULL, 0);
    list_one(listing, ROOT "/folder", TT_ENTRY_FOLDER, NULL, 0);
    list_one(listing, ROOT "/h", TT_ENTRY_HARDLINK, ROOT "/a", 0);
    list_one(listing, ROOT "/i", TT_ENTRY_HARDLINK, "etc", 0); /* no target that results_check lets through */
    list_one(listing, ROOT "/pipe", TT_ENTRY_SPECIAL, NULL, 0);
    list_one(listing, ROOT "/s", TT_ENTRY_SYMLINK, "a", 0);
    list_one(NULL, ROOT "/t", TT_ENTRY_FILE, NULL, 0);
    add_expected(expected, "a", TT_MANIFEST_FILE, "", 0);
    add_expected(expected, "h", TT_MANIFEST_HARDLINK, "a", 1);
    add_expected(expected, "i", TT_MANIFEST_HARDLINK, "etc", 3);
    add_expected(expected, "s", TT_MANIFEST_SYMLINK, "a", 1);
    CU_ASSERT_EQUAL(content_listing_end(listing, &list, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_manifest_listing_end(expected, &wanted, NULL), TT_OK);
    CU_ASSERT_EQUAL(memcmp(list.sha512, wanted.sha512, sizeof list.sha512), 0);
    CU_ASSERT_EQUAL(list.links, 3);
}

static void paths_that_no_listing_takes(void)
{
    static const char root[] = ROOT "/";
    char path[sizeof root + 4096];
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct tt_entry entry = {.path = path, .type = TT_ENTRY_FILE};
    CU_ASSERT_EQUAL_FATAL(content_listing_new(ROOT, &listing, NULL), TT_OK);
    memcpy(path, root, sizeof root - 1);
    memset(path + sizeof root - 1, 'x', 4096);
    path[sizeof root - 1 + 4096] = '\0';
    CU_ASSERT_EQUAL(content_listing_entry(listing, &entry, NULL), TT_INTERNAL);
    path[sizeof root - 1 + 4095] = '\0';
    CU_ASSERT_EQUAL(content_listing_entry(listing, &entry, NULL), TT_OK);
    path[sizeof root - 1] = '\0';
    CU_ASSERT_EQUAL(content_listing_entry(listing, &entry, NULL), TT_INTERNAL);
}

/* --- an interrupt, which stays: the last test --- */

static void an_interrupt_ends_the_transfer(void)
{
    struct desk plain TT_CLEANUP(desk_clear) = {0};
    struct desk encrypted TT_CLEANUP(desk_clear) = {0};
    struct desk back TT_CLEANUP(desk_clear) = {0};
    lay_out(&plain);
    there_and_back(&plain, NULL, &encrypted, &back);
    tt_interrupt_catch();
    CU_ASSERT_EQUAL(raise(SIGTERM), 0);
    for (enum way way = ENCRYPT; way <= DECRYPT; way++) {
        struct work work TT_CLEANUP(work_end);
        struct desk to TT_CLEANUP(desk_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        work_begin(&work, &to, ROOT);
        CU_ASSERT_EQUAL(move(way, &work, way == ENCRYPT ? &plain : &encrypted, NULL, &err), TT_INTERNAL);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "interrupted by"));
        CU_ASSERT_TRUE(to.count < plain.count);
    }
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"files go there and back", files_go_there_and_back},
        {"what is not taken stays", what_is_not_taken_stays},
        {"what fails ends the transfer", what_fails_ends_the_transfer},
        {"listings of another folder", listings_of_another_folder},
        {"listings without memory", listings_without_memory},
        {"sizes that no encrypted file has", sizes_that_no_encrypted_file_has},
        {"listed files must be there", listed_files_must_be_there},
        {"what cannot be read is not called encrypted", what_cannot_be_read_is_not_called_encrypted},
        {"small files are added", small_files_are_added},
        {"listings across slots", listings_across_slots},
        {"what is listed", what_is_listed},
        {"paths that no listing takes", paths_that_no_listing_takes},
        {"an interrupt ends the transfer", an_interrupt_ends_the_transfer},
    };
    return SUITE_RUN("content", tests);
}
