#include "protocol/pre_run.h"

#include <string.h>

#include "base/log.h"
#include "protocol/against.h"
#include "protocol/chain.h"
#include "protocol/content.h"
#include "protocol/record.h"
#include "protocol/token_use.h"
#include "protocol/trusted.h"

/* Blobs of up to this many bytes are checked before the token is asked for anything: that is cheap. Those of a larger
 * train are checked beside the decryption, and before anything of it becomes visible. */
static const uint64_t CHEAP_BLOBS = 256 * 1024 * 1024;

void pre_run_clear(struct pre_run *run)
{
    tt_image_change_free(run->change);
    blob_check_free(run->blobs);
    tt_file_cipher_free(run->cipher);
    tt_state_free(run->state);
    definition_files_clear(&run->definition);
    manifests_clear(&run->manifests);
    visit_clear(&run->visit);
    tt_stop_report_clear(&run->report);
}

/* Another pre-run may have come to its end after the image was opened here and before the station's memory was locked:
 * whether the name leads to what that one made by now. */
static enum tt_status check_overtaken(const struct pre_run *run, const struct tt_state_record *record,
                                      bool *ret_overtaken, struct tt_error *err)
{
    struct tt_image *now TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_options how = {.platform = run->options->platform};
    enum tt_status status = tt_image_open(run->options->image, &how, &now, err);
    if (status == TT_OK)
        *ret_overtaken = record->image_after && strcmp(record->image_after, tt_image_digest(now)) == 0;
    return status;
}

/* The station's own memory: a stop is done once, and what is decrypted already is not decrypted again. */
static enum tt_status check_memory(struct pre_run *run, struct tt_error *err)
{
    enum tt_status status = stop_open_state(run->options, run->visit.train, &run->state, err);
    if (status != TT_OK)
        return status;
    const struct tt_state_record *record = tt_state_record(run->state);
    bool overtaken = false;
    bool decrypted = false;
    if (record->phase == TT_STATE_DONE && !run->options->again)
        return tt_error_set(
            err, TT_WRONG_STOP,
            "station '%s' has done its stop on this train; an older state of it was put back, or it came "
            "twice (--again repeats the stop)",
            run->options->station);
    if (record->phase == TT_STATE_NONE || record->phase == TT_STATE_DONE)
        return TT_OK;
    status = check_overtaken(run, record, &overtaken, err);
    if (status == TT_OK && !overtaken)
        status = visit_is_decrypted(&run->visit, &decrypted, err);
    if (status != TT_OK)
        return status;
    if (overtaken || decrypted)
        return tt_error_set(err, TT_WRONG_STOP,
                            "%s is decrypted already by an earlier pre-run; go on with running it and post-run",
                            run->options->image);
    /* Killed as it was about to show the next state: whether it came to that, only that image could tell. */
    if (record->phase == TT_STATE_LEAVING && !run->options->again)
        return tt_error_set(err, TT_WRONG_STOP,
                            "post-run of this train at station '%s' was ended just as it finished, and this is another "
                            "state of the train: it may be an older one that was put back (--again repeats the stop)",
                            run->options->station);
    return TT_OK;
}

static bool blobs_are_cheap(const struct tt_image *image)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < tt_image_layer_count(image); i++)
        bytes += tt_image_layer_size(image, i);
    return bytes <= CHEAP_BLOBS;
}

/* What the train's signed manifests say, as far as it shows from outside. */
static enum tt_status check_manifests(struct pre_run *run, struct tt_error *err)
{
    const struct visit *visit = &run->visit;
    enum tt_status status =
        manifest_verify(visit->train, &visit->keys, run->stop->index, &run->options->trust, &run->manifests, err);
    if (status == TT_OK)
        status = manifest_check_image(&run->manifests, visit->image, err);
    if (status == TT_OK)
        status = manifest_check_definition_names(&run->manifests, visit->definition, run->definition.taken, err);
    if (status == TT_OK)
        status = manifest_check_result_names(&run->manifests, visit->results, err);
    if (status == TT_OK && run->manifests.there)
        record_checked(run->options->audit, "signed manifests");
    return status;
}

