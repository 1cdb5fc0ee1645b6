#include "protocol/post_run.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "protocol/blob_check.h"
#include "protocol/chain.h"
#include "protocol/content.h"
#include "protocol/record.h"
#include "protocol/symmetric_key.h"
#include "protocol/token_use.h"
#include "protocol/trusted.h"

void post_run_clear(struct post_run *run)
{
    tt_image_change_free(run->change);
    tt_file_cipher_free(run->cipher);
    tt_secret_free(run->symmetric);
    base_image_clear(&run->base);
    tt_state_free(run->state);
    definition_files_clear(&run->definition);
    tt_manifest_list_clear(&run->results);
    manifests_clear(&run->manifests);
    train_keys_clear(&run->keys);
    tt_train_free(run->train);
    visit_clear(&run->visit);
    tt_stop_report_clear(&run->report);
}

/* Whether the record, together with the image's digest, says that pre-run was done and post-run was not. */
static enum tt_status check_phase(struct post_run *run, const struct tt_state_record *record, struct tt_error *err)
{
    const char *digest = tt_image_digest(run->visit.image);
    bool is_before = record->image_before && strcmp(record->image_before, digest) == 0;
    bool is_after = record->image_after && strcmp(record->image_after, digest) == 0;
    bool is_done = record->phase == TT_STATE_DONE || (record->phase == TT_STATE_LEAVING && is_after);
    if (record->phase == TT_STATE_NONE && !run->options->config_file)
        return tt_error_set(err, TT_WRONG_STOP,
                            "station '%s' has no record of a pre-run of this train; run pre-run first, or name the "
                            "configuration that was verified with --config FILE",
                            run->options->station);
    if (record->phase == TT_STATE_ENTERING && is_before)
        return tt_error_set(err, TT_WRONG_STOP,
                            "pre-run of this train at station '%s' did not come to its end; run it again",
                            run->options->station);
    if (is_done && !run->options->again)
        return tt_error_set(err, TT_WRONG_STOP,
                            "station '%s' has done its stop on this train: its results are signed and encrypted "
                            "(--again repeats the stop)",
                            run->options->station);
    return TT_OK;
}

/* The verified configuration: --config, else the station's record. */
static enum tt_status take_verified_configuration(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = stop_open_state(run->options, run->visit.train, &run->state, err);
    if (status != TT_OK)
        return status;
    const struct tt_state_record *record = tt_state_record(run->state);
    status = check_phase(run, record, err);
    if (status != TT_OK)
        return status;
    if (!run->options->config_file)
        return tt_train_parse(record->config.data, record->config.length, &run->train, err);
    struct tt_buffer text = {0};
    status = tt_file_read(AT_FDCWD, run->options->config_file, TT_TRAIN_CONFIG_LIMIT, &text, err);
    if (status != TT_OK)
        return status;
    status = tt_train_parse(text.data, text.length, &run->train, err);
    tt_buffer_clear(&text);
    return status == TT_OK ? TT_OK : tt_error_context(err, "%s", run->options->config_file);
}

static enum tt_status compare_configurations(const struct post_run *run, struct tt_error *err)
{
    const struct tt_buffer *verified = &run->train->text;
    const struct tt_buffer *found = &run->visit.train->text;
    if (verified->length == found->length && memcmp(verified->data, found->data, found->length) == 0)
        return TT_OK;
    return tt_error_set(err, TT_TAMPERED,
                        "/%s in %s is not the one that pre-run verified: the train's code changed it while it ran; "
                        "nothing of this run is taken over",
                        TT_TRAIN_CONFIG_PATH, run->options->image);
}

static enum tt_status check_configuration(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = compare_configurations(run, err);
    if (status == TT_OK)
        status = train_keys_parse(run->train, &run->keys, err);
    if (status == TT_OK)
        status = tt_route_find(run->train, run->options->station, &run->stop, err);
    if (status == TT_OK)
        status = chain_is_at(run->train, run->stop->index, err);
    if (status == TT_OK)
        status = chain_verify(run->train, &run->keys, run->stop->index, NULL, NULL, err);
    if (status == TT_OK)
        status = manifest_verify(run->train, &run->keys, run->stop->index, &run->options->trust, &run->manifests, err);
    if (status == TT_OK)
        status = manifest_check_image(&run->manifests, run->visit.image, err);
    return status;
}

