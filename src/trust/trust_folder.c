#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "trust/trust_inside.h"

/* A folder of the store while it is read. */
struct reading {
    struct tt_trust *trust;
    enum tt_trust_kind kind;
    enum tt_trust_role role;
    size_t capacity;
    struct tt_error *err;
};

void trust_item_clear(struct trust_item *item)
{
    free(item->entry.id);
    free(item->entry.path);
    free(item->entry.subject);
    EVP_PKEY_free(item->entry.key);
    X509_free(item->certificate);
    sk_X509_pop_free(item->more, X509_free);
    *item = (struct trust_item){0};
}

enum tt_status trust_folder_name(const char *folder, char **ret_name, struct tt_error *err)
{
    size_t length = strlen(folder);
    while (length > 0 && folder[length - 1] == '/')
        length--;
    if (length == 0)
        return tt_error_set(err, TT_USAGE, "the trust store needs a folder of its own; '%s' is none", folder);
    *ret_name = strndup(folder, length);
    return *ret_name ? TT_OK : tt_error_memory(err);
}

const char *trust_folder_of(enum tt_trust_kind kind, enum tt_trust_role role)
{
    if (kind == TT_TRUST_KEY)
        return role == TT_TRUST_CREATOR ? "creators" : "stations";
    return kind == TT_TRUST_AUTHORITY ? "authorities" : "certificates";
}

static enum tt_status doubt(struct tt_error *err, const char *path, const char *says)
{
    return tt_error_set(err, TT_UNTRUSTED, "the trust store is in doubt, and so trusts nobody: %s %s", path, says);
}

static enum tt_status doubt_errno(struct tt_error *err, const char *path, const char *says)
{
    return tt_error_errno(err, TT_UNTRUSTED, "the trust store is in doubt, and so trusts nobody: %s %s", path, says);
}

/* Who can write here says whom we trust. */
static enum tt_status check_owner(int descriptor, const char *path, struct stat *ret_facts, struct tt_error *err)
{
    if (fstat(descriptor, ret_facts) != 0)
        return doubt_errno(err, path, "cannot be read");
    if (ret_facts->st_uid != 0 && ret_facts->st_uid != geteuid())
        return tt_error_set(err, TT_UNTRUSTED,
                            "the trust store is in doubt, and so trusts nobody: %s belongs to user %u, neither to root "
                            "nor to user %u who runs this; chown it",
                            path, (unsigned)ret_facts->st_uid, (unsigned)geteuid());
    if (ret_facts->st_mode & (S_IWGRP | S_IWOTH))
        return tt_error_set(err, TT_UNTRUSTED,
                            "the trust store is in doubt, and so trusts nobody: others may write to %s; run: chmod "
                            "go-w %s",
                            path, path);
    return TT_OK;
}

