/* A station's wishes for its key, as a file: what is a warning without it becomes a failure. */
#ifndef TT_PROVISIONING_POLICY_H
#define TT_PROVISIONING_POLICY_H

#include <stdbool.h>

#include "base/error.h"

enum { TT_POLICY_LIMIT = 64 * 1024 };

/* All zero: no wishes. */
struct tt_key_policy {
    unsigned minimum_bits;
    bool sensitive, always_sensitive, not_extractable, never_extractable, local, is_private, always_authenticate;
    bool no_other_use; /* for decrypting and signing, and nothing else */
    bool native_unwrap, native_sign;
};

/* A JSON object with any of the members "minimum_bits" (a number), "native" (["unwrap", "sign"]) and, true or false,
 * "sensitive", "always_sensitive", "not_extractable", "never_extractable", "local", "private", "always_authenticate",
 * "no_other_use". TT_USAGE when it cannot be read, is another kind of text, or has another member. */
TT_MUST_USE enum tt_status tt_policy_read(const char *path, struct tt_key_policy *ret_policy, struct tt_error *err);

#endif
