#include "image/image.h"

#include <string.h>

#include "image/store.h"

static const struct tt_image_store *store_of(const struct tt_reference *reference)
{
    return reference->kind == TT_REFERENCE_OCI ? &tt_oci_store : &tt_docker_store;
}

enum tt_status tt_image_reference_check(const char *reference, struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    return tt_reference_parse(reference, &parsed, err);
}

static enum tt_status check_tag(const struct tt_reference *reference, const char *text, struct tt_error *err)
{
    if (!reference->digest)
        return TT_OK;
    return tt_error_set(err, TT_USAGE, "%s names one state of an image by its digest, which cannot change; name a tag",
                        text);
}

enum tt_status tt_image_reference_check_tag(const char *reference, struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    return status == TT_OK ? check_tag(&parsed, reference, err) : status;
}

enum tt_status tt_image_reference_sibling(const char *reference, const char *tag, char **ret_reference,
                                          struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    if (status != TT_OK)
        return status;
    free(parsed.tag);
    free(parsed.digest);
    parsed.digest = NULL;
    parsed.tag = strdup(tag);
    if (!parsed.tag)
        return tt_error_memory(err);
    return tt_reference_text(&parsed, ret_reference, err);
}

enum tt_status tt_image_open(const char *reference, const struct tt_image_options *options, struct tt_image **ret_image,
                             struct tt_error *err)
{
    static const struct tt_image_options defaults = {0};
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    if (status != TT_OK)
        return status;
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = calloc(1, sizeof *image);
    if (!image)
        return tt_error_memory(err);
    image->store = store_of(&parsed);
    status = tt_reference_text(&parsed, &image->reference, err);
    if (status == TT_OK)
        status = image->store->open(&parsed, options ? options : &defaults, image, err);
    if (status == TT_OK)
        *ret_image = TT_TAKE(image);
    return status;
}

static void layer_clear(struct tt_image_layer *layer)
{
    free(layer->digest);
    free(layer->diff_id);
}

void tt_image_free(struct tt_image *image)
{
    if (!image)
        return;
    if (image->state)
        image->store->close(image->state);
    for (size_t i = 0; i < image->layer_count; i++)
        layer_clear(&image->layers[i]);
    free(image->layers);
    free(image->reference);
    free(image->digest);
    tt_buffer_clear(&image->configuration);
    free(image);
}

const char *tt_image_reference(const struct tt_image *image)
{
    return image->reference;
}

const char *tt_image_digest(const struct tt_image *image)
{
    return image->digest;
}

size_t tt_image_layer_count(const struct tt_image *image)
{
    return image->layer_count;
}

const char *tt_image_layer_digest(const struct tt_image *image, size_t index)
{
    return image->layers[index].digest;
}

uint64_t tt_image_layer_size(const struct tt_image *image, size_t index)
{
    return image->layers[index].size;
}

const char *tt_image_layer_diff_id(const struct tt_image *image, size_t index)
{
    const struct tt_image_layer *layer = &image->layers[index];
    return layer->diff_id ? layer->diff_id : layer->digest;
}

const struct tt_buffer *tt_image_configuration(const struct tt_image *image)
{
    return &image->configuration;
}

enum tt_status tt_image_verify_blobs(struct tt_image *image, struct tt_error *err)
{
    return image->store->verify_blobs ? image->store->verify_blobs(image->state, err) : TT_OK;
}

bool tt_image_shows_blobs(const struct tt_image *image)
{
    return image->store->verify_blobs;
}

enum tt_status tt_image_visit_layers(struct tt_image *image, size_t first, const struct tt_layer_visitor *visitor,
                                     struct tt_error *err)
{
    return image->store->visit_layers(image, first, visitor, err);
}

enum tt_status tt_image_files(struct tt_image *image, const char *path, struct tt_file_set **ret_files,
                              struct tt_error *err)
{
    return image->store->files(image->state, path, ret_files, err);
}

enum tt_status tt_image_stream(struct tt_image *image, const char *path, struct tt_file_stream **ret_stream,
                               struct tt_error *err)
{
    if (image->store->stream)
        return image->store->stream(image->state, path, ret_stream, err);
    struct tt_file_set *files = NULL;
    enum tt_status status = image->store->files(image->state, path, &files, err);
    if (status == TT_OK)
        status = tt_file_stream_of(files, ret_stream, err);
    if (status != TT_OK)
        tt_file_set_free(files);
    return status;
}

/* An image without a reference of its own: it is called as the one it came from. */
static enum tt_status new_image(const struct tt_image_store *store, const char *reference, struct tt_image **ret_image,
                                struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = calloc(1, sizeof *image);
    if (!image || !(image->reference = strdup(reference)))
        return tt_error_memory(err);
    image->store = store;
    *ret_image = TT_TAKE(image);
    return TT_OK;
}

