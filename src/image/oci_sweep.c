#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "image/oci.h"
#include "json/json.h"

/* What only the removed image has: its manifest, and the layers that are not the new image's too. */
struct removed {
    struct oci_set blobs;
};

static void removed_clear(struct removed *removed)
{
    oci_set_clear(&removed->blobs);
}

/* Of an image that cannot be read any more, only its manifest's digest is known. */
static enum tt_status layers_of(const struct oci_layout *layout, const struct oci_digest *digest, struct oci_set *set,
                                struct tt_error *err)
{
    struct oci_descriptor self = {.digest = *digest};
    struct oci_manifest manifest TT_CLEANUP(oci_manifest_clear) = {0};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct stat facts;
    char path[OCI_DIGEST_TEXT + 8];
    oci_digest_path(digest, path);
    if (fstatat(layout->folder, path, &facts, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(facts.st_mode))
        return TT_OK;
    self.size = (uint64_t)facts.st_size;
    if (oci_blob_read(layout, &self, NULL, &root, NULL) != TT_OK || oci_manifest_parse(root, &manifest, NULL) != TT_OK)
        return TT_OK;
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < manifest.layer_count; i++)
        status = oci_set_add(set, manifest.layers[i].blob.digest.text, NULL, err);
    return status;
}

/* Everything that the entries of `tag` lead to. */
static enum tt_status reach_tag(const struct oci_layout *layout, const cJSON *index, const char *tag,
                                struct oci_set *set, struct tt_error *err)
{
    const cJSON *entry = NULL;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "manifests"))
    {
        if (!oci_index_entry_is(entry, tag))
            continue;
        enum tt_status status = oci_reach_entry(layout, entry, set, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

static enum tt_status describe_removed(const struct oci_layout *layout, const cJSON *index, const char *tag,
                                       const char *digest_text, struct removed *removed, struct tt_error *err)
{
    struct oci_digest digest;
    struct oci_set all TT_CLEANUP(oci_set_clear) = {0};
    struct oci_set kept TT_CLEANUP(oci_set_clear) = {0};
    enum tt_status status = oci_digest_parse(digest_text, &digest, err);
    if (status == TT_OK)
        status = layers_of(layout, &digest, &all, err);
    if (status == TT_OK)
        status = reach_tag(layout, index, tag, &kept, err);
    if (status == TT_OK && !oci_set_has(&kept, digest.text))
        status = oci_set_add(&removed->blobs, digest.text, NULL, err);
    for (size_t i = 0; status == TT_OK && i < all.count; i++)
        if (!oci_set_has(&kept, all.digests[i]))
            status = oci_set_add(&removed->blobs, all.digests[i], NULL, err);
    return status;
}

/* A tag that still leads to something of the removed image; an entry without a tag is called by its digest. */
static enum tt_status find_tag_in_use(const struct oci_layout *layout, const cJSON *index,
                                      const struct removed *removed, char **ret_still_used, struct tt_error *err)
{
    const cJSON *entry = NULL;
    /* One set for all entries: what one leads to is not read again for the next, and what is new in it is that one's.
     */
    struct oci_set set TT_CLEANUP(oci_set_clear) = {0};
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "manifests"))
    {
        enum tt_status status = oci_reach_entry(layout, entry, &set, err);
        if (status != TT_OK)
            return status;
        for (size_t i = 0; i < removed->blobs.count; i++) {
            if (!oci_set_has(&set, removed->blobs.digests[i]))
                continue;
            const char *tag = oci_index_entry_tag(entry);
            const cJSON *digest = cJSON_GetObjectItemCaseSensitive(entry, "digest");
            *ret_still_used = tag ? tt_text_format("the tag '%s' (remove that tag)", tag)
                                  : tt_text_format("the entry %s of its index, which has no tag", digest->valuestring);
            return *ret_still_used ? TT_OK : tt_error_memory(err);
        }
    }
    *ret_still_used = NULL;
    return TT_OK;
}

/* Only regular files whose names are digests: nothing else was put there by anyone who writes images. */
static enum tt_status remove_blob(const struct oci_layout *layout, int folder, const char *name, const char *digest,
                                  size_t *removed, struct tt_error *err)
{
    struct stat facts;
    bool found = fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) == 0;
    if (found ? !S_ISREG(facts.st_mode) : errno == ENOENT)
        return TT_OK;
    if (!found || (unlinkat(folder, name, 0) != 0 && errno != ENOENT))
        return tt_error_errno(err, TT_STORE, "cannot remove the blob %s in %s", digest, layout->path);
    ++*removed;
    return TT_OK;
}

static enum tt_status sweep_folder(const struct oci_layout *layout, const char *algorithm, const struct oci_set *used,
                                   size_t *removed, struct tt_error *err)
{
    char folder_name[32];
    char name[OCI_DIGEST_TEXT + 8];
    snprintf(folder_name, sizeof folder_name, "blobs/%s", algorithm);
    int folder = openat(layout->folder, folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno == ENOENT)
        return TT_OK;
    DIR *list = folder >= 0 ? fdopendir(folder) : NULL;
    enum tt_status status =
        list ? TT_OK : tt_error_errno(err, TT_STORE, "cannot list the folder %s in %s", folder_name, layout->path);
    while (list && status == TT_OK) {
        struct oci_digest digest;
        errno = 0;
        const struct dirent *entry = readdir(list);
        if (!entry && errno != 0)
            status = tt_error_errno(err, TT_STORE, "cannot list the folder %s in %s", folder_name, layout->path);
        if (!entry)
            break;
        int length = snprintf(name, sizeof name, "%s:%s", algorithm, entry->d_name);
        if (length > 0 && (size_t)length < sizeof name && oci_digest_parse(name, &digest, NULL) == TT_OK &&
            !oci_set_has(used, digest.text))
            status = remove_blob(layout, folder, entry->d_name, digest.text, removed, err);
    }
    if (list && status == TT_OK && *removed > 0 && fsync(folder) != 0)
        status = tt_error_errno(err, TT_STORE, "cannot write the folder %s in %s", folder_name, layout->path);
    if (list)
        closedir(list);
    else
        tt_close_cleanup(&folder);
    return status;
}