/* The definition lies in the image as plaintext, and is the one that the creator signed. */
static enum tt_status check_definition(struct post_run *run, struct tt_error *err)
{
    uint8_t hash[TT_SHA512_SIZE];
    enum tt_status status = definition_check(run->train, run->visit.definition, DEFINITION_RAN, &run->definition, err);
    if (status == TT_OK)
        status = content_definition_hash(run->train, run->visit.definition, NULL, hash, err);
    if (status == TT_OK && !tt_digest_equal(hash, run->train->hash, sizeof hash))
        status =
            tt_error_set(err, TT_TAMPERED,
                         "the definition files in %s are not those that pre-run verified: they were changed since, "
                         "or the image is still encrypted",
                         run->options->image);
    return status;
}

/* An image in which the train lies decrypted, given as the base by mistake, would travel on below what is encrypted. An
 * encrypted file never has the size of its plaintext. */
static enum tt_status check_base_is_encrypted(const struct post_run *run, struct tt_error *err)
{
    const struct tt_file_set *built = run->base.definition;
    for (size_t i = 1; i < tt_file_set_count(run->visit.definition); i++) {
        const struct tt_entry *plain = tt_file_set_entry(run->visit.definition, i);
        size_t at = tt_file_set_find(built, plain->path);
        if (!run->definition.taken[i] || plain->type != TT_ENTRY_FILE || plain->size == 0 ||
            at == tt_file_set_count(built))
            continue;
        if (tt_file_set_entry(built, at)->size != tt_file_encrypted_size(plain->size))
            return tt_error_set(err, TT_TAMPERED,
                                "the base image %s does not hold this train's encrypted /%s, but maybe the decrypted "
                                "one, which would travel on; name the image as it was built",
                                run->base.reference, plain->path);
    }
    return TT_OK;
}

/* The base image must be this train's: another one's command would travel under our signature. */
static enum tt_status check_base(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = base_image_wait(&run->base, err);
    if (status != TT_OK)
        return status;
    if (memcmp(run->base.train->session_id, run->train->session_id, sizeof run->train->session_id) != 0)
        return tt_error_set(err, TT_TAMPERED, "the base image %s belongs to another train: its session id differs",
                            run->base.reference);
    status = manifest_check_image(&run->manifests, run->base.image, err);
    return status == TT_OK ? check_base_is_encrypted(run, err) : status;
}

enum tt_status post_run_check(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = check_configuration(run, err);
    if (status == TT_OK)
        status = check_definition(run, err);
    if (status == TT_OK)
        status = check_base(run, err);
    if (status != TT_OK)
        return status;
    record_stop(run->options->audit, run->stop->index, run->train->stop_count);
    record_checked(run->options->audit, "configuration as pre-run verified it, signatures, definition, base image");
    if (run->manifests.there)
        record_checked(run->options->audit, "signed manifests");
    return TT_OK;
}

/* The results come by once; what may only be said of all of them together is checked when they did. */
static enum tt_status encrypt_results(struct post_run *run, struct content_hash *hash, struct content_listing *listing,
                                      struct tt_error *err)
{
    struct tt_file_stream *stream TT_CLEANUP(tt_file_stream_free_cleanup) = NULL;
    struct tt_image *ran = run->ran ? run->ran : run->visit.image;
    struct content_transfer transfer = {
        .folder = TT_TRAIN_RESULTS, .cipher = run->cipher, .hash = hash, .listing = listing, .change = run->change};
    enum tt_status status = tt_image_stream(ran, TT_TRAIN_RESULTS, &stream, err);
    if (status == TT_OK)
        status = content_encrypt(&transfer, stream, NULL, results_check_entry, &run->visit.results, err);
    if (status == TT_OK)
        status = results_check(run->visit.results, false, false, err);
    run->report.results = transfer.done;
    return status == TT_OK ? content_listing_end(listing, &run->results, err) : status;
}

static enum tt_status hash_results(struct post_run *run, struct tt_error *err)
{
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = NULL;
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    enum tt_status status = content_hash_new(&hash, err);
    if (status == TT_OK && run->manifests.there)
        status = content_listing_new(TT_TRAIN_RESULTS, &listing, err);
    if (status == TT_OK)
        status = encrypt_results(run, hash, listing, err);
    if (status == TT_OK)
        status = content_hash_update(hash, run->train->session_id, sizeof run->train->session_id, err);
    if (status == TT_OK)
        status = content_hash_final(hash, run->report.result_hash, err);
    return status;
}

