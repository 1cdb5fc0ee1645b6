#include "protocol/protocol.h"

#include <string.h>

#include "protocol/against.h"
#include "protocol/chain.h"
#include "protocol/content.h"
#include "protocol/manifest.h"
#include "protocol/trusted.h"
#include "protocol/visit.h"

static void say(tt_check_sink sink, void *user, const char *name, bool passed, const char *says)
{
    if (sink)
        sink(user, name, passed, says);
}

/* The plaintext of the definition is what the creator listed. */
static enum tt_status check_listed_definition(const struct visit *visit, const struct manifests *manifests,
                                              struct tt_error *err)
{
    struct definition_files files TT_CLEANUP(definition_files_clear) = {0};
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = {0};
    if (!manifests->there)
        return TT_OK;
    enum tt_status status = definition_check(visit->train, visit->definition, DEFINITION_RAN, &files, err);
    if (status == TT_OK)
        status = content_list(visit->definition, TT_TRAIN_DEFINITION, files.taken, &found, err);
    return status == TT_OK ? manifest_check_definition(manifests, &found, err) : status;
}

/* Between pre-run and post-run: the definition's hash can be checked, the results belong to the run. */
static enum tt_status check_decrypted(const struct visit *visit, const struct manifests *manifests, tt_check_sink sink,
                                      void *user, struct tt_error *err)
{
    enum tt_status status = results_check(visit->results, false, false, err);
    if (status == TT_OK)
        status = check_listed_definition(visit, manifests, err);
    if (status != TT_OK)
        return status;
    if (manifests->there)
        say(sink, user, "manifest-definition", true,
            "the definition files are those that the creator's manifest lists");
    say(sink, user, "definition-hash", true,
        "the definition files, decrypted here, have the hash that the creator signed");
    say(sink, user, "results", true, "nothing but files, folders and links that stay inside; the run may change them");
    return TT_OK;
}

static enum tt_status check_encrypted(const struct visit *visit, const struct manifests *manifests, size_t position,
                                      tt_check_sink sink, void *user, struct tt_error *err)
{
    struct definition_files files TT_CLEANUP(definition_files_clear) = {0};
    enum tt_status status = definition_check(visit->train, visit->definition, DEFINITION_ARRIVES, &files, err);
    if (status == TT_OK)
        status = results_check(visit->results, true, position == 0, err);
    if (status == TT_OK)
        status = manifest_check_definition_names(manifests, visit->definition, files.taken, err);
    if (status == TT_OK)
        status = manifest_check_result_names(manifests, visit->results, err);
    if (status != TT_OK)
        return status;
    say(sink, user, "definition-files", true, "every file of the definition is listed, every listed file is there");
    say(sink, user, "result-files", true, "nothing but files, folders and links that stay inside");
    say(sink, user, "definition-hash", false, "whether the definition decrypts to the signed hash");
    if (position > 0)
        say(sink, user, "result-hash", false, "whether the results decrypt to the signed hash");
    if (manifests->there)
        say(sink, user, "manifest-files", false, "whether each file decrypts to what the signed manifests list");
    return TT_OK;
}

static enum tt_status check_manifests(const struct visit *visit, const struct tt_trust_options *trust, size_t position,
                                      tt_check_sink sink, void *user, struct manifests *manifests, struct tt_error *err)
{
    enum tt_status status = manifest_verify(visit->train, &visit->keys, position, trust, manifests, err);
    if (status == TT_OK)
        status = manifest_check_image(manifests, visit->image, err);
    if (status != TT_OK)
        return status;
    if (manifests->there)
        say(sink, user, "manifests", true,
            "the creator's signed manifest, and that of every stop so far, belong to this train and its base layers");
    return TT_OK;
}

static enum tt_status check_visit(const struct visit *visit, const struct tt_verify_options *options,
                                  tt_check_sink sink, void *user, size_t *ret_position, bool *ret_decrypted,
                                  struct tt_error *err)
{
    struct manifests manifests TT_CLEANUP(manifests_clear) = {0};
    size_t position = 0;
    say(sink, user, "configuration", true, "train_config.json is well formed");
    enum tt_status status = tt_route_position(visit->train, &position, err);
    if (status != TT_OK)
        return status;
    say(sink, user, "route", true, "signatures on the route have no gap");
    status = chain_verify(visit->train, &visit->keys, position, sink, user, err);
    if (status == TT_OK)
        status = check_manifests(visit, options->trust, position, sink, user, &manifests, err);
    if (status != TT_OK)
        return status;
    bool decrypted = false;
    status = visit_is_decrypted(visit, &decrypted, err);
    if (status != TT_OK)
        return status;
    status = decrypted ? check_decrypted(visit, &manifests, sink, user, err)
                       : check_encrypted(visit, &manifests, position, sink, user, err);
    if (status == TT_OK)
        status = tt_image_verify_blobs(visit->image, err);
    if (status != TT_OK)
        return status;
    if (tt_image_shows_blobs(visit->image))
        say(sink, user, "blobs", true, "all blobs of the image have their digests and sizes");
    if (options->against || !options->quick)
        status =
            against_check(visit->image, visit->train, options->against, options->platform, &manifests, sink, user, err);
    if (status != TT_OK)
        return status;
    *ret_position = position;
    *ret_decrypted = decrypted;
    return TT_OK;
}

/* Last, as it is no use to trust a train that was changed. */
static enum tt_status check_trust(const char *image, const struct tt_verify_options *options, const struct visit *visit,
                                  tt_check_sink sink, void *user, struct tt_error *err)
{
    const struct tt_stop *own = NULL;
    if (!options->trust)
        return TT_OK;
    bool is_ours = options->station && tt_route_find(visit->train, options->station, &own, NULL) == TT_OK;
    enum tt_status status = trusted_check(visit->train, &visit->keys, is_ours ? own->index : TRUSTED_NOBODY,
                                          options->trust, image, NULL, err);
    if (status != TT_OK)
        return status;
    say(sink, user, "trust", true, "the keys that the train names are trusted, or believed as was asked for");
    if (is_ours)
        say(sink, user, "own-key", false, "whether the key that the train names for us is that of our token");
    return TT_OK;
}

enum tt_status tt_verify(const char *image, const struct tt_verify_options *options, tt_check_sink sink, void *user,
                         struct tt_verify_report *ret_report, struct tt_error *err)
{
    struct visit visit TT_CLEANUP(visit_clear) = {0};
    struct tt_verify_report report = {0};
    enum tt_status status = visit_open(image, options->platform, VISIT_RESULTS_LISTED, &visit, err);
    if (status == TT_OK)
        status = check_visit(&visit, options, sink, user, &report.position, &report.decrypted, err);
    if (status == TT_OK)
        status = check_trust(image, options, &visit, sink, user, err);
    if (status != TT_OK)
        return status;
    report.digest = strdup(tt_image_digest(visit.image));
    if (!report.digest)
        return tt_error_memory(err);
    report.train = TT_TAKE(visit.train);
    *ret_report = report;
    return TT_OK;
}

void tt_verify_report_clear(struct tt_verify_report *report)
{
    tt_train_free(report->train);
    free(report->digest);
    *report = (struct tt_verify_report){0};
}
