/* Asking for a secret on the terminal. */
#ifndef TT_PKCS11_PROMPT_H
#define TT_PKCS11_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/secret.h"

/* Whether this process has a terminal. */
bool tt_prompt_is_possible(void);

/* Asks on /dev/tty without echo and reads one line. The terminal's state is put back whatever happens, also before a
 * signal that came meanwhile takes its effect; a stopped process asks again when it goes on. TT_PIN when the answer is
 * empty, above `limit` bytes or has a NUL, or when there was none; TT_INTERNAL when interrupted. */
TT_MUST_USE enum tt_status tt_prompt(const char *question, size_t limit, struct tt_secret **ret_answer,
                                     struct tt_error *err);

#endif
