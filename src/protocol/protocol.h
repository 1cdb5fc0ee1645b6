/*
 * The rules of docs/protocol.md: what a station, a researcher and anybody else can do with a train.
 *
 * Every function leaves the image, the station's memory and the disk as they were unless it returns TT_OK.
 */
#ifndef TT_PROTOCOL_PROTOCOL_H
#define TT_PROTOCOL_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/audit.h"
#include "base/error.h"
#include "crypto/private_key.h"
#include "image/execution.h"
#include "image/image.h"
#include "train/train.h"
#include "trust/trust.h"

enum { TT_TOKEN_OPERATION_LIMIT = 4 };

/* One use of a private key. */
struct tt_token_operation {
    const char *name; /* "unwrap", "sign-result", ... : static */
    enum tt_padding_by padding_by;
};

struct tt_token_use {
    struct tt_token_operation operations[TT_TOKEN_OPERATION_LIMIT];
    size_t count;
    char fingerprint[TT_FINGERPRINT_SIZE]; /* of the key; empty when none was opened */
    unsigned bits;
};

struct tt_content_size {
    size_t files;
    uint64_t bytes; /* plaintext */
};

/* Whose keys are believed. Zeroed, it believes nobody's but the own token's. */
struct tt_trust_options {
    const struct tt_trust *store; /* NULL: an empty one */
    const char *folder;           /* the store's, for messages that name a command; NULL: the default one */
    bool train_keys;              /* believe the keys that the train names: loudly, and recorded */
    bool require_manifest;        /* refuse trains without signed manifests: TT_UNTRUSTED */
};

/* --- a stop: pre-run and post-run --- */

struct tt_stop_options {
    const char *image;        /* reference; keeps its tag */
    const char *station;      /* our id on the route */
    const char *state_folder; /* where the station remembers its trains */
    const char *base;         /* post-run: reference; NULL: the tag "base" beside the image */
    const char *config_file;  /* post-run: takes this verified configuration instead of the record; NULL for none */
    const char *platform;     /* see struct tt_image_options */
    bool again;               /* repeat a stop that is marked done */
    struct tt_trust_options trust;
    struct tt_audit *audit; /* where every use of the key and every decision is recorded; NULL: nowhere */
    struct tt_key_source key;
};

struct tt_stop_report {
    char *train; /* @id; may be NULL */
    uint8_t session_id[TT_TRAIN_SESSION_ID_SIZE];
    size_t stop;
    size_t stop_count;
    char *digest_before; /* of the image's manifest */
    char *digest_after;
    char *base; /* post-run: reference of the base image that was used */
    struct tt_content_size definition;
    struct tt_content_size results;
    uint8_t result_hash[TT_TRAIN_HASH_SIZE];  /* post-run */
    uint8_t route_digest[TT_TRAIN_HASH_SIZE]; /* post-run */
    struct tt_token_use token;
};

/* Verifies, decrypts and makes the decrypted train the image's new state (docs/protocol.md, "Pre-run"). */
TT_MUST_USE enum tt_status tt_pre_run(const struct tt_stop_options *options, struct tt_stop_report *ret_report,
                                      struct tt_error *err);
/* Hashes and signs the results, encrypts everything anew on the base image (docs/protocol.md, "Post-run"). */
TT_MUST_USE enum tt_status tt_post_run(const struct tt_stop_options *options, struct tt_stop_report *ret_report,
                                       struct tt_error *err);
void tt_stop_report_clear(struct tt_stop_report *report);

/* --- run: a whole stop --- */

struct tt_run_options {
    struct tt_stop_options stop;
    const struct tt_execution_options *execution;
    const char *against; /* as in struct tt_verify_options */
};

struct tt_run_report {
    struct tt_stop_report pre;
    struct tt_stop_report post; /* digest_before is pre's: nobody saw the state in between */
    double seconds;             /* that the train's code ran */
};

/* Pre-run, execution and post-run in one, where the image's store can run images: the image is as it came until its
 * next state is there. Only the results are taken from the run. TT_TRAIN_FAILED when the code failed. */
TT_MUST_USE enum tt_status tt_run(const struct tt_run_options *options, struct tt_run_report *ret_report,
                                  struct tt_error *err);
void tt_run_report_clear(struct tt_run_report *report);

/* --- verify: all that public data can decide --- */

/* One check. `passed` false: only a key holder can check this. Strings live for the call only. */
typedef void (*tt_check_sink)(void *user, const char *name, bool passed, const char *says);

struct tt_verify_report {
    struct tt_train *train;
    char *digest;
    size_t position; /* index of the stop that the train is at; stop_count when it came home */
    bool decrypted;  /* the definition lies in the image as plaintext: between pre-run and post-run */
};

struct tt_verify_options {
    const char *platform;                 /* see struct tt_image_options */
    const char *station;                  /* ours, whose key only its token can confirm; NULL for none */
    const struct tt_trust_options *trust; /* NULL: whose the keys are is not asked */
    const char *against; /* master image that the train must be built on; NULL: what a signed manifest says of it */
    bool quick;          /* own layers are not read one by one, which an engine takes long for */
};

