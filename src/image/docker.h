/* Images in a container engine: what the files docker_*.c share. */
#ifndef TT_IMAGE_DOCKER_H
#define TT_IMAGE_DOCKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "image/docker_container.h"
#include "image/store.h"

enum {
    DOCKER_LAYER_LIMIT = 512,      /* layers of an image; engines stop at 127 */
    DOCKER_NAMES_LIMIT = 16 << 20, /* bytes of all paths of one file set or stream */
    DOCKER_LIST_LIMIT = 10000,     /* containers or images in one list */
    DOCKER_ID_TEXT = 7 + 64 + 1    /* "sha256:<hex>" */
};

/* docker_store.c ----------------------------------------------------------------------------------------------------
 */

/*
 * An open image: the state of its struct tt_image. Streams hold on to it beyond that.
 *
 * An engine keeps a container locked as long as something is read out of it: whoever asked it for anything else of that
 * container meanwhile would wait for ever. So what is being read is marked, and what else is wanted of the image then
 * comes out of one more container.
 */
struct docker_image {
    atomic_uint holders;
    struct tt_docker_engine *engine; /* for all threads */
    char id[DOCKER_ID_TEXT];
    cJSON *config;        /* member "Config" of what the engine says of the image; never NULL */
    pthread_mutex_t lock; /* of what follows */
    char *ran;            /* the container whose results count, instead of the image's; NULL as a rule */
    bool ran_is_busy;
    char *reader; /* a container of the image that is never started; made when first needed */
    bool reader_is_busy;
    char *folder; /* the last one that was found to be a folder of the image, as all above it are */
};

/* Fills everything of *image but `store` and `reference` with the image that the engine knows by `name` ("NAME:TAG" or
 * an id). `ran` (NULL as a rule) is a container of that image: /opt/pht_results is then taken out of it, all else out
 * of the image, and on success the image owns the text and the container and removes it in the end. What is in *image
 * after a failure is freed by the caller, and `ran` stays the caller's. TT_STORE when there is no such image. */
TT_MUST_USE enum tt_status docker_image_fill(const char *name, char *ran, struct tt_image *image, struct tt_error *err);
void docker_image_hold(struct docker_image *image);
void docker_image_release(struct docker_image *image);
TT_DEFINE_CLEANUP(struct docker_image *, docker_image_release)

/* What the engine says of an image: GET /images/NAME/json. *ret_facts NULL when it does not know it. The caller
 * deletes. */
TT_MUST_USE enum tt_status docker_inspect_image(struct tt_docker_engine *engine, const char *name, cJSON **ret_facts,
                                                struct tt_error *err);
/* The id in an engine's answer as "sha256:<hex>", whether it came so or as bare hex (Podman). TT_STORE when it is
 * neither: it becomes a part of paths. */
TT_MUST_USE enum tt_status docker_id(const cJSON *facts, const char *member, char id[DOCKER_ID_TEXT],
                                     struct tt_error *err);
/* The text of a member; "" where it is missing or something else. */
const char *docker_text(const cJSON *object, const char *member);

/* docker_container.c ------------------------------------------------------------------------------------------------
 */

/* Kills and removes a container by its id or name, with its anonymous volumes; one that is gone already, or is being
 * removed, is TT_OK. */
TT_MUST_USE enum tt_status docker_delete_container(struct tt_docker_engine *engine, const char *name,
                                                   struct tt_error *err);

/* docker_stream.c ---------------------------------------------------------------------------------------------------
 */

/* The files at and under a path of an image as the engine sends them. It may send them in any order. */
struct docker_stream;
TT_MUST_USE enum tt_status docker_stream_new(struct docker_image *image, const char *path,
                                             struct docker_stream **ret_stream, struct tt_error *err);
/* As in struct tt_file_stream_ways, of a struct docker_stream. */
TT_MUST_USE enum tt_status docker_stream_next(void *stream, const struct tt_entry **ret_entry, struct tt_error *err);
TT_MUST_USE enum tt_status docker_stream_read(void *stream, void *data, size_t length, struct tt_error *err);
void docker_stream_free(void *stream);
TT_DEFINE_CLEANUP(struct docker_stream *, docker_stream_free)
/* What it is, for messages. */
const char *docker_stream_what(const struct docker_stream *stream);

