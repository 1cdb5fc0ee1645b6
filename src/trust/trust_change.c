#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "crypto/digest.h"
#include "trust/trust_inside.h"

/* Everybody may read whom a station trusts, whatever the umask says; nobody else may write. */
enum { FOLDER_MODE = 0755, FILE_MODE = 0644 };

void tt_trust_added_clear(struct tt_trust_added *added)
{
    struct trust_item item = {.entry = added->entry};
    trust_item_clear(&item);
    *added = (struct tt_trust_added){0};
}

/* --- what is to be added --- */

/* An addition, understood. */
struct fresh {
    struct trust_item item;
    struct tt_buffer text;
    char *folder; /* below the store: "stations/7" */
    char *name;
    bool was_there;
    size_t others;
};

static void fresh_clear(struct fresh *fresh)
{
    trust_item_clear(&fresh->item);
    tt_buffer_clear(&fresh->text);
    free(fresh->folder);
    free(fresh->name);
    *fresh = (struct fresh){0};
}

static enum tt_status parse(const struct tt_trust_addition *addition, struct trust_file *file, struct tt_error *err)
{
    *file = (struct trust_file){.from = TT_TRUST_ALWAYS, .until = TT_TRUST_FOR_EVER};
    if (!addition->key)
        return trust_file_parse(addition->text, addition->length, TRUST_FILE_OTHERS, addition->what, file, err);
    if (EVP_PKEY_up_ref((EVP_PKEY *)addition->key) != 1)
        return tt_error_memory(err);
    file->key = (EVP_PKEY *)addition->key;
    return TT_OK;
}

static enum tt_status narrow(const struct tt_trust_addition *addition, struct trust_file *file, struct tt_error *err)
{
    file->from = addition->from > file->from ? addition->from : file->from;
    file->until = addition->until < file->until ? addition->until : file->until;
    if (file->from >= file->until)
        return tt_error_set(err, TT_USAGE, "%s would be valid at no time: it ends before it begins", addition->what);
    return TT_OK;
}

/* Keys by what they are, so that one has one file; certificates each by itself. */
static enum tt_status name_file(const struct trust_item *item, char **ret_name, struct tt_error *err)
{
    unsigned char *der = NULL;
    uint8_t hash[TT_SHA256_SIZE];
    char hex[2 * TT_SHA256_SIZE + 1];
    bool by_key = item->entry.kind == TT_TRUST_KEY;
    int length = by_key ? i2d_PUBKEY(item->entry.key, &der) : i2d_X509(item->certificate, &der);
    if (length <= 0)
        return tt_error_memory(err);
    enum tt_status status = tt_digest_once(TT_SHA256, der, (size_t)length, hash, err);
    OPENSSL_free(der);
    if (status != TT_OK)
        return status;
    tt_hex_encode(hash, sizeof hash, hex);
    *ret_name = tt_text_format("%s.pem", hex);
    return *ret_name ? TT_OK : tt_error_memory(err);
}

static enum tt_status name_folder(const struct tt_trust_addition *addition, struct fresh *fresh, struct tt_error *err)
{
    struct tt_buffer name TT_CLEANUP(tt_buffer_clear) = {0};
    const char *folder = trust_folder_of(addition->kind, addition->role);
    if (addition->kind != TT_TRUST_KEY) {
        fresh->folder = strdup(folder);
        return fresh->folder ? TT_OK : tt_error_memory(err);
    }
    if (!tt_text_is_utf8(addition->id, strlen(addition->id)) ||
        !tt_file_name_encode(addition->id, TRUST_FOLDER_NAME_LIMIT, &name))
        return tt_error_set(err, TT_USAGE, "the id '%.64s' is empty, too long, or no UTF-8 text", addition->id);
    fresh->folder = tt_text_format("%s/%s", folder, (const char *)name.data);
    fresh->item.entry.id = strdup(addition->id);
    fresh->item.entry.role = addition->role;
    return fresh->folder && fresh->item.entry.id ? TT_OK : tt_error_memory(err);
}

static bool is_sibling(const struct tt_trust_entry *one, const struct tt_trust_entry *other)
{
    return one->kind == other->kind &&
           (one->kind != TT_TRUST_KEY || (one->role == other->role && strcmp(one->id, other->id) == 0));
}

/* A key that is there keeps its file's name. */
static enum tt_status compare(const struct tt_trust *trust, struct fresh *fresh, struct tt_error *err)
{
    char *path = tt_text_format("%s/%s", fresh->folder, fresh->name);
    for (size_t i = 0; path && i < trust->count; i++) {
        const struct tt_trust_entry *there = &trust->items[i].entry;
        bool same = strcmp(there->path, path) == 0 ||
                    (there->kind == TT_TRUST_KEY && strcmp(there->fingerprint, fresh->item.entry.fingerprint) == 0);
        if (!is_sibling(there, &fresh->item.entry))
            continue;
        if (!same) {
            fresh->others++;
            continue;
        }
        fresh->was_there = true;
        free(path);
        path = strdup(there->path);
    }
    fresh->item.entry.path = path;
    free(fresh->name);
    fresh->name = path ? strdup(strrchr(path, '/') + 1) : NULL;
    return fresh->name ? TT_OK : tt_error_memory(err);
}

