#include "protocol/manifest.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "crypto/file_cipher.h"
#include "protocol/token_use.h"
#include "statement/envelope.h"

enum { SIGNER_SIZE = 160 };

void manifests_clear(struct manifests *manifests)
{
    tt_creator_manifest_clear(&manifests->creator);
    tt_stop_manifest_clear(&manifests->last);
    *manifests = (struct manifests){0};
}

/* --- what the configuration can tell of them --- */

static enum tt_status differs(const char *what, const char *member, struct tt_error *err)
{
    return tt_error_set(err, TT_TAMPERED,
                        "%s does not belong to this train: its %s is not that of train_config.json; it comes from "
                        "another train or another run, or train_config.json was changed",
                        what, member);
}

static bool same_text(const char *one, const char *other)
{
    return one && other ? strcmp(one, other) == 0 : one == other;
}

static enum tt_status check_fingerprint(const EVP_PKEY *key, const char *named, const char *what, const char *member,
                                        struct tt_error *err)
{
    char fingerprint[TT_FINGERPRINT_SIZE];
    enum tt_status status = tt_public_key_fingerprint(key, fingerprint, err);
    return status != TT_OK || strcmp(fingerprint, named) == 0 ? status : differs(what, member, err);
}

static enum tt_status check_route(const struct tt_creator_manifest *manifest, const struct tt_train *train,
                                  const struct train_keys *keys, const char *what, struct tt_error *err)
{
    char member[96];
    if (manifest->stop_count != train->stop_count)
        return differs(what, "number of stops", err);
    for (size_t i = 0; i < train->stop_count; i++) {
        snprintf(member, sizeof member, "station of stop %zu", i);
        if (strcmp(manifest->route[i].station, train->stops[i].station) != 0)
            return differs(what, member, err);
        snprintf(member, sizeof member, "public key of stop %zu", i);
        enum tt_status status = check_fingerprint(keys->stops[i], manifest->route[i].fingerprint, what, member, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

static enum tt_status check_creator(const struct tt_creator_manifest *manifest, const struct tt_train *train,
                                    const struct train_keys *keys, const char *what, struct tt_error *err)
{
    if (!tt_digest_equal(manifest->session_id, train->session_id, sizeof manifest->session_id))
        return differs(what, "session id", err);
    if (!same_text(manifest->train, train->id))
        return differs(what, "train id", err);
    if (strcmp(manifest->creator, train->creator_id) != 0)
        return differs(what, "creator's id", err);
    if (!tt_digest_equal(manifest->hash, train->hash, sizeof manifest->hash))
        return differs(what, "definition hash", err);
    enum tt_status status = check_fingerprint(keys->creator, manifest->fingerprint, what, "creator's key", err);
    return status == TT_OK ? check_route(manifest, train, keys, what, err) : status;
}

static enum tt_status check_stop(const struct tt_stop_manifest *manifest, const struct tt_train *train, size_t index,
                                 const uint8_t *previous, const char *what, struct tt_error *err)
{
    if (!tt_digest_equal(manifest->session_id, train->session_id, sizeof manifest->session_id))
        return differs(what, "session id", err);
    if (manifest->index != index)
        return differs(what, "stop", err);
    if (strcmp(manifest->station, train->stops[index].station) != 0)
        return differs(what, "station", err);
    if (!tt_digest_equal(manifest->digest, train->stops[index].digest, sizeof manifest->digest))
        return differs(what, "route digest", err);
    if (!tt_digest_equal(manifest->previous, previous, TT_SHA256_SIZE))
        return tt_error_set(err, TT_TAMPERED,
                            "%s was made after another manifest than the one that is before it: one of them comes from "
                            "another run",
                            what);
    return TT_OK;
}

/* --- the chain of envelopes --- */

/* Its canonical form counts, however the text around it was written. */
static enum tt_status hash_envelope(const struct tt_envelope *envelope, uint8_t ret_hash[TT_SHA256_SIZE],
                                    struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_envelope_write(envelope->payload.data, envelope->payload.length, envelope->key_id,
                                              envelope->signature.data, envelope->signature.length, &text, err);
    return status == TT_OK ? tt_digest_once(TT_SHA256, text.data, text.length, ret_hash, err) : status;
}

/* Everything that an envelope is before one looks into it. */
static enum tt_status open_envelope(const char *text, EVP_PKEY *key, const char *what, struct tt_envelope *ret_envelope,
                                    struct tt_error *err)
{
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    enum tt_status status = tt_envelope_parse(text, strlen(text), what, &envelope, err);
    if (status == TT_OK)
        status = tt_envelope_verify(&envelope, key, what, err);
    if (status == TT_OK)
        status = check_fingerprint(key, envelope.key_id, what, "signing key", err);
    if (status != TT_OK)
        return status;
    *ret_envelope = envelope;
    envelope = (struct tt_envelope){0};
    return TT_OK;
}

static enum tt_status verify_creator(const struct tt_train *train, const struct train_keys *keys,
                                     struct manifests *manifests, struct tt_error *err)
{
    static const char what[] = "the creator's manifest";
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    enum tt_status status = open_envelope(train->manifests[0], keys->creator, what, &envelope, err);
    if (status == TT_OK)
        status = tt_creator_manifest_parse(envelope.payload.data, envelope.payload.length, &manifests->creator, err);
    if (status == TT_OK)
        status = check_creator(&manifests->creator, train, keys, what, err);
    return status == TT_OK ? hash_envelope(&envelope, manifests->last_envelope, err) : status;
}

static enum tt_status verify_stop(const struct tt_train *train, const struct train_keys *keys, size_t index,
                                  struct manifests *manifests, struct tt_error *err)
{
    struct tt_envelope envelope TT_CLEANUP(tt_envelope_clear) = {0};
    char what[SIGNER_SIZE + 64];
    snprintf(what, sizeof what, "the manifest of stop %zu (station '%s')", index, train->stops[index].station);
    tt_stop_manifest_clear(&manifests->last);
    enum tt_status status = open_envelope(train->manifests[index + 1], keys->stops[index], what, &envelope, err);
    if (status != TT_OK)
        return status;
    status = tt_stop_manifest_parse(envelope.payload.data, envelope.payload.length, &manifests->last, err);
    if (status != TT_OK)
        return tt_error_context(err, "stop %zu (station '%s')", index, train->stops[index].station);
    status = check_stop(&manifests->last, train, index, manifests->last_envelope, what, err);
    return status == TT_OK ? hash_envelope(&envelope, manifests->last_envelope, err) : status;
}

static enum tt_status check_count(const struct tt_train *train, size_t position, struct tt_error *err)
{
    if (train->manifest_count == position + 1)
        return TT_OK;
    return tt_error_set(err, TT_TAMPERED,
                        "the train has %zu signed manifests, but its creator and the stops that signed make %zu: some "
                        "were taken away or added, or a station's software does not know them",
                        train->manifest_count, position + 1);
}

const char *tt_manifest_absence(const struct tt_train *train, size_t position)
{
    if (train->has_manifests)
        return NULL;
    return position > 0 ? "the train has no signed manifest: it lost it at a station with other software, somebody "
                          "took it away, or it never had one"
                        : "the train has no signed manifest: it was made without one, or somebody took it away";
}

enum tt_status manifest_verify(const struct tt_train *train, const struct train_keys *keys, size_t position,
                               const struct tt_trust_options *trust, struct manifests *ret_manifests,
                               struct tt_error *err)
{
    struct manifests manifests TT_CLEANUP(manifests_clear) = {0};
    if (!train->has_manifests && trust && trust->require_manifest)
        return tt_error_set(err, TT_UNTRUSTED, "%s, and --require-manifest asks for one",
                            tt_manifest_absence(train, position));
    if (!train->has_manifests)
        return TT_OK;
    enum tt_status status = check_count(train, position, err);
    if (status == TT_OK)
        status = verify_creator(train, keys, &manifests, err);
    for (size_t i = 0; status == TT_OK && i < position; i++)
        status = verify_stop(train, keys, i, &manifests, err);
    if (status != TT_OK)
        return status;
    manifests.there = true;
    *ret_manifests = manifests;
    manifests = (struct manifests){0};
    return TT_OK;
}

/* --- what it says of the image --- */

static enum tt_status check_settings(const struct tt_creator_manifest *creator, const struct tt_image *image,
                                     struct tt_error *err)
{
    uint8_t settings[TT_SHA512_SIZE];
    if (!creator->has_settings)
        return TT_OK;
    enum tt_status status = tt_image_settings_digest(image, NULL, settings, err);
    if (status == TT_OK && !tt_digest_equal(settings, creator->settings, sizeof settings))
        status =
            tt_error_set(err, TT_TAMPERED,
                         "the settings of %s (its command, variables, user, folders, ports, labels and the like) are "
                         "not those that the train's creator signed in the manifest",
                         tt_image_reference(image));
    return status;
}

enum tt_status manifest_check_image(const struct manifests *manifests, const struct tt_image *image,
                                    struct tt_error *err)
{
    const struct tt_creator_manifest *creator = &manifests->creator;
    if (!manifests->there)
        return TT_OK;
    if (tt_image_layer_count(image) < creator->layer_count)
        return tt_error_set(err, TT_TAMPERED,
                            "%s has %zu layers, but the base image that its creator named in the manifest has %zu",
                            tt_image_reference(image), tt_image_layer_count(image), creator->layer_count);
    for (size_t i = 0; i < creator->layer_count; i++)
        if (strcmp(tt_image_layer_diff_id(image, i), creator->layers[i]) != 0)
            return tt_error_set(err, TT_TAMPERED,
                                "layer %zu of %s is not that of the base image that the train's creator named in the "
                                "manifest: it is %s, and was %s",
                                i, tt_image_reference(image), tt_image_layer_diff_id(image, i), creator->layers[i]);
    return check_settings(creator, image, err);
}

const char *const *manifest_layers(const struct manifests *manifests, size_t *ret_count)
{
    *ret_count = manifests->there ? manifests->creator.layer_count : 0;
    return (const char *const *)manifests->creator.layers;
}

/* A list that is being compared with encrypted files. */
struct comparison {
    const struct tt_manifest_list *listed;
    const char *folder;
    const char *signer;
    size_t next; /* entry of the list */
    uint64_t files;
    uint64_t links;
};

static enum tt_status not_listed(const struct comparison *comparison, const char *problem, const char *path,
                                 struct tt_error *err)
{
    return tt_error_set(err, TT_TAMPERED, "/%s/%s %s", comparison->folder, path, problem);
}

static bool same_link(const struct tt_manifest_entry *listed, const struct tt_entry *entry, const char *folder)
{
    uint8_t sha512[TT_SHA512_SIZE];
    const char *target = entry->link_target;
    size_t root = strlen(folder) + 1;
    if (entry->type == TT_ENTRY_HARDLINK && strlen(target) > root)
        target += root;
    return listed->kind == (entry->type == TT_ENTRY_SYMLINK ? TT_MANIFEST_SYMLINK : TT_MANIFEST_HARDLINK) &&
           listed->size == strlen(target) && tt_digest_once(TT_SHA512, target, strlen(target), sha512, NULL) == TT_OK &&
           tt_digest_equal(sha512, listed->sha512, sizeof sha512);
}

/* The next file or link of the image is the next of the list, as far as that shows. */
static enum tt_status compare_entry(struct comparison *comparison, const struct tt_entry *entry, struct tt_error *err)
{
    const struct tt_manifest_list *listed = comparison->listed;
    const char *path = entry->path + strlen(comparison->folder) + 1;
    const struct tt_manifest_entry *wanted =
        comparison->next < listed->entry_count ? &listed->entries[comparison->next++] : NULL;
    int order = wanted ? tt_path_compare(wanted->path, path) : 1;
    if (order != 0)
        return not_listed(comparison,
                          order < 0 ? "is in the signed manifest, but not in the train"
                                    : "is in the train, but not in the signed manifest",
                          order < 0 ? wanted->path : path, err);
    if (entry->type != TT_ENTRY_FILE)
        return same_link(wanted, entry, comparison->folder)
                   ? TT_OK
                   : not_listed(comparison, "is another link than in the signed manifest", path, err);
    if (wanted->kind != TT_MANIFEST_FILE || wanted->mode != (entry->mode & 07777))
        return not_listed(comparison, "has another mode than in the signed manifest", path, err);
    if (wanted->size > INT64_MAX - 64 || tt_file_encrypted_size(wanted->size) != entry->size)
        return not_listed(comparison, "has another size than in the signed manifest", path, err);
    return TT_OK;
}

static enum tt_status compare_names(struct comparison *comparison, const struct tt_file_set *files, const bool *taken,
                                    struct tt_error *err)
{
    const struct tt_manifest_list *listed = comparison->listed;
    for (size_t i = 1; i < tt_file_set_count(files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        if (entry->type == TT_ENTRY_FOLDER || (taken && !taken[i]))
            continue;
        comparison->files += entry->type == TT_ENTRY_FILE;
        comparison->links += entry->type != TT_ENTRY_FILE;
        enum tt_status status = listed->is_explicit ? compare_entry(comparison, entry, err) : TT_OK;
        if (status != TT_OK)
            return status;
    }
    if (listed->is_explicit && comparison->next < listed->entry_count)
        return not_listed(comparison, "is in the signed manifest, but not in the train",
                          listed->entries[comparison->next].path, err);
    if (comparison->files == listed->files && comparison->links == listed->links)
        return TT_OK;
    return tt_error_set(
        err, TT_TAMPERED,
        "/%s has %" PRIu64 " files and %" PRIu64 " links, but %s signed %" PRIu64 " and %" PRIu64 " in the manifest",
        comparison->folder, comparison->files, comparison->links, comparison->signer, listed->files, listed->links);
}

enum tt_status manifest_check_definition_names(const struct manifests *manifests, const struct tt_file_set *files,
                                               const bool *taken, struct tt_error *err)
{
    struct comparison comparison = {
        .listed = &manifests->creator.definition, .folder = TT_TRAIN_DEFINITION, .signer = "the creator"};
    return manifests->there ? compare_names(&comparison, files, taken, err) : TT_OK;
}

static const char *last_signer(const struct manifests *manifests, char *text)
{
    snprintf(text, SIGNER_SIZE, "station '%s'", manifests->last.station);
    return text;
}

enum tt_status manifest_check_result_names(const struct manifests *manifests, const struct tt_file_set *files,
                                           struct tt_error *err)
{
    char signer[SIGNER_SIZE];
    if (!manifests->last.station)
        return TT_OK;
    struct comparison comparison = {
        .listed = &manifests->last.results, .folder = TT_TRAIN_RESULTS, .signer = last_signer(manifests, signer)};
    return compare_names(&comparison, files, NULL, err);
}

enum tt_status manifest_check_definition(const struct manifests *manifests, const struct tt_manifest_list *found,
                                         struct tt_error *err)
{
    const struct tt_manifest_list *listed = &manifests->creator.definition;
    if (!manifests->there)
        return TT_OK;
    enum tt_status status = tt_manifest_list_compare(listed, found, TT_TRAIN_DEFINITION, "the creator", err);
    if (status == TT_OK &&
        (listed->has_query != found->has_query || !tt_digest_equal(listed->query, found->query, sizeof listed->query)))
        status = tt_error_set(err, TT_TAMPERED, "the query is not the one that the creator signed in the manifest");
    return status;
}

enum tt_status manifest_check_results(const struct manifests *manifests, const struct tt_manifest_list *found,
                                      struct tt_error *err)
{
    char signer[SIGNER_SIZE];
    if (!manifests->last.station)
        return TT_OK;
    return tt_manifest_list_compare(&manifests->last.results, found, TT_TRAIN_RESULTS, last_signer(manifests, signer),
                                    err);
}

/* --- making one --- */

size_t manifest_room(size_t used, size_t stops_to_come)
{
    size_t rest = MANIFEST_STOP_BYTES * (stops_to_come + 1);
    size_t left = used < TT_TRAIN_CONFIG_LIMIT ? TT_TRAIN_CONFIG_LIMIT - used : 0;
    return left > rest ? (left - rest) / (stops_to_come + 1) / 4 * 3 : 0;
}

enum tt_status manifest_stop_payload(const struct manifests *manifests, const struct tt_train *train, size_t index,
                                     const uint8_t digest[TT_SHA512_SIZE], const struct tt_manifest_list *results,
                                     struct tt_buffer *ret_payload, struct tt_error *err)
{
    struct tt_stop_manifest manifest = {.station = train->stops[index].station, .index = index, .results = *results};
    time_t now = time(NULL);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || strftime(manifest.time, sizeof manifest.time, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return tt_error_set(err, TT_INTERNAL, "this machine's clock shows no time that can be written down");
    memcpy(manifest.session_id, train->session_id, sizeof manifest.session_id);
    memcpy(manifest.digest, digest, sizeof manifest.digest);
    memcpy(manifest.previous, manifests->last_envelope, sizeof manifest.previous);
    return tt_stop_manifest_write(&manifest, manifest_room(train->text.length, train->stop_count - index - 1),
                                  ret_payload, err);
}

enum tt_status manifest_sign(struct tt_private_key *key, const struct tt_buffer *payload, struct tt_token_use *use,
                             struct tt_buffer *ret_envelope, struct tt_error *err)
{
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    uint8_t digest[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    char fingerprint[TT_FINGERPRINT_SIZE];
    size_t length = 0;
    enum tt_status status = tt_envelope_digest(payload->data, payload->length, digest, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(tt_private_key_public(key), fingerprint, err);
    tt_private_key_purpose(key, "sign-manifest");
    if (status == TT_OK)
        status = tt_private_key_sign_pss(key, digest, signature, &length, &padding_by, err);
    if (status != TT_OK)
        return status;
    token_used(use, "sign-manifest", padding_by);
    return tt_envelope_write(payload->data, payload->length, fingerprint, signature, length, ret_envelope, err);
}
