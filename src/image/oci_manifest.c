#include <string.h>

#include "image/oci.h"
#include "json/json.h"

void oci_manifest_clear(struct oci_manifest *manifest)
{
    tt_buffer_clear(&manifest->text);
    free(manifest->layers);
    *manifest = (struct oci_manifest){0};
}

enum tt_status oci_manifest_parse(const cJSON *root, struct oci_manifest *manifest, struct tt_error *err)
{
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, "schemaVersion");
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(root, "layers");
    if (!cJSON_IsNumber(version) || version->valuedouble != 2 || !cJSON_IsObject(config) || !cJSON_IsArray(layers))
        return tt_error_set(err, TT_MALFORMED, "the manifest is not one of an OCI image");
    static const char *const names[] = {"schemaVersion", "mediaType", "config", "layers", "manifests", NULL};
    enum tt_status status = oci_check_names(root, names, "the manifest", err);
    if (status != TT_OK)
        return status;
    int count = cJSON_GetArraySize(layers);
    if (count < 1 || count > OCI_LAYER_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the image has %d layers; it must have 1 to %d", count, OCI_LAYER_LIMIT);
    status = oci_descriptor_parse(config, &manifest->config, err);
    if (status != TT_OK)
        return status;
    manifest->layers = calloc((size_t)count, sizeof *manifest->layers);
    if (!manifest->layers)
        return tt_error_memory(err);
    const cJSON *layer = NULL;
    cJSON_ArrayForEach(layer, layers)
    {
        status = oci_descriptor_parse(layer, &manifest->layers[manifest->layer_count].blob, err);
        if (status != TT_OK)
            return status;
        manifest->layer_count++;
    }
    return TT_OK;
}

/* What is read of a configuration, here and where images' settings are compared. */
static enum tt_status check_config_names(const cJSON *config, const cJSON *rootfs, struct tt_error *err)
{
    static const char what[] = "the image's configuration";
    static const char *const names[] = {"rootfs", "config", "architecture", "os", "variant", NULL};
    static const char *const lists[] = {"type", "diff_ids", NULL};
    static const char *const settings[] = {
        "Cmd",   "Entrypoint", "Env",         "ExposedPorts", "Healthcheck", "Labels",     "OnBuild",
        "Shell", "StopSignal", "StopTimeout", "User",         "Volumes",     "WorkingDir", NULL};
    enum tt_status status = oci_check_names(config, names, what, err);
    if (status == TT_OK)
        status = oci_check_names(rootfs, lists, what, err);
    if (status == TT_OK)
        status = oci_check_names(cJSON_GetObjectItemCaseSensitive(config, "config"), settings, what, err);
    return status;
}

enum tt_status oci_manifest_parse_config(const cJSON *config, struct oci_manifest *manifest, struct tt_error *err)
{
    const cJSON *rootfs = cJSON_GetObjectItemCaseSensitive(config, "rootfs");
    const cJSON *diff_ids = cJSON_GetObjectItemCaseSensitive(rootfs, "diff_ids");
    const cJSON *diff_id = NULL;
    size_t index = 0;
    enum tt_status status = check_config_names(config, rootfs, err);
    if (status != TT_OK)
        return status;
    if (!cJSON_IsArray(diff_ids) || (size_t)cJSON_GetArraySize(diff_ids) != manifest->layer_count)
        return tt_error_set(err, TT_MALFORMED, "the image's configuration does not have one diff_id for each layer");
    cJSON_ArrayForEach(diff_id, diff_ids)
    {
        if (!cJSON_IsString(diff_id))
            return tt_error_set(err, TT_MALFORMED, "a diff_id in the image's configuration is not text");
        status = oci_digest_parse(diff_id->valuestring, &manifest->layers[index++].diff_id, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

/* An image that is said to be for another platform than the one asked for. */
static enum tt_status check_platform(const cJSON *config, const char *platform, struct tt_error *err)
{
    const cJSON *os = cJSON_GetObjectItemCaseSensitive(config, "os");
    const cJSON *architecture = cJSON_GetObjectItemCaseSensitive(config, "architecture");
    if (!platform || !cJSON_IsString(os) || !cJSON_IsString(architecture))
        return TT_OK;
    size_t length = strlen(os->valuestring);
    size_t rest_length = strlen(architecture->valuestring);
    bool fits = strncmp(platform, os->valuestring, length) == 0 && platform[length] == '/';
    const char *rest = fits ? platform + length + 1 : "";
    fits = fits && strncmp(rest, architecture->valuestring, rest_length) == 0 &&
           (rest[rest_length] == '\0' || rest[rest_length] == '/');
    if (fits)
        return TT_OK;
    return tt_error_set(err, TT_STORE, "the image is for %.60s/%.60s, not for %s", os->valuestring,
                        architecture->valuestring, platform);
}

enum tt_status oci_manifest_read(const struct oci_layout *layout, const struct oci_descriptor *self,
                                 struct oci_manifest *ret_manifest, struct tt_buffer *ret_configuration,
                                 const char *platform, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    cJSON *config TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_buffer configuration TT_CLEANUP(tt_buffer_clear) = {0};
    struct oci_manifest manifest TT_CLEANUP(oci_manifest_clear) = {.self = *self};
    enum tt_status status = oci_blob_read(layout, self, &manifest.text, &root, err);
    if (status == TT_OK)
        status = oci_manifest_parse(root, &manifest, err);
    if (status == TT_OK)
        status = oci_blob_read(layout, &manifest.config, &configuration, &config, err);
    if (status == TT_OK)
        status = oci_manifest_parse_config(config, &manifest, err);
    if (status == TT_OK)
        status = check_platform(config, platform, err);
    if (status != TT_OK)
        return status;
    *ret_manifest = manifest;
    manifest = (struct oci_manifest){0};
    *ret_configuration = configuration;
    configuration = (struct tt_buffer){0};
    return TT_OK;
}
