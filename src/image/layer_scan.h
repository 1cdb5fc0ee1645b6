/* One layer as a stream: its entries are shown to a visitor, and all that it unpacks to is hashed, so that what was
 * seen can be bound to a diff_id. Memory stays the same whatever its size. */
#ifndef TT_IMAGE_LAYER_SCAN_H
#define TT_IMAGE_LAYER_SCAN_H

#include "archive/decompress.h"
#include "crypto/digest.h"
#include "image/image.h"

struct layer_scan_input {
    const char *what; /* for messages: "layer sha256:..." */
    struct tt_source source;
    enum tt_compression compression;
    enum tt_digest_algorithm algorithm; /* of the diff_id */
    bool unhashed;                      /* the caller knows the digest: contents may be skipped */
};

struct layer_scan_result {
    bool is_hashed;
    uint8_t digest[TT_SHA512_SIZE]; /* of what the layer unpacks to */
    /* What is wrong with it, TT_OK if nothing is: no archive, or something that the visitor refused. What follows in it
     * was hashed but not looked at. */
    enum tt_status status;
    struct tt_error failure;
};

/* Calls visitor->begin, and visitor->entry for each entry. Fails only where the source does, or memory: what the layer
 * has to answer for is in the result. */
TT_MUST_USE enum tt_status layer_scan(const struct layer_scan_input *input, const struct tt_layer_visitor *visitor,
                                      struct layer_scan_result *ret_result, struct tt_error *err);

#endif
