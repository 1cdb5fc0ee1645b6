/* Image references: "STORE:PLACE[:TAG]". */
#ifndef TT_IMAGE_REFERENCE_H
#define TT_IMAGE_REFERENCE_H

#include "base/error.h"

struct tt_reference {
    char *place; /* of an OCI layout: its folder */
    char *tag;
};

/* TT_USAGE, saying how references are written. The caller clears. */
TT_MUST_USE enum tt_status tt_reference_parse(const char *text, struct tt_reference *ret_reference,
                                              struct tt_error *err);
void tt_reference_clear(struct tt_reference *reference);

/* With the tag always written out; in new memory. */
TT_MUST_USE enum tt_status tt_reference_text(const struct tt_reference *reference, char **ret_text,
                                             struct tt_error *err);

#endif
