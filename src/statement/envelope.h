/*
 * Signed statements: an in-toto Statement v1 in a DSSE v1 envelope, which is JSON:
 *   {"payloadType":"application/vnd.in-toto+json","payload":BASE64,"signatures":[{"keyid":FINGERPRINT,"sig":BASE64}]}
 * What is signed is the SHA-256 of DSSE's pre-authentication encoding of type and payload, as a message of 32 bytes.
 * The signature is a station's one (docs/protocol.md, "Primitives"): RSASSA-PSS over the message's SHA-512, MGF1
 * SHA-512, salt emLen - hLen - 2, so that every token that serves the protocol can make it.
 *
 * The SHA-256 between keeps the two apart: at a stop, a key signs the SHA-512 of results and session id, bytes that a
 * train's makers choose, and could be had to sign any statement. What it signs there has 64 bytes at least.
 * The keyid is the signing key's fingerprint.
 */
#ifndef TT_STATEMENT_ENVELOPE_H
#define TT_STATEMENT_ENVELOPE_H

#include <openssl/evp.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/digest.h"

#define TT_STATEMENT_PAYLOAD_TYPE "application/vnd.in-toto+json"

struct tt_envelope {
    struct tt_buffer payload; /* the statement's JSON, byte for byte as signed */
    char *key_id;             /* what the envelope says of its signer: a hint, never believed */
    struct tt_buffer signature;
};

void tt_envelope_clear(struct tt_envelope *envelope);

/* Takes an envelope apart; nothing of it is verified. One signature, the payload type above, strict base64.
 * TT_MALFORMED, naming `what`. */
TT_MUST_USE enum tt_status tt_envelope_parse(const void *json, size_t length, const char *what,
                                             struct tt_envelope *ret_envelope, struct tt_error *err);

/* What a signature over this payload covers: the SHA-512 of the SHA-256 of its pre-authentication encoding. */
TT_MUST_USE enum tt_status tt_envelope_digest(const void *payload, size_t length, uint8_t ret_digest[TT_SHA512_SIZE],
                                              struct tt_error *err);

/* TT_TAMPERED, naming `what`, when the signature is not one of this key over this payload. */
TT_MUST_USE enum tt_status tt_envelope_verify(const struct tt_envelope *envelope, EVP_PKEY *key, const char *what,
                                              struct tt_error *err);

/* The envelope as compact JSON (no line end, NUL-terminated beyond its length), appended to *ret_json. */
TT_MUST_USE enum tt_status tt_envelope_write(const void *payload, size_t length, const char *key_id,
                                             const uint8_t *signature, size_t signature_length,
                                             struct tt_buffer *ret_json, struct tt_error *err);

#endif
