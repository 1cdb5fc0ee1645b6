/* Tokens or keys as a list of URIs for a message: what fits of them; all of them as warnings where not all do. */
#ifndef TT_PKCS11_CANDIDATES_H
#define TT_PKCS11_CANDIDATES_H

#include "base/buffer.h"
#include "pkcs11/uri.h"

enum { TT_CANDIDATES_LIMIT = 640 };

struct tt_candidates {
    struct tt_buffer all; /* one per line */
    struct tt_buffer line;
    size_t count;
};

#define TT_CANDIDATES_INIT                                                                                             \
    {                                                                                                                  \
        .all = TT_BUFFER_INIT(0), .line = TT_BUFFER_INIT(TT_CANDIDATES_LIMIT)                                          \
    }

void tt_candidates_clear(struct tt_candidates *list);

/* A token, or a private key on it (`key` not NULL). */
TT_MUST_USE enum tt_status tt_candidates_add(struct tt_candidates *list, const PKCS11_TOKEN *token,
                                             const PKCS11_KEY *key, struct tt_error *err);

/* The list for a message: "none", the URIs, or where they were put. Once only. */
const char *tt_candidates_text(struct tt_candidates *list);

/* TT_TOKEN: no private key, or several, match the URI. `all` are those of the token. */
TT_MUST_USE enum tt_status tt_candidates_refuse_keys(const char *token, const struct tt_pkcs11_uri *uri,
                                                     struct tt_candidates *matching, struct tt_candidates *all,
                                                     struct tt_error *err);

#endif
