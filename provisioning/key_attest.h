/*
 * A record of a key that the key itself signs: what it is, where, with which attributes, and what tells so. It proves
 * that who had it made held the private key, and that nobody changed it since. The rest is what this program was told
 * by the module: no maker of a token vouches for it (docs/ceremony.md, "The record").
 */
#ifndef TT_PROVISIONING_KEY_ATTEST_H
#define TT_PROVISIONING_KEY_ATTEST_H

#include <cjson/cJSON.h>
#include <openssl/evp.h>

#include "base/buffer.h"
#include "crypto/public_key.h"
#include "provisioning/key_probe.h"

#define TT_ATTEST_TYPE "https://traintoken.example/key/v1" /* the statement's predicateType */

enum {
    TT_ATTEST_LIMIT = 1024 * 1024, /* bytes of a record */
    TT_ATTEST_NOTE_LIMIT = 64,
    TT_ATTEST_NAME_LIMIT = 64,
    TT_ATTEST_VALUE_LIMIT = 1024
};

/* Adds "NAME=VALUE" to the object of notes. TT_USAGE when it is none, too long, no UTF-8 text of one line, or named as
 * another note is. */
TT_MUST_USE enum tt_status tt_attest_note(cJSON *notes, const char *note, struct tt_error *err);

/* Tries the key, and has it sign the record: an envelope (src/statement/envelope.h), appended to *ret_json. `notes` are
 * copied. TT_TOKEN when the key does not sign or shows no public half, TT_PIN when the token did not take the PIN. */
TT_MUST_USE enum tt_status tt_attest_make(struct tt_session *session, const struct tt_key_object *key,
                                          const struct tt_secret *pin, const cJSON *notes, struct tt_buffer *ret_json,
                                          struct tt_key_probe *ret_probe, struct tt_error *err);

/* A record that was verified. */
struct tt_attested {
    cJSON *statement;
    EVP_PKEY *key; /* that it is about, and that signed it */
    char fingerprint[TT_FINGERPRINT_SIZE];
};
void tt_attested_clear(struct tt_attested *attested);

/* `what` names the record in messages. TT_MALFORMED when it is no record of a key; TT_TAMPERED when the signature is
 * not by the key that it names, or when it says of that key what does not fit it; TT_UNTRUSTED when all that holds, and
 * it is about another key than `expected` (may be NULL). */
TT_MUST_USE enum tt_status tt_attest_verify(const void *json, size_t length, const char *what, const EVP_PKEY *expected,
                                            struct tt_attested *ret_attested, struct tt_error *err);

#endif
