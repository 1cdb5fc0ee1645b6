/* OCI image layouts: what the files oci_*.c share. */
#ifndef TT_IMAGE_OCI_H
#define TT_IMAGE_OCI_H

#include <cjson/cJSON.h>
#include <stdatomic.h>

#include "archive/spool.h"
#include "crypto/digest.h"
#include "image/store.h"

enum {
    OCI_JSON_LIMIT = 4 << 20,   /* bytes of an index, manifest or configuration */
    OCI_VALUE_LIMIT = 50000,    /* JSON values in one of them */
    OCI_LAYER_LIMIT = 512,      /* layers of an image; container engines stop at 127 */
    OCI_DEPTH_LIMIT = 4,        /* indexes within indexes */
    OCI_NAMES_LIMIT = 16 << 20, /* bytes of all paths that are kept of an image */
    OCI_BLOB_LIMIT = 20000,     /* blobs that one layout's index leads to */
    OCI_DIGEST_TEXT = 7 + 2 * TT_SHA512_SIZE + 1,
    OCI_MEDIA_TYPE_LIMIT = 128
};

#define OCI_TYPE_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_TYPE_LAYER "application/vnd.oci.image.layer.v1.tar"
#define OCI_ANNOTATION_TAG "org.opencontainers.image.ref.name"

/* oci_digest.c ------------------------------------------------------------------------------------------------------
 */

struct oci_digest {
    enum tt_digest_algorithm algorithm;
    uint8_t value[TT_SHA512_SIZE];
    char text[OCI_DIGEST_TEXT]; /* "sha256:..." */
};

/* Nothing but "sha256:" or "sha512:" and the right number of lower-case hex digits: it becomes a path. */
TT_MUST_USE enum tt_status oci_digest_parse(const char *text, struct oci_digest *ret_digest, struct tt_error *err);
void oci_digest_make(enum tt_digest_algorithm algorithm, const uint8_t *value, struct oci_digest *ret_digest);
bool oci_digest_equal(const struct oci_digest *one, const struct oci_digest *other);
/* Ends `made`, of the algorithm of `said`, and compares. */
TT_MUST_USE enum tt_status oci_digest_matches(struct tt_digest *made, const struct oci_digest *said, bool *ret_matches,
                                              struct tt_error *err);
/* "blobs/sha256/..." */
void oci_digest_path(const struct oci_digest *digest, char path[OCI_DIGEST_TEXT + 8]);

/* JSON readers disagree about names: some take "Layers", or one with a letter that is only like an S, for "layers".
 * TT_MALFORMED when the object has a member that is so like one of `names` (NULL ends them); `what` is for messages. */
TT_MUST_USE enum tt_status oci_check_names(const cJSON *object, const char *const *names, const char *what,
                                           struct tt_error *err);

struct oci_descriptor {
    struct oci_digest digest;
    uint64_t size;
    char media_type[OCI_MEDIA_TYPE_LIMIT]; /* empty when it is missing or longer than any that matters */
};

TT_MUST_USE enum tt_status oci_descriptor_parse(const cJSON *object, struct oci_descriptor *ret_descriptor,
                                                struct tt_error *err);
bool oci_is_index_type(const char *media_type);
bool oci_is_manifest_type(const char *media_type);

/* oci_layout.c ------------------------------------------------------------------------------------------------------
 */

struct oci_layout {
    char *path;
    int folder;
};

#define OCI_LAYOUT_INIT                                                                                                \
    {                                                                                                                  \
        .folder = -1                                                                                                   \
    }

TT_MUST_USE enum tt_status oci_layout_open(const char *path, struct oci_layout *ret_layout, struct tt_error *err);
void oci_layout_close(struct oci_layout *layout);
/* Refuses folders of blobs that are symbolic links: what is cleaned up through them may be another layout's. */
TT_MUST_USE enum tt_status oci_layout_check_folders(const struct oci_layout *layout, struct tt_error *err);
bool oci_layout_same(const struct oci_layout *one, const struct oci_layout *other);

/* A regular file of the descriptor's size, or TT_STORE (missing) or TT_TAMPERED (size). */
TT_MUST_USE enum tt_status oci_blob_open(const struct oci_layout *layout, const struct oci_descriptor *blob,
                                         int *ret_descriptor, struct tt_error *err);
/* Whether a regular file of that name and size is there. */
TT_MUST_USE enum tt_status oci_blob_look(const struct oci_layout *layout, const struct oci_descriptor *blob,
                                         bool *ret_is_there, struct tt_error *err);