TT_MUST_USE enum tt_status tt_verify(const char *image, const struct tt_verify_options *options, tt_check_sink sink,
                                     void *user, struct tt_verify_report *ret_report, struct tt_error *err);
void tt_verify_report_clear(struct tt_verify_report *report);

/* In words, that a train at `position` has no signed manifests (docs/protocol.md, section 13); NULL where it has. */
const char *tt_manifest_absence(const struct tt_train *train, size_t position);

/* --- the keys that a train names --- */

struct tt_named_key {
    enum tt_trust_role role;
    const char *id;
    EVP_PKEY *key;
};

struct tt_named_keys {
    struct tt_train *train;
    struct tt_named_key *items; /* the creator's, then the stops' in their order */
    size_t count;
};
void tt_named_keys_clear(struct tt_named_keys *keys);

/* Reads them out of an image, or a tar as tt_results takes it, once every signature that they made there holds, those
 * of signed manifests, too. */
TT_MUST_USE enum tt_status tt_named_keys(const char *source, const char *platform, struct tt_named_keys *ret_keys,
                                         struct tt_error *err);

/* Holds them against the trust store as a stop does, with its warnings; those of `station` (may be NULL), which are for
 * its token to confirm, are not asked about. */
TT_MUST_USE enum tt_status tt_named_keys_check(const struct tt_named_keys *keys, const char *station,
                                               const struct tt_trust_options *options, const char *source,
                                               struct tt_error *err);

/* Before an image leaves the station: a train that lies decrypted in it is TT_WRONG_STOP, and one that the next station
 * would refuse by what everybody can check has that status. An image that is no train is TT_OK. */
TT_MUST_USE enum tt_status tt_departure_check(const char *image, const struct tt_image_options *options,
                                              struct tt_error *err);

/* --- inspect: what the train says of itself, unverified --- */

struct tt_listed_file {
    char *path; /* under the definition or results folder */
    uint64_t size;
};

struct tt_key_facts {
    char fingerprint[TT_FINGERPRINT_SIZE];
    unsigned bits;
};

struct tt_inspection {
    struct tt_image *image;
    struct tt_train *train;
    bool in_order;   /* signatures on the route have no gap */
    size_t position; /* where in_order */
    struct tt_key_facts creator;
    struct tt_key_facts builder;
    struct tt_key_facts *stops;
    struct tt_listed_file *definition;
    size_t definition_count;
    struct tt_listed_file *results;
    size_t results_count;
};

TT_MUST_USE enum tt_status tt_inspect(const char *image, const struct tt_image_options *options,
                                      struct tt_inspection *ret_inspection, struct tt_error *err);
void tt_inspection_clear(struct tt_inspection *inspection);

/* --- seal: the creator's part --- */

struct tt_seal_options {
    const char *image;      /* reference of the new train; the tag "base" is written beside it */
    const char *base;       /* reference of the image that the train is built on */
    const char *platform;   /* see struct tt_image_options */
    const char *definition; /* folder on this machine */
    const char *query;      /* file on this machine, or NULL */
    const char *file_list;  /* file with one path of the definition per line: the hash order; NULL: archive order */
    const char *train_id;   /* NULL: made from the session id */
    const char *creator_id;
    const char *entry_point;      /* path in the definition; NULL: the first of the usual names that is there */
    const char *interpreter;      /* program that runs it; NULL: it runs by itself */
    const char *const *stations;  /* in the order of the route */
    const char *const *stop_keys; /* files with their PEM public keys */
    size_t stop_count;
    struct tt_key_source creator;
    struct tt_key_source builder; /* open NULL: the creator's key */
    struct tt_audit *audit;       /* as in struct tt_stop_options */
};

struct tt_seal_report {
    struct tt_train *train;
    char *base; /* reference that was written */
    char *digest;
    struct tt_content_size definition;
    struct tt_token_use token;
};

TT_MUST_USE enum tt_status tt_seal(const struct tt_seal_options *options, struct tt_seal_report *ret_report,
                                   struct tt_error *err);
void tt_seal_report_clear(struct tt_seal_report *report);

/* --- results: the creator opens them --- */

struct tt_results_options {
    const char *source;    /* image reference, or path of a tar file with pht_results/... and train_config.json */
    const char *platform;  /* see struct tt_image_options */
    const char *directory; /* must not exist; appears whole or not at all */
    struct tt_trust_options trust;
    struct tt_audit *audit; /* as in struct tt_stop_options */
    bool unfinished;        /* take the results of a train that has not visited all its stops */
    struct tt_key_source key;
};

struct tt_results_report {
    struct tt_train *train;
    struct tt_content_size results;
    struct tt_token_use token;
};

TT_MUST_USE enum tt_status tt_results(const struct tt_results_options *options, struct tt_results_report *ret_report,
                                      struct tt_error *err);
void tt_results_report_clear(struct tt_results_report *report);

#endif
