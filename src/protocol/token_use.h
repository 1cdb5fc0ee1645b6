/* Using the key in the token, and keeping account of it. */
#ifndef TT_PROTOCOL_TOKEN_USE_H
#define TT_PROTOCOL_TOKEN_USE_H

#include "protocol/protocol.h"

/* Opens the key and makes sure that it is `expected` (TT_UNTRUSTED otherwise); NULL takes any. Notes its fingerprint.
 * Before, it is recorded in `audit` (may be NULL) that the key will be used, and so is every use of it after. */
TT_MUST_USE enum tt_status token_open(const struct tt_key_source *source, struct tt_audit *audit,
                                      const EVP_PKEY *expected, const char *owner, struct tt_token_use *use,
                                      struct tt_private_key **ret_key, struct tt_error *err);

/* Notes an operation that succeeded. */
void token_used(struct tt_token_use *use, const char *name, enum tt_padding_by padding_by);

#endif
