/*
 * An image as an engine hands it out (GET /images/NAME/get): an archive of layers, which are archives themselves, with
 * JSON beside them. Docker calls them ID/layer.tar or blobs/sha256/HEX, Podman HEX.tar; they come in any order, perhaps
 * compressed, and JSON says which is which. None of that is needed here, and none believed: what is a layer is told by
 * its digest.
 */
#ifndef TT_IMAGE_DOCKER_SAVED_H
#define TT_IMAGE_DOCKER_SAVED_H

#include "archive/tar_reader.h"
#include "image/image.h"

enum { TT_DOCKER_SAVED_LIMIT = 20000 }; /* entries of the outer archive; engines make three for each layer */

struct tt_docker_saved {
    const char *what;          /* for messages */
    const char *const *layers; /* diff_ids of the image, lowest first: "sha256:..." */
    size_t count;
    size_t first; /* from here on they are wanted */
};

/* Shows the wanted layers to the visitor, in the order they come, and stops once it has all. TT_STORE when the archive
 * makes no sense or lacks one; what is wrong with a wanted layer comes as it is. */
TT_MUST_USE enum tt_status tt_docker_saved_visit(const struct tt_docker_saved *saved, const struct tt_source *source,
                                                 const struct tt_layer_visitor *visitor, struct tt_error *err);

#endif
