/* pkcs11: URIs (RFC 7512): parsed by p11-kit's library, matched against what libp11 shows of tokens and keys. */
#ifndef TT_PKCS11_URI_H
#define TT_PKCS11_URI_H

#include <libp11.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/secret.h"

struct tt_pkcs11_uri;

/* Parses a URI that can name a private key. TT_USAGE says what is wrong in it, and for a file or a PEM text how to
 * bring that key into a token. A PIN in it is kept in locked memory only and never part of a message. */
TT_MUST_USE enum tt_status tt_uri_parse(const char *text, struct tt_pkcs11_uri **ret_uri, struct tt_error *err);
void tt_uri_free(struct tt_pkcs11_uri *uri);
TT_DEFINE_CLEANUP(struct tt_pkcs11_uri *, tt_uri_free)

/* Strings and secret stay the URI's; NULL where the URI has none. */
const struct tt_secret *tt_uri_pin_value(const struct tt_pkcs11_uri *uri);
const char *tt_uri_pin_source(const struct tt_pkcs11_uri *uri);
const char *tt_uri_module_name(const struct tt_pkcs11_uri *uri);
const char *tt_uri_module_path(const struct tt_pkcs11_uri *uri);
/* Whether the PIN stands in the path part (";pin-value="), where RFC 7512 does not want it. */
bool tt_uri_pin_is_misplaced(const struct tt_pkcs11_uri *uri);
/* Whether the URI says anything of the module's library (library-version and so on). */
bool tt_uri_names_library(const struct tt_pkcs11_uri *uri);

/* `info` is a CK_INFO of the module. */
bool tt_uri_matches_library(const struct tt_pkcs11_uri *uri, const void *info);
bool tt_uri_matches_slot(const struct tt_pkcs11_uri *uri, PKCS11_SLOT *slot);
/* The same for who asks a module itself: a CK_SLOT_INFO and a CK_TOKEN_INFO. */
bool tt_uri_matches_token(const struct tt_pkcs11_uri *uri, unsigned long slot_id, const void *slot_info,
                          const void *token_info);
/* By label and id; the key's class is the caller's business. */
bool tt_uri_matches_object(const struct tt_pkcs11_uri *uri, const char *label, const unsigned char *id,
                           size_t id_length);

/* The object's label (a copy that the caller frees) and id (the URI's), NULL where it has none. False when it has
 * neither, or out of memory. */
bool tt_uri_object(const struct tt_pkcs11_uri *uri, char **ret_label, unsigned char **ret_id, size_t *ret_id_length);

/* What the URI asks for, without its PIN and its query, for messages. The caller frees; NULL when out of memory. */
char *tt_uri_text(const struct tt_pkcs11_uri *uri);

/* A URI, ready to paste, of a token, or of a private key on it (key not NULL). `complete` adds the token's
 * manufacturer and model. The caller frees; NULL when out of memory. */
char *tt_uri_format(const PKCS11_TOKEN *token, const PKCS11_KEY *key, bool complete);

#endif
