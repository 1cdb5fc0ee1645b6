#include <inttypes.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "statement/manifest_inside.h"

struct tt_manifest_listing {
    struct tt_digest *digest;
    struct tt_manifest_list list; /* so far */
    size_t bytes;                 /* about what the entries are as JSON */
};

static void clear_entries(struct tt_manifest_list *list)
{
    for (size_t i = 0; i < list->entry_count; i++)
        free(list->entries[i].path);
    free(list->entries);
    list->entries = NULL;
    list->entry_count = 0;
    list->is_explicit = false;
}

void tt_manifest_list_clear(struct tt_manifest_list *list)
{
    clear_entries(list);
    *list = (struct tt_manifest_list){0};
}

enum tt_status tt_manifest_listing_new(struct tt_manifest_listing **ret_listing, struct tt_error *err)
{
    struct tt_manifest_listing *listing TT_CLEANUP(tt_manifest_listing_free_cleanup) = calloc(1, sizeof *listing);
    if (!listing)
        return tt_error_memory(err);
    enum tt_status status = tt_digest_new(TT_SHA512, &listing->digest, err);
    if (status != TT_OK)
        return status;
    listing->list.is_explicit = true;
    *ret_listing = TT_TAKE(listing);
    return TT_OK;
}

void tt_manifest_listing_free(struct tt_manifest_listing *listing)
{
    if (!listing)
        return;
    tt_manifest_list_clear(&listing->list);
    tt_digest_free(listing->digest);
    free(listing);
}

const char *manifest_mode(const struct tt_manifest_entry *entry, char *text)
{
    if (entry->kind == TT_MANIFEST_FILE)
        snprintf(text, MANIFEST_MODE_SIZE, "%04o", (unsigned)(entry->mode & 07777));
    else
        snprintf(text, MANIFEST_MODE_SIZE, "%s", entry->kind == TT_MANIFEST_SYMLINK ? "symlink" : "hardlink");
    return text;
}

/* docs/protocol.md, 13.4: "MODE SIZE SHA512 PATH" and a NUL, which no path holds. */
static enum tt_status hash_line(struct tt_digest *digest, const struct tt_manifest_entry *entry, struct tt_error *err)
{
    char mode[MANIFEST_MODE_SIZE];
    char hex[2 * TT_SHA512_SIZE + 1];
    char line[MANIFEST_MODE_SIZE + 24 + sizeof hex];
    tt_hex_encode(entry->sha512, sizeof entry->sha512, hex);
    int length = snprintf(line, sizeof line, "%s %" PRIu64 " %s ", manifest_mode(entry, mode), entry->size, hex);
    enum tt_status status = tt_digest_update(digest, line, (size_t)length, err);
    return status == TT_OK ? tt_digest_update(digest, entry->path, strlen(entry->path) + 1, err) : status;
}

/* The entries are kept while they are few, short, and can be written as JSON. */
static enum tt_status keep_entry(struct tt_manifest_listing *listing, const struct tt_manifest_entry *entry,
                                 struct tt_error *err)
{
    struct tt_manifest_list *list = &listing->list;
    size_t length = strlen(entry->path);
    listing->bytes += manifest_entry_bytes(entry);
    if (list->entry_count == TT_MANIFEST_ENTRY_LIMIT || listing->bytes > TT_MANIFEST_ENTRY_BYTES ||
        !tt_text_is_utf8(entry->path, length)) {
        clear_entries(list);
        return TT_OK;
    }
    if (!list->entries)
        list->entries = calloc(TT_MANIFEST_ENTRY_LIMIT, sizeof *list->entries);
    char *path = list->entries ? strdup(entry->path) : NULL;
    if (!path)
        return tt_error_memory(err);
    list->entries[list->entry_count] = *entry;
    list->entries[list->entry_count++].path = path;
    return TT_OK;
}

enum tt_status tt_manifest_listing_add(struct tt_manifest_listing *listing, const struct tt_manifest_entry *entry,
                                       struct tt_error *err)
{
    struct tt_manifest_list *list = &listing->list;
    if (entry->kind == TT_MANIFEST_FILE) {
        list->files++;
        list->bytes += entry->size;
    } else {
        list->links++;
    }
    if (entry->kind == TT_MANIFEST_FILE && strcmp(entry->path, MANIFEST_QUERY) == 0) {
        list->has_query = true;
        memcpy(list->query, entry->sha512, sizeof list->query);
    }
    enum tt_status status = hash_line(listing->digest, entry, err);
    return status == TT_OK && list->is_explicit ? keep_entry(listing, entry, err) : status;
}

