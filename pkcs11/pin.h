/* Where the PIN comes from. It is only ever held in secret memory, NUL-terminated, 1 to TT_PIN_LIMIT bytes. */
#ifndef TT_PKCS11_PIN_H
#define TT_PKCS11_PIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/secret.h"

enum { TT_PIN_LIMIT = 255 };

/* The sources in their order; members that are not there are NULL, -1 or false. */
struct tt_pin_sources {
    const struct tt_secret *value;       /* pin-value of the URI */
    const char *source;                  /* pin-source of the URI: a file: URI or a path */
    const struct tt_secret *environment; /* PRIVATE_KEY_PASSWORD, as taken by tt_pin_take_environment */
    int descriptor;                      /* one line is read from it */
    bool may_prompt;
    const char *token; /* named by the prompt and by messages */
    /* For other secrets than the PIN of a login; all NULL or false there. */
    const char *name;       /* "new PIN", for the prompt and messages */
    const char *variable;   /* where `environment` comes from, for messages */
    const char *credential; /* file name in $CREDENTIALS_DIRECTORY */
    const char *option;     /* that gives `descriptor`, for messages */
    bool is_new;            /* the prompt asks twice */
};

/* The PIN of the first source that exists ($CREDENTIALS_DIRECTORY/traintoken-pin comes after the environment).
 * TT_PIN when there is none, or when it is empty, too long, has a NUL or cannot be read. */
TT_MUST_USE enum tt_status tt_pin_get(const struct tt_pin_sources *sources, struct tt_secret **ret_pin,
                                      struct tt_error *err);

/* Percent-decodes a pin-value. TT_USAGE when it is malformed, empty or too long, or has a NUL. */
TT_MUST_USE enum tt_status tt_pin_decode(const char *text, size_t length, struct tt_secret **ret_pin,
                                         struct tt_error *err);

/* Whether two PINs (either may be NULL) are the same. */
bool tt_pin_equal(const struct tt_secret *one, const struct tt_secret *other);

/* Takes a variable, or PRIVATE_KEY_PASSWORD, out of the environment: copied to secret memory, overwritten where it
 * stood, and unset. *ret_pin is NULL when it was not set or empty. TT_PIN when it is too long. */
TT_MUST_USE enum tt_status tt_pin_take_variable(const char *name, struct tt_secret **ret_pin, struct tt_error *err);
TT_MUST_USE enum tt_status tt_pin_take_environment(struct tt_secret **ret_pin, struct tt_error *err);

#endif
