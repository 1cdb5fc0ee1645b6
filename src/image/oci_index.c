#include <string.h>

#include "base/file.h"
#include "image/oci.h"
#include "json/json.h"

enum tt_status oci_index_parse(const struct tt_buffer *text, cJSON **ret_root, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_json_parse(text->data ? (const char *)text->data : "", text->length, OCI_VALUE_LIMIT,
                                          "index.json", &root, err);
    if (status != TT_OK)
        return status;
    const cJSON *manifests = cJSON_GetObjectItemCaseSensitive(root, "manifests");
    if (!cJSON_IsObject(root) || !cJSON_IsArray(manifests))
        return tt_error_set(err, TT_MALFORMED, "index.json has no list 'manifests'");
    const cJSON *entry = NULL;
    cJSON_ArrayForEach(entry, manifests)
    {
        if (!cJSON_IsObject(entry))
            return tt_error_set(err, TT_MALFORMED, "'manifests' of index.json holds something that is no descriptor");
    }
    *ret_root = TT_TAKE(root);
    return TT_OK;
}

enum tt_status oci_index_read(const struct oci_layout *layout, struct tt_buffer *ret_text, cJSON **ret_root,
                              struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_file_read(layout->folder, "index.json", OCI_JSON_LIMIT, &text, err);
    if (status == TT_OK)
        status = oci_index_parse(&text, ret_root, err);
    if (status != TT_OK)
        return tt_error_context(err, "the OCI image layout %s", layout->path);
    if (ret_text) {
        *ret_text = text;
        text = (struct tt_buffer){0};
    }
    return TT_OK;
}

static const char *annotation(const cJSON *entry, const char *name)
{
    const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(entry, "annotations");
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(annotations, name);
    return cJSON_IsString(value) ? value->valuestring : NULL;
}

/* containerd writes the image's whole name: "docker.io/library/train:latest". */
static const char *tag_of_name(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon && !strchr(colon, '/') ? colon + 1 : name;
}

const char *oci_index_entry_tag(const cJSON *entry)
{
    const char *tag = annotation(entry, OCI_ANNOTATION_TAG);
    if (tag)
        return tag;
    const char *name = annotation(entry, "io.containerd.image.name");
    return name ? tag_of_name(name) : NULL;
}

bool oci_index_entry_is(const cJSON *entry, const char *tag)
{
    const char *own = oci_index_entry_tag(entry);
    return own && strcmp(own, tag) == 0;
}

static enum tt_status make_entry(const char *tag, const struct oci_descriptor *manifest, cJSON **ret_entry,
                                 struct tt_error *err)
{
    cJSON *entry TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    if (!cJSON_AddStringToObject(entry, "mediaType", OCI_TYPE_MANIFEST) ||
        !cJSON_AddStringToObject(entry, "digest", manifest->digest.text) ||
        !cJSON_AddNumberToObject(entry, "size", (double)manifest->size) ||
        !cJSON_AddStringToObject(cJSON_AddObjectToObject(entry, "annotations"), OCI_ANNOTATION_TAG, tag))
        return tt_error_memory(err);
    *ret_entry = TT_TAKE(entry);
    return TT_OK;
}

/* Moves the entries over to `kept`: the new one takes the place of the first that has its tag, or comes last. */
static enum tt_status move_entries(cJSON *manifests, const char *tag, cJSON *made, cJSON *kept, struct tt_error *err)
{
    bool placed = false;
    for (cJSON *entry; (entry = cJSON_DetachItemFromArray(manifests, 0));) {
        bool replaced = oci_index_entry_is(entry, tag);
        if (replaced)
            cJSON_Delete(entry);
        if (replaced && placed)
            continue;
        placed = placed || replaced;
        if (!cJSON_AddItemToArray(kept, replaced ? made : entry))
            return tt_error_memory(err);
    }
    return placed || cJSON_AddItemToArray(kept, made) ? TT_OK : tt_error_memory(err);
}

enum tt_status oci_index_put(struct tt_buffer *text, const char *tag, const struct oci_descriptor *manifest,
                             struct tt_error *err)
{
    static const struct tt_json_step steps[] = {{.member = "manifests"}};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    cJSON *kept TT_CLEANUP(tt_json_cleanup) = cJSON_CreateArray();
    cJSON *made = NULL;
    enum tt_status status = kept ? oci_index_parse(text, &root, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = make_entry(tag, manifest, &made, err);
    if (status == TT_OK)
        status = move_entries(cJSON_GetObjectItemCaseSensitive(root, "manifests"), tag, made, kept, err);
    if (status != TT_OK)
        return status;
    char *printed = cJSON_PrintUnformatted(kept);
    if (!printed)
        return tt_error_memory(err);
    status = tt_json_put(text, steps, 1, printed, err);
    cJSON_free(printed);
    return status;
}
