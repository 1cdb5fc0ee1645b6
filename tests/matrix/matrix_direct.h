/* The same operation by Cryptoki alone: what traintoken's own time is compared with. */
#ifndef TT_TESTS_MATRIX_DIRECT_H
#define TT_TESTS_MATRIX_DIRECT_H

#include <stdbool.h>

#include "base/secret.h"
#include "crypto/public_key.h"

enum { MATRIX_COUNT_MAX = 1000, MATRIX_SECRET_SIZE = 32 };

/* Milliseconds. */
struct matrix_times {
    double open, close;
    double operations[MATRIX_COUNT_MAX];
    unsigned count;
};

double matrix_now(void);
void matrix_print(const struct matrix_times *times, const char *way);

/* Whether so many operations were measured, or fewer of a slow token. */
bool matrix_is_enough(const struct matrix_times *times, unsigned wanted);

/* A new secret and what only the recipient can open. `wrapped` needs TT_RSA_BYTES_MAX bytes. */
TT_MUST_USE enum tt_status matrix_wrap(EVP_PKEY *recipient, struct tt_secret **ret_secret, uint8_t *wrapped,
                                       size_t *ret_length, struct tt_error *err);

struct matrix_direct {
    bool is_native; /* OAEP and PSS, else raw RSA with no padding done at all */
    bool sign;
    const char *module, *token, *object;
    unsigned count;
};

/* Prints the times. The exit status of the program. */
int matrix_direct(const struct matrix_direct *what);

#endif
