/*
 * A private key that lives elsewhere, as an EVP_PKEY and the ways of its loader. Each operation tries the token's own
 * mechanism first and raw RSA with OpenSSL's padding second (docs/tokens.md): a token may be able to do only one.
 * A key without a loader (a software key in a unit test) knows the first way only.
 */
#ifndef TT_CRYPTO_PRIVATE_KEY_H
#define TT_CRYPTO_PRIVATE_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/secret.h"
#include "crypto/digest.h"
#include "crypto/public_key.h"

/* Who did the padding of an operation. */
enum tt_padding_by {
    TT_PADDING_UNKNOWN, /* the loader does not let it be known */
    TT_PADDING_NATIVE,  /* the token's own mechanism */
    TT_PADDING_RAW      /* OpenSSL, around the token's raw RSA */
};

struct tt_private_key;

enum tt_private_key_use { TT_USE_UNWRAP, TT_USE_SIGN };

/* What a loader adds to an EVP_PKEY. Every member but `free` may be NULL: OpenSSL's defaults then. */
struct tt_private_key_loader {
    /* A context for an attempt, TT_PADDING_NATIVE or TT_PADDING_RAW, or NULL when the loader cannot make one. Where it
     * can, it keeps a native attempt from falling back by itself. */
    EVP_PKEY_CTX *(*context)(void *loader, EVP_PKEY *key, enum tt_padding_by attempt);
    /* After a native attempt that succeeded: who did the padding. */
    enum tt_padding_by (*padding_by)(void *loader);
    /* After both attempts failed: words for the error (PIN, token removed, missing right, ...) from the loader's own
     * error queue. `err` is set already; replaces it when it knows better. TT_TAMPERED says that the token itself
     * rejects the ciphertext. */
    void (*explain)(void *loader, enum tt_private_key_use use, struct tt_error *err);
    /* After `explain`: opens the key again where it was lost with its session and that puts no PIN at risk. True with
     * another *key, which has this public half; false where *key stays, or is NULL from now on. */
    bool (*reopen)(void *loader, const EVP_PKEY *public_half, EVP_PKEY **key);
    void (*free)(void *loader);
};

/* One operation with the private half, whether it succeeded or not. */
struct tt_key_event {
    enum tt_private_key_use use;
    const char *purpose;           /* see tt_private_key_purpose; may be NULL */
    const char *mechanism;         /* "RSA-OAEP-SHA512", "RSASSA-PSS-SHA512" or "RSASSA-PKCS1-v1_5-SHA512" */
    enum tt_padding_by padding_by; /* TT_PADDING_UNKNOWN after a failure */
    unsigned attempts;             /* how often the token was asked: another way, another session, a sample */
    const uint8_t *digest;         /* the SHA-512 that was to be signed; the SHA-256 of the ciphertext */
    size_t digest_length;
    enum tt_status status;
    const struct tt_error *failure; /* only where status is not TT_OK */
};

/* Hears of every operation before its outcome is handed out. When it fails, the outcome is wiped, and that failure is
 * the operation's. */
struct tt_key_witness {
    enum tt_status (*used)(void *user, const struct tt_key_event *event, struct tt_error *err);
    void *user;
};

/* Takes over `key` and `loader` (which may be NULL) on success only. `name` (a URI without PIN) is copied. */
TT_MUST_USE enum tt_status tt_private_key_new(EVP_PKEY *key, const struct tt_private_key_loader *ways, void *loader,
                                              const char *name, struct tt_private_key **ret_key, struct tt_error *err);
void tt_private_key_free(struct tt_private_key *key);
TT_DEFINE_CLEANUP(struct tt_private_key *, tt_private_key_free)

/* The public half as a key of its own, for comparing, wrapping and checking: its use never reaches the token. Stays the
 * private key's. */
EVP_PKEY *tt_private_key_public(const struct tt_private_key *key);
const char *tt_private_key_name(const struct tt_private_key *key);

/* Who hears of the operations from here on; copied. */
void tt_private_key_watch(struct tt_private_key *key, const struct tt_key_witness *witness);
/* What the next operations are for, in a word for the witness ("sign-result"); static. */
void tt_private_key_purpose(struct tt_private_key *key, const char *purpose);

/* RSA-OAEP, SHA-512, MGF1 SHA-512, empty label; the plaintext must have exactly `size` bytes. All failures of the
 * ciphertext (length, padding, size of the plaintext) are TT_TAMPERED with one message; failures of the token are
 * TT_TOKEN or TT_PIN. */
TT_MUST_USE enum tt_status tt_private_key_unwrap(struct tt_private_key *key, const uint8_t *wrapped, size_t length,
                                                 size_t size, struct tt_secret **ret_secret,
                                                 enum tt_padding_by *ret_padding_by, struct tt_error *err);

/* Signatures are checked with the public half before they are handed out: a faulty one is TT_TOKEN.
 *
 * RSASSA-PSS over a SHA-512 digest, MGF1 SHA-512, salt emLen - hLen - 2. signature needs TT_RSA_BYTES_MAX bytes. */
TT_MUST_USE enum tt_status tt_private_key_sign_pss(struct tt_private_key *key, const uint8_t digest[TT_SHA512_SIZE],
                                                   uint8_t *signature, size_t *ret_length,
                                                   enum tt_padding_by *ret_padding_by, struct tt_error *err);

/* RSASSA-PKCS1-v1_5 with SHA-512 over `message` (hashed here). signature needs TT_RSA_BYTES_MAX bytes. */
TT_MUST_USE enum tt_status tt_private_key_sign_pkcs1(struct tt_private_key *key, const uint8_t *message, size_t length,
                                                     uint8_t *signature, size_t *ret_length,
                                                     enum tt_padding_by *ret_padding_by, struct tt_error *err);

/* Where a key lies, as far as it is known; never NULL, but perhaps empty. The URI has no PIN. */
struct tt_key_place {
    const char *uri;
    const char *token;  /* label */
    const char *serial; /* of the token */
    const char *loader;
};

/* Opens a key when the protocol needs it, not before: the seam between src/protocol and pkcs11. */
struct tt_key_source {
    /* `expected` (may be NULL) is the public key that the train names for us: where the token shows its public half
     * without a PIN, a difference is TT_UNTRUSTED before any PIN is asked for. */
    enum tt_status (*open)(void *user, const EVP_PKEY *expected, struct tt_private_key **ret_key, struct tt_error *err);
    /* Before a key was opened, the URI that was asked for; then all of the key that was opened. Strings stay the
     * source's. May be NULL. */
    void (*place)(void *user, struct tt_key_place *ret_place);
    void *user;
};

#endif
