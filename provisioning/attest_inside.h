/* What making a record of a key and verifying one have in common. */
#ifndef TT_PROVISIONING_ATTEST_INSIDE_H
#define TT_PROVISIONING_ATTEST_INSIDE_H

#include "crypto/digest.h"
#include "provisioning/key_attest.h"

#define ATTEST_STATEMENT_TYPE "https://in-toto.io/Statement/v1"

/* The subject's digest: SHA-256 of the public key's DER, as the fingerprint is. */
TT_MUST_USE enum tt_status attest_subject_digest(const EVP_PKEY *key, char ret_hex[2 * TT_SHA256_SIZE + 1],
                                                 struct tt_error *err);

#endif
