/*
 * Statuses and the error value.
 *
 * A function that can fail returns an enum tt_status and takes a caller-owned struct tt_error as its last
 * parameter. The error is set once, where the fact is known; callers may put context in front. Outputs ("ret_")
 * are written only on success. Libraries never print and never exit.
 */
#ifndef TT_BASE_ERROR_H
#define TT_BASE_ERROR_H

#include "base/cleanup.h"

/* Return code, process exit code and stable contract (docs/exit-codes.md). Append only. */
enum tt_status {
    TT_OK = 0,
    TT_INTERNAL = 1,     /* a bug, out of memory, or a failing system call on this machine */
    TT_USAGE = 2,        /* the command line or the environment asks for something that cannot be */
    TT_MALFORMED = 3,    /* not a train, or one whose form breaks the protocol */
    TT_TAMPERED = 4,     /* a hash, signature or rule of the protocol does not hold */
    TT_UNTRUSTED = 5,    /* a key is not the one it must be */
    TT_TOKEN = 6,        /* no such module, token or key, or one that cannot serve */
    TT_PIN = 7,          /* no PIN, a wrong one, or one that must not be risked */
    TT_STORE = 8,        /* image store, station memory or disk */
    TT_WRONG_STOP = 9,   /* out of order, already done, in use, or the station is not on the route */
    TT_TRAIN_FAILED = 10 /* the train's own code failed */
};

enum { TT_ERROR_MESSAGE_SIZE = 1024, TT_ERROR_DETAIL_SIZE = 256 };

struct tt_error {
    enum tt_status status;
    char message[TT_ERROR_MESSAGE_SIZE]; /* for people: names the thing, what is wrong, what to do */
    char detail[TT_ERROR_DETAIL_SIZE];   /* native code: CKR_..., errno, OpenSSL's words; may be empty */
};

#define TT_ERROR_INIT                                                                                                  \
    {                                                                                                                  \
        .status = TT_OK                                                                                                \
    }

/* Sets *err and returns `status`, so that "return tt_error_set(err, ...)" reads well. Control characters in the
 * formatted text (names come from hostile archives) are written as \xNN. `err` may be NULL. */
enum tt_status tt_error_set(struct tt_error *err, enum tt_status status, const char *format, ...) TT_PRINTF(3, 4);

/* As tt_error_set, with errno's name and text as the detail. */
enum tt_status tt_error_errno(struct tt_error *err, enum tt_status status, const char *format, ...) TT_PRINTF(3, 4);

/* As tt_error_set with TT_INTERNAL: out of memory. */
enum tt_status tt_error_memory(struct tt_error *err);

/* Replaces the detail of an error that is already set. */
void tt_error_detail(struct tt_error *err, const char *format, ...) TT_PRINTF(2, 3);

/* Puts "context: " in front of the message of an error that is already set. Returns its status,
 * TT_INTERNAL where `err` is NULL. */
enum tt_status tt_error_context(struct tt_error *err, const char *format, ...) TT_PRINTF(2, 3);

/* The stable word for a status, for JSON: "ok", "usage", "tampered", ... Never NULL. */
const char *tt_status_name(enum tt_status status);

#endif