/* The same, where one that cannot be told of is as good as none. */
bool oci_blob_exists(const struct oci_layout *layout, const struct oci_descriptor *blob);
/* Reads a JSON blob whole, its digest and size checked, and parses it. `ret_text` may be NULL. */
TT_MUST_USE enum tt_status oci_blob_read(const struct oci_layout *layout, const struct oci_descriptor *blob,
                                         struct tt_buffer *ret_text, cJSON **ret_root, struct tt_error *err);

/* Reads a blob front to end; `digest` (may be NULL) takes what is read. */
struct oci_stream {
    int descriptor;
    uint64_t offset;
    uint64_t size;
    struct tt_digest *digest;
    const char *what;
};

enum tt_status oci_stream_read(void *stream, void *data, size_t capacity, size_t *ret_length, struct tt_error *err);
/* Only without a digest. */
enum tt_status oci_stream_skip(void *stream, uint64_t length, struct tt_error *err);

/* oci_index.c -------------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status oci_index_parse(const struct tt_buffer *text, cJSON **ret_root, struct tt_error *err);
TT_MUST_USE enum tt_status oci_index_read(const struct oci_layout *layout, struct tt_buffer *ret_text, cJSON **ret_root,
                                          struct tt_error *err);
/* The tag that an entry of index.json has; NULL when it has none. */
const char *oci_index_entry_tag(const cJSON *entry);
bool oci_index_entry_is(const cJSON *entry, const char *tag);
/* The index with `tag` naming `manifest`; all other entries stay as they are. */
TT_MUST_USE enum tt_status oci_index_put(struct tt_buffer *text, const char *tag, const struct oci_descriptor *manifest,
                                         struct tt_error *err);

/* oci_select.c ------------------------------------------------------------------------------------------------------
 */

/* Finds the manifest that `tag` names for `platform` (NULL: this machine's). */
TT_MUST_USE enum tt_status oci_select(const struct oci_layout *layout, const cJSON *index, const char *tag,
                                      const char *platform, struct oci_descriptor *ret_manifest, struct tt_error *err);

/* oci_manifest.c ----------------------------------------------------------------------------------------------------
 */

struct oci_layer {
    struct oci_descriptor blob;
    struct oci_digest diff_id;
    bool verified;
};

struct oci_manifest {
    struct oci_descriptor self;
    struct tt_buffer text;
    struct oci_descriptor config;
    struct oci_layer *layers;
    size_t layer_count;
};

void oci_manifest_clear(struct oci_manifest *manifest);
/* The members of a manifest that is JSON already; `self` is the caller's. */
TT_MUST_USE enum tt_status oci_manifest_parse(const cJSON *root, struct oci_manifest *manifest, struct tt_error *err);
/* Takes the layers' diff_ids from the image's configuration. */
TT_MUST_USE enum tt_status oci_manifest_parse_config(const cJSON *config, struct oci_manifest *manifest,
                                                     struct tt_error *err);
TT_MUST_USE enum tt_status oci_manifest_read(const struct oci_layout *layout, const struct oci_descriptor *self,
                                             struct oci_manifest *ret_manifest, struct tt_buffer *ret_configuration,
                                             const char *platform, struct tt_error *err);

/* oci_tree.c --------------------------------------------------------------------------------------------------------
 */

enum { OCI_IN_SPOOL = -1 };

/* An entry and where its content is: in the blob of a layer, or in the spool. */
struct oci_node {
    struct tt_entry entry;
    int32_t layer;
    uint32_t sequence; /* place in its layer: the last of several counts */
    uint64_t offset;
    uint64_t file; /* which file it is, as an inode number: hard links to one file share it; 0 for all but files */
};

/* What a whiteout removes of the layers below: a path with all that is under it, or only what is under it. */
struct oci_removal {
    char *path;
    bool itself;
};

struct oci_layer_files {
    struct oci_node *nodes;
    size_t count;
    size_t capacity;
    struct oci_removal *removals;
    size_t removal_count;
    size_t removal_capacity;
    size_t name_bytes;
};

void oci_layer_files_clear(struct oci_layer_files *files);
TT_MUST_USE enum tt_status oci_layer_files_add(struct oci_layer_files *files, const struct tt_entry *entry,
                                               struct oci_node **ret_node, struct tt_error *err);
TT_MUST_USE enum tt_status oci_layer_files_remove(struct oci_layer_files *files, const char *path, size_t length,
                                                  bool itself, struct tt_error *err);

