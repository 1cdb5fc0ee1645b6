/* Verdicts on a key: whether it can serve the protocol, and what is not as it should be, each with what to do. */
#ifndef TT_PROVISIONING_KEY_CHECK_H
#define TT_PROVISIONING_KEY_CHECK_H

#include "provisioning/key_probe.h"
#include "provisioning/policy.h"

enum tt_verdict {
    TT_VERDICT_OK,
    TT_VERDICT_WARNING, /* it serves, and could be better */
    TT_VERDICT_WRONG,   /* it does not serve, or not as the policy wants */
};

/* "ok", "warning" or "wrong". */
const char *tt_verdict_name(enum tt_verdict verdict);

struct tt_finding {
    const char *name; /* "sensitive" */
    enum tt_verdict verdict;
    char says[400];
};

enum { TT_FINDING_LIMIT = 24 };

struct tt_findings {
    struct tt_finding items[TT_FINDING_LIMIT];
    size_t count;
    size_t wrong; /* how many are TT_VERDICT_WRONG */
    struct tt_key_probe probe;
    bool is_probed; /* the key could be tried */
};

/* Looks at the attributes and really does both operations. A key that cannot serve is no failure of this function:
 * TT_PIN when the token did not take the PIN for the key, TT_TOKEN when it gives no session, TT_INTERNAL. */
TT_MUST_USE enum tt_status tt_key_check(struct tt_session *session, const struct tt_key_object *key,
                                        const struct tt_secret *pin, const struct tt_key_policy *policy,
                                        struct tt_findings *ret_findings, struct tt_error *err);

#endif
