/*
 * The image seam: protocol code cannot tell an OCI layout from a container engine.
 *
 * References are written as skopeo and podman users know them (reference.h): "oci:DIR[:TAG]",
 * "docker-daemon:NAME[:TAG]" or just NAME[:TAG]. An image that is not there is TT_STORE; one that breaks the OCI image
 * specification is TT_MALFORMED; a blob whose bytes do not match its digest is TT_TAMPERED.
 */
#ifndef TT_IMAGE_IMAGE_H
#define TT_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/file_set.h"
#include "archive/file_stream.h"
#include "base/buffer.h"
#include "base/error.h"
#include "crypto/digest.h"

struct tt_image;
struct tt_image_change;

struct tt_image_options {
    const char *platform; /* "os/architecture[/variant]" to take from an index; NULL for this machine's */
};

/* Checks a reference's form without touching anything: TT_USAGE, saying how references are written. */
TT_MUST_USE enum tt_status tt_image_reference_check(const char *reference, struct tt_error *err);

/* The same for an image that gets a new state: what names one state by its digest is TT_USAGE too. */
TT_MUST_USE enum tt_status tt_image_reference_check_tag(const char *reference, struct tt_error *err);

/* The reference of the same image under another tag, in new memory: ("oci:d:latest", "base") is "oci:d:base". */
TT_MUST_USE enum tt_status tt_image_reference_sibling(const char *reference, const char *tag, char **ret_reference,
                                                      struct tt_error *err);

/* Opens an image: its index, manifest, configuration and the list of files of all layers are read; digests and sizes
 * of the JSON blobs are checked, those of the layers by tt_image_verify_blobs. `options` may be NULL. */
TT_MUST_USE enum tt_status tt_image_open(const char *reference, const struct tt_image_options *options,
                                         struct tt_image **ret_image, struct tt_error *err);
void tt_image_free(struct tt_image *image);
TT_DEFINE_CLEANUP(struct tt_image *, tt_image_free)

const char *tt_image_reference(const struct tt_image *image);
/* Digest of the manifest (in an engine: the image's id), "sha256:...": the identity of the image's state. */
const char *tt_image_digest(const struct tt_image *image);

/* Layers, lowest first: their digests as the manifest names them (in an engine: of the uncompressed layer), and the
 * size in bytes of each blob (0 where the store does not tell). */
size_t tt_image_layer_count(const struct tt_image *image);
const char *tt_image_layer_digest(const struct tt_image *image, size_t index);
uint64_t tt_image_layer_size(const struct tt_image *image, size_t index);
/* Of the uncompressed layer, "sha256:...": the only name that all stores have for it. In a layout it is what the
 * image's configuration says, and true when tt_image_verify_blobs has passed; an engine checked it as it took the
 * image. */
const char *tt_image_layer_diff_id(const struct tt_image *image, size_t index);

/* Reads all blobs of the image that were not checked yet and checks digests, sizes and diff_ids. TT_TAMPERED names the
 * blob. May run on another thread beside readers of the image's files. TT_OK where the store shows none. */
TT_MUST_USE enum tt_status tt_image_verify_blobs(struct tt_image *image, struct tt_error *err);

/* Whether the store shows blobs that can be checked: an engine keeps them to itself. */
bool tt_image_shows_blobs(const struct tt_image *image);

/* Who looks into layers, entry by entry. */
struct tt_layer_visitor {
    void *user;
    /* An archive begins that may be one of the layers. */
    void (*begin)(void *user);
    /* Its next entry as the archive has it: whiteouts are files whose names start with ".wh.". A failure ends the look
     * at this archive, and is the image's when it turns out to be one of the layers. */
    enum tt_status (*entry)(void *user, const struct tt_entry *entry, struct tt_error *err);
    /* It was this layer: its bytes have the digest that is the layer's diff_id. Once for each layer, in any order; more
     * than once after one `begin` where layers are equal. */
    enum tt_status (*end)(void *user, size_t layer, struct tt_error *err);
};

/* Shows all layers from `first` on to the visitor, but none of those below. In a layout, blobs that were not verified
 * yet are. TT_STORE when an engine does not hand a layer out. */
TT_MUST_USE enum tt_status tt_image_visit_layers(struct tt_image *image, size_t first,
                                                 const struct tt_layer_visitor *visitor, struct tt_error *err);

/* The files at and under `path` ("opt/pht_results"), after whiteouts, as one set; empty when there is nothing. The
 * entry of `path` itself comes first. TT_TAMPERED when a component before the last is not a folder (a link that leads
 * elsewhere). TT_MALFORMED above TT_ENTRY_LIMIT entries. Hard links come as TT_ENTRY_HARDLINK. */
TT_MUST_USE enum tt_status tt_image_files(struct tt_image *image, const char *path, struct tt_file_set **ret_files,
                                          struct tt_error *err);

/* The same as they come by, once, without keeping them. */
TT_MUST_USE enum tt_status tt_image_stream(struct tt_image *image, const char *path, struct tt_file_stream **ret_stream,
                                           struct tt_error *err);

/* A change: new files on a given parent image, which nobody sees before it is committed. Everything that was not
 * added stays as in the parent, except under the paths given to tt_image_change_replace. */
TT_MUST_USE enum tt_status tt_image_change_new(struct tt_image *parent, struct tt_image_change **ret_change,
                                               struct tt_error *err);
