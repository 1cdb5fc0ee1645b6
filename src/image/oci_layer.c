#include <string.h>

#include "archive/decompress.h"
#include "base/file.h"
#include "base/secret.h"
#include "image/oci.h"

/*
 * Reading a layer. What is stored as it is gets walked by its headers alone, and contents are read from the blob later.
 * What is compressed has to be read whole: its digest and diff_id are made on the way, and contents of the protocol's
 * paths go into the spool.
 *
 * Unpacked, an image may grow to 200 times the size of its layers and 1 GiB: beyond that no honest image goes, and a
 * bomb ends. The zeros of sparse files count. Memory stays the same all the while.
 */
enum { WHAT_SIZE = OCI_DIGEST_TEXT + 8, CHUNK_SIZE = 65536, GROWTH_LIMIT = 200 };

struct scan {
    const struct oci_layout *layout;
    struct oci_layer *layer;
    size_t index;
    struct oci_tree *tree;
    char what[WHAT_SIZE];
    struct oci_stream stream;
    struct tt_decompressor *decompressor; /* NULL for a layer that is stored as it is */
    struct tt_digest *blob_digest;
    struct tt_digest *diff_digest;
    uint64_t budget; /* bytes that may still come out of this layer */
    struct tt_tar_reader *reader;
    struct oci_layer_files files;
    uint8_t *chunk;
};

static void scan_clear(struct scan *scan)
{
    tt_tar_reader_free(scan->reader);
    tt_decompressor_free(scan->decompressor);
    tt_digest_free(scan->blob_digest);
    tt_digest_free(scan->diff_digest);
    oci_layer_files_clear(&scan->files);
    if (scan->chunk)
        tt_wipe(scan->chunk, CHUNK_SIZE);
    free(scan->chunk);
}

static uint64_t own_growth(const struct scan *scan)
{
    uint64_t size = scan->layer->blob.size; /* below 2^53 */
    return size * GROWTH_LIMIT;
}

/* What this layer took beyond its own share is gone for the next ones. */
static void settle(const struct scan *scan)
{
    if (scan->budget < scan->tree->growth_left)
        scan->tree->growth_left = scan->budget;
}

static enum tt_status spend(struct scan *scan, uint64_t length, struct tt_error *err)
{
    if (length > scan->budget)
        return tt_error_set(err, TT_MALFORMED, "%s grows beyond all measure when it is unpacked", scan->what);
    scan->budget -= length;
    return TT_OK;
}

/* The decompressed bytes, counted and hashed. */
static enum tt_status read_unpacked(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct scan *scan = user;
    size_t length = 0;
    enum tt_status status = tt_decompressor_read(scan->decompressor, data, capacity, &length, err);
    if (status == TT_OK)
        status = spend(scan, length, err);
    if (status == TT_OK)
        status = tt_digest_update(scan->diff_digest, data, length, err);
    if (status == TT_OK)
        *ret_length = length;
    return status;
}

static enum tt_status detect(struct scan *scan, enum tt_compression *ret_compression, struct tt_error *err)
{
    uint8_t magic[TT_COMPRESSION_MAGIC_SIZE];
    size_t length = scan->stream.size < sizeof magic ? (size_t)scan->stream.size : sizeof magic;
    enum tt_status status = tt_file_read_at(scan->stream.descriptor, 0, magic, length, scan->what, err);
    if (status == TT_OK)
        *ret_compression = tt_compression_of(magic, length);
    return status;
}

static enum tt_status open_compressed(struct scan *scan, enum tt_compression compression, struct tt_error *err)
{
    struct tt_source packed = {.read = oci_stream_read, .user = &scan->stream};
    struct tt_source unpacked = {.read = read_unpacked, .user = scan};
    enum tt_status status = tt_digest_new(scan->layer->blob.digest.algorithm, &scan->blob_digest, err);
    if (status == TT_OK)
        status = tt_digest_new(scan->layer->diff_id.algorithm, &scan->diff_digest, err);
    if (status != TT_OK)
        return status;
    scan->stream.digest = scan->blob_digest;
    status = tt_decompressor_new(&packed, compression, scan->what, &scan->decompressor, err);
    return status == TT_OK ? tt_tar_reader_new(&unpacked, scan->what, &scan->reader, err) : status;
}