/* The kept files of an image, sorted. File sets hold on to it beyond the image. */
struct oci_tree {
    atomic_uint holders;
    struct oci_node *nodes;
    size_t count;
    bool has_links; /* some files have more than one name */
    int *blobs;     /* per layer: an open file, or -1 */
    size_t layer_count;
    struct tt_spool *spool;
    uint64_t growth_left; /* bytes by which unpacking may still exceed what the layers' sizes allow */
};

TT_MUST_USE enum tt_status oci_tree_new(size_t layer_count, struct oci_tree **ret_tree, struct tt_error *err);
void oci_tree_release(struct oci_tree *tree);
TT_DEFINE_CLEANUP(struct oci_tree *, oci_tree_release)
/* Whether anything about this path has to be kept: only the paths of the protocol are. */
bool oci_tree_wants(const char *path);
/* Lays a layer over what is there; takes the nodes out of `files`. */
TT_MUST_USE enum tt_status oci_tree_apply(struct oci_tree *tree, struct oci_layer_files *files, struct tt_error *err);
/* After the last layer: adds folders that no layer names, closes blobs that hold nothing that is kept. */
TT_MUST_USE enum tt_status oci_tree_finish(struct oci_tree *tree, struct tt_error *err);

/* oci_link.c --------------------------------------------------------------------------------------------------------
 */

/* Hard links of a sorted layer become the files that they lead to, in the layer or in what lies below. One that leads
 * to no file stays as it is. */
void oci_links_resolve(struct oci_tree *tree, struct oci_layer_files *files);
/* Of the names of one file the first in archive order becomes the file, as in a container engine's archive, and the
 * others hard links to it: which name a layer happened to store the content under does not matter. */
TT_MUST_USE enum tt_status oci_links_restore(struct oci_tree *tree, struct tt_error *err);

/* oci_layer.c -------------------------------------------------------------------------------------------------------
 */

/* Reads one layer: what it has of the protocol's paths, and where. A compressed layer's digest and diff_id are checked
 * on the way (layer->verified). */
TT_MUST_USE enum tt_status oci_layer_read(const struct oci_layout *layout, struct oci_layer *layer, size_t index,
                                          struct oci_tree *tree, struct tt_error *err);

/* oci_files.c -------------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status oci_tree_files(struct oci_tree *tree, const char *path, struct tt_file_set **ret_files,
                                          struct tt_error *err);

/* oci_verify.c ------------------------------------------------------------------------------------------------------
 */

/* Checks the layers that were not verified yet. May run beside readers of the image's files. */
TT_MUST_USE enum tt_status oci_verify_layers(const struct oci_layout *layout, struct oci_manifest *manifest,
                                             struct tt_error *err);
/* One blob, front to end; `diff_id` NULL when that is not to be checked. */
TT_MUST_USE enum tt_status oci_verify_blob(const struct oci_layout *layout, const struct oci_descriptor *blob,
                                           const struct oci_digest *diff_id, struct tt_error *err);

/* oci_store.c -------------------------------------------------------------------------------------------------------
 */

struct oci_image {
    struct oci_layout layout;
    struct oci_manifest manifest;
    struct oci_tree *tree;
};

/* oci_reach.c -------------------------------------------------------------------------------------------------------
 */

/* A sorted set of digests. */
struct oci_set {
    char **digests;
    size_t count;
    size_t capacity;
};

void oci_set_clear(struct oci_set *set);
bool oci_set_has(const struct oci_set *set, const char *digest);
TT_MUST_USE enum tt_status oci_set_add(struct oci_set *set, const char *digest, bool *ret_is_new, struct tt_error *err);

/* Adds the blob that an entry of an index describes and all that it leads to. */
TT_MUST_USE enum tt_status oci_reach_entry(const struct oci_layout *layout, const cJSON *entry, struct oci_set *set,
                                           struct tt_error *err);
TT_MUST_USE enum tt_status oci_reach_all(const struct oci_layout *layout, const cJSON *index, struct oci_set *set,
                                         struct tt_error *err);

/* oci_sweep.c -------------------------------------------------------------------------------------------------------
 */

/* Removes every blob that no entry of the index leads to. The layout is locked. */
TT_MUST_USE enum tt_status oci_sweep_unreachable(const struct oci_layout *layout, struct tt_error *err);

/* oci_marker.c ------------------------------------------------------------------------------------------------------
 */

/*
 * A marker is a file in the layout that names blobs which may have to be removed. It is there from before a commit
 * names its first blob until the change that committed is freed, and locked as long as its process lives: a marker that
 * can be locked was left by a killed run, and tells the next one what to look at.
 */