/* Everything that public data can decide; the reading of all blobs last, and later where it is not cheap. */
static enum tt_status check_public(struct pre_run *run, struct tt_error *err)
{
    const struct tt_train *train = run->visit.train;
    enum tt_status status = tt_route_find(train, run->options->station, &run->stop, err);
    if (status == TT_OK)
        record_stop(run->options->audit, run->stop->index, train->stop_count);
    if (status == TT_OK)
        status = chain_is_at(train, run->stop->index, err);
    if (status == TT_OK)
        status = chain_verify(train, &run->visit.keys, run->stop->index, NULL, NULL, err);
    if (status == TT_OK)
        status = check_memory(run, err);
    if (status == TT_OK)
        status = definition_check(train, run->visit.definition, DEFINITION_ARRIVES, &run->definition, err);
    if (status == TT_OK)
        status = results_check(run->visit.results, true, run->stop->index == 0, err);
    if (status == TT_OK)
        status = check_manifests(run, err);
    if (status == TT_OK && run->stop->encrypted_key.length == 0)
        status = tt_error_set(err, TT_MALFORMED, "train_config.json: stop %zu (%s) has no encrypted_key",
                              run->stop->index, run->stop->station);
    if (status == TT_OK && blobs_are_cheap(run->visit.image))
        status = tt_image_verify_blobs(run->visit.image, err);
    if (status == TT_OK)
        status = against_check(run->visit.image, train, run->against, run->options->platform, &run->manifests, NULL,
                               NULL, err);
    if (status == TT_OK)
        record_checked(run->options->audit, "signatures, route, station memory, definition and result files");
    if (status == TT_OK && run->definition.left_out > 0)
        tt_log(TT_LOG_WARNING, "%zu compiled Python files of an earlier station are left out of the definition",
               run->definition.left_out);
    return status;
}

/* Last, as it is no use to trust a train that was changed; and before anything can become of it. */
static enum tt_status check_trust(struct pre_run *run, struct tt_error *err)
{
    const struct tt_stop_options *options = run->options;
    return trusted_check(run->visit.train, &run->visit.keys, run->stop->index, &options->trust, options->image,
                         options->audit, err);
}

/* docs/protocol.md, 5.2 and 5.5: the only use of the token. */
static enum tt_status unwrap(struct pre_run *run, struct tt_error *err)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct tt_secret *symmetric TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    char owner[256];
    snprintf(owner, sizeof owner, "station '%s'", run->stop->station);
    enum tt_status status = token_open(&run->options->key, run->options->audit, run->visit.keys.stops[run->stop->index],
                                       owner, &run->report.token, &key, err);
    if (status == TT_OK)
        status = tt_private_key_unwrap(key, run->stop->encrypted_key.data, run->stop->encrypted_key.length,
                                       TT_FILE_KEY_SIZE, &symmetric, &padding_by, err);
    if (status != TT_OK)
        return status;
    token_used(&run->report.token, "unwrap", padding_by);
    return tt_file_cipher_new(symmetric, &run->cipher, err);
}

/* One message for everything that can go wrong with a content: which byte or file it was is nobody's business. */
static enum tt_status not_as_hashed(enum tt_status status, const char *what, const char *signer, struct tt_error *err)
{
    if (status != TT_TAMPERED)
        return status;
    return tt_error_set(err, TT_TAMPERED,
                        "the %s of the train do not match the hash that %s signed: they were changed on the way", what,
                        signer);
}

static enum tt_status check_definition_hash(struct pre_run *run, struct tt_error *err)
{
    uint8_t hash[TT_SHA512_SIZE];
    const struct tt_train *train = run->visit.train;
    enum tt_status status = content_definition_hash(train, run->visit.definition, run->cipher, hash, err);
    if (status == TT_OK && !tt_digest_equal(hash, train->hash, sizeof hash))
        status = TT_TAMPERED;
    return not_as_hashed(status, "definition files", "its creator", err);
}

static enum tt_status compare_results(struct pre_run *run, struct content_listing *listing, struct tt_error *err)
{
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = {0};
    enum tt_status status = content_listing_end(listing, &found, err);
    return status == TT_OK && listing ? manifest_check_results(&run->manifests, &found, err) : status;
}

static enum tt_status decrypt_results(struct pre_run *run, struct tt_error *err)
{
    const struct tt_train *train = run->visit.train;
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = NULL;
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    uint8_t value[TT_SHA512_SIZE];
    enum tt_status status = content_hash_new(&hash, err);
    if (status == TT_OK && run->manifests.there && run->stop->index > 0)
        status = content_listing_new(TT_TRAIN_RESULTS, &listing, err);
    struct content_transfer transfer = {
        .folder = TT_TRAIN_RESULTS, .cipher = run->cipher, .hash = hash, .listing = listing, .change = run->change};
    if (status == TT_OK)
        status = content_decrypt(&transfer, run->visit.results, NULL, err);
    run->report.results = transfer.done;
    if (status == TT_OK)
        status = content_hash_update(hash, train->session_id, sizeof train->session_id, err);
    if (status == TT_OK)
        status = content_hash_final(hash, value, err);
    if (status == TT_OK && run->stop->index > 0 && !tt_digest_equal(value, train->result_hash, sizeof value))
        status = TT_TAMPERED;
    if (status != TT_OK)
        return not_as_hashed(status, "results", "the last station", err);
    return compare_results(run, listing, err);
}

