/*
 * Whether a train is built on the image that it should be built on, and on nothing else: docs/protocol.md, "The base
 * image". Layers are compared by the digests of what they unpack to, which all stores know, and are read where they are
 * the train's own. All that differs is TT_TAMPERED, as is that there is nothing to compare with.
 */
#ifndef TT_PROTOCOL_AGAINST_H
#define TT_PROTOCOL_AGAINST_H

#include "protocol/manifest.h"
#include "protocol/protocol.h"

/* What a train should be built on, as somebody who is believed says it. */
struct against_layers {
    const char *const *diff_ids; /* lowest first: "sha256:..." */
    size_t count;
    const char *name; /* who says it, for messages: "the creator's manifest" */
};

/* The image's layers begin with these, those on top touch only a train's own files, and what it runs is a file of the
 * definition as `seal` sets it: [PROGRAM,] FILE. */
TT_MUST_USE enum tt_status against_check_layers(struct tt_image *image, const struct tt_train *train,
                                                const struct against_layers *layers, tt_check_sink sink, void *user,
                                                struct tt_error *err);

/* The same with the layers of the image `master`, which may lie in another store; moreover the settings are its own,
 * and so may be the command. TT_USAGE when it is a train itself. */
TT_MUST_USE enum tt_status against_check_image(struct tt_image *image, const struct tt_train *train, const char *master,
                                               const char *platform, tt_check_sink sink, void *user,
                                               struct tt_error *err);

/* Whether a train's command may begin with this word: see seal. */
bool against_is_program(const char *word);

/* The one or the other: against the image `master` or, where that is NULL, the layers in the creator's manifest. TT_OK
 * when there is neither. */
TT_MUST_USE enum tt_status against_check(struct tt_image *image, const struct tt_train *train, const char *master,
                                         const char *platform, const struct manifests *manifests, tt_check_sink sink,
                                         void *user, struct tt_error *err);

#endif
