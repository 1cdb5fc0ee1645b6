/*
 * Whom a station trusts: public keys by role and id, kept in a folder of small files (docs/trust.md). What a train
 * names is compared with it; nothing in a train can add to it.
 *
 *   FOLDER/creators/ID/NAME.pem     a public key or a certificate; ID percent-encoded as in station memory
 *   FOLDER/stations/ID/NAME.pem
 *   FOLDER/authorities/NAME.pem     a certificate authority's certificate
 *   FOLDER/certificates/NAME.pem    a certificate that one of them signed, perhaps by way of others that follow it: its
 *                                   key is that of the id and role that its subject names
 *
 * Text before the PEM may bound a file's life, a line each: "Valid-From: 2026-01-01T00:00:00Z", "Valid-Until: ...".
 */
#ifndef TT_TRUST_TRUST_H
#define TT_TRUST_TRUST_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/public_key.h"

enum tt_trust_role { TT_TRUST_CREATOR, TT_TRUST_STATION };

/* "creator" or "station". */
const char *tt_trust_role_name(enum tt_trust_role role);

struct tt_trust;

/* The folder to use when none is named: TRAINTOKEN_TRUST, else /etc/traintoken/trust where that exists or for root,
 * else $XDG_CONFIG_HOME/traintoken/trust, else ~/.config/traintoken/trust. The caller frees. */
TT_MUST_USE enum tt_status tt_trust_default_folder(char **ret_folder, struct tt_error *err);

/* Reads the folder. One that is not there trusts nobody. TT_UNTRUSTED, naming the file, for anything in it that cannot
 * be read or understood, or that others than its owner and root could write: a store in doubt trusts nobody. */
TT_MUST_USE enum tt_status tt_trust_open(const char *folder, struct tt_trust **ret_trust, struct tt_error *err);
void tt_trust_free(struct tt_trust *trust);
TT_DEFINE_CLEANUP(struct tt_trust *, tt_trust_free)

const char *tt_trust_folder(const struct tt_trust *trust);

/* TT_OK when this key is one of that id's at this time. TT_UNTRUSTED says which of these it is: nothing is known of the
 * id, other keys of it are, or the key's time is over or yet to come. `trust` NULL knows nobody. */
TT_MUST_USE enum tt_status tt_trust_check(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                          const EVP_PKEY *key, time_t now, struct tt_error *err);

/* --- what is in it --- */

enum tt_trust_kind { TT_TRUST_KEY, TT_TRUST_AUTHORITY, TT_TRUST_CERTIFICATE };

/* Seconds since 1970; what is not bounded is so far away. From the first second on, and until before the last. */
#define TT_TRUST_ALWAYS INT64_MIN
#define TT_TRUST_FOR_EVER INT64_MAX

struct tt_trust_entry {
    enum tt_trust_kind kind;
    enum tt_trust_role role; /* of TT_TRUST_KEY */
    char *id;                /* of TT_TRUST_KEY */
    char *path;              /* below the store's folder */
    EVP_PKEY *key;
    char fingerprint[TT_FINGERPRINT_SIZE];
    char *subject; /* of the certificate; NULL for a bare key */
    int64_t from, until;
};

/* "2026-01-31T12:00:00Z", or "2026-01-31" for its first second. False for anything else. */
TT_MUST_USE bool tt_trust_time_parse(const char *text, int64_t *ret_time);
/* The first form; empty for what is not bounded. */
enum { TT_TRUST_TIME_SIZE = 24 };
const char *tt_trust_time_text(int64_t time, char text[TT_TRUST_TIME_SIZE]);

size_t tt_trust_count(const struct tt_trust *trust);
/* Keys first, by role, id and path; then authorities, then certificates. */
const struct tt_trust_entry *tt_trust_entry(const struct tt_trust *trust, size_t index);

/* --- changing it: each file is there whole or not at all --- */

/* What is to be added: a file's content, or a key. */
struct tt_trust_addition {
    enum tt_trust_kind kind;
    enum tt_trust_role role; /* of TT_TRUST_KEY */
    const char *id;          /* of TT_TRUST_KEY */
    const void *text;        /* PEM; what stands before it is passed over, but for the bounds of its life */
    size_t length;
    const EVP_PKEY *key; /* in the place of `text` */
    int64_t from, until; /* TT_TRUST_ALWAYS and TT_TRUST_FOR_EVER: as the text says */
    const char *remark;  /* where it comes from, for people; may be NULL */
    const char *what;    /* names the text in messages */
};

struct tt_trust_added {
    struct tt_trust_entry entry;
    bool was_there; /* the same key of the same id; its file is replaced */
    size_t others;  /* further keys of the id, or authorities, or certificates */
};
void tt_trust_added_clear(struct tt_trust_added *added);

/* What would be added, without adding it. TT_USAGE for a text or an id that cannot be, TT_UNTRUSTED for a certificate
 * that no authority of the store stands for. */
TT_MUST_USE enum tt_status tt_trust_preview(const struct tt_trust *trust, const struct tt_trust_addition *addition,
                                            struct tt_trust_added *ret_added, struct tt_error *err);
/* Makes the store where there is none. Nothing is written before it is clear that all of them can be; each file is then
 * there whole or not at all, whenever the process dies. Besides, TT_UNTRUSTED as tt_trust_open, TT_STORE when the store
 * cannot be written. */
TT_MUST_USE enum tt_status tt_trust_add(const char *folder, const struct tt_trust_addition *additions, size_t count,
                                        struct tt_error *err);
/* An entry's file as it is written to a store. */
TT_MUST_USE enum tt_status tt_trust_text(const struct tt_trust *trust, size_t index, struct tt_buffer *ret_text,
                                         struct tt_error *err);
/* Removes an entry's file; the folder of an id goes with its last one. */
TT_MUST_USE enum tt_status tt_trust_remove(const char *folder, const struct tt_trust_entry *entry,
                                           struct tt_error *err);

#endif
