/* What a store of images must be able to do: image.c hands every call on to one of these. */
#ifndef TT_IMAGE_STORE_H
#define TT_IMAGE_STORE_H

#include "image/execution.h"
#include "image/image.h"
#include "image/reference.h"

struct tt_image_layer {
    char *digest;
    char *diff_id; /* NULL: an engine's, which has no other name for a layer; the same as the digest */
    uint64_t size;
};

/* What every store knows of an open image, and what is its own. */
struct tt_image {
    const struct tt_image_store *store;
    char *reference;
    char *digest;
    struct tt_image_layer *layers;
    size_t layer_count;
    struct tt_buffer configuration;
    void *state;
};

struct tt_image_change {
    const struct tt_image_store *store;
    struct tt_image *parent;
    void *state;
};

/* Members mean what the functions of image.h mean; `state` is the image's or the change's. */
struct tt_image_store {
    /* Fills everything of *image but `store` and `reference`; what is there after a failure is freed by the caller. */
    enum tt_status (*open)(const struct tt_reference *reference, const struct tt_image_options *options,
                           struct tt_image *image, struct tt_error *err);
    void (*close)(void *state);
    enum tt_status (*visit_layers)(struct tt_image *image, size_t first, const struct tt_layer_visitor *visitor,
                                   struct tt_error *err);
    /* NULL: there are no blobs to be seen. */
    enum tt_status (*verify_blobs)(void *state, struct tt_error *err);
    enum tt_status (*files)(void *state, const char *path, struct tt_file_set **ret_files, struct tt_error *err);
    /* NULL: the files as a stream. */
    enum tt_status (*stream)(void *state, const char *path, struct tt_file_stream **ret_stream, struct tt_error *err);
    /* Fills *ran as `open` does. NULL: images cannot be run there. */
    enum tt_status (*execute)(void *state, const struct tt_execution_options *options, struct tt_image *ran,
                              struct tt_error *err);

    /* `target` NULL: the parent's own place. */
    enum tt_status (*change_new)(struct tt_image *parent, const struct tt_reference *target, void **ret_state,
                                 struct tt_error *err);
    void (*change_free)(void *state);
    enum tt_status (*change_replace)(void *state, const struct tt_entry *folder, struct tt_error *err);
    enum tt_status (*change_add)(void *state, const struct tt_entry *entry, struct tt_error *err);
    enum tt_status (*change_data)(void *state, const void *data, size_t length, struct tt_error *err);
    enum tt_status (*change_seal)(void *state, const struct tt_image_settings *settings, const char **ret_digest,
                                  struct tt_error *err);
    /* As `open`, of the sealed change. NULL: cannot be done. */
    enum tt_status (*change_open)(void *state, struct tt_image *image, struct tt_error *err);
    /* *ret_in_doubt: after a failure, whether the change may have come about all the same (a reply was lost). */
    enum tt_status (*change_commit)(void *state, const struct tt_reference *reference, const char *also,
                                    bool *ret_in_doubt, struct tt_error *err);

    enum tt_status (*sweep)(const struct tt_reference *reference, const char *removed_digest, char **ret_still_used,
                            struct tt_error *err);
    /* `reference` NULL where the store needs none; `sink` may be NULL. */
    enum tt_status (*clean)(const struct tt_reference *reference, bool dry_run, tt_leftover_sink sink, void *user,
                            struct tt_error *err);
};

extern const struct tt_image_store tt_oci_store;
extern const struct tt_image_store tt_docker_store;

#endif