/* Its names and the borders of its files, which its hash does not cover, are compared on the way. */
static enum tt_status encrypt_definition(struct post_run *run, struct tt_error *err)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = {0};
    enum tt_status status = TT_OK;
    if (run->manifests.there)
        status = content_listing_new(TT_TRAIN_DEFINITION, &listing, err);
    struct content_transfer transfer = {
        .folder = TT_TRAIN_DEFINITION, .cipher = run->cipher, .listing = listing, .change = run->change};
    if (status == TT_OK)
        status = content_encrypt_files(&transfer, run->visit.definition, run->definition.taken, err);
    run->report.definition = transfer.done;
    if (status == TT_OK)
        status = content_listing_end(listing, &found, err);
    return status == TT_OK ? manifest_check_definition(&run->manifests, &found, err) : status;
}

/* Results first, hashed on the way; then the definition. Both under a new symmetric key. */
static enum tt_status encrypt_all(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = symmetric_key_new(&run->symmetric, err);
    if (status == TT_OK)
        status = tt_file_cipher_new(run->symmetric, &run->cipher, err);
    if (status == TT_OK)
        status = hash_results(run, err);
    return status == TT_OK ? encrypt_definition(run, err) : status;
}

static enum tt_status sign_digest(struct post_run *run, struct tt_private_key *key, const char *name,
                                  const uint8_t *digest, uint8_t *signature, size_t *ret_length, struct tt_error *err)
{
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    tt_private_key_purpose(key, name);
    enum tt_status status = tt_private_key_sign_pss(key, digest, signature, ret_length, &padding_by, err);
    if (status == TT_OK)
        token_used(&run->report.token, name, padding_by);
    return status;
}

/* docs/protocol.md, 13.3: a station adds its manifest to those that are there. */
static enum tt_status add_manifest(struct post_run *run, struct tt_private_key *key, struct tt_error *err)
{
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer envelope TT_CLEANUP(tt_buffer_clear) = {0};
    struct manifests all TT_CLEANUP(manifests_clear) = {0};
    size_t index = run->stop->index;
    if (!run->manifests.there)
        return TT_OK;
    enum tt_status status = manifest_stop_payload(&run->manifests, run->train, index, run->report.route_digest,
                                                  &run->results, &payload, err);
    if (status == TT_OK)
        status = manifest_sign(key, &payload, &run->report.token, &envelope, err);
    if (status == TT_OK)
        status = tt_train_add_manifest(run->train, (const char *)envelope.data, err);
    return status == TT_OK ? manifest_verify(run->train, &run->keys, index + 1, NULL, &all, err) : status;
}

/* The token operations of docs/protocol.md, 6.1. */
static enum tt_status sign_results(struct post_run *run, struct tt_error *err)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length = 0;
    size_t index = run->stop->index;
    char owner[256];
    snprintf(owner, sizeof owner, "station '%s'", run->stop->station);
    enum tt_status status = chain_digest(run->train, index, run->report.result_hash, run->report.route_digest, err);
    if (status == TT_OK)
        status = token_open(&run->options->key, run->options->audit, run->keys.stops[index], owner, &run->report.token,
                            &key, err);
    if (status == TT_OK)
        status = sign_digest(run, key, "sign-result", run->report.result_hash, signature, &length, err);
    if (status == TT_OK)
        status = tt_train_set_result(run->train, run->report.result_hash, signature, length, err);
    if (status == TT_OK)
        status = sign_digest(run, key, "sign-route", run->report.route_digest, signature, &length, err);
    if (status == TT_OK)
        status = tt_train_set_stop_signature(run->train, index, run->report.route_digest, signature, length, err);
    if (status == TT_OK)
        status = add_manifest(run, key, err);
    /* What goes out is checked as the next station will check it. */
    if (status == TT_OK)
        status = chain_verify(run->train, &run->keys, index + 1, NULL, NULL, err);
    return status;
}

static enum tt_status add_configuration(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = symmetric_key_wrap_for_all(run->symmetric, &run->keys, run->train, err);
    if (status == TT_OK)
        status = content_add(run->change, TT_TRAIN_CONFIG_PATH, run->train->text.data, run->train->text.length, err);
    if (status == TT_OK)
        status = content_add(run->change, TT_TRAIN_KEY_PATH, run->train->creator_encrypted_key.data,
                             run->train->creator_encrypted_key.length, err);
    return status;
}

static enum tt_status encrypt_and_sign(struct post_run *run, struct tt_error *err)
{
    struct blob_check *check TT_CLEANUP(blob_check_free_cleanup) = NULL;
    enum tt_status status = blob_check_start(run->visit.image, run->base.image, &check, err);
    if (status == TT_OK)
        status = encrypt_all(run, err);
    if (status == TT_OK)
        status = blob_check_finish(TT_TAKE(check), err);
    if (status == TT_OK)
        status = sign_results(run, err);
    if (status == TT_OK)
        status = add_configuration(run, err);
    return status;
}