static enum tt_status open_layer(struct scan *scan, struct tt_error *err)
{
    enum tt_compression compression = TT_COMPRESSION_NONE;
    struct tt_source plain = {.read = oci_stream_read, .skip = oci_stream_skip, .user = &scan->stream};
    int *blob = &scan->tree->blobs[scan->index];
    enum tt_status status = oci_blob_open(scan->layout, &scan->layer->blob, blob, err);
    if (status != TT_OK)
        return status;
    scan->stream = (struct oci_stream){.descriptor = *blob, .size = scan->layer->blob.size, .what = scan->what};
    scan->budget = own_growth(scan) + scan->tree->growth_left;
    status = detect(scan, &compression, err);
    if (status != TT_OK)
        return status;
    if (compression != TT_COMPRESSION_NONE)
        return open_compressed(scan, compression, err);
    return tt_tar_reader_new(&plain, scan->what, &scan->reader, err);
}

static enum tt_status need_spool(struct scan *scan, struct tt_error *err)
{
    if (!scan->chunk && !(scan->chunk = malloc(CHUNK_SIZE)))
        return tt_error_memory(err);
    if (scan->tree->spool)
        return TT_OK;
    /* Beside the image, where there should be room; a layout that may only be read has none. */
    struct tt_error ignored = TT_ERROR_INIT;
    if (tt_spool_new(scan->layout->path, &scan->tree->spool, &ignored) == TT_OK)
        return TT_OK;
    return tt_spool_new(NULL, &scan->tree->spool, err);
}

static enum tt_status spool_content(struct scan *scan, struct oci_node *node, struct tt_error *err)
{
    enum tt_status status = need_spool(scan, err);
    if (status == TT_OK && !scan->decompressor)
        status = spend(scan, node->entry.size, err);
    if (status != TT_OK)
        return status;
    uint64_t length = 0;
    node->layer = OCI_IN_SPOOL;
    node->offset = tt_spool_length(scan->tree->spool);
    for (;;) {
        size_t got = 0;
        status = tt_tar_reader_read(scan->reader, scan->chunk, CHUNK_SIZE, &got, err);
        if (status != TT_OK || got == 0)
            break;
        length += got;
        status = tt_spool_append(scan->tree->spool, scan->chunk, got, err);
        if (status != TT_OK)
            break;
    }
    if (status == TT_OK && length != node->entry.size)
        status = tt_error_set(err, TT_MALFORMED, "%s: a file is shorter than its header says", scan->what);
    return status;
}

static enum tt_status keep_entry(struct scan *scan, const struct tt_entry *entry, struct tt_error *err)
{
    struct oci_node *node = NULL;
    enum tt_status status = oci_layer_files_add(&scan->files, entry, &node, err);
    if (status != TT_OK || entry->type != TT_ENTRY_FILE)
        return status;
    node->file = (uint64_t)(scan->index + 1) << 32 | node->sequence;
    if (entry->size == 0)
        return TT_OK;
    off_t offset = scan->decompressor ? -1 : tt_tar_reader_offset(scan->reader);
    if (offset < 0)
        return spool_content(scan, node, err);
    if ((uint64_t)offset > scan->stream.size || entry->size > scan->stream.size - (uint64_t)offset)
        return tt_error_set(err, TT_MALFORMED, "%s: the archive ends too early: it was cut off", scan->what);
    node->layer = (int32_t)scan->index;
    node->offset = (uint64_t)offset;
    return TT_OK;
}

/* ".wh.NAME" removes NAME of the layers below, ".wh..wh..opq" all that its folder has there. Other names that start
 * with ".wh..wh." are some file systems' own and mean nothing. */
static enum tt_status take_whiteout(struct scan *scan, const char *path, const char *name, struct tt_error *err)
{
    size_t folder = name > path ? (size_t)(name - path) - 1 : 0;
    const char *removed = name + strlen(".wh.");
    if (strcmp(name, ".wh..wh..opq") == 0) {
        char *copy TT_CLEANUP(tt_free_cleanup) = strndup(path, folder);
        if (!copy)
            return tt_error_memory(err);
        return oci_tree_wants(copy) ? oci_layer_files_remove(&scan->files, path, folder, false, err) : TT_OK;
    }
    if (strncmp(removed, ".wh.", 4) == 0)
        return TT_OK;
    if (removed[0] == '\0' || strcmp(removed, ".") == 0 || strcmp(removed, "..") == 0)
        return tt_error_set(err, TT_MALFORMED, "%s: the whiteout '%.300s' names nothing", scan->what, path);
    char *target TT_CLEANUP(tt_free_cleanup) = malloc(strlen(path) + 1);
    if (!target)
        return tt_error_memory(err);
    memcpy(target, path, (size_t)(name - path));
    strcpy(target + (name - path), removed);
    return oci_tree_wants(target) ? oci_layer_files_remove(&scan->files, target, strlen(target), true, err) : TT_OK;
}

/* Some programs would make a folder where others, and what is written from here, would remove a file. */
static bool is_in_whiteout(const char *path)
{
    for (const char *slash = strchr(path, '/'); slash; path = slash + 1, slash = strchr(path, '/'))
        if (strncmp(path, ".wh.", 4) == 0)
            return true;
    return false;
}