TT_MUST_USE enum tt_status docker_stream(void *state, const char *path, struct tt_file_stream **ret_stream,
                                         struct tt_error *err);

/* Whether all folders above `path` are there. TT_TAMPERED when one of them is something else: a link that leads
 * elsewhere. */
TT_MUST_USE enum tt_status docker_check_way(struct docker_image *image, const char *path, bool *ret_found,
                                            struct tt_error *err);

/* docker_save.c -----------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status docker_visit_layers(struct tt_image *image, size_t first,
                                               const struct tt_layer_visitor *visitor, struct tt_error *err);

/* docker_files.c ----------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status docker_files(void *state, const char *path, struct tt_file_set **ret_files,
                                        struct tt_error *err);

/* docker_execute.c --------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status tt_docker_execute(void *state, const struct tt_execution_options *options,
                                             struct tt_image *ran, struct tt_error *err);

/* docker_change.c ---------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status docker_change_new(struct tt_image *parent, const struct tt_reference *target,
                                             void **ret_state, struct tt_error *err);
void docker_change_free(void *state);
TT_MUST_USE enum tt_status docker_change_replace(void *state, const struct tt_entry *folder, struct tt_error *err);
TT_MUST_USE enum tt_status docker_change_add(void *state, const struct tt_entry *entry, struct tt_error *err);
TT_MUST_USE enum tt_status docker_change_data(void *state, const void *data, size_t length, struct tt_error *err);
TT_MUST_USE enum tt_status docker_change_seal(void *state, const struct tt_image_settings *settings,
                                              const char **ret_digest, struct tt_error *err);
TT_MUST_USE enum tt_status docker_change_open(void *state, struct tt_image *image, struct tt_error *err);
TT_MUST_USE enum tt_status docker_change_commit(void *state, const struct tt_reference *reference, const char *also,
                                                bool *ret_in_doubt, struct tt_error *err);

/* docker_driver.c ---------------------------------------------------------------------------------------------------
 */

/* How the engine finds what a commit takes in. Where its storage can tell what was written to a container, that is
 * taken. Elsewhere (vfs, fuse-overlayfs, btrfs, overlays with some options) the files are compared with the image's,
 * and two of one size and one time in seconds count as the same: a file that was only encrypted anew would be left out.
 */
TT_MUST_USE enum tt_status docker_commit_compares(struct tt_docker_engine *engine, bool *ret_compares,
                                                  struct tt_error *err);

/* docker_sweep.c ----------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status docker_sweep(const struct tt_reference *reference, const char *removed_digest,
                                        char **ret_still_used, struct tt_error *err);
/* What the comment of an image ends with in which a train lies decrypted. */
#define DOCKER_PLAINTEXT ", decrypted"
/* Whether `facts` are those of an image that this program made so. */
bool docker_is_plaintext(const cJSON *facts);
/* The images from one up, by its parents, to the one in which the train was decrypted; of an image that does not come
 * of such a one, nothing but itself. */
enum { DOCKER_CHAIN_LIMIT = 64 };
struct docker_chain {
    char ids[DOCKER_CHAIN_LIMIT][DOCKER_ID_TEXT];
    size_t count;
    bool is_plaintext; /* there was one */
};
TT_MUST_USE enum tt_status docker_find_chain(struct tt_docker_engine *engine, const char *id,
                                             struct docker_chain *chain, struct tt_error *err);
/* The name of a container in a list of containers, else its id. */
const char *docker_container_name(const cJSON *container);
/* Deletes an image that no tag names, and nothing else: not its parents, not one that a container was made of.
 * *ret_code (may be NULL) has the HTTP status; one that is gone already (404) is TT_OK. */
TT_MUST_USE enum tt_status docker_delete_image(struct tt_docker_engine *engine, const char *id, int *ret_code,
                                               struct tt_error *err);

/* docker_clean.c ----------------------------------------------------------------------------------------------------
 */

TT_MUST_USE enum tt_status docker_clean(const struct tt_reference *reference, bool dry_run, tt_leftover_sink sink,
                                        void *user, struct tt_error *err);
/* The engine's list of images that no tag names and no other image was made of; the caller deletes. */
TT_MUST_USE enum tt_status docker_untagged_images(struct tt_docker_engine *engine, cJSON **ret_images,
                                                  struct tt_error *err);

#endif