static bool is_link(int parent, const char *name)
{
    struct stat facts;
    int number = errno;
    bool yes = fstatat(parent, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(facts.st_mode);
    errno = number;
    return yes;
}

enum tt_status trust_folder_open(int parent, const char *name, const char *path, int *ret_descriptor,
                                 struct tt_error *err)
{
    struct stat facts;
    int descriptor TT_CLEANUP(tt_close_cleanup) = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *ret_descriptor = -1;
    if (descriptor < 0 && errno == ENOENT)
        return TT_OK;
    if (descriptor < 0 && is_link(parent, name))
        return doubt(err, path, "is a symbolic link; there are none in a trust store");
    if (descriptor < 0)
        return doubt_errno(err, path, errno == ENOTDIR ? "is no folder" : "cannot be opened");
    enum tt_status status = check_owner(descriptor, path, &facts, err);
    if (status != TT_OK)
        return status;
    *ret_descriptor = descriptor;
    descriptor = -1;
    return TT_OK;
}

/* --- a file --- */

static enum tt_status read_text(int descriptor, const char *path, struct tt_buffer *text, struct tt_error *err)
{
    struct stat facts;
    char chunk[4096];
    enum tt_status status = check_owner(descriptor, path, &facts, err);
    if (status != TT_OK)
        return status;
    if (!S_ISREG(facts.st_mode))
        return doubt(err, path, "is no regular file");
    for (ssize_t count = 1; count > 0;) {
        count = read(descriptor, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR)
            count = 1;
        else if (count < 0)
            return doubt_errno(err, path, "cannot be read");
        else if (tt_buffer_append(text, chunk, (size_t)count, NULL) != TT_OK)
            return doubt(err, path, "is too long for a public key or a certificate");
    }
    return TT_OK;
}

static enum tt_status check_kind(enum tt_trust_kind kind, const struct trust_file *file, const char *what,
                                 struct tt_error *err)
{
    if (kind != TT_TRUST_KEY && !file->certificate)
        return tt_error_set(err, TT_MALFORMED, "%s is no certificate", what);
    if (kind != TT_TRUST_CERTIFICATE && file->more)
        return tt_error_set(err, TT_MALFORMED, "%s has more than one certificate", what);
    if (kind == TT_TRUST_AUTHORITY && X509_check_ca(file->certificate) != 1)
        return tt_error_set(err, TT_MALFORMED, "%s is no authority's certificate: it lacks CA:TRUE, or may not sign",
                            what);
    if (kind != TT_TRUST_AUTHORITY && tt_public_key_check(file->key, what, err) != TT_OK)
        return trust_restatus(err, TT_MALFORMED);
    return TT_OK;
}

enum tt_status trust_item_make(enum tt_trust_kind kind, struct trust_file *file, const char *what,
                               struct trust_item *ret_item, struct tt_error *err)
{
    struct trust_item item TT_CLEANUP(trust_item_clear) = {
        .entry = {.kind = kind, .from = file->from, .until = file->until}};
    enum tt_status status = check_kind(kind, file, what, err);
    ERR_clear_error();
    if (status == TT_OK)
        status = tt_public_key_fingerprint(file->key, item.entry.fingerprint, err);
    if (status == TT_OK && file->certificate && !(item.entry.subject = trust_subject(file->certificate)))
        status = tt_error_memory(err);
    if (status != TT_OK)
        return status;
    item.entry.key = TT_TAKE(file->key);
    item.certificate = TT_TAKE(file->certificate);
    item.more = TT_TAKE(file->more);
    *ret_item = item;
    item = (struct trust_item){0};
    return TT_OK;
}

static enum tt_status keep(struct reading *reading, struct trust_item *item)
{
    struct tt_trust *trust = reading->trust;
    if (trust->count == TRUST_STORE_LIMIT)
        return tt_error_set(reading->err, TT_UNTRUSTED, "the trust store %s has more than %d files", trust->folder,
                            TRUST_STORE_LIMIT);
    if (trust->count == reading->capacity) {
        size_t capacity = reading->capacity ? 2 * reading->capacity : 16;
        struct trust_item *items = realloc(trust->items, capacity * sizeof *items);
        if (!items)
            return tt_error_memory(reading->err);
        trust->items = items;
        reading->capacity = capacity;
    }
    trust->items[trust->count++] = *item;
    *item = (struct trust_item){0};
    return TT_OK;
}

static enum tt_status understand(struct reading *reading, const struct tt_buffer *text, const char *id,
                                 const char *path, const char *whole)
{
    struct trust_file file TT_CLEANUP(trust_file_clear) = {0};
    struct trust_item item TT_CLEANUP(trust_item_clear) = {0};
    enum tt_status status = trust_file_parse(text->data, text->length, TRUST_FILE_OURS, whole, &file, reading->err);
    if (status == TT_OK)
        status = trust_item_make(reading->kind, &file, whole, &item, reading->err);
    if (status == TT_MALFORMED) {
        tt_error_context(reading->err, "the trust store is in doubt, and so trusts nobody");
        return trust_restatus(reading->err, TT_UNTRUSTED);
    }
    if (status != TT_OK)
        return status;
    item.entry.role = reading->role;
    item.entry.path = strdup(path);
    item.entry.id = id ? strdup(id) : NULL;
    if (!item.entry.path || (id && !item.entry.id))
        return tt_error_memory(reading->err);
    return keep(reading, &item);
}

/* A file of the folder at `path`, which is relative to the store. */
static enum tt_status read_file(struct reading *reading, int folder, const char *name, const char *id, const char *path)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(TRUST_FILE_LIMIT);
    char *whole TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", reading->trust->folder, path);
    size_t length = strlen(name);
    if (!whole)
        return tt_error_memory(reading->err);
    if (length <= 4 || strcmp(name + length - 4, ".pem") != 0)
        return doubt(reading->err, whole, "is nothing that belongs there: files are named NAME.pem");
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT)
        return TT_OK; /* removed since we looked */
    if (descriptor < 0 && is_link(folder, name))
        return doubt(reading->err, whole, "is a symbolic link; there are none in a trust store");
    if (descriptor < 0)
        return doubt_errno(reading->err, whole, "cannot be opened");
    enum tt_status status = read_text(descriptor, whole, &text, reading->err);
    return status == TT_OK ? understand(reading, &text, id, path, whole) : status;
}

/* --- folders --- */

typedef enum tt_status (*on_name)(struct reading *reading, int folder, const char *name, const char *id,
                                  const char *path);

static enum tt_status doubt_below(const struct reading *reading, const char *path, const char *says)
{
    return tt_error_set(reading->err, TT_UNTRUSTED, "the trust store is in doubt, and so trusts nobody: %s/%s %s",
                        reading->trust->folder, path, says);
}

static enum tt_status each_entry(struct reading *reading, DIR *dir, const char *id, const char *path, const char *whole,
                                 on_name take)
{
    enum tt_status status = TT_OK;
    errno = 0;
    for (const struct dirent *entry = readdir(dir); status == TT_OK && entry; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            char *below TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", path, entry->d_name);
            status = below ? take(reading, dirfd(dir), entry->d_name, id, below) : tt_error_memory(reading->err);
        }
        errno = 0;
    }
    return status == TT_OK && errno ? doubt_errno(reading->err, whole, "cannot be read") : status;
}

