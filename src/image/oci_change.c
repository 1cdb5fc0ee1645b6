#include <fcntl.h>
#include <string.h>

#include "archive/tar_writer.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/lane.h"
#include "base/text.h"
#include "image/oci.h"

/*
 * A change is one more layer on its parent. Its tar archive goes through a lane, where it is hashed and written, into a
 * file without a name; configuration and manifest stay in memory. So until the commit there is nothing on disk that a
 * kill could leave behind.
 */
enum { LANE_SIZE = 4 << 20, FLUSH_EVERY = 8 << 20, COMMIT_LIMIT = 16 };

struct oci_change {
    struct tt_image *parent;
    char *target;
    int descriptor;
    uint64_t written;
    uint64_t flushed;
    struct tt_digest *digest;
    struct tt_lane *lane;
    struct tt_tar_writer *writer;
    char *replaced; /* the folder that was just replaced: its entry is written already */
    struct oci_descriptor layer;
    struct oci_descriptor config;
    struct oci_descriptor manifest;
    struct tt_buffer config_text;
    struct tt_buffer manifest_text;
    bool sealed;
    bool is_private;
    struct oci_marker *markers[COMMIT_LIMIT]; /* of the commits: gone when the change is freed */
    size_t marker_count;
};

void oci_change_free(void *state)
{
    struct oci_change *change = state;
    if (!change)
        return;
    tt_tar_writer_free(change->writer);
    tt_lane_free(change->lane);
    tt_digest_free(change->digest);
    tt_close_cleanup(&change->descriptor);
    tt_buffer_clear(&change->config_text);
    tt_buffer_clear(&change->manifest_text);
    for (size_t i = 0; i < change->marker_count; i++)
        oci_marker_free(change->markers[i]);
    free(change->replaced);
    free(change->target);
    free(change);
}

static void change_cleanup(struct oci_change **change)
{
    oci_change_free(*change);
}

/* On the lane's thread. Writing back starts early, so that the sync at the end is short. */
static enum tt_status take_bytes(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct oci_change *change = user;
    enum tt_status status = tt_digest_update(change->digest, data, length, err);
    if (status == TT_OK)
        status = tt_file_write_all(change->descriptor, data, length, "the new layer", err);
    if (status != TT_OK)
        return tt_error_context(err, "%s", change->target);
    change->written += length;
    if (change->written - change->flushed >= FLUSH_EVERY) {
        (void)sync_file_range(change->descriptor, (off_t)change->flushed, (off_t)(change->written - change->flushed),
                              SYNC_FILE_RANGE_WRITE);
        change->flushed = change->written;
    }
    return TT_OK;
}

static enum tt_status write_to_lane(void *user, const void *data, size_t length, struct tt_error *err)
{
    struct oci_change *change = user;
    return tt_lane_write(change->lane, data, length, err);
}

enum tt_status oci_change_new(struct tt_image *parent, const struct tt_reference *target, void **ret_state,
                              struct tt_error *err)
{
    const struct oci_image *image = parent->state;
    struct oci_change *change TT_CLEANUP(change_cleanup) = calloc(1, sizeof *change);
    if (!change)
        return tt_error_memory(err);
    struct tt_sink sink = {.write = write_to_lane, .user = change};
    change->parent = parent;
    change->descriptor = -1;
    change->target = strdup(target ? target->place : image->layout.path);
    if (!change->target)
        return tt_error_memory(err);
    enum tt_status status = oci_unnamed(change->target, &change->descriptor, err);
    if (status == TT_OK)
        status = tt_digest_new(TT_SHA256, &change->digest, err);
    if (status == TT_OK)
        status = tt_tar_writer_new(&sink, &change->writer, err);
    if (status == TT_OK)
        status = tt_lane_start(LANE_SIZE, take_bytes, change, &change->lane, err);
    if (status == TT_OK)
        *ret_state = TT_TAKE(change);
    return status;
}

enum tt_status oci_change_replace(void *state, const struct tt_entry *folder, struct tt_error *err)
{
    struct oci_change *change = state;
    if (folder->type != TT_ENTRY_FOLDER)
        return tt_error_set(err, TT_INTERNAL, "/%s is no folder whose contents could be replaced", folder->path);
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/.wh..wh..opq", folder->path);
    if (!path)
        return tt_error_memory(err);
    struct tt_entry whiteout = {
        .path = path, .type = TT_ENTRY_FILE, .mode = 0600, .mtime_seconds = folder->mtime_seconds};
    enum tt_status status = oci_change_add(state, folder, err);
    if (status == TT_OK)
        status = oci_change_add(state, &whiteout, err);
    if (status != TT_OK)
        return status;
    change->replaced = strdup(folder->path);
    return change->replaced ? TT_OK : tt_error_memory(err);
}

