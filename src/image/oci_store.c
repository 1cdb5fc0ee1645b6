#include <string.h>

#include "image/oci.h"
#include "json/json.h"

static void close_image(void *state)
{
    struct oci_image *image = state;
    oci_tree_release(image->tree);
    oci_manifest_clear(&image->manifest);
    oci_layout_close(&image->layout);
    free(image);
}

static enum tt_status find_manifest(const struct tt_reference *reference, const struct tt_image_options *options,
                                    struct oci_image *image, struct tt_buffer *ret_configuration, struct tt_error *err)
{
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_descriptor self;
    enum tt_status status = oci_layout_open(reference->place, &image->layout, err);
    if (status == TT_OK)
        status = oci_index_read(&image->layout, NULL, &index, err);
    if (status == TT_OK)
        status = oci_select(&image->layout, index, reference->tag, options->platform, &self, err);
    if (status == TT_OK)
        status = oci_manifest_read(&image->layout, &self, &image->manifest, ret_configuration, options->platform, err);
    return status;
}

static enum tt_status read_layers(struct oci_image *image, struct tt_error *err)
{
    enum tt_status status = oci_tree_new(image->manifest.layer_count, &image->tree, err);
    for (size_t i = 0; status == TT_OK && i < image->manifest.layer_count; i++)
        status = oci_layer_read(&image->layout, &image->manifest.layers[i], i, image->tree, err);
    return status == TT_OK ? oci_tree_finish(image->tree, err) : status;
}

static enum tt_status describe(const struct oci_manifest *manifest, struct tt_image *image, struct tt_error *err)
{
    image->digest = strdup(manifest->self.digest.text);
    image->layers = calloc(manifest->layer_count, sizeof *image->layers);
    if (!image->digest || !image->layers)
        return tt_error_memory(err);
    for (size_t i = 0; i < manifest->layer_count; i++) {
        struct tt_image_layer *layer = &image->layers[image->layer_count++];
        layer->size = manifest->layers[i].blob.size;
        layer->digest = strdup(manifest->layers[i].blob.digest.text);
        layer->diff_id = strdup(manifest->layers[i].diff_id.text);
        if (!layer->digest || !layer->diff_id)
            return tt_error_memory(err);
    }
    return TT_OK;
}

static enum tt_status open_image(const struct tt_reference *reference, const struct tt_image_options *options,
                                 struct tt_image *image, struct tt_error *err)
{
    struct oci_image *own = calloc(1, sizeof *own);
    if (!own)
        return tt_error_memory(err);
    own->layout = (struct oci_layout)OCI_LAYOUT_INIT;
    image->state = own;
    enum tt_status status = find_manifest(reference, options, own, &image->configuration, err);
    if (status == TT_OK)
        status = read_layers(own, err);
    if (status == TT_OK)
        status = describe(&own->manifest, image, err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "%s", image->reference);
}

static enum tt_status verify_blobs(void *state, struct tt_error *err)
{
    struct oci_image *image = state;
    return oci_verify_layers(&image->layout, &image->manifest, err);
}

static enum tt_status files(void *state, const char *path, struct tt_file_set **ret_files, struct tt_error *err)
{
    struct oci_image *image = state;
    return oci_tree_files(image->tree, path, ret_files, err);
}

static enum tt_status clean(const struct tt_reference *reference, bool dry_run, tt_leftover_sink sink, void *user,
                            struct tt_error *err)
{
    return oci_recover(reference->place, dry_run, sink, user, err);
}

const struct tt_image_store tt_oci_store = {.open = open_image,
                                            .close = close_image,
                                            .visit_layers = oci_visit_layers,
                                            .verify_blobs = verify_blobs,
                                            .files = files,
                                            .change_new = oci_change_new,
                                            .change_free = oci_change_free,
                                            .change_replace = oci_change_replace,
                                            .change_add = oci_change_add,
                                            .change_data = oci_change_data,
                                            .change_seal = oci_change_seal,
                                            .change_commit = oci_change_commit,
                                            .sweep = oci_sweep,
                                            .clean = clean};
