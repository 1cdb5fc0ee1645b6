/*
 * A checkpoint: how many records a trail had at some time, and the hash of the last one. Kept elsewhere, it shows later
 * that nothing before it was cut off or written anew. It is JSON, or, signed by a token's key, the same as the
 * predicate of an in-toto statement in a DSSE envelope (statement/envelope.h).
 */
#ifndef TT_AUDIT_CHECKPOINT_H
#define TT_AUDIT_CHECKPOINT_H

#include "audit/trail.h"
#include "base/buffer.h"
#include "crypto/public_key.h"

#define TT_CHECKPOINT_TYPE "https://traintoken.example/audit/checkpoint/v1"

struct tt_checkpoint {
    struct tt_trail_mark mark;
    char time[TT_TRAIL_TIME_SIZE];
    char fingerprint[TT_FINGERPRINT_SIZE]; /* of the key that signed it; empty where none did */
};

/* The checkpoint of a trail that was read now. With a `signer`, the statement that it is to sign, its payload. */
TT_MUST_USE enum tt_status tt_checkpoint_write(const char *trail, const struct tt_trail_mark *mark,
                                               const EVP_PKEY *signer, struct tt_buffer *ret_text,
                                               struct tt_error *err);

/* Reads a checkpoint, and verifies the signature of one that is signed: by the key it names, which must be `expected`
 * where that is not NULL. TT_MALFORMED, naming `what`, when it is none; TT_TAMPERED when the signature is wrong, or
 * missing where a key is expected; TT_UNTRUSTED when another key signed it. */
TT_MUST_USE enum tt_status tt_checkpoint_parse(const void *text, size_t length, const char *what,
                                               const EVP_PKEY *expected, struct tt_checkpoint *ret_checkpoint,
                                               struct tt_error *err);

#endif