enum tt_status oci_change_add(void *state, const struct tt_entry *entry, struct tt_error *err)
{
    struct oci_change *change = state;
    char *replaced TT_CLEANUP(tt_free_cleanup) = TT_TAKE(change->replaced);
    if (change->sealed)
        return tt_error_set(err, TT_INTERNAL, "the change was sealed already");
    if (replaced && entry->type == TT_ENTRY_FOLDER && strcmp(replaced, entry->path) == 0)
        return TT_OK;
    enum tt_status status = tt_interrupt_check(err);
    return status == TT_OK ? tt_tar_writer_entry(change->writer, entry, err) : status;
}

enum tt_status oci_change_data(void *state, const void *data, size_t length, struct tt_error *err)
{
    struct oci_change *change = state;
    enum tt_status status = tt_interrupt_check(err);
    return status == TT_OK ? tt_tar_writer_data(change->writer, data, length, err) : status;
}

static enum tt_status describe(const struct tt_buffer *text, struct oci_descriptor *ret_descriptor,
                               struct tt_error *err)
{
    uint8_t value[TT_SHA256_SIZE];
    enum tt_status status = tt_digest_once(TT_SHA256, text->data, text->length, value, err);
    if (status != TT_OK)
        return status;
    oci_digest_make(TT_SHA256, value, &ret_descriptor->digest);
    ret_descriptor->size = text->length;
    return TT_OK;
}

static enum tt_status finish_layer(struct oci_change *change, struct tt_error *err)
{
    uint8_t value[TT_SHA256_SIZE];
    enum tt_status status = tt_tar_writer_finish(change->writer, err);
    if (status == TT_OK)
        status = tt_lane_finish(TT_TAKE(change->lane), err);
    if (status == TT_OK)
        status = tt_digest_final(change->digest, value, err);
    if (status != TT_OK)
        return status;
    if (fsync(change->descriptor) != 0)
        return tt_error_errno(err, TT_STORE, "cannot write the new layer in %s", change->target);
    oci_digest_make(TT_SHA256, value, &change->layer.digest);
    change->layer.size = change->written;
    return TT_OK;
}

enum tt_status oci_change_seal(void *state, const struct tt_image_settings *settings, const char **ret_digest,
                               struct tt_error *err)
{
    struct oci_change *change = state;
    const struct oci_image *image = change->parent->state;
    if (change->sealed)
        return tt_error_set(err, TT_INTERNAL, "the change was sealed already");
    if (image->manifest.layer_count == OCI_LAYER_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the image has %d layers already", OCI_LAYER_LIMIT);
    change->sealed = true;
    change->is_private = settings && settings->is_plaintext;
    enum tt_status status = finish_layer(change, err);
    if (status == TT_OK)
        status = oci_child_config(&change->parent->configuration, &change->layer.digest, settings, &change->config_text,
                                  err);
    if (status == TT_OK)
        status = describe(&change->config_text, &change->config, err);
    if (status == TT_OK)
        status =
            oci_child_manifest(&image->manifest.text, &change->config, &change->layer, &change->manifest_text, err);
    if (status == TT_OK)
        status = describe(&change->manifest_text, &change->manifest, err);
    if (status == TT_OK)
        *ret_digest = change->manifest.digest.text;
    return status;
}

enum tt_status oci_change_commit(void *state, const struct tt_reference *reference, const char *also,
                                 bool *ret_in_doubt, struct tt_error *err)
{
    *ret_in_doubt = false;
    struct oci_change *change = state;
    if (change->manifest_text.length == 0 || change->marker_count == COMMIT_LIMIT)
        return tt_error_set(err, TT_INTERNAL, "the change is not sealed, or was committed too often");
    struct oci_copy copy TT_CLEANUP(oci_copy_clear) = {0};
    enum tt_status status = oci_copy_layers(change->parent->state, reference->place, 3, &copy, err);
    if (status != TT_OK)
        return status;
    size_t count = copy.count;
    copy.blobs[count++] =
        (struct oci_blob){.self = change->layer, .descriptor = change->descriptor, .is_private = change->is_private};
    copy.blobs[count++] =
        (struct oci_blob){.self = change->config, .descriptor = -1, .memory = change->config_text.data};
    copy.blobs[count++] =
        (struct oci_blob){.self = change->manifest, .descriptor = -1, .memory = change->manifest_text.data};
    struct oci_tags tags = {.tag = reference->tag, .also = also};
    status = oci_commit(reference->place, &tags, copy.blobs, count, &change->markers[change->marker_count], err);
    if (status != TT_OK)
        return tt_error_context(err, "%s:%s", reference->place, reference->tag);
    change->marker_count++;
    return TT_OK;
}
