/*
 * The train configuration (/opt/train_config.json) as a model: parsed, validated, changed and written back.
 * docs/protocol.md, "train_config.json".
 *
 * A parsed train is well formed: indices are 0 to n-1, each once; station ids are unique; hex fields have their sizes.
 * Whether hashes, signatures and keys hold is for src/protocol to say.
 */
#ifndef TT_TRAIN_TRAIN_H
#define TT_TRAIN_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum {
    TT_TRAIN_CONFIG_LIMIT = 4 * 1024 * 1024, /* bytes of the configuration */
    TT_TRAIN_VALUE_LIMIT = 100000,           /* JSON values in it */
    TT_TRAIN_STOP_LIMIT = 1000,
    TT_TRAIN_SESSION_ID_SIZE = 64,
    TT_TRAIN_HASH_SIZE = 64,        /* SHA-512 */
    TT_TRAIN_SIGNATURE_LIMIT = 1024 /* bytes of a signature or wrapped key: RSA-8192 */
};

#define TT_TRAIN_CONFIG_PATH "opt/train_config.json"
#define TT_TRAIN_KEY_PATH "opt/user_sym_key.key"
#define TT_TRAIN_DEFINITION "opt/pht_train"
#define TT_TRAIN_QUERY_NAME "query.json"
#define TT_TRAIN_RESULTS "opt/pht_results"

/* A byte string that was hex; data NULL and length 0 when the member is absent or null. */
struct tt_bytes {
    uint8_t *data;
    size_t length;
};

struct tt_stop {
    char *station;                  /* id as text */
    char *eco_system;               /* may be NULL */
    struct tt_bytes rsa_public_key; /* PEM text of a SubjectPublicKeyInfo, not yet parsed as a key */
    size_t index;
    struct tt_bytes encrypted_key;
    bool is_signed;
    uint8_t digest[TT_TRAIN_HASH_SIZE]; /* only where is_signed */
    struct tt_bytes signature;
};

struct tt_train {
    char *id; /* @id, may be NULL */
    char *proposal_id;
    uint8_t session_id[TT_TRAIN_SESSION_ID_SIZE];
    char *source_type; /* these four may be NULL */
    char *source_address;
    char *source_tag;
    char *source_branch;
    char *creator_id; /* as text: part of the definition hash */
    struct tt_bytes creator_public_key;
    struct tt_bytes creator_encrypted_key;
    struct tt_bytes build_signature;
    struct tt_bytes build_public_key;
    struct tt_stop *stops; /* ordered by index: stops[i].index == i */
    size_t stop_count;
    char **files; /* file_list without leading "./", in its order, without query.json */
    size_t file_count;
    uint8_t hash[TT_TRAIN_HASH_SIZE];
    struct tt_bytes signature;
    bool has_result_hash;
    uint8_t result_hash[TT_TRAIN_HASH_SIZE];
    struct tt_bytes result_signature; /* data NULL when absent */
    bool has_manifests;               /* the member "traintoken" has an array of them */
    char **manifests;                 /* envelopes as compact JSON, nothing of them checked: the creator's first */
    size_t manifest_count;
    struct tt_buffer text; /* the configuration as it was read; tt_train_set_* change it */
    size_t *route_element; /* for each stop, its element in the text's route array (any order there) */
};

/* Parses and validates. TT_MALFORMED names the member ("route[2].index"). */
TT_MUST_USE enum tt_status tt_train_parse(const void *text, size_t length, struct tt_train **ret_train,
                                          struct tt_error *err);
void tt_train_free(struct tt_train *train);
TT_DEFINE_CLEANUP(struct tt_train *, tt_train_free)

/* The stop of a station; ids compare as text. TT_WRONG_STOP when it is not on the route (the message lists it). */
TT_MUST_USE enum tt_status tt_route_find(const struct tt_train *train, const char *station,
                                         const struct tt_stop **ret_stop, struct tt_error *err);

/* How many stops are signed, counted from index 0 without a gap: the index of the stop the train is at, or stop_count
 * when it came home. TT_TAMPERED when the route's signatures, result_hash and result_signature do not fit together:
 * at 0 none of them is there; later all of them, with no gap and none after it. */
TT_MUST_USE enum tt_status tt_route_position(const struct tt_train *train, size_t *ret_position, struct tt_error *err);

/* Changes for post-run and seal: both the model and its text. Everything else in the text keeps its bytes.
 * tt_train_set_result: result_hash (TT_TRAIN_HASH_SIZE) and result_signature. */
TT_MUST_USE enum tt_status tt_train_set_result(struct tt_train *train, const uint8_t *result_hash,
                                               const uint8_t *signature, size_t signature_length, struct tt_error *err);
TT_MUST_USE enum tt_status tt_train_set_stop_signature(struct tt_train *train, size_t index, const uint8_t *digest,
                                                       const uint8_t *signature, size_t signature_length,
                                                       struct tt_error *err);
TT_MUST_USE enum tt_status tt_train_set_stop_key(struct tt_train *train, size_t index, const uint8_t *encrypted_key,
                                                 size_t length, struct tt_error *err);
TT_MUST_USE enum tt_status tt_train_set_creator_key(struct tt_train *train, const uint8_t *encrypted_key, size_t length,
                                                    struct tt_error *err);
/* Adds an envelope (a JSON object) as the last of the manifests, with the member "traintoken" where there is none. */
TT_MUST_USE enum tt_status tt_train_add_manifest(struct tt_train *train, const char *envelope, struct tt_error *err);

/* What seal puts into a new configuration. Text is UTF-8; keys are PEM SubjectPublicKeyInfo text. */
struct tt_train_plan {
    const char *id;
    const char *creator_id;
    const char *source_address; /* base image, as named on the command line */
    const char *source_tag;
    const char *creator_public_key;
    const char *build_public_key;
    const char *const *stations; /* in order of the route */
    const char *const *station_public_keys;
    size_t stop_count;
    const char *const *files; /* relative to the definition folder, in hash order, without query.json */
    size_t file_count;
    const uint8_t *session_id; /* TT_TRAIN_SESSION_ID_SIZE */
    const uint8_t *hash;       /* TT_TRAIN_HASH_SIZE */
    const uint8_t *signature;
    size_t signature_length;
    const uint8_t *build_signature;
    size_t build_signature_length;
};

/* Writes the configuration (2-space indented JSON, members as the central service orders them, explicit nulls, no
 * encrypted keys yet) and parses it back. */
TT_MUST_USE enum tt_status tt_train_new(const struct tt_train_plan *plan, struct tt_train **ret_train,
                                        struct tt_error *err);

/* Rules for a path relative to the definition or results folder, as in file_list: relative, no empty, "." or ".."
 * component (a leading "./" is allowed), no NUL or control character, at most 1,023 bytes. */
bool tt_train_path_is_safe(const char *path);

#endif