enum tt_status tt_image_execute(struct tt_image *image, const struct tt_execution_options *options,
                                struct tt_image **ret_ran, struct tt_error *err)
{
    if (!image->store->execute)
        return tt_error_set(err, TT_USAGE,
                            "%s cannot be run where it lies; bring it to a container engine, for example with "
                            "'skopeo copy %s docker-daemon:NAME:TAG'",
                            image->reference, image->reference);
    struct tt_image *ran TT_CLEANUP(tt_image_free_cleanup) = NULL;
    enum tt_status status = new_image(image->store, image->reference, &ran, err);
    if (status == TT_OK)
        status = image->store->execute(image->state, options, ran, err);
    if (status == TT_OK)
        *ret_ran = TT_TAKE(ran);
    return status;
}

static enum tt_status change_new(struct tt_image *parent, const struct tt_reference *target,
                                 struct tt_image_change **ret_change, struct tt_error *err)
{
    struct tt_image_change *change = calloc(1, sizeof *change);
    if (!change)
        return tt_error_memory(err);
    change->store = parent->store;
    change->parent = parent;
    enum tt_status status = change->store->change_new(parent, target, &change->state, err);
    if (status != TT_OK) {
        free(change);
        return status;
    }
    *ret_change = change;
    return TT_OK;
}

enum tt_status tt_image_change_new(struct tt_image *parent, struct tt_image_change **ret_change, struct tt_error *err)
{
    return change_new(parent, NULL, ret_change, err);
}

enum tt_status tt_image_change_new_in(struct tt_image *parent, const char *reference,
                                      struct tt_image_change **ret_change, struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    if (status == TT_OK)
        status = check_tag(&parsed, reference, err);
    if (status != TT_OK)
        return status;
    if (store_of(&parsed) != parent->store)
        return tt_error_set(err, TT_USAGE,
                            "%s and %s lie in different kinds of stores; bring both into one, for example with 'skopeo "
                            "copy'",
                            parent->reference, reference);
    return change_new(parent, &parsed, ret_change, err);
}

void tt_image_change_free(struct tt_image_change *change)
{
    if (!change)
        return;
    change->store->change_free(change->state);
    free(change);
}

enum tt_status tt_image_change_replace(struct tt_image_change *change, const struct tt_entry *folder,
                                       struct tt_error *err)
{
    return change->store->change_replace(change->state, folder, err);
}

enum tt_status tt_image_change_add(struct tt_image_change *change, const struct tt_entry *entry, struct tt_error *err)
{
    return change->store->change_add(change->state, entry, err);
}

enum tt_status tt_image_change_data(struct tt_image_change *change, const void *data, size_t length,
                                    struct tt_error *err)
{
    return change->store->change_data(change->state, data, length, err);
}

enum tt_status tt_image_change_seal(struct tt_image_change *change, const struct tt_image_settings *settings,
                                    const char **ret_digest, struct tt_error *err)
{
    return change->store->change_seal(change->state, settings, ret_digest, err);
}

enum tt_status tt_image_change_open(struct tt_image_change *change, struct tt_image **ret_image, struct tt_error *err)
{
    if (!change->store->change_open)
        return tt_error_set(err, TT_USAGE, "%s lies where no image can be run; bring it to a container engine",
                            change->parent->reference);
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    enum tt_status status = new_image(change->store, change->parent->reference, &image, err);
    if (status == TT_OK)
        status = change->store->change_open(change->state, image, err);
    if (status == TT_OK)
        *ret_image = TT_TAKE(image);
    return status;
}

enum tt_status tt_image_change_commit(struct tt_image_change *change, const char *reference, const char *also,
                                      bool *ret_in_doubt, struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    bool in_doubt = false;
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    if (status == TT_OK)
        status = change->store->change_commit(change->state, &parsed, also, &in_doubt, err);
    if (ret_in_doubt)
        *ret_in_doubt = in_doubt;
    return status;
}

enum tt_status tt_image_sweep(const char *reference, const char *removed_digest, char **ret_still_used,
                              struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    return status == TT_OK ? store_of(&parsed)->sweep(&parsed, removed_digest, ret_still_used, err) : status;
}

enum tt_status tt_image_recover(const char *reference, struct tt_error *err)
{
    return tt_image_clean(reference, false, NULL, NULL, err);
}

enum tt_status tt_image_clean(const char *reference, bool dry_run, tt_leftover_sink sink, void *user,
                              struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    if (!reference)
        return tt_docker_store.clean(NULL, dry_run, sink, user, err);
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    return status == TT_OK ? store_of(&parsed)->clean(&parsed, dry_run, sink, user, err) : status;
}