static enum tt_status take_entry(struct scan *scan, const struct tt_entry *entry, struct tt_error *err)
{
    const char *slash = strrchr(entry->path, '/');
    const char *name = slash ? slash + 1 : entry->path;
    if (is_in_whiteout(entry->path) && oci_tree_wants(entry->path))
        return tt_error_set(err, TT_MALFORMED,
                            "%s: '%.300s' lies in a folder whose name starts with '.wh.', which stands for a removed "
                            "file",
                            scan->what, entry->path);
    if (tt_tar_reader_has_overlay(scan->reader) && (entry->path[0] == '\0' || oci_tree_wants(entry->path)))
        return tt_error_set(err, TT_MALFORMED,
                            "%s: '/%.300s' has extended attributes of an overlay file system, which may hide or show "
                            "other files there",
                            scan->what, entry->path);
    if (strncmp(name, ".wh.", 4) == 0)
        return take_whiteout(scan, entry->path, name, err);
    if (entry->path[0] != '\0')
        return oci_tree_wants(entry->path) ? keep_entry(scan, entry, err) : TT_OK;
    if (entry->type != TT_ENTRY_FOLDER)
        return tt_error_set(err, TT_MALFORMED, "%s: the root of the image is a %s", scan->what,
                            tt_entry_type_name(entry->type));
    return TT_OK;
}

static enum tt_status walk(struct scan *scan, struct tt_error *err)
{
    for (;;) {
        const struct tt_entry *entry = NULL;
        enum tt_status status = tt_tar_reader_next(scan->reader, &entry, err);
        if (status == TT_OK && entry)
            status = take_entry(scan, entry, err);
        if (status != TT_OK || !entry)
            return status;
    }
}

/* Reads on to the end of the compressed file, which may lie beyond the end of the archive. */
static enum tt_status drain(struct scan *scan,
                            enum tt_status (*read)(void *, void *, size_t, size_t *, struct tt_error *), void *user,
                            struct tt_error *err)
{
    if (!scan->chunk && !(scan->chunk = malloc(CHUNK_SIZE)))
        return tt_error_memory(err);
    for (;;) {
        size_t length = 0;
        enum tt_status status = read(user, scan->chunk, CHUNK_SIZE, &length, err);
        if (status != TT_OK || length == 0)
            return status;
    }
}

static enum tt_status check_digest(struct tt_digest *made, const struct oci_digest *said, const char *what,
                                   struct tt_error *err)
{
    bool matches = false;
    enum tt_status status = oci_digest_matches(made, said, &matches, err);
    if (status != TT_OK || matches)
        return status;
    return tt_error_set(err, TT_TAMPERED, "%s does not match its digest", what);
}

static enum tt_status check_compressed(struct scan *scan, struct tt_error *err)
{
    char unpacked[2 * WHAT_SIZE];
    snprintf(unpacked, sizeof unpacked, "%s, unpacked (its diff_id),", scan->what);
    enum tt_status status = drain(scan, read_unpacked, scan, err);
    if (status == TT_OK)
        status = drain(scan, oci_stream_read, &scan->stream, err);
    if (status == TT_OK)
        status = check_digest(scan->blob_digest, &scan->layer->blob.digest, scan->what, err);
    if (status == TT_OK)
        status = check_digest(scan->diff_digest, &scan->layer->diff_id, unpacked, err);
    if (status == TT_OK)
        scan->layer->verified = true;
    return status;
}

/* Bytes that make no sense are a malformed layer, or a damaged blob: the digest tells which. */
static enum tt_status blame(const struct scan *scan, struct tt_error *err)
{
    struct tt_error other = TT_ERROR_INIT;
    if (oci_verify_blob(scan->layout, &scan->layer->blob, NULL, &other) != TT_TAMPERED)
        return TT_MALFORMED;
    if (err)
        *err = other;
    return TT_TAMPERED;
}

enum tt_status oci_layer_read(const struct oci_layout *layout, struct oci_layer *layer, size_t index,
                              struct oci_tree *tree, struct tt_error *err)
{
    struct scan scan TT_CLEANUP(scan_clear) = {.layout = layout, .layer = layer, .index = index, .tree = tree};
    snprintf(scan.what, sizeof scan.what, "layer %s", layer->blob.digest.text);
    enum tt_status status = open_layer(&scan, err);
    if (status == TT_OK)
        status = walk(&scan, err);
    if (status == TT_OK && scan.decompressor)
        status = check_compressed(&scan, err);
    if (status == TT_MALFORMED)
        return blame(&scan, err);
    settle(&scan);
    return status == TT_OK ? oci_tree_apply(tree, &scan.files, err) : status;
}