/* Of the definition, the names and the borders of files. */
static enum tt_status compare_definition(struct pre_run *run, struct content_listing *listing, struct tt_error *err)
{
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = {0};
    enum tt_status status = content_listing_end(listing, &found, err);
    return status == TT_OK && listing ? manifest_check_definition(&run->manifests, &found, err) : status;
}

static enum tt_status decrypt_both(struct pre_run *run, struct tt_error *err)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    enum tt_status status = decrypt_results(run, err);
    if (status == TT_OK && run->manifests.there)
        status = content_listing_new(TT_TRAIN_DEFINITION, &listing, err);
    if (status != TT_OK)
        return status;
    struct content_transfer transfer = {
        .folder = TT_TRAIN_DEFINITION, .cipher = run->cipher, .listing = listing, .change = run->change};
    status = content_decrypt(&transfer, run->visit.definition, run->definition.taken, err);
    run->report.definition = transfer.done;
    if (status != TT_OK)
        return not_as_hashed(status, "definition files", "its creator", err);
    return compare_definition(run, listing, err);
}

/* Where a blob is damaged, that is what to say, not what came of decrypting it. */
static enum tt_status decrypt_all(struct pre_run *run, struct tt_error *err)
{
    struct tt_error failure = TT_ERROR_INIT;
    enum tt_status status = check_definition_hash(run, &failure);
    if (status == TT_OK)
        status = decrypt_both(run, &failure);
    if (run->blobs && (status == TT_OK || status == TT_TAMPERED)) {
        enum tt_status blobs = blob_check_finish(TT_TAKE(run->blobs), err);
        if (blobs != TT_OK)
            return blobs;
    }
    if (status != TT_OK && err)
        *err = failure;
    return status;
}

static enum tt_status seal(struct pre_run *run, struct tt_error *err)
{
    static const struct tt_image_settings settings = {.created_by = "traintoken pre-run", .is_plaintext = true};
    const char *digest = NULL;
    enum tt_status status = tt_image_change_seal(run->change, &settings, &digest, err);
    if (status == TT_OK)
        status = stop_report_fill(&run->report, run->visit.train, run->stop->index, tt_image_digest(run->visit.image),
                                  digest, err);
    return status;
}

enum tt_status pre_run_build(struct pre_run *run, struct tt_error *err)
{
    const struct tt_stop_options *options = run->options;
    enum tt_status status = tt_image_recover(options->image, err);
    if (status == TT_OK)
        status = visit_open(options->image, options->platform, VISIT_RESULTS_READ, &run->visit, err);
    if (status == TT_OK)
        record_train(options->audit, run->visit.train, tt_image_digest(run->visit.image));
    if (status == TT_OK)
        status = check_public(run, err);
    if (status == TT_OK)
        status = check_trust(run, err);
    if (status == TT_OK)
        status = unwrap(run, err);
    if (status == TT_OK && !blobs_are_cheap(run->visit.image))
        status = blob_check_start(run->visit.image, NULL, &run->blobs, err);
    if (status == TT_OK)
        status = tt_image_change_new(run->visit.image, &run->change, err);
    if (status == TT_OK)
        status = decrypt_all(run, err);
    if (status == TT_OK)
        record_checked(options->audit, "blobs, hash of the definition, hash of the results");
    return status == TT_OK ? seal(run, err) : status;
}

/* The record is written before the image changes: whenever the process dies, the next run can tell which it is. */
static enum tt_status make_visible(struct pre_run *run, struct tt_error *err)
{
    struct tt_state_record record = {.phase = TT_STATE_ENTERING,
                                     .image_before = run->report.digest_before,
                                     .image_after = run->report.digest_after,
                                     .config = run->visit.train->text};
    return stop_switch(run->state, &record, TT_STATE_ENTERED, run->change, run->options, err);
}

enum tt_status tt_pre_run(const struct tt_stop_options *options, struct tt_stop_report *ret_report,
                          struct tt_error *err)
{
    struct pre_run run TT_CLEANUP(pre_run_clear) = {.options = options};
    record_command(options->audit, "pre-run", options->image, options->station);
    enum tt_status status = pre_run_build(&run, err);
    if (status == TT_OK)
        status = make_visible(&run, err);
    if (status != TT_OK)
        return record_failure(options->audit, status, err);
    *ret_report = run.report;
    run.report = (struct tt_stop_report){0};
    return TT_OK;
}