/* As tt_image_change_new, with the new image in the store of `reference` (a layout that is made where it is missing):
 * the parent's layers are copied there, verified, as part of the change. The parent may lie there already. TT_USAGE
 * when one is in an engine and the other is not, or `reference` has a digest instead of a tag. */
TT_MUST_USE enum tt_status tt_image_change_new_in(struct tt_image *parent, const char *reference,
                                                  struct tt_image_change **ret_change, struct tt_error *err);
/* Frees; without a commit this abandons the change and leaves nothing behind. */
void tt_image_change_free(struct tt_image_change *change);
TT_DEFINE_CLEANUP(struct tt_image_change *, tt_image_change_free)

/* Adds the folder; from here on, what the parent has under it is gone: only what is added is there. Adding the folder
 * once more right after does no harm. */
TT_MUST_USE enum tt_status tt_image_change_replace(struct tt_image_change *change, const struct tt_entry *folder,
                                                   struct tt_error *err);
/* Starts an entry; a file's entry->size bytes must follow through tt_image_change_data. */
TT_MUST_USE enum tt_status tt_image_change_add(struct tt_image_change *change, const struct tt_entry *entry,
                                               struct tt_error *err);
TT_MUST_USE enum tt_status tt_image_change_data(struct tt_image_change *change, const void *data, size_t length,
                                                struct tt_error *err);

/* What a new image's configuration says beside its parent's. Members that are NULL leave it as it is. */
struct tt_image_settings {
    const char *const *command; /* argv of the image's entry point, NULL-terminated (sets Entrypoint, clears Cmd) */
    const char *created_by;     /* for the history */
    bool is_plaintext;          /* nobody but the owner of the store may read the new files */
};

/* Ends the file list: everything is written and named except the tag. *ret_digest is the new manifest's digest, the
 * change's until freed. No image is visible yet. */
TT_MUST_USE enum tt_status tt_image_change_seal(struct tt_image_change *change,
                                                const struct tt_image_settings *settings, const char **ret_digest,
                                                struct tt_error *err);

/* The sealed change as an image of its own, before anybody else sees it. It must not outlive the change. */
TT_MUST_USE enum tt_status tt_image_change_open(struct tt_image_change *change, struct tt_image **ret_image,
                                                struct tt_error *err);

/* Makes the sealed change visible under `reference` (same store as the parent's, or a layout that is made) and, unless
 * it is NULL, under the tag `also` beside it: both at once (in an engine `also` first), atomically and durably. May be
 * called again for further references. After a failure, *ret_in_doubt (may be NULL) tells whether the image may be the
 * new one all the same, because an engine's reply was lost: open it to know. */
TT_MUST_USE enum tt_status tt_image_change_commit(struct tt_image_change *change, const char *reference,
                                                  const char *also, bool *ret_in_doubt, struct tt_error *err);

/* Removes what a store still holds of images that no tag names any more: after post-run, the plaintext. What is still
 * used is left, and *ret_still_used says by what, with what to do: "the tag 'x' (...)", "the container 'y' (docker rm
 * y)" (the caller frees; NULL when there is nothing).
 * `removed_digest` is the digest of the image whose blobs must be gone; entries of the index without a tag that lead to
 * them go too. */
TT_MUST_USE enum tt_status tt_image_sweep(const char *reference, const char *removed_digest, char **ret_still_used,
                                          struct tt_error *err);

/* Finds what a killed run left in the store and removes it. Cheap where there is nothing. */
TT_MUST_USE enum tt_status tt_image_recover(const char *reference, struct tt_error *err);

/* The same, telling of each thing that was found; with `dry_run` nothing is removed. `reference` NULL: the container
 * engine, whatever the image. `what` is "container", "image" or "file". */
typedef void (*tt_leftover_sink)(void *user, const char *what, const char *name, const char *says);
TT_MUST_USE enum tt_status tt_image_clean(const char *reference, bool dry_run, tt_leftover_sink sink, void *user,
                                          struct tt_error *err);

/* The image's configuration as JSON text ("Env", "Entrypoint", ... are under "config"), for inspect. The image's. */
const struct tt_buffer *tt_image_configuration(const struct tt_image *image);

/* Whether the image's settings are those of the image it was built on, but for what an image of its own has: its
 * command (see tt_image_command), history, author, times and names. Members that nobody knows count, too, and what
 * stores write differently does not. TT_TAMPERED names the setting. */
TT_MUST_USE enum tt_status tt_image_settings_check(const struct tt_image *image, const struct tt_image *base,
                                                   struct tt_error *err);

/* One value for all settings that every store keeps and a container notices, command included: two images have the
 * same where those are the same, in whatever words a store has them. `command` (NULL-terminated) stands for the image's
 * own, as with struct tt_image_settings; NULL for none. */
TT_MUST_USE enum tt_status tt_image_settings_digest(const struct tt_image *image, const char *const *command,
                                                    uint8_t ret_digest[TT_SHA512_SIZE], struct tt_error *err);

/* What a container of the image runs: Entrypoint, then Cmd. */
struct tt_image_command {
    char **words;
    size_t entry_count; /* so many of them are the Entrypoint's */
    size_t count;
    char *folder; /* where it runs; "" when nothing is said of it */
};

TT_MUST_USE enum tt_status tt_image_command(const struct tt_image *image, struct tt_image_command *ret_command,
                                            struct tt_error *err);
void tt_image_command_clear(struct tt_image_command *command);

#endif
