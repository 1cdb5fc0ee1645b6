#include <pthread.h>

#include "image/oci.h"

enum { CHUNK_SIZE = 131072 };

static const uint64_t WORTH_A_THREAD = 4 << 20;

/* Hashes a blob once, or twice at once when its two digests are of different kinds. */
struct hashing {
    struct oci_stream stream;
    struct tt_digest *blob;
    struct tt_digest *diff;
    uint8_t *chunk;
    int descriptor;
};

static void hashing_clear(struct hashing *hashing)
{
    tt_digest_free(hashing->blob);
    tt_digest_free(hashing->diff);
    free(hashing->chunk);
    tt_close_cleanup(&hashing->descriptor);
}

static enum tt_status compare(struct tt_digest *made, const struct oci_digest *said, const struct oci_layout *layout,
                              const char *blob, const char *which, struct tt_error *err)
{
    bool matches = false;
    enum tt_status status = oci_digest_matches(made, said, &matches, err);
    if (status != TT_OK || matches)
        return status;
    return tt_error_set(err, TT_TAMPERED, "the bytes of the blob %s in %s do not match its %s", blob, layout->path,
                        which);
}

static enum tt_status hash_all(struct hashing *hashing, struct tt_error *err)
{
    for (;;) {
        size_t length = 0;
        enum tt_status status = oci_stream_read(&hashing->stream, hashing->chunk, CHUNK_SIZE, &length, err);
        if (status == TT_OK && hashing->diff)
            status = tt_digest_update(hashing->diff, hashing->chunk, length, err);
        if (status != TT_OK || length == 0)
            return status;
    }
}

static enum tt_status prepare(struct hashing *hashing, const struct oci_layout *layout,
                              const struct oci_descriptor *blob, const struct oci_digest *diff_id, struct tt_error *err)
{
    enum tt_status status = oci_blob_open(layout, blob, &hashing->descriptor, err);
    if (status == TT_OK)
        status = tt_digest_new(blob->digest.algorithm, &hashing->blob, err);
    if (status == TT_OK && diff_id && diff_id->algorithm != blob->digest.algorithm)
        status = tt_digest_new(diff_id->algorithm, &hashing->diff, err);
    if (status != TT_OK)
        return status;
    hashing->chunk = malloc(CHUNK_SIZE);
    hashing->stream = (struct oci_stream){
        .descriptor = hashing->descriptor, .size = blob->size, .digest = hashing->blob, .what = blob->digest.text};
    return hashing->chunk ? TT_OK : tt_error_memory(err);
}

enum tt_status oci_verify_blob(const struct oci_layout *layout, const struct oci_descriptor *blob,
                               const struct oci_digest *diff_id, struct tt_error *err)
{
    struct hashing hashing TT_CLEANUP(hashing_clear) = {.descriptor = -1};
    const char *name = blob->digest.text;
    /* Of one kind, they must be the same digest: the layer is stored as it is. */
    if (diff_id && diff_id->algorithm == blob->digest.algorithm && !oci_digest_equal(diff_id, &blob->digest))
        return tt_error_set(err, TT_TAMPERED, "the layer %s in %s does not match its diff_id", name, layout->path);
    enum tt_status status = prepare(&hashing, layout, blob, diff_id, err);
    if (status == TT_OK)
        status = hash_all(&hashing, err);
    if (status == TT_OK)
        status = compare(hashing.blob, &blob->digest, layout, name, "digest", err);
    if (status == TT_OK && hashing.diff)
        status = compare(hashing.diff, diff_id, layout, name, "diff_id", err);
    return status;
}

/* Layers that are still to be verified, handed out to whoever asks next. */
struct work {
    const struct oci_layout *layout;
    struct oci_manifest *manifest;
    atomic_size_t next;
    atomic_bool failed;
    pthread_mutex_t lock;
    enum tt_status status;
    struct tt_error failure;
};

static void *verify_some(void *user)
{
    struct work *work = user;
    for (;;) {
        size_t index = atomic_fetch_add(&work->next, 1);
        if (index >= work->manifest->layer_count || atomic_load(&work->failed))
            return NULL;
        struct oci_layer *layer = &work->manifest->layers[index];
        struct tt_error failure = TT_ERROR_INIT;
        enum tt_status status =
            layer->verified ? TT_OK : oci_verify_blob(work->layout, &layer->blob, &layer->diff_id, &failure);
        if (status == TT_OK) {
            layer->verified = true;
            continue;
        }
        pthread_mutex_lock(&work->lock);
        if (work->status == TT_OK) {
            work->status = status;
            work->failure = failure;
        }
        pthread_mutex_unlock(&work->lock);
        atomic_store(&work->failed, true);
    }
}

static bool needs_help(const struct oci_manifest *manifest)
{
    uint64_t total = 0;
    size_t count = 0;
    for (size_t i = 0; i < manifest->layer_count; i++)
        if (!manifest->layers[i].verified) {
            total += manifest->layers[i].blob.size;
            count++;
        }
    return count > 1 && total > WORTH_A_THREAD;
}

enum tt_status oci_verify_layers(const struct oci_layout *layout, struct oci_manifest *manifest, struct tt_error *err)
{
    struct work work = {.layout = layout, .manifest = manifest, .status = TT_OK};
    pthread_t helper;
    pthread_mutex_init(&work.lock, NULL);
    bool helped = needs_help(manifest) && pthread_create(&helper, NULL, verify_some, &work) == 0;
    verify_some(&work);
    if (helped)
        pthread_join(helper, NULL);
    pthread_mutex_destroy(&work.lock);
    if (work.status != TT_OK && err)
        *err = work.failure;
    return work.status;
}
