/*
 * From a pkcs11: URI (RFC 7512) to a struct tt_private_key, one login try at most, when the protocol asks for it.
 */
#ifndef TT_PKCS11_STATION_KEY_H
#define TT_PKCS11_STATION_KEY_H

#include <stdbool.h>

#include "crypto/private_key.h"

struct tt_pkcs11_options {
    const char *uri;    /* names exactly one key */
    const char *module; /* path of the module, or a plain name as in module-name; NULL: the URI's module-path or
                         * module-name, else p11-kit's proxy */
    const char *loader; /* "auto" (also NULL), "libp11", "provider[:NAME]" or "engine[:ID]" */
    int pin_fd;         /* descriptor to read the PIN from (up to a newline or its end); -1 for none */
    bool last_pin_try;  /* log in even when one wrong PIN would lock the token */
    bool may_prompt;    /* ask on the terminal when nothing else gives a PIN and there is a terminal */
    bool keep_pin;      /* the key is opened more than once, perhaps hours apart: a PIN that served is kept in secret
                         * memory until the source is freed */
};

/* Whether `text` is a pkcs11: URI that can name a private key. TT_USAGE otherwise: what is wrong in it, and for a path
 * of a file how to bring that key into a token. Nothing is opened. */
TT_MUST_USE enum tt_status tt_pkcs11_uri_check(const char *text, struct tt_error *err);

/* Overwrites the PIN in a URI with "x", in place: for the command line and the environment, which /proc and a core
 * dump show. Call it once the source was made, which keeps the PIN in secret memory. */
void tt_pkcs11_uri_hide_pin(char *text);

/* Facts about the token for messages, JSON and the audit; strings are the source's, empty where not known. */
struct tt_pkcs11_facts {
    const char *uri;   /* complete URI of the key that was used, without PIN */
    const char *token; /* label */
    const char *serial;
    const char *loader; /* that opened the key: "libp11", "provider[:NAME]" or "engine[:ID]" */
};

struct tt_pkcs11_source;

/* Parses options->uri and copies what it needs; no module is loaded before the key is opened. PRIVATE_KEY_PASSWORD is
 * taken out of the environment and kept in secret memory for all sources until the last of them is freed: a program
 * that needs several makes all of them first. One key at a time may be open. */
TT_MUST_USE enum tt_status tt_pkcs11_source_new(const struct tt_pkcs11_options *options,
                                                struct tt_pkcs11_source **ret_source, struct tt_error *err);
/* After every key that came from it was freed. */
void tt_pkcs11_source_free(struct tt_pkcs11_source *source);
TT_DEFINE_CLEANUP(struct tt_pkcs11_source *, tt_pkcs11_source_free)

/* The seam to src/protocol. */
struct tt_key_source tt_pkcs11_key_source(struct tt_pkcs11_source *source);

/* Filled once a key was opened. */
const struct tt_pkcs11_facts *tt_pkcs11_source_facts(const struct tt_pkcs11_source *source);

#endif