static enum tt_status seal(struct post_run *run, struct tt_error *err)
{
    static const struct tt_image_settings settings = {.created_by = "traintoken post-run"};
    const char *digest = NULL;
    enum tt_status status = tt_image_change_seal(run->change, &settings, &digest, err);
    if (status == TT_OK)
        status = stop_report_fill(&run->report, run->train, run->stop->index, run->digest_before, digest, err);
    return status;
}

/* The change knows what the image's name names as it is made, and replaces nothing else; whether that is what this stop
 * began with, which may be days ago, is asked here. */
static enum tt_status check_unmoved(const struct post_run *run, struct tt_error *err)
{
    struct tt_image *now TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_options how = {.platform = run->options->platform};
    enum tt_status status = tt_image_open(run->options->image, &how, &now, err);
    if (status != TT_OK || strcmp(tt_image_digest(now), run->digest_before) == 0)
        return status;
    return tt_error_set(err, TT_STORE,
                        "%s was changed by something else in the meantime; it stays as it is now, and nothing of this "
                        "run is taken over",
                        run->options->image);
}

enum tt_status post_run_build(struct post_run *run, struct tt_error *err)
{
    enum tt_status status = tt_image_change_new_in(run->base.image, run->options->image, &run->change, err);
    if (status == TT_OK)
        status = check_unmoved(run, err);
    if (status == TT_OK)
        status = encrypt_and_sign(run, err);
    return status == TT_OK ? seal(run, err) : status;
}

enum tt_status post_run_show(struct post_run *run, struct tt_error *err)
{
    struct tt_state_record record = {.phase = TT_STATE_LEAVING,
                                     .image_before = run->report.digest_before,
                                     .image_after = run->report.digest_after,
                                     .config = run->visit.train->text};
    enum tt_status status = stop_switch(run->state, &record, TT_STATE_DONE, run->change, run->options, err);
    if (status == TT_OK)
        run->report.base = TT_TAKE(run->base.reference);
    return status;
}

/* The old state held plaintext. The new one is in place, so a failure here is a warning with what to do. */
static void remove_plaintext(const struct post_run *run)
{
    char *still_used TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    if (tt_image_sweep(run->options->image, run->report.digest_before, &still_used, &err) != TT_OK)
        tt_log(TT_LOG_WARNING,
               "decrypted files are left in the image store, in an image or blobs that no tag names (remove them with "
               "'docker image prune', in a layout with 'umoci gc'): %s",
               err.message);
    else if (still_used)
        tt_log(TT_LOG_WARNING, "the decrypted train is still there: %s uses it", still_used);
}

static enum tt_status open_visit(struct post_run *run, struct tt_error *err)
{
    const struct tt_stop_options *options = run->options;
    enum tt_status status = tt_image_recover(options->image, err);
    if (status == TT_OK)
        status = base_image_start(&run->base, options, err);
    if (status == TT_OK)
        status = visit_open(options->image, options->platform, VISIT_RESULTS_LATER, &run->visit, err);
    if (status != TT_OK)
        return status;
    run->digest_before = tt_image_digest(run->visit.image);
    record_train(options->audit, run->visit.train, run->digest_before);
    return take_verified_configuration(run, err);
}

/* Of a stop by itself; "run" has asked before it decrypted. */
static enum tt_status check_trust(struct post_run *run, struct tt_error *err)
{
    const struct tt_stop_options *options = run->options;
    return trusted_check(run->train, &run->keys, run->stop->index, &options->trust, options->image, options->audit,
                         err);
}

enum tt_status tt_post_run(const struct tt_stop_options *options, struct tt_stop_report *ret_report,
                           struct tt_error *err)
{
    struct post_run run TT_CLEANUP(post_run_clear) = {.options = options};
    record_command(options->audit, "post-run", options->image, options->station);
    enum tt_status status = open_visit(&run, err);
    if (status == TT_OK)
        status = post_run_check(&run, err);
    if (status == TT_OK)
        status = check_trust(&run, err);
    if (status == TT_OK)
        status = post_run_build(&run, err);
    if (status == TT_OK)
        status = post_run_show(&run, err);
    if (status != TT_OK)
        return record_failure(options->audit, status, err);
    remove_plaintext(&run);
    *ret_report = run.report;
    run.report = (struct tt_stop_report){0};
    return TT_OK;
}
