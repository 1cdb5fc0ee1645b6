/*
 * The rules for signed manifests (docs/protocol.md, "Signed manifests"): an extension that a train may have. Where it
 * has one, all of it must hold.
 */
#ifndef TT_PROTOCOL_MANIFEST_H
#define TT_PROTOCOL_MANIFEST_H

#include <stdbool.h>

#include "protocol/keys.h"
#include "protocol/protocol.h"
#include "statement/manifest.h"

/* What a train's manifests say, once their signatures and everything that the configuration tells of them held. */
struct manifests {
    bool there;
    struct tt_creator_manifest creator;
    struct tt_stop_manifest last; /* of the stop before the train's position, where that is not 0 */
    uint8_t last_envelope[TT_SHA256_SIZE];
};

void manifests_clear(struct manifests *manifests);

/* Takes the manifests of a train at `position` apart. TT_UNTRUSTED when there are none and `trust` wants them;
 * TT_TAMPERED when a signature, the chain, or anything that the configuration tells otherwise does not hold;
 * TT_MALFORMED names the member. `trust` may be NULL. */
TT_MUST_USE enum tt_status manifest_verify(const struct tt_train *train, const struct train_keys *keys, size_t position,
                                           const struct tt_trust_options *trust, struct manifests *ret_manifests,
                                           struct tt_error *err);

/* The functions below are TT_OK where a train has no manifests. */

/* The base image's layers that the creator named are the first of this image, and its settings (variables, command,
 * user and the like) those that it was sealed with. TT_TAMPERED. */
TT_MUST_USE enum tt_status manifest_check_image(const struct manifests *manifests, const struct tt_image *image,
                                                struct tt_error *err);
/* These layers by their diff_ids, lowest first; *ret_count 0 where nothing is known of them. The manifests'. */
const char *const *manifest_layers(const struct manifests *manifests, size_t *ret_count);

/* What can be said of files while they are encrypted: names, modes, links, and sizes as far as they show. `taken` as
 * definition_check gives it. TT_TAMPERED names the file. */
TT_MUST_USE enum tt_status manifest_check_definition_names(const struct manifests *manifests,
                                                           const struct tt_file_set *files, const bool *taken,
                                                           struct tt_error *err);
TT_MUST_USE enum tt_status manifest_check_result_names(const struct manifests *manifests,
                                                       const struct tt_file_set *files, struct tt_error *err);

/* The list of the plaintext is what was signed. TT_TAMPERED names the file where the list does. */
TT_MUST_USE enum tt_status manifest_check_definition(const struct manifests *manifests,
                                                     const struct tt_manifest_list *found, struct tt_error *err);
TT_MUST_USE enum tt_status manifest_check_results(const struct manifests *manifests,
                                                  const struct tt_manifest_list *found, struct tt_error *err);

/* How many bytes the entries of a list may take in a configuration that has `used` already and that further stops add
 * to: shared evenly, after what each of them needs besides, so that lists never make a train too large. */
enum { MANIFEST_STOP_BYTES = 12 * 1024 };
size_t manifest_room(size_t used, size_t stops_to_come);

/* What the station at stop `index` is going to sign, of these results and this route digest. */
TT_MUST_USE enum tt_status manifest_stop_payload(const struct manifests *manifests, const struct tt_train *train,
                                                 size_t index, const uint8_t digest[TT_SHA512_SIZE],
                                                 const struct tt_manifest_list *results, struct tt_buffer *ret_payload,
                                                 struct tt_error *err);

/* Signs a payload: one operation of the key, "sign-manifest". The envelope is JSON text. */
TT_MUST_USE enum tt_status manifest_sign(struct tt_private_key *key, const struct tt_buffer *payload,
                                         struct tt_token_use *use, struct tt_buffer *ret_envelope,
                                         struct tt_error *err);

#endif
