/*
 * Image references, as skopeo and podman users write them:
 *
 *   oci:FOLDER[:TAG]                     an OCI image layout
 *   [docker-daemon:]NAME[:TAG|@DIGEST]   an image in a container engine; NAME may start with HOST[:PORT]/
 *
 * Without a tag, "latest" is meant.
 */
#ifndef TT_IMAGE_REFERENCE_H
#define TT_IMAGE_REFERENCE_H

#include "base/error.h"

enum tt_reference_kind { TT_REFERENCE_OCI, TT_REFERENCE_DOCKER };

struct tt_reference {
    enum tt_reference_kind kind;
    char *place;  /* the layout's folder; the engine's name of the image, without tag and digest */
    char *tag;    /* NULL where there is a digest */
    char *digest; /* "sha256:..."; only of an image in an engine; else NULL */
};

/* TT_USAGE, saying how references are written. The caller clears. */
TT_MUST_USE enum tt_status tt_reference_parse(const char *text, struct tt_reference *ret_reference,
                                              struct tt_error *err);
void tt_reference_clear(struct tt_reference *reference);

/* With store and tag always written out; in new memory. */
TT_MUST_USE enum tt_status tt_reference_text(const struct tt_reference *reference, char **ret_text,
                                             struct tt_error *err);

/* "NAME:TAG" or "NAME@DIGEST": how an engine and its users call the image; in new memory. */
TT_MUST_USE enum tt_status tt_reference_engine_name(const struct tt_reference *reference, char **ret_name,
                                                    struct tt_error *err);

#endif
