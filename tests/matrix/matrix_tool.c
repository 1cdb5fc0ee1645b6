/*
 * Measures an operation of a station with a key in a token, for docs/token-matrix.md.
 *
 *   matrix_tool key LOADER MODULE URI OPERATION COUNT
 *       as traintoken does it: the key opened by this loader (PIN: PRIVATE_KEY_PASSWORD), then COUNT operations
 *   matrix_tool direct WAY MODULE TOKEN-LABEL OBJECT-LABEL OPERATION COUNT
 *       the token's own: login and COUNT operations by Cryptoki alone. WAY is native or raw
 *
 * OPERATION is unwrap or sign. Prints lines of a name and values, times in milliseconds:
 *   open T    close T    operations T...    way native|raw|unknown
 * and, exiting with 1, when it cannot be done:
 *   failed open|unwrap|sign    message TEXT    detail TEXT
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/digest.h"
#include "crypto/key_wrap.h"
#include "matrix_direct.h"
#include "pkcs11/station_key.h"

double matrix_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

void matrix_print(const struct matrix_times *times, const char *way)
{
    printf("open %.3f\nclose %.3f\noperations", times->open, times->close);
    for (unsigned i = 0; i < times->count; i++)
        printf(" %.3f", times->operations[i]);
    printf("\nway %s\n", way);
}

bool matrix_is_enough(const struct matrix_times *times, unsigned wanted)
{
    static const unsigned least = 5;
    static const double milliseconds = 3000;
    double taken = 0;
    for (unsigned i = 0; i < times->count; i++)
        taken += times->operations[i];
    return times->count >= wanted || times->count >= MATRIX_COUNT_MAX ||
           (times->count >= least && taken > milliseconds);
}

enum tt_status matrix_wrap(EVP_PKEY *recipient, struct tt_secret **ret_secret, uint8_t *wrapped, size_t *ret_length,
                           struct tt_error *err)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(MATRIX_SECRET_SIZE, &secret, err);
    if (status == TT_OK)
        status = tt_random(secret->data, secret->capacity, err);
    if (status != TT_OK)
        return status;
    secret->length = secret->capacity;
    status = tt_key_wrap(recipient, secret, wrapped, ret_length, err);
    if (status == TT_OK)
        *ret_secret = TT_TAKE(secret);
    return status;
}

/* As traintoken does it. */

static const char *way_name(enum tt_padding_by way)
{
    return way == TT_PADDING_NATIVE ? "native" : way == TT_PADDING_RAW ? "raw" : "unknown";
}

static enum tt_status unwrap_once(struct tt_private_key *key, double *ret_time, enum tt_padding_by *ret_way,
                                  struct tt_error *err)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *opened TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    size_t length = 0;
    enum tt_status status = matrix_wrap(tt_private_key_public(key), &secret, wrapped, &length, err);
    if (status != TT_OK)
        return status;
    double start = matrix_now();
    status = tt_private_key_unwrap(key, wrapped, length, MATRIX_SECRET_SIZE, &opened, ret_way, err);
    *ret_time = matrix_now() - start;
    if (status == TT_OK && memcmp(opened->data, secret->data, MATRIX_SECRET_SIZE) != 0)
        return tt_error_set(err, TT_INTERNAL, "what was unwrapped is not what was wrapped");
    return status;
}

static enum tt_status sign_once(struct tt_private_key *key, double *ret_time, enum tt_padding_by *ret_way,
                                struct tt_error *err)
{
    uint8_t digest[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length;
    enum tt_status status = tt_random(digest, sizeof digest, err);
    if (status != TT_OK)
        return status;
    double start = matrix_now();
    status = tt_private_key_sign_pss(key, digest, signature, &length, ret_way, err);
    *ret_time = matrix_now() - start;
    return status;
}

/* A way that changed from one operation to the next is told as "unknown". */
static enum tt_status repeat(struct tt_private_key *key, bool sign, unsigned count, struct matrix_times *times,
                             enum tt_padding_by *ret_way, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    while (status == TT_OK && !matrix_is_enough(times, count)) {
        double *time = &times->operations[times->count];
        enum tt_padding_by way = TT_PADDING_UNKNOWN;
        status = sign ? sign_once(key, time, &way, err) : unwrap_once(key, time, &way, err);
        *ret_way = times->count == 0 || *ret_way == way ? way : TT_PADDING_UNKNOWN;
        times->count++;
    }
    return status;
}

static int fail(const char *what, const struct tt_error *err)
{
    printf("failed %s\nmessage %s\ndetail %s\n", what, err->message, err->detail);
    return 1;
}

static int through_key(const struct tt_pkcs11_options *options, bool sign, unsigned count)
{
    struct matrix_times times = {0};
    struct tt_pkcs11_source *source TT_CLEANUP(tt_pkcs11_source_free_cleanup) = NULL;
    struct tt_private_key *key = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_padding_by way = TT_PADDING_UNKNOWN;
    double start = matrix_now();
    enum tt_status status = tt_pkcs11_source_new(options, &source, &err);
    if (status == TT_OK) {
        struct tt_key_source seam = tt_pkcs11_key_source(source);
        status = seam.open(seam.user, NULL, &key, &err);
    }
    times.open = matrix_now() - start;
    if (status != TT_OK)
        return fail("open", &err);
    status = repeat(key, sign, count, &times, &way, &err);
    start = matrix_now();
    tt_private_key_free(key);
    times.close = matrix_now() - start;
    if (status != TT_OK)
        return fail(sign ? "sign" : "unwrap", &err);
    matrix_print(&times, way_name(way));
    return 0;
}

static int usage(void)
{
    fputs("usage: matrix_tool key LOADER MODULE URI unwrap|sign COUNT\n"
          "       matrix_tool direct native|raw MODULE TOKEN-LABEL OBJECT-LABEL unwrap|sign COUNT\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* as the program: p11-kit's server may end */
    const char *operation = argc > 2 ? argv[argc - 2] : "";
    bool sign = strcmp(operation, "sign") == 0;
    int count = argc > 2 ? atoi(argv[argc - 1]) : 0;
    if (count < 1 || (!sign && strcmp(operation, "unwrap") != 0))
        return usage();
    if (argc == 7 && strcmp(argv[1], "key") == 0) {
        const struct tt_pkcs11_options options = {.loader = argv[2], .module = argv[3], .uri = argv[4], .pin_fd = -1};
        return through_key(&options, sign, (unsigned)count);
    }
    if (argc == 8 && strcmp(argv[1], "direct") == 0) {
        const struct matrix_direct what = {.is_native = strcmp(argv[2], "native") == 0,
                                           .module = argv[3],
                                           .token = argv[4],
                                           .object = argv[5],
                                           .sign = sign,
                                           .count = (unsigned)count};
        return matrix_direct(&what);
    }
    return usage();
}