static enum tt_status sweep_layout(const struct oci_layout *layout, const cJSON *index, struct tt_error *err)
{
    struct oci_set used TT_CLEANUP(oci_set_clear) = {0};
    size_t removed = 0;
    /* Without a list everything would look unused. */
    if (!cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(index, "manifests")))
        return tt_error_set(err, TT_MALFORMED, "%s/index.json has no list of manifests", layout->path);
    enum tt_status status = oci_reach_all(layout, index, &used, err);
    if (status == TT_OK)
        status = sweep_folder(layout, "sha256", &used, &removed, err);
    if (status == TT_OK)
        status = sweep_folder(layout, "sha512", &used, &removed, err);
    if (removed > 0)
        tt_log(TT_LOG_INFO, "removed %zu blobs from %s that no tag leads to", removed, layout->path);
    return status;
}

enum tt_status oci_sweep_unreachable(const struct oci_layout *layout, struct tt_error *err)
{
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    if (faccessat(layout->folder, "index.json", F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
        return TT_OK;
    enum tt_status status = oci_index_read(layout, NULL, &index, err);
    return status == TT_OK ? sweep_layout(layout, index, err) : status;
}

/* Whether an entry without a tag is a manifest that leads to something of the removed image. */
static enum tt_status is_remnant(const struct oci_layout *layout, const cJSON *entry, const struct removed *removed,
                                 bool *ret_is_remnant, struct tt_error *err)
{
    struct oci_descriptor self;
    struct oci_set layers TT_CLEANUP(oci_set_clear) = {0};
    *ret_is_remnant = false;
    if (oci_index_entry_tag(entry) || oci_descriptor_parse(entry, &self, NULL) != TT_OK)
        return TT_OK;
    *ret_is_remnant = oci_set_has(&removed->blobs, self.digest.text);
    if (*ret_is_remnant || oci_is_index_type(self.media_type))
        return TT_OK;
    enum tt_status status = layers_of(layout, &self.digest, &layers, err);
    for (size_t i = 0; status == TT_OK && i < layers.count && !*ret_is_remnant; i++)
        *ret_is_remnant = oci_set_has(&removed->blobs, layers.digests[i]);
    return status;
}

static enum tt_status remove_remnants(const struct oci_layout *layout, cJSON *manifests, const struct removed *removed,
                                      size_t *dropped, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (cJSON *entry = manifests ? manifests->child : NULL, *next; status == TT_OK && entry; entry = next) {
        bool remnant = false;
        next = entry->next;
        status = is_remnant(layout, entry, removed, &remnant, err);
        if (remnant)
            cJSON_Delete(cJSON_DetachItemViaPointer(manifests, entry));
        *dropped += remnant;
    }
    return status;
}

/* A tool that gives a tag a new image may leave the old one in the index without a name. Nobody can ask for such an
 * image, and where it holds what is to be removed, nobody could remove it either. */
static enum tt_status drop_remnants(const struct oci_layout *layout, struct tt_buffer *text, cJSON *index,
                                    const struct removed *removed, struct tt_error *err)
{
    static const struct tt_json_step steps[] = {{.member = "manifests"}};
    cJSON *manifests = cJSON_GetObjectItemCaseSensitive(index, "manifests");
    struct stat facts;
    size_t dropped = 0;
    enum tt_status status = remove_remnants(layout, manifests, removed, &dropped, err);
    if (status != TT_OK || dropped == 0)
        return status;
    char *printed = cJSON_PrintUnformatted(manifests);
    if (!printed)
        return tt_error_memory(err);
    status = tt_json_put(text, steps, 1, printed, err);
    cJSON_free(printed);
    if (status != TT_OK)
        return status;
    mode_t mode = fstatat(layout->folder, "index.json", &facts, 0) == 0 ? facts.st_mode & 0666 : 0644;
    return tt_file_replace(layout->folder, "index.json", text->data, text->length, mode, err);
}

enum tt_status oci_sweep(const struct tt_reference *reference, const char *removed_digest, char **ret_still_used,
                         struct tt_error *err)
{
    struct oci_layout layout TT_CLEANUP(oci_layout_close) = OCI_LAYOUT_INIT;
    int lock TT_CLEANUP(tt_close_cleanup) = -1;
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    struct removed removed TT_CLEANUP(removed_clear) = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = oci_layout_open(reference->place, &layout, err);
    if (status == TT_OK)
        status = oci_lock(&layout, &lock, err);
    if (status == TT_OK)
        status = oci_index_read(&layout, &text, &index, err);
    if (status == TT_OK)
        status = describe_removed(&layout, index, reference->tag, removed_digest, &removed, err);
    if (status == TT_OK)
        status = drop_remnants(&layout, &text, index, &removed, err);
    if (status == TT_OK)
        status = sweep_layout(&layout, index, err);
    if (status == TT_OK)
        status = find_tag_in_use(&layout, index, &removed, ret_still_used, err);
    return status;
}
