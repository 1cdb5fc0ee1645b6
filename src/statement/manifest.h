/*
 * What creator and stations say of a train's content in signed manifests (docs/protocol.md, "Signed manifests"): the
 * payloads of envelopes, in-toto Statements v1 with a predicate of ours each. Names, sizes and borders of files are
 * part of them, which the protocol's own hashes do not cover.
 *
 * Whether what a manifest says is so is for src/protocol to find out.
 */
#ifndef TT_STATEMENT_MANIFEST_H
#define TT_STATEMENT_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "crypto/digest.h"
#include "crypto/public_key.h"

#define TT_MANIFEST_CREATOR_TYPE "https://traintoken.example/manifest/creator/v1"
#define TT_MANIFEST_STOP_TYPE "https://traintoken.example/manifest/stop/v1"

enum {
    TT_MANIFEST_ENTRY_LIMIT = 128,       /* a list of up to so many entries names each of them */
    TT_MANIFEST_ENTRY_BYTES = 64 * 1024, /* and of up to so many bytes of JSON */
    TT_MANIFEST_SESSION_ID_SIZE = 64,
    TT_MANIFEST_TIME_SIZE = 21, /* "2026-01-31T12:00:00Z" and a NUL */
    TT_MANIFEST_PAYLOAD_LIMIT = 2 * 1024 * 1024
};

/* --- lists of files --- */

enum tt_manifest_kind { TT_MANIFEST_FILE, TT_MANIFEST_SYMLINK, TT_MANIFEST_HARDLINK };

struct tt_manifest_entry {
    char *path; /* below the folder that is listed */
    enum tt_manifest_kind kind;
    uint32_t mode; /* 07777, of a file */
    uint64_t size; /* bytes of a file's content, or of a link's target */
    uint8_t sha512[TT_SHA512_SIZE];
};

/* What a folder holds, in archive order: files and links; folders themselves are not listed. */
struct tt_manifest_list {
    uint64_t files;
    uint64_t links;
    uint64_t bytes;                 /* of all files */
    uint8_t sha512[TT_SHA512_SIZE]; /* of a line for each entry */
    bool is_explicit;               /* the entries are all there */
    struct tt_manifest_entry *entries;
    size_t entry_count;
    bool has_query;                /* of a definition: among the files is the query, */
    uint8_t query[TT_SHA512_SIZE]; /* with this content */
};

void tt_manifest_list_clear(struct tt_manifest_list *list);

/* A list in the making. Memory does not grow with it. */
struct tt_manifest_listing;

TT_MUST_USE enum tt_status tt_manifest_listing_new(struct tt_manifest_listing **ret_listing, struct tt_error *err);
void tt_manifest_listing_free(struct tt_manifest_listing *listing);
TT_DEFINE_CLEANUP(struct tt_manifest_listing *, tt_manifest_listing_free)

/* The next entry in archive order; copied. */
TT_MUST_USE enum tt_status tt_manifest_listing_add(struct tt_manifest_listing *listing,
                                                   const struct tt_manifest_entry *entry, struct tt_error *err);
/* The end of it: the listing is empty from here on. */
TT_MUST_USE enum tt_status tt_manifest_listing_end(struct tt_manifest_listing *listing,
                                                   struct tt_manifest_list *ret_list, struct tt_error *err);

/* TT_TAMPERED when `found` is not what was listed, naming the first entry that differs where both lists have them.
 * `folder` and `signer` are for the message: "opt/pht_train", "the creator". */
TT_MUST_USE enum tt_status tt_manifest_list_compare(const struct tt_manifest_list *listed,
                                                    const struct tt_manifest_list *found, const char *folder,
                                                    const char *signer, struct tt_error *err);

/* --- what the creator says --- */

struct tt_manifest_stop {
    char *station;
    char fingerprint[TT_FINGERPRINT_SIZE];
};

struct tt_creator_manifest {
    char *train; /* the train's id; may be NULL */
    uint8_t session_id[TT_MANIFEST_SESSION_ID_SIZE];
    char *creator;
    char fingerprint[TT_FINGERPRINT_SIZE];
    struct tt_manifest_stop *route;
    size_t stop_count;
    uint8_t hash[TT_SHA512_SIZE];       /* definition hash */
    struct tt_manifest_list definition; /* with the query */
    char *base;                         /* reference of the base image; may be NULL */
    char **layers; /* its layers, lowest first, by the digests of what they unpack to ("sha256:...") */
    size_t layer_count;
    bool has_settings;
    uint8_t settings[TT_SHA512_SIZE]; /* of the image as sealed: one value for all (docs/protocol.md, 13.2) */
};

void tt_creator_manifest_clear(struct tt_creator_manifest *manifest);

/* The payload. A list whose entries have no room in so many bytes is written without them. */
TT_MUST_USE enum tt_status tt_creator_manifest_write(const struct tt_creator_manifest *manifest, size_t room,
                                                     struct tt_buffer *ret_payload, struct tt_error *err);
/* TT_TAMPERED when the payload is a statement of another kind, or a list of it contradicts itself; TT_MALFORMED names
 * the member. */
TT_MUST_USE enum tt_status tt_creator_manifest_parse(const void *payload, size_t length,
                                                     struct tt_creator_manifest *ret_manifest, struct tt_error *err);

/* --- what a station says at its stop --- */

struct tt_stop_manifest {
    char *station;
    size_t index;
    uint8_t session_id[TT_MANIFEST_SESSION_ID_SIZE];
    uint8_t digest[TT_SHA512_SIZE]; /* route digest */
    struct tt_manifest_list results;
    uint8_t previous[TT_SHA256_SIZE]; /* SHA-256 of the envelope before */
    char time[TT_MANIFEST_TIME_SIZE];
};

void tt_stop_manifest_clear(struct tt_stop_manifest *manifest);

/* As for the creator's. */
TT_MUST_USE enum tt_status tt_stop_manifest_write(const struct tt_stop_manifest *manifest, size_t room,
                                                  struct tt_buffer *ret_payload, struct tt_error *err);
TT_MUST_USE enum tt_status tt_stop_manifest_parse(const void *payload, size_t length,
                                                  struct tt_stop_manifest *ret_manifest, struct tt_error *err);

#endif