enum tt_status tt_manifest_listing_end(struct tt_manifest_listing *listing, struct tt_manifest_list *ret_list,
                                       struct tt_error *err)
{
    enum tt_status status = tt_digest_final(listing->digest, listing->list.sha512, err);
    if (status != TT_OK)
        return status;
    *ret_list = listing->list;
    listing->list = (struct tt_manifest_list){.is_explicit = true};
    listing->bytes = 0;
    return TT_OK;
}

/* --- comparing --- */

static bool same_entry(const struct tt_manifest_entry *one, const struct tt_manifest_entry *other)
{
    return strcmp(one->path, other->path) == 0 && one->kind == other->kind && one->mode == other->mode &&
           one->size == other->size && tt_digest_equal(one->sha512, other->sha512, sizeof one->sha512);
}

static const struct tt_manifest_entry *find(const struct tt_manifest_list *list, const char *path)
{
    for (size_t i = 0; i < list->entry_count; i++)
        if (strcmp(list->entries[i].path, path) == 0)
            return &list->entries[i];
    return NULL;
}

/* In what two entries of one path differ. */
static enum tt_status entry_differs(const struct tt_manifest_entry *listed, const struct tt_manifest_entry *found,
                                    const char *folder, const char *signer, struct tt_error *err)
{
    char was[MANIFEST_MODE_SIZE];
    char is[MANIFEST_MODE_SIZE];
    if (listed->kind != found->kind || listed->mode != found->mode)
        return tt_error_set(err, TT_TAMPERED, "/%s/%s is not as %s signed it in the manifest: it was %s%s and is %s%s",
                            folder, listed->path, signer, listed->kind == TT_MANIFEST_FILE ? "a file of mode " : "a ",
                            manifest_mode(listed, was), found->kind == TT_MANIFEST_FILE ? "a file of mode " : "a ",
                            manifest_mode(found, is));
    if (listed->kind != TT_MANIFEST_FILE)
        return tt_error_set(err, TT_TAMPERED, "/%s/%s is not as %s signed it in the manifest: the link leads elsewhere",
                            folder, listed->path, signer);
    if (listed->size != found->size)
        return tt_error_set(err, TT_TAMPERED,
                            "/%s/%s is not as %s signed it in the manifest: it had %" PRIu64 " bytes and has %" PRIu64,
                            folder, listed->path, signer, listed->size, found->size);
    return tt_error_set(err, TT_TAMPERED, "/%s/%s is not as %s signed it in the manifest: it has another content",
                        folder, listed->path, signer);
}

static enum tt_status name_difference(const struct tt_manifest_list *listed, const struct tt_manifest_list *found,
                                      const char *folder, const char *signer, struct tt_error *err)
{
    for (size_t i = 0; i < listed->entry_count; i++) {
        const struct tt_manifest_entry *was = &listed->entries[i];
        const struct tt_manifest_entry *is = find(found, was->path);
        if (!is)
            return tt_error_set(err, TT_TAMPERED, "/%s/%s is in the manifest that %s signed, but not in the train",
                                folder, was->path, signer);
        if (!same_entry(was, is))
            return entry_differs(was, is, folder, signer, err);
    }
    for (size_t i = 0; i < found->entry_count; i++)
        if (!find(listed, found->entries[i].path))
            return tt_error_set(err, TT_TAMPERED, "/%s/%s is in the train, but not in the manifest that %s signed",
                                folder, found->entries[i].path, signer);
    return tt_error_set(err, TT_TAMPERED, "the files of /%s are not in the order of the manifest that %s signed",
                        folder, signer);
}

enum tt_status tt_manifest_list_compare(const struct tt_manifest_list *listed, const struct tt_manifest_list *found,
                                        const char *folder, const char *signer, struct tt_error *err)
{
    if (listed->files == found->files && listed->links == found->links && listed->bytes == found->bytes &&
        tt_digest_equal(listed->sha512, found->sha512, sizeof listed->sha512))
        return TT_OK;
    if (listed->is_explicit && found->is_explicit)
        return name_difference(listed, found, folder, signer, err);
    return tt_error_set(err, TT_TAMPERED,
                        "the files of /%s are not those that %s signed in the manifest (%" PRIu64 " files of %" PRIu64
                        " bytes, %" PRIu64 " links; found: %" PRIu64 " of %" PRIu64 ", %" PRIu64
                        "): names, modes or borders of files were changed",
                        folder, signer, listed->files, listed->bytes, listed->links, found->files, found->bytes,
                        found->links);
}
