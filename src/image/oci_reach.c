#include <string.h>

#include "base/log.h"
#include "image/oci.h"
#include "json/json.h"

void oci_set_clear(struct oci_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        free(set->digests[i]);
    free(set->digests);
    *set = (struct oci_set){0};
}

static size_t place_of(const struct oci_set *set, const char *digest)
{
    size_t low = 0;
    size_t high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(set->digests[middle], digest) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool oci_set_has(const struct oci_set *set, const char *digest)
{
    size_t place = place_of(set, digest);
    return place < set->count && strcmp(set->digests[place], digest) == 0;
}

enum tt_status oci_set_add(struct oci_set *set, const char *digest, bool *ret_is_new, struct tt_error *err)
{
    size_t place = place_of(set, digest);
    bool has = place < set->count && strcmp(set->digests[place], digest) == 0;
    if (ret_is_new)
        *ret_is_new = !has;
    if (has)
        return TT_OK;
    if (set->count >= OCI_BLOB_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the layout's index leads to more than %d blobs", OCI_BLOB_LIMIT);
    if (set->count == set->capacity) {
        size_t capacity = set->capacity ? 2 * set->capacity : 64;
        char **grown = reallocarray(set->digests, capacity, sizeof *grown);
        if (!grown)
            return tt_error_memory(err);
        set->digests = grown;
        set->capacity = capacity;
    }
    char *copy = strdup(digest);
    if (!copy)
        return tt_error_memory(err);
    memmove(set->digests + place + 1, set->digests + place, (set->count - place) * sizeof *set->digests);
    set->digests[place] = copy;
    set->count++;
    return TT_OK;
}

/* `manifests`: what names no media type is taken for a manifest. */
static enum tt_status reach(const struct oci_layout *layout, const cJSON *descriptor, bool manifests, unsigned depth,
                            struct oci_set *set, struct tt_error *err);

static enum tt_status reach_list(const struct oci_layout *layout, const cJSON *list, bool manifests, unsigned depth,
                                 struct oci_set *set, struct tt_error *err)
{
    const cJSON *element = NULL;
    cJSON_ArrayForEach(element, list)
    {
        enum tt_status status = reach(layout, element, manifests, depth, set, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

/* Whatever kind of document it is: these members hold descriptors in all of them. */
static enum tt_status reach_document(const struct oci_layout *layout, const struct oci_descriptor *document,
                                     unsigned depth, struct oci_set *set, struct tt_error *err)
{
    static const char *const lists[] = {"manifests", "layers", "blobs"};
    static const char *const singles[] = {"config", "subject"};
    if (depth > OCI_DEPTH_LIMIT + 2)
        return tt_error_set(err, TT_MALFORMED, "there are too many indexes within indexes");
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = oci_blob_read(layout, document, NULL, &root, err);
    for (size_t i = 0; status == TT_OK && i < sizeof lists / sizeof lists[0]; i++)
        status = reach_list(layout, cJSON_GetObjectItemCaseSensitive(root, lists[i]), i == 0, depth + 1, set, err);
    for (size_t i = 0; status == TT_OK && i < sizeof singles / sizeof singles[0]; i++) {
        const cJSON *single = cJSON_GetObjectItemCaseSensitive(root, singles[i]);
        if (cJSON_IsObject(single))
            status = reach(layout, single, i == 1, depth + 1, set, err);
    }
    return status;
}

static enum tt_status reach(const struct oci_layout *layout, const cJSON *descriptor, bool manifests, unsigned depth,
                            struct oci_set *set, struct tt_error *err)
{
    struct oci_descriptor blob;
    bool is_new = false;
    enum tt_status status = oci_descriptor_parse(descriptor, &blob, err);
    if (status == TT_OK)
        status = oci_set_add(set, blob.digest.text, &is_new, err);
    if (status != TT_OK || !is_new)
        return status;
    bool is_document = oci_is_index_type(blob.media_type) || oci_is_manifest_type(blob.media_type) ||
                       (manifests && blob.media_type[0] == '\0') ||
                       strcmp(blob.media_type, "application/vnd.oci.artifact.manifest.v1+json") == 0;
    if (!is_document)
        return TT_OK;
    /* What a manifest leads to is removed where nobody knows the manifest: "not there" must be certain. */
    bool is_there = false;
    status = oci_blob_look(layout, &blob, &is_there, err);
    if (status != TT_OK)
        return status;
    if (!is_there) {
        tt_log(TT_LOG_INFO, "%s names the manifest %s but does not have it", layout->path, blob.digest.text);
        return TT_OK;
    }
    return reach_document(layout, &blob, depth, set, err);
}

enum tt_status oci_reach_entry(const struct oci_layout *layout, const cJSON *entry, struct oci_set *set,
                               struct tt_error *err)
{
    return reach(layout, entry, true, 0, set, err);
}

enum tt_status oci_reach_all(const struct oci_layout *layout, const cJSON *index, struct oci_set *set,
                             struct tt_error *err)
{
    return reach_list(layout, cJSON_GetObjectItemCaseSensitive(index, "manifests"), true, 0, set, err);
}
