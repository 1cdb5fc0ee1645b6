#include <string.h>
#include <time.h>

#include "image/oci.h"
#include "json/json.h"

/* What cJSON printed, into the text at one place. Takes the print over. */
static enum tt_status put_printed(struct tt_buffer *text, const struct tt_json_step *steps, size_t count, char *printed,
                                  struct tt_error *err)
{
    if (!printed)
        return tt_error_memory(err);
    enum tt_status status = tt_json_put(text, steps, count, printed, err);
    cJSON_free(printed);
    return status;
}

static enum tt_status put_diff_id(struct tt_buffer *text, const cJSON *root, const struct oci_digest *layer,
                                  struct tt_error *err)
{
    static const struct tt_json_step steps[] = {{.member = "rootfs"}, {.member = "diff_ids"}};
    cJSON *rootfs = cJSON_GetObjectItemCaseSensitive(root, "rootfs");
    cJSON *diff_ids = cJSON_GetObjectItemCaseSensitive(rootfs, "diff_ids");
    if (!cJSON_IsArray(diff_ids) || !cJSON_AddItemToArray(diff_ids, cJSON_CreateString(layer->text)))
        return tt_error_memory(err);
    return put_printed(text, steps, 2, cJSON_PrintUnformatted(diff_ids), err);
}

static void now(char text[32])
{
    time_t seconds = time(NULL);
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        strcpy(text, "1970-01-01T00:00:00Z");
}

/* The history has an entry for each layer, or none at all: a lone one would be worse. */
static enum tt_status put_history(struct tt_buffer *text, const cJSON *root, const char *created_by,
                                  struct tt_error *err)
{
    static const struct tt_json_step steps[] = {{.member = "history"}};
    cJSON *history = cJSON_GetObjectItemCaseSensitive(root, "history");
    char created[32];
    now(created);
    if (!cJSON_IsArray(history) || !history->child)
        return TT_OK;
    cJSON *entry = cJSON_CreateObject();
    if (!cJSON_AddStringToObject(entry, "created", created) ||
        !cJSON_AddStringToObject(entry, "created_by", created_by ? created_by : "traintoken") ||
        !cJSON_AddItemToArray(history, entry)) {
        cJSON_Delete(entry);
        return tt_error_memory(err);
    }
    return put_printed(text, steps, 1, cJSON_PrintUnformatted(history), err);
}

static cJSON *string_array(const char *const *values)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; array && values[i]; i++)
        if (!cJSON_AddItemToArray(array, cJSON_CreateString(values[i]))) {
            cJSON_Delete(array);
            return NULL;
        }
    return array;
}

static enum tt_status put_command(struct tt_buffer *text, const cJSON *root, const char *const *command,
                                  struct tt_error *err)
{
    static const struct tt_json_step config_step[] = {{.member = "config"}};
    static const struct tt_json_step entry_point[] = {{.member = "config"}, {.member = "Entrypoint"}};
    static const struct tt_json_step cmd[] = {{.member = "config"}, {.member = "Cmd"}};
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    cJSON *array TT_CLEANUP(tt_json_cleanup) = string_array(command);
    enum tt_status status = array ? TT_OK : tt_error_memory(err);
    if (status == TT_OK && !cJSON_IsObject(config))
        status = tt_json_put(text, config_step, 1, "{}", err);
    if (status == TT_OK)
        status = put_printed(text, entry_point, 2, cJSON_PrintUnformatted(array), err);
    if (status == TT_OK && cJSON_GetObjectItemCaseSensitive(config, "Cmd"))
        status = tt_json_put(text, cmd, 2, "null", err);
    return status;
}

enum tt_status oci_child_config(const struct tt_buffer *parent, const struct oci_digest *layer,
                                const struct tt_image_settings *settings, struct tt_buffer *ret_text,
                                struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(OCI_JSON_LIMIT);
    enum tt_status status = tt_buffer_append(&text, parent->data, parent->length, err);
    if (status == TT_OK)
        status = tt_json_parse((const char *)text.data, text.length, OCI_VALUE_LIMIT, "the image's configuration",
                               &root, err);
    if (status == TT_OK)
        status = put_diff_id(&text, root, layer, err);
    if (status == TT_OK)
        status = put_history(&text, root, settings ? settings->created_by : NULL, err);
    if (status == TT_OK && settings && settings->command)
        status = put_command(&text, root, settings->command, err);
    if (status != TT_OK)
        return status;
    *ret_text = text;
    text = (struct tt_buffer){0};
    return TT_OK;
}

