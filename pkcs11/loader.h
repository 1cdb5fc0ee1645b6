/* The ways from a token's key to an EVP_PKEY: libp11 itself (loader_libp11.h), an OpenSSL provider, or an engine. */
#ifndef TT_PKCS11_LOADER_H
#define TT_PKCS11_LOADER_H

#include <libp11.h>
#include <openssl/ui.h>

#include "crypto/private_key.h"
#include "pkcs11/uri.h"

enum tt_loader_kind { TT_LOADER_AUTO, TT_LOADER_LIBP11, TT_LOADER_PROVIDER, TT_LOADER_ENGINE };

struct tt_loader_choice {
    enum tt_loader_kind kind;
    char name[64]; /* of the provider or engine: "pkcs11" unless another was named */
};

/* "auto", "libp11", "provider", "provider:NAME", "engine" or "engine:ID"; NULL is "auto". TT_USAGE. */
TT_MUST_USE enum tt_status tt_loader_parse(const char *text, struct tt_loader_choice *ret_choice, struct tt_error *err);

/* As tt_loader_parse takes it. */
void tt_loader_text(const struct tt_loader_choice *choice, char text[80]);

/* What a provider or an engine is asked for. No module is loaded; the token was chosen and looked at before. */
struct tt_loader_request {
    struct tt_loader_choice choice; /* TT_LOADER_PROVIDER or TT_LOADER_ENGINE */
    const char *module;             /* path */
    const struct tt_pkcs11_uri *uri;
    const PKCS11_TOKEN *token; /* a copy by tt_loader_copy_token */
    struct tt_secret *pin;     /* NULL where the token needs none or takes it itself */
};

/* A copy that outlives the module, of what messages, URIs and logins need. NULL when out of memory. */
PKCS11_TOKEN *tt_loader_copy_token(const PKCS11_TOKEN *token);
void tt_loader_free_token(PKCS11_TOKEN *token);
TT_DEFINE_CLEANUP(PKCS11_TOKEN *, tt_loader_free_token)

/* Before the PIN is asked for: TT_PIN when this loader would not log in to a token in this state. */
TT_MUST_USE enum tt_status tt_loader_check(const struct tt_loader_choice *choice, const PKCS11_TOKEN *token,
                                           struct tt_error *err);

/* The one key that the URI names, logged in with one try at most. Takes over request->pin whatever comes of it.
 * *ret_uri (the caller frees) is the complete URI of the key, as far as it is known. TT_PIN when the PIN is wrong,
 * TT_TOKEN when there is no such loader, no key or several or one that does not fit, TT_UNTRUSTED when it is not
 * `expected` (may be NULL). */
TT_MUST_USE enum tt_status tt_loader_open(struct tt_loader_request *request, const EVP_PKEY *expected,
                                          struct tt_private_key **ret_key, char **ret_uri, struct tt_error *err);

/* For the loaders. */

/* How a loader gets the PIN: once before the key is open, and after that whenever the key wants it. */
struct tt_loader_pin {
    struct tt_secret *secret; /* NULL: none */
    UI_METHOD *ui;            /* its user data is this */
    bool is_open;
    bool was_given;
    bool was_too_long; /* or too short for who asked */
};

TT_MUST_USE enum tt_status tt_loader_pin_init(struct tt_loader_pin *pin, struct tt_secret *secret,
                                              struct tt_error *err);
void tt_loader_pin_clear(struct tt_loader_pin *pin);

/* What came of asking. */
struct tt_loader_outcome {
    EVP_PKEY *key;                            /* NULL: it failed */
    const struct tt_private_key_loader *ways; /* of `loader`; its `free` also after a failure */
    void *loader;
    struct tt_loader_pin *pin; /* the loader's */
    size_t matches;            /* keys that it found, 0 where it does not tell */
    unsigned long value;       /* Cryptoki's return value, 0 where it does not tell */
    bool is_login_proven;      /* it failed otherwise than by the login */
};

/* What a loader that hides causes needs to find them. Strings and token are copies; the URI is the request's. */
struct tt_loader_evidence {
    char *module;
    PKCS11_TOKEN *token;
    const struct tt_pkcs11_uri *uri;
};

TT_MUST_USE enum tt_status tt_loader_keep_evidence(const struct tt_loader_request *request,
                                                   struct tt_loader_evidence *ret_evidence, struct tt_error *err);
void tt_loader_clear_evidence(struct tt_loader_evidence *evidence);

/* For an operation that failed without a word: asks the module itself. False when that does not tell either. */
bool tt_loader_find_cause(const struct tt_loader_evidence *evidence, bool signing, struct tt_error *err);

/* The first return value of Cryptoki in OpenSSL's queue that this loader's library put there; empties the queue. */
unsigned long tt_loader_take_value(const char *library);

/* TT_TOKEN: "OpenSSL's <kind> '<name>' <what>", with the first of OpenSSL's errors as its detail: the linker's. */
enum tt_status tt_loader_refuse(const char *kind, const char *name, const char *what, struct tt_error *err);

/* Takes over request->pin. TT_TOKEN when there is no such provider or engine, or it cannot be set up; what it says of
 * the key is in *ret_outcome. `uri` names the key without PIN. */
TT_MUST_USE enum tt_status tt_provider_ask(struct tt_loader_request *request, const char *uri,
                                           struct tt_loader_outcome *ret_outcome, struct tt_error *err);
TT_MUST_USE enum tt_status tt_engine_ask(struct tt_loader_request *request, const char *uri,
                                         struct tt_loader_outcome *ret_outcome, struct tt_error *err);

#endif