struct oci_marker {
    struct oci_layout layout;
    char name[64];
    int descriptor;
    bool made_layout; /* the layout was not there before */
    bool made_folder; /* nor was its folder */
    struct oci_set digests;
};

TT_MUST_USE enum tt_status oci_marker_new(const struct oci_layout *layout, bool made_layout, bool made_folder,
                                          const struct oci_set *digests, struct oci_marker **ret_marker,
                                          struct tt_error *err);
/* Done: removes the file. Takes NULL. */
void oci_marker_free(struct oci_marker *marker);
TT_DEFINE_CLEANUP(struct oci_marker *, oci_marker_free)
/* Removes what the marker names and no index leads to, and a layout that never came to be. The layout is locked. */
TT_MUST_USE enum tt_status oci_marker_undo(const struct oci_marker *marker, struct tt_error *err);
/* Undoes the markers of processes that are gone. */
TT_MUST_USE enum tt_status oci_recover(const char *path, bool dry_run, tt_leftover_sink sink, void *user,
                                       struct tt_error *err);

/* The lock on a layout: between processes, for the time of a read-modify-write of its index. */
TT_MUST_USE enum tt_status oci_lock(const struct oci_layout *layout, int *ret_lock, struct tt_error *err);

/* oci_commit.c ------------------------------------------------------------------------------------------------------
 */

/* A blob that a layout shall have: from an unnamed file, or from memory. */
struct oci_blob {
    struct oci_descriptor self;
    int descriptor; /* -1: from `memory`, and if that is NULL too the layout must have it already */
    const void *memory;
    bool is_private; /* plaintext: for its owner's eyes only */
};

/* The tags that shall name the new image; `also` may be NULL. */
struct oci_tags {
    const char *tag;
    const char *also;
};

/* Puts the blobs into the layout at `path` (which is made where nothing is) and lets the tags name the last of them,
 * the manifest: all or nothing. The marker stays until the caller frees it. */
TT_MUST_USE enum tt_status oci_commit(const char *path, const struct oci_tags *tags, const struct oci_blob *blobs,
                                      size_t count, struct oci_marker **ret_marker, struct tt_error *err);

/* An unnamed file that can become a blob of the layout at `path`, whether that is there yet or not. */
TT_MUST_USE enum tt_status oci_unnamed(const char *path, int *ret_descriptor, struct tt_error *err);

/* oci_copy.c --------------------------------------------------------------------------------------------------------
 */

/* The blobs of an image for another layout: copies of the layers that are missing there. */
struct oci_copy {
    struct oci_blob *blobs;
    size_t count;
};

void oci_copy_clear(struct oci_copy *copy);
TT_MUST_USE enum tt_status oci_copy_layers(const struct oci_image *image, const char *target, size_t extra,
                                           struct oci_copy *ret_copy, struct tt_error *err);

/* oci_child.c -------------------------------------------------------------------------------------------------------
 */

/* Configuration and manifest of the image that has `layer` on top of its parent. */
TT_MUST_USE enum tt_status oci_child_config(const struct tt_buffer *parent, const struct oci_digest *layer,
                                            const struct tt_image_settings *settings, struct tt_buffer *ret_text,
                                            struct tt_error *err);
TT_MUST_USE enum tt_status oci_child_manifest(const struct tt_buffer *parent, const struct oci_descriptor *config,
                                              const struct oci_descriptor *layer, struct tt_buffer *ret_text,
                                              struct tt_error *err);

/* oci_entries.c -----------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status oci_visit_layers(struct tt_image *image, size_t first,
                                            const struct tt_layer_visitor *visitor, struct tt_error *err);

/* The rest of the store's ways ----------------------------------------------------------------------------------------
 */

enum tt_status oci_change_new(struct tt_image *parent, const struct tt_reference *target, void **ret_state,
                              struct tt_error *err);
void oci_change_free(void *state);
enum tt_status oci_change_replace(void *state, const struct tt_entry *folder, struct tt_error *err);
enum tt_status oci_change_add(void *state, const struct tt_entry *entry, struct tt_error *err);
enum tt_status oci_change_data(void *state, const void *data, size_t length, struct tt_error *err);
enum tt_status oci_change_seal(void *state, const struct tt_image_settings *settings, const char **ret_digest,
                               struct tt_error *err);
enum tt_status oci_change_commit(void *state, const struct tt_reference *reference, const char *also,
                                 bool *ret_in_doubt, struct tt_error *err);
enum tt_status oci_sweep(const struct tt_reference *reference, const char *removed_digest, char **ret_still_used,
                         struct tt_error *err);

#endif
