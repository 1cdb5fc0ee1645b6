/* Cryptoki's return values: their names, what they mean to an operator, and where libp11 leaves them. */
#ifndef TT_PKCS11_CKR_H
#define TT_PKCS11_CKR_H

#include <stdbool.h>

#include "base/error.h"

/* Takes all errors off OpenSSL's queue. Returns the first return value that libp11 put there, or 0. */
unsigned long tt_ckr_take(void);

/* "CKR_PIN_INCORRECT"; "CKR_0x..." for one without a name here, "no CKR" for 0. */
const char *tt_ckr_name(unsigned long value, char buffer[32]);

/* Sets an error: "<what>: <meaning>", with the name as its detail; its status is TT_PIN for those about the PIN, else
 * TT_TOKEN. */
enum tt_status tt_ckr_error(unsigned long value, struct tt_error *err, const char *format, ...) TT_PRINTF(3, 4);

/* Replaces the error of an operation that a token refused with `value` by words about the right or the mechanism that
 * is missing. */
void tt_ckr_explain_use(unsigned long value, const char *token, bool signing, struct tt_error *err);

#endif
