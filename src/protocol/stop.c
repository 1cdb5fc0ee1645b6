#include "protocol/stop.h"

#include <string.h>

#include "base/log.h"
#include "protocol/record.h"

enum tt_status stop_open_state(const struct tt_stop_options *options, const struct tt_train *train,
                               struct tt_state **ret_state, struct tt_error *err)
{
    return tt_state_open(options->state_folder, train->session_id, options->station, ret_state, err);
}

enum tt_status stop_report_fill(struct tt_stop_report *report, const struct tt_train *train, size_t stop,
                                const char *digest_before, const char *digest_after, struct tt_error *err)
{
    memcpy(report->session_id, train->session_id, sizeof report->session_id);
    report->stop = stop;
    report->stop_count = train->stop_count;
    report->train = train->id ? strdup(train->id) : NULL;
    report->digest_before = strdup(digest_before);
    report->digest_after = strdup(digest_after);
    if ((train->id && !report->train) || !report->digest_before || !report->digest_after)
        return tt_error_memory(err);
    return TT_OK;
}

/* Puts back what was remembered before a change that did not come about. */
static void restore(struct tt_state *state, const struct tt_state_record *old)
{
    struct tt_error ignored = TT_ERROR_INIT;
    if (tt_state_write(state, old, &ignored) != TT_OK)
        tt_log(TT_LOG_WARNING, "the station's record of this train could not be put back: %s", ignored.message);
}

/* What the image is now, after a change that may have come about or not. */
enum outcome { IS_OLD, IS_NEW, IS_UNKNOWN };

static enum outcome look(const struct tt_stop_options *options, const char *digest_after)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_options how = {.platform = options->platform};
    struct tt_error ignored = TT_ERROR_INIT;
    if (tt_image_open(options->image, &how, &image, &ignored) != TT_OK)
        return IS_UNKNOWN;
    return strcmp(tt_image_digest(image), digest_after) == 0 ? IS_NEW : IS_OLD;
}

static enum tt_status commit(struct tt_state *state, const struct tt_state_record *record,
                             const struct tt_state_record *old, struct tt_image_change *change,
                             const struct tt_stop_options *options, struct tt_error *err)
{
    bool in_doubt = false;
    enum tt_status status = tt_image_change_commit(change, options->image, NULL, &in_doubt, err);
    if (status == TT_OK)
        return TT_OK;
    enum outcome outcome = in_doubt ? look(options, record->image_after) : IS_OLD;
    if (outcome == IS_NEW)
        return TT_OK;
    if (outcome == IS_OLD)
        restore(state, old);
    return status;
}

enum tt_status stop_switch(struct tt_state *state, struct tt_state_record *record, enum tt_state_phase done,
                           struct tt_image_change *change, const struct tt_stop_options *options, struct tt_error *err)
{
    struct tt_state_record old TT_CLEANUP(tt_state_record_clear) = {0};
    enum tt_status status = tt_state_record_copy(tt_state_record(state), &old, err);
    if (status == TT_OK)
        status = record_decision(options->audit, record->image_after, err);
    if (status == TT_OK)
        status = tt_state_write(state, record, err);
    if (status == TT_OK)
        status = commit(state, record, &old, change, options, err);
    if (status != TT_OK)
        return status;
    /* The image has changed: from here on there is no failure, as "about to" and the new digest say the same. */
    struct tt_error ignored = TT_ERROR_INIT;
    record->phase = done;
    if (tt_state_write(state, record, &ignored) != TT_OK)
        tt_log(TT_LOG_WARNING, "%s", ignored.message);
    record_done(options->audit);
    return TT_OK;
}

void tt_stop_report_clear(struct tt_stop_report *report)
{
    free(report->train);
    free(report->digest_before);
    free(report->digest_after);
    free(report->base);
    *report = (struct tt_stop_report){0};
}