static enum tt_status prepare(const struct tt_trust *trust, const struct tt_trust_addition *addition,
                              struct fresh *fresh, struct tt_error *err)
{
    struct trust_file file TT_CLEANUP(trust_file_clear) = {0};
    enum tt_status status = parse(addition, &file, err);
    /* A certificate's own bounds too: there people can read them. */
    if (status == TT_OK)
        status = narrow(addition, &file, err);
    if (status == TT_OK)
        status = trust_file_write(&file, file.from, file.until, addition->remark, &fresh->text, err);
    if (status == TT_OK)
        status = trust_item_make(addition->kind, &file, addition->what, &fresh->item, err);
    if (status == TT_MALFORMED)
        return trust_restatus(err, TT_USAGE);
    if (status == TT_OK)
        status = name_folder(addition, fresh, err);
    if (status == TT_OK)
        status = name_file(&fresh->item, &fresh->name, err);
    return status == TT_OK ? compare(trust, fresh, err) : status;
}

static void hand_over(struct fresh *fresh, struct tt_trust_added *ret_added)
{
    *ret_added =
        (struct tt_trust_added){.entry = fresh->item.entry, .was_there = fresh->was_there, .others = fresh->others};
    fresh->item.entry = (struct tt_trust_entry){0};
}

enum tt_status tt_trust_preview(const struct tt_trust *trust, const struct tt_trust_addition *addition,
                                struct tt_trust_added *ret_added, struct tt_error *err)
{
    struct fresh fresh TT_CLEANUP(fresh_clear) = {0};
    enum tt_status status = prepare(trust, addition, &fresh, err);
    if (status == TT_OK && addition->kind == TT_TRUST_CERTIFICATE)
        status = trust_chain_check(trust, &fresh.item, time(NULL), err);
    if (status == TT_OK)
        hand_over(&fresh, ret_added);
    return status;
}

/* --- the folder --- */

static enum tt_status make_folder(int parent, const char *name, const char *whole, struct tt_error *err)
{
    if (mkdirat(parent, name, FOLDER_MODE) != 0)
        return errno == EEXIST ? TT_OK : tt_error_errno(err, TT_STORE, "cannot make the folder %s", whole);
    int folder TT_CLEANUP(tt_close_cleanup) = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || fchmod(folder, FOLDER_MODE) != 0 || fsync(folder) != 0)
        return tt_error_errno(err, TT_STORE, "cannot make the folder %s", whole);
    /* Not every folder above may be opened; what is made there lasts when the kernel sees to it. */
    int above TT_CLEANUP(tt_close_cleanup) = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent != AT_FDCWD && above >= 0 && fsync(above) != 0)
        return tt_error_errno(err, TT_STORE, "cannot write the folder %s to disk", whole);
    return TT_OK;
}

/* As mkdir -p. */
static enum tt_status make_folders(const char *path, struct tt_error *err)
{
    char *partial TT_CLEANUP(tt_free_cleanup) = strdup(path);
    if (!partial)
        return tt_error_memory(err);
    size_t length = strlen(partial);
    enum tt_status status = TT_OK;
    for (size_t i = 1; status == TT_OK && i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        partial[i] = '\0';
        status = make_folder(AT_FDCWD, partial, partial, err);
        partial[i] = path[i];
    }
    return status;
}

/* The store, open, locked against other changes, and read. */
struct changing {
    char *folder;
    int root;
    struct tt_trust *trust;
};

static void changing_clear(struct changing *changing)
{
    tt_trust_free(changing->trust);
    tt_close_cleanup(&changing->root); /* which unlocks */
    free(changing->folder);
}