/* The new manifest is an OCI one even where the parent's is Docker's. */
static const char *oci_layer_type(const char *media_type)
{
    if (strcmp(media_type, "application/vnd.docker.image.rootfs.diff.tar.gzip") == 0)
        return OCI_TYPE_LAYER "+gzip";
    if (strcmp(media_type, "application/vnd.docker.image.rootfs.diff.tar") == 0)
        return OCI_TYPE_LAYER;
    return NULL;
}

static bool add_descriptor(cJSON *object, const char *media_type, const struct oci_descriptor *descriptor)
{
    return cJSON_AddStringToObject(object, "mediaType", media_type) &&
           cJSON_AddStringToObject(object, "digest", descriptor->digest.text) &&
           cJSON_AddNumberToObject(object, "size", (double)descriptor->size);
}

/* The parent's layers as they are described there, then the new one. Annotations are left out: there are stores that
 * take a table of content that they name for the layer itself (eStargz, zstd:chunked). */
static bool add_layers(cJSON *manifest, const cJSON *parent, const struct oci_descriptor *layer)
{
    cJSON *layers = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(parent, "layers"), 1);
    if (!tt_json_add(manifest, "layers", layers))
        return false;
    cJSON *element = NULL;
    cJSON_ArrayForEach(element, layers)
    {
        cJSON *type = cJSON_GetObjectItemCaseSensitive(element, "mediaType");
        const char *better = cJSON_IsString(type) ? oci_layer_type(type->valuestring) : NULL;
        if (better && !cJSON_SetValuestring(type, better))
            return false;
        cJSON_DeleteItemFromObjectCaseSensitive(element, "annotations");
        cJSON_DeleteItemFromObjectCaseSensitive(element, "data");
    }
    cJSON *added = cJSON_CreateObject();
    if (!added || !cJSON_AddItemToArray(layers, added)) {
        cJSON_Delete(added);
        return false;
    }
    return add_descriptor(added, OCI_TYPE_LAYER, layer);
}

/* Those that describe. Others are set on every container of the image by Podman, and tell runtimes what to do. */
static bool add_annotations(cJSON *manifest, const cJSON *parent)
{
    static const char describes[] = "org.opencontainers.";
    const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(parent, "annotations");
    if (!cJSON_IsObject(annotations))
        return true;
    cJSON *kept = cJSON_AddObjectToObject(manifest, "annotations");
    const cJSON *annotation = NULL;
    cJSON_ArrayForEach(annotation, annotations)
    {
        bool is_kept = cJSON_IsString(annotation) && strncmp(annotation->string, describes, sizeof describes - 1) == 0;
        if (is_kept && !cJSON_AddStringToObject(kept, annotation->string, annotation->valuestring))
            return false;
    }
    return kept;
}

enum tt_status oci_child_manifest(const struct tt_buffer *parent, const struct oci_descriptor *config,
                                  const struct oci_descriptor *layer, struct tt_buffer *ret_text, struct tt_error *err)
{
    cJSON *old TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status =
        tt_json_parse((const char *)parent->data, parent->length, OCI_VALUE_LIMIT, "the image's manifest", &old, err);
    if (status != TT_OK)
        return status;
    cJSON *manifest TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    if (!cJSON_AddNumberToObject(manifest, "schemaVersion", 2) ||
        !cJSON_AddStringToObject(manifest, "mediaType", OCI_TYPE_MANIFEST) ||
        !add_descriptor(cJSON_AddObjectToObject(manifest, "config"), OCI_TYPE_CONFIG, config) ||
        !add_layers(manifest, old, layer) || !add_annotations(manifest, old))
        return tt_error_memory(err);
    char *printed = cJSON_PrintUnformatted(manifest);
    if (!printed)
        return tt_error_memory(err);
    struct tt_buffer text = TT_BUFFER_INIT(OCI_JSON_LIMIT);
    status = tt_buffer_append(&text, printed, strlen(printed), err);
    cJSON_free(printed);
    if (status == TT_OK)
        *ret_text = text;
    else
        tt_buffer_clear(&text);
    return status;
}
