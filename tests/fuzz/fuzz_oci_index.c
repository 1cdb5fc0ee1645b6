/* index.json, manifests and configurations of OCI layouts. What is accepted must be safe to use, and to change. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/oci.h"
#include "short_memory.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int good)
{
    if (!good)
        abort();
}

static void check_digest(const struct oci_digest *digest)
{
    char path[OCI_DIGEST_TEXT + 8];
    oci_digest_path(digest, path);
    demand(strncmp(path, "blobs/sha", 9) == 0 && !strstr(path, "..") && strchr(path + 13, '/') == NULL);
}

static struct oci_descriptor some_descriptor(void)
{
    struct oci_descriptor descriptor = {.size = 7};
    uint8_t value[TT_SHA256_SIZE] = {1, 2, 3};
    oci_digest_make(TT_SHA256, value, &descriptor.digest);
    return descriptor;
}

/* A new tag must be there afterwards, once, and the other entries as many as they were. */
static void check_put(const struct tt_buffer *text)
{
    struct oci_descriptor descriptor = some_descriptor();
    struct tt_buffer copy TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    demand(tt_buffer_append(&copy, text->data, text->length, NULL) == TT_OK);
    struct tt_error err = TT_ERROR_INIT;
    if (oci_index_put(&copy, "fuzz-tag", &descriptor, &err) != TT_OK) {
        demand(err.status == TT_MALFORMED);
        return;
    }
    if (oci_index_parse(&copy, &index, NULL) != TT_OK)
        return; /* one value too many now */
    int found = 0;
    const cJSON *entry = NULL;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "manifests"))
    {
        found += oci_index_entry_is(entry, "fuzz-tag");
    }
    demand(found == 1);
}

static void check_index(const struct tt_buffer *text)
{
    static const struct oci_layout nowhere = {.path = (char *)"nowhere", .folder = -1};
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_descriptor found;
    struct oci_set set TT_CLEANUP(oci_set_clear) = {0};
    if (oci_index_parse(text, &index, NULL) != TT_OK)
        return;
    if (oci_select(&nowhere, index, "latest", "linux/arm64", &found, NULL) == TT_OK)
        check_digest(&found.digest);
    if (oci_reach_all(&nowhere, index, &set, NULL) == TT_OK)
        for (size_t i = 1; i < set.count; i++)
            demand(strcmp(set.digests[i - 1], set.digests[i]) < 0);
    check_put(text);
}

static void check_manifest(const struct tt_buffer *text)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_manifest manifest TT_CLEANUP(oci_manifest_clear) = {0};
    struct tt_buffer child TT_CLEANUP(tt_buffer_clear) = {0};
    struct oci_descriptor descriptor = some_descriptor();
    if (tt_json_parse((const char *)text->data, text->length, OCI_VALUE_LIMIT, "input", &root, NULL) != TT_OK)
        return;
    bool is_manifest = oci_manifest_parse(root, &manifest, NULL) == TT_OK;
    demand(manifest.layer_count <= OCI_LAYER_LIMIT);
    for (size_t i = 0; i < manifest.layer_count; i++)
        check_digest(&manifest.layers[i].blob.digest);
    if (is_manifest)
        demand(oci_child_manifest(text, &descriptor, &descriptor, &child, NULL) == TT_OK);
}

/* With as many layers as it has diff_ids, a configuration may serve, and its child must serve the child image. */
static void check_config(const struct tt_buffer *text)
{
    static const char *const command[] = {"run", NULL};
    static const struct tt_image_settings settings = {.command = command, .created_by = "fuzz"};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_manifest manifest TT_CLEANUP(oci_manifest_clear) = {0};
    struct oci_descriptor descriptor = some_descriptor();
    if (tt_json_parse((const char *)text->data, text->length, OCI_VALUE_LIMIT, "input", &root, NULL) != TT_OK)
        return;
    const cJSON *rootfs = cJSON_GetObjectItemCaseSensitive(root, "rootfs");
    int count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(rootfs, "diff_ids"));
    if (count < 1 || count > OCI_LAYER_LIMIT)
        return;
    manifest.layers = calloc((size_t)count + 1, sizeof *manifest.layers);
    manifest.layer_count = (size_t)count;
    demand(manifest.layers != NULL);
    if (oci_manifest_parse_config(root, &manifest, NULL) != TT_OK)
        return;
    struct tt_buffer child TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *child_root TT_CLEANUP(tt_json_cleanup) = NULL;
    if (oci_child_config(text, &descriptor.digest, &settings, &child, NULL) != TT_OK)
        return;
    demand(tt_json_parse((const char *)child.data, child.length, 2 * OCI_VALUE_LIMIT, "child", &child_root, NULL) ==
           TT_OK);
    manifest.layer_count++;
    demand(oci_manifest_parse_config(child_root, &manifest, NULL) == TT_OK);
}

static enum tt_status change_index(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct oci_descriptor descriptor = some_descriptor();
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_buffer_append(&text, data, size, err);
    return status == TT_OK ? oci_index_put(&text, "fuzz-tag", &descriptor, err) : status;
}

static enum tt_status make_child_manifest(const uint8_t *data, size_t size, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_manifest manifest TT_CLEANUP(oci_manifest_clear) = {0};
    struct oci_descriptor descriptor = some_descriptor();
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer child TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_buffer_append(&text, data, size, err);
    if (status == TT_OK)
        status = tt_json_parse((const char *)text.data, text.length, OCI_VALUE_LIMIT, "input", &root, err);
    if (status == TT_OK)
        status = oci_manifest_parse(root, &manifest, err);
    return status == TT_OK ? oci_child_manifest(&text, &descriptor, &descriptor, &child, err) : status;
}

static enum tt_status make_child_config(const uint8_t *data, size_t size, struct tt_error *err)
{
    static const char *const command[] = {"run", NULL};
    static const struct tt_image_settings settings = {.command = command, .created_by = "fuzz"};
    struct oci_descriptor descriptor = some_descriptor();
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer child TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_buffer_append(&text, data, size, err);
    return status == TT_OK ? oci_child_config(&text, &descriptor.digest, &settings, &child, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    short_memory_try(data, size, change_index);
    short_memory_try(data, size, make_child_manifest);
    short_memory_try(data, size, make_child_config);
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    demand(tt_buffer_append(&text, data, size, NULL) == TT_OK);
    check_index(&text);
    check_manifest(&text);
    check_config(&text);
    return 0;
}
