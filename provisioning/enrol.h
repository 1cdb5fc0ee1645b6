/*
 * Bringing a station's public key to where trains' creators look for it: HashiCorp Vault's key-value store, or the
 * central service of the Personal Health Train. docs/enrolment.md tells the forms.
 */
#ifndef TT_PROVISIONING_ENROL_H
#define TT_PROVISIONING_ENROL_H

#include <openssl/evp.h>

#include "crypto/public_key.h"
#include "provisioning/enrol_http.h"

enum { TT_ENROL_SECRET_LIMIT = 4096 };

struct tt_enrol_place {
    struct tt_enrol_server server;
    bool is_vault;
    const char *path;    /* Vault: "station_pks/alpha", mount and secret; checked by tt_enrol_path_check */
    int kv;              /* Vault: version of the key-value store, 1 or 2; 0: ask */
    const char *field;   /* Vault */
    const char *station; /* central service */
    bool replace;        /* another key that is there */
    bool dry_run;        /* read, and write nothing */
};

struct tt_enrol_report {
    bool was_there;                   /* the same key; nothing was, or is to be, written */
    char before[TT_FINGERPRINT_SIZE]; /* of another key that was there; empty without one */
    char *method, *url, *body;        /* what was, or would be, sent; NULL when nothing */
    int kv;                           /* Vault */
};
void tt_enrol_report_clear(struct tt_enrol_report *report);

/* The key that the place has now. TT_STORE when it has none that can be read, or as tt_enrol. */
TT_MUST_USE enum tt_status tt_enrol_fetch(const struct tt_enrol_place *place, EVP_PKEY **ret_key, struct tt_error *err);

/* Names between slashes, no empty ones, "." or "..". TT_USAGE. */
TT_MUST_USE enum tt_status tt_enrol_path_check(const char *path, struct tt_error *err);

/* Writes the key where the place does not have it yet, and reads it back. TT_UNTRUSTED, with both fingerprints, when
 * there is another one and `replace` is not set; TT_STORE for everything that the server or the way to it says no to.
 */
TT_MUST_USE enum tt_status tt_enrol(const struct tt_enrol_place *place, const EVP_PKEY *key,
                                    struct tt_enrol_report *ret_report, struct tt_error *err);

#endif
