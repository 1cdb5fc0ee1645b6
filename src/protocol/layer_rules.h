/*
 * What a train's own layers, those on top of the image it was built on, may do to that image: docs/protocol.md, "The
 * base image". Each entry is judged as it stands in its layer; what lies below a link is judged when all layers came.
 */
#ifndef TT_PROTOCOL_LAYER_RULES_H
#define TT_PROTOCOL_LAYER_RULES_H

#include "image/image.h"

struct layer_rules;

/* For an image with so many layers, of which those from `first` on are a train's own. */
TT_MUST_USE enum tt_status layer_rules_new(size_t first, size_t count, struct layer_rules **ret_rules,
                                           struct tt_error *err);
void layer_rules_free(struct layer_rules *rules);
TT_DEFINE_CLEANUP(struct layer_rules *, layer_rules_free)

/* What lies in the image below; only links are of interest. */
TT_MUST_USE enum tt_status layer_rules_below(struct layer_rules *rules, const struct tt_entry *entry,
                                             struct tt_error *err);

/* The folder that the image runs in ("/srv"; copied): engines make it, and what leads there, as soon as they make a
 * container, so that these folders may stand in a train's own layers. One that is not written plainly is nowhere. */
TT_MUST_USE enum tt_status layer_rules_run_in(struct layer_rules *rules, const char *folder, struct tt_error *err);

/* For tt_image_visit_layers. TT_TAMPERED names the entry. The rules'. */
struct tt_layer_visitor layer_rules_visitor(struct layer_rules *rules);

/* When all layers came: whether nothing was put below a link, which would have led it elsewhere. TT_TAMPERED. */
TT_MUST_USE enum tt_status layer_rules_finish(struct layer_rules *rules, struct tt_error *err);

#endif