static enum tt_status lock(const struct changing *changing, struct tt_error *err)
{
    while (flock(changing->root, LOCK_EX) != 0) {
        if (errno != EINTR)
            return tt_error_errno(err, TT_STORE, "cannot lock %s", changing->folder);
        enum tt_status status = tt_interrupt_check(err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

static enum tt_status begin(const char *folder, bool make, struct changing *changing, struct tt_error *err)
{
    enum tt_status status = trust_folder_name(folder, &changing->folder, err);
    if (status == TT_OK && make)
        status = make_folders(changing->folder, err);
    if (status == TT_OK)
        status = trust_folder_open(AT_FDCWD, changing->folder, changing->folder, &changing->root, err);
    if (status == TT_OK && changing->root < 0)
        status = tt_error_set(err, TT_STORE, "the trust store %s is not there", changing->folder);
    if (status == TT_OK)
        status = lock(changing, err);
    return status == TT_OK ? tt_trust_open(folder, &changing->trust, err) : status;
}

/* Opens a folder below the store: "stations/7". */
static enum tt_status open_below(const struct changing *changing, const char *below, bool make, int *ret_folder,
                                 struct tt_error *err)
{
    char *whole TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", changing->folder, below);
    char *parts TT_CLEANUP(tt_free_cleanup) = strdup(below);
    int parent TT_CLEANUP(tt_close_cleanup) = dup(changing->root);
    char *rest = NULL;
    enum tt_status status = whole && parts && parent >= 0 ? TT_OK : tt_error_memory(err);
    for (char *part = status == TT_OK ? strtok_r(parts, "/", &rest) : NULL; status == TT_OK && part;
         part = strtok_r(NULL, "/", &rest)) {
        int folder = -1;
        if (make)
            status = make_folder(parent, part, whole, err);
        if (status == TT_OK)
            status = trust_folder_open(parent, part, whole, &folder, err);
        if (status == TT_OK && folder < 0)
            status = tt_error_set(err, TT_STORE, "%s is not there any more", whole);
        if (status == TT_OK) {
            close(parent);
            parent = folder;
        }
    }
    if (status != TT_OK)
        return status;
    *ret_folder = parent;
    parent = -1;
    return TT_OK;
}

static enum tt_status write_file(const struct changing *changing, const struct fresh *fresh, struct tt_error *err)
{
    int below TT_CLEANUP(tt_close_cleanup) = -1;
    enum tt_status status = open_below(changing, fresh->folder, true, &below, err);
    if (status != TT_OK)
        return status;
    status = tt_file_replace(below, fresh->name, fresh->text.data, fresh->text.length, FILE_MODE, err);
    if (status != TT_OK)
        return tt_error_context(err, "the trust store %s", changing->folder);
    if (fchmodat(below, fresh->name, FILE_MODE, 0) != 0)
        return tt_error_errno(err, TT_STORE, "cannot let others read %s/%s", changing->folder, fresh->item.entry.path);
    return TT_OK;
}

static enum tt_status prepare_all(const struct tt_trust *trust, const struct tt_trust_addition *additions, size_t count,
                                  struct fresh *all, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < count; i++)
        status = prepare(trust, &additions[i], &all[i], err);
    return status;
}

static enum tt_status add_all(const char *folder, const struct tt_trust_addition *additions, size_t count,
                              struct fresh *all, struct tt_error *err)
{
    struct changing changing TT_CLEANUP(changing_clear) = {.root = -1};
    struct tt_trust none = {0};
    /* What cannot be added makes no folders. */
    enum tt_status status = prepare_all(&none, additions, count, all, err);
    for (size_t i = 0; i < count; i++)
        fresh_clear(&all[i]);
    if (status == TT_OK)
        status = begin(folder, true, &changing, err);
    if (status == TT_OK)
        status = prepare_all(changing.trust, additions, count, all, err);
    for (size_t i = 0; status == TT_OK && i < count; i++)
        status = write_file(&changing, &all[i], err);
    return status;
}

enum tt_status tt_trust_add(const char *folder, const struct tt_trust_addition *additions, size_t count,
                            struct tt_error *err)
{
    struct fresh *all = calloc(count ? count : 1, sizeof *all);
    if (!all)
        return tt_error_memory(err);
    enum tt_status status = add_all(folder, additions, count, all, err);
    for (size_t i = 0; i < count; i++)
        fresh_clear(&all[i]);
    free(all);
    return status;
}

enum tt_status tt_trust_text(const struct tt_trust *trust, size_t index, struct tt_buffer *ret_text,
                             struct tt_error *err)
{
    const struct trust_item *item = &trust->items[index];
    const struct trust_file file = {.key = item->entry.key, .certificate = item->certificate, .more = item->more};
    return trust_file_write(&file, item->entry.from, item->entry.until, NULL, ret_text, err);
}

enum tt_status tt_trust_remove(const char *folder, const struct tt_trust_entry *entry, struct tt_error *err)
{
    struct changing changing TT_CLEANUP(changing_clear) = {.root = -1};
    const char *name = strrchr(entry->path, '/') + 1;
    char *place TT_CLEANUP(tt_free_cleanup) = strndup(entry->path, (size_t)(name - entry->path) - 1);
    int below TT_CLEANUP(tt_close_cleanup) = -1;
    enum tt_status status = place ? begin(folder, false, &changing, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = open_below(&changing, place, false, &below, err);
    if (status == TT_OK && unlinkat(below, name, 0) != 0 && errno != ENOENT)
        status = tt_error_errno(err, TT_STORE, "cannot remove %s/%s", changing.folder, entry->path);
    if (status == TT_OK && fsync(below) != 0)
        status = tt_error_errno(err, TT_STORE, "cannot write %s/%s to disk", changing.folder, place);
    if (status == TT_OK && entry->kind == TT_TRUST_KEY)
        (void)unlinkat(changing.root, place, AT_REMOVEDIR); /* only when it is empty */
    return status;
}
