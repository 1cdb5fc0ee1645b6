#include "protocol/protocol.h"

#include <string.h>

#include "protocol/chain.h"
#include "protocol/visit.h"

static void say(tt_check_sink sink, void *user, const char *name, bool passed, const char *says)
{
    if (sink)
        sink(user, name, passed, says);
}

/* Between pre-run and post-run: the definition's hash can be checked, the results belong to the run. */
static enum tt_status check_decrypted(const struct visit *visit, tt_check_sink sink, void *user, struct tt_error *err)
{
    enum tt_status status = results_check(visit->results, false, false, err);
    if (status != TT_OK)
        return status;
    say(sink, user, "definition-hash", true,
        "the definition files, decrypted here, have the hash that the creator signed");
    say(sink, user, "results", true, "nothing but files, folders and links that stay inside; the run may change them");
    return TT_OK;
}

static enum tt_status check_encrypted(const struct visit *visit, size_t position, tt_check_sink sink, void *user,
                                      struct tt_error *err)
{
    enum tt_status status = definition_check(visit->train, visit->definition, DEFINITION_ARRIVES, NULL, err);
    if (status == TT_OK)
        status = results_check(visit->results, true, position == 0, err);
    if (status != TT_OK)
        return status;
    say(sink, user, "definition-files", true, "every file of the definition is listed, every listed file is there");
    say(sink, user, "result-files", true, "nothing but files, folders and links that stay inside");
    say(sink, user, "definition-hash", false, "whether the definition decrypts to the signed hash");
    if (position > 0)
        say(sink, user, "result-hash", false, "whether the results decrypt to the signed hash");
    return TT_OK;
}

static enum tt_status check_visit(const struct visit *visit, tt_check_sink sink, void *user, size_t *ret_position,
                                  bool *ret_decrypted, struct tt_error *err)
{
    size_t position = 0;
    say(sink, user, "configuration", true, "train_config.json is well formed");
    enum tt_status status = tt_route_position(visit->train, &position, err);
    if (status != TT_OK)
        return status;
    say(sink, user, "route", true, "signatures on the route have no gap");
    status = chain_verify(visit->train, &visit->keys, position, sink, user, err);
    if (status != TT_OK)
        return status;
    bool decrypted = visit_is_decrypted(visit);
    status = decrypted ? check_decrypted(visit, sink, user, err) : check_encrypted(visit, position, sink, user, err);
    if (status == TT_OK)
        status = tt_image_verify_blobs(visit->image, err);
    if (status != TT_OK)
        return status;
    if (tt_image_shows_blobs(visit->image))
        say(sink, user, "blobs", true, "all blobs of the image have their digests and sizes");
    *ret_position = position;
    *ret_decrypted = decrypted;
    return TT_OK;
}

enum tt_status tt_verify(const char *image, const struct tt_image_options *options, tt_check_sink sink, void *user,
                         struct tt_verify_report *ret_report, struct tt_error *err)
{
    struct visit visit TT_CLEANUP(visit_clear) = {0};
    struct tt_verify_report report = {0};
    enum tt_status status = visit_open(image, options ? options->platform : NULL, VISIT_RESULTS_LISTED, &visit, err);
    if (status == TT_OK)
        status = check_visit(&visit, sink, user, &report.position, &report.decrypted, err);
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
