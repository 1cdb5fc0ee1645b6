/*
 * Cryptoki itself: a module and its tokens, for what libp11 cannot do: attributes, mechanisms, making tokens and keys.
 * A process uses this or libp11, never both (docs/tokens.md), and does not fork once a module is loaded.
 */
#ifndef TT_PROVISIONING_CRYPTOKI_H
#define TT_PROVISIONING_CRYPTOKI_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "pkcs11/uri.h"

struct tt_cryptoki {
    char *path;
    void *library;
    CK_FUNCTION_LIST *functions;
    bool is_initialized; /* C_Finalize is owed */
};

/* Loads and initializes the module: `wanted` and `uri` (both may be NULL) name it as in tt_module_path. TT_TOKEN. */
TT_MUST_USE enum tt_status tt_cryptoki_load(const char *wanted, const struct tt_pkcs11_uri *uri,
                                            struct tt_cryptoki **ret_cryptoki, struct tt_error *err);
void tt_cryptoki_free(struct tt_cryptoki *cryptoki);
TT_DEFINE_CLEANUP(struct tt_cryptoki *, tt_cryptoki_free)

/* A slot with a token in it, initialized or not. */
struct tt_token {
    CK_SLOT_ID slot;
    CK_SLOT_INFO slot_info;
    CK_TOKEN_INFO info;
};

/* All of them, in the module's order. The caller frees *ret_tokens. */
TT_MUST_USE enum tt_status tt_tokens_list(struct tt_cryptoki *cryptoki, struct tt_token **ret_tokens, size_t *ret_count,
                                          struct tt_error *err);

/* The one token that the URI names; `initialized`: only among those that have been initialized. TT_TOKEN, listing the
 * candidates, when there is none or several. */
TT_MUST_USE enum tt_status tt_token_find(struct tt_cryptoki *cryptoki, const struct tt_pkcs11_uri *uri,
                                         bool initialized, struct tt_token *ret_token, struct tt_error *err);

/* A text of fixed length, padded with spaces, as Cryptoki writes them: without the padding, in new memory. */
char *tt_token_text(const CK_UTF8CHAR *text, size_t length);
/* The token's label, in new memory. */
char *tt_token_label(const struct tt_token *token);

/* The URI of a token, or of an object on it (label and id; either may be NULL), ready to paste. `type` is "private",
 * "public" or NULL. NULL when out of memory; the caller frees. */
char *tt_token_uri(const struct tt_token *token, const char *type, const char *label, const unsigned char *id,
                   size_t id_length);

#endif