/* Every name in a folder of the store, but hidden ones: a write that was cut off leaves such. */
static enum tt_status each_name(struct reading *reading, int parent, const char *name, const char *id, const char *path,
                                on_name take)
{
    char *whole TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", reading->trust->folder, path);
    int folder = -1;
    enum tt_status status =
        whole ? trust_folder_open(parent, name, whole, &folder, reading->err) : tt_error_memory(reading->err);
    if (status != TT_OK || folder < 0)
        return status;
    DIR *dir = fdopendir(folder);
    if (!dir) {
        close(folder);
        return doubt_errno(reading->err, whole, "cannot be read");
    }
    status = each_entry(reading, dir, id, path, whole, take);
    closedir(dir);
    return status;
}

static enum tt_status read_id(struct reading *reading, int folder, const char *name, const char *none, const char *path)
{
    (void)none;
    char *id TT_CLEANUP(tt_free_cleanup) = tt_file_name_decode(name);
    if (!id)
        return doubt_below(reading, path, "is not how an id is written there (docs/trust.md)");
    return each_name(reading, folder, name, id, path, read_file);
}

static enum tt_status read_top(struct reading *reading, int root, const char *name, const char *none, const char *path)
{
    static const enum tt_trust_kind kinds[] = {TT_TRUST_KEY, TT_TRUST_KEY, TT_TRUST_AUTHORITY, TT_TRUST_CERTIFICATE};
    (void)none;
    (void)path;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        reading->kind = kinds[i];
        reading->role = i == 0 ? TT_TRUST_CREATOR : TT_TRUST_STATION;
        if (strcmp(name, trust_folder_of(reading->kind, reading->role)) == 0)
            return each_name(reading, root, name, NULL, name, kinds[i] == TT_TRUST_KEY ? read_id : read_file);
    }
    return doubt_below(reading, name,
                       "is nothing that belongs there: creators, stations, authorities, certificates do");
}

/* --- the store --- */

static int compare(const void *one, const void *other)
{
    const struct tt_trust_entry *a = &((const struct trust_item *)one)->entry;
    const struct tt_trust_entry *b = &((const struct trust_item *)other)->entry;
    int order = (int)a->kind - (int)b->kind;
    if (order == 0)
        order = (int)a->role - (int)b->role;
    if (order == 0 && a->kind == TT_TRUST_KEY)
        order = strcmp(a->id, b->id);
    return order ? order : strcmp(a->path, b->path);
}

static bool same_id(const struct tt_trust_entry *one, const struct tt_trust_entry *other)
{
    return one->kind == other->kind && one->kind == TT_TRUST_KEY && one->role == other->role &&
           strcmp(one->id, other->id) == 0;
}

/* A key in two files of an id: which of them bounds its life? */
static enum tt_status check_twice(const struct tt_trust *trust, struct tt_error *err)
{
    for (size_t i = 0; i < trust->count; i++)
        for (size_t j = i; j-- > 0 && same_id(&trust->items[i].entry, &trust->items[j].entry);)
            if (strcmp(trust->items[i].entry.fingerprint, trust->items[j].entry.fingerprint) == 0)
                return tt_error_set(
                    err, TT_UNTRUSTED,
                    "the trust store %s is in doubt, and so trusts nobody: %s and %s have the same key; "
                    "remove one of them",
                    trust->folder, trust->items[j].entry.path, trust->items[i].entry.path);
    return TT_OK;
}

static enum tt_status read_store(struct tt_trust *trust, struct tt_error *err)
{
    struct reading reading = {.trust = trust, .err = err};
    int root TT_CLEANUP(tt_close_cleanup) = -1;
    enum tt_status status = trust_folder_open(AT_FDCWD, trust->folder, trust->folder, &root, err);
    trust->is_there = root >= 0;
    if (status == TT_OK && trust->is_there)
        status = each_name(&reading, root, ".", NULL, "", read_top);
    if (status != TT_OK || trust->count == 0)
        return status;
    qsort(trust->items, trust->count, sizeof trust->items[0], compare);
    return check_twice(trust, err);
}

enum tt_status tt_trust_open(const char *folder, struct tt_trust **ret_trust, struct tt_error *err)
{
    struct tt_trust *trust TT_CLEANUP(tt_trust_free_cleanup) = calloc(1, sizeof *trust);
    if (!trust)
        return tt_error_memory(err);
    enum tt_status status = trust_folder_name(folder, &trust->folder, err);
    if (status == TT_OK)
        status = read_store(trust, err);
    if (status != TT_OK)
        return status;
    *ret_trust = TT_TAKE(trust);
    return TT_OK;
}

void tt_trust_free(struct tt_trust *trust)
{
    if (!trust)
        return;
    for (size_t i = 0; i < trust->count; i++)
        trust_item_clear(&trust->items[i]);
    free(trust->items);
    free(trust->folder);
    free(trust);
}
