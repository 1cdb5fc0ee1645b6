#include <time.h>

#include "base/interrupt.h"
#include "protocol/post_run.h"
#include "protocol/pre_run.h"
#include "protocol/record.h"

/* A whole stop. What pre-run made is never shown under the image's name: it lives as long as `pre`. Members are freed
 * in the order that images and containers hang on each other. */
struct whole_stop {
    const struct tt_run_options *options;
    struct post_run post;
    struct tt_image *ran;
    struct pre_run pre;
    double seconds;
};

static void whole_stop_clear(struct whole_stop *whole)
{
    tt_image_free(whole->ran);
    post_run_clear(&whole->post);
    pre_run_clear(&whole->pre);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The decrypted image, as post-run would find it under the image's name. What post-run would refuse is refused before
 * the code runs. */
static enum tt_status open_decrypted(struct whole_stop *whole, struct tt_error *err)
{
    struct post_run *post = &whole->post;
    const struct tt_buffer *verified = &whole->pre.visit.train->text;
    struct tt_image *decrypted = NULL;
    enum tt_status status = tt_image_change_open(whole->pre.change, &decrypted, err);
    if (status == TT_OK)
        status = visit_image(decrypted, VISIT_RESULTS_LATER, &post->visit, err);
    if (status == TT_OK)
        status = tt_train_parse(verified->data, verified->length, &post->train, err);
    return status == TT_OK ? post_run_check(post, err) : status;
}

static enum tt_status execute(struct whole_stop *whole, struct tt_error *err)
{
    double start = now();
    enum tt_status status = tt_image_execute(whole->post.visit.image, whole->options->execution, &whole->ran, err);
    whole->seconds = now() - start;
    return status == TT_OK ? tt_interrupt_check(err) : status;
}

static enum tt_status leave(struct whole_stop *whole, struct tt_error *err)
{
    struct post_run *post = &whole->post;
    post->ran = whole->ran;
    post->digest_before = whole->pre.report.digest_before;
    post->state = TT_TAKE(whole->pre.state);
    enum tt_status status = post_run_build(post, err);
    return status == TT_OK ? post_run_show(post, err) : status;
}

enum tt_status tt_run(const struct tt_run_options *options, struct tt_run_report *ret_report, struct tt_error *err)
{
    struct whole_stop whole TT_CLEANUP(whole_stop_clear) = {
        .options = options,
        .post = {.options = &options->stop},
        .pre = {.options = &options->stop, .against = options->against}};
    record_command(options->stop.audit, "run", options->stop.image, options->stop.station);
    enum tt_status status = base_image_start(&whole.post.base, &options->stop, err);
    if (status == TT_OK)
        status = base_image_wait(&whole.post.base, err); /* without it there is no end to the stop */
    if (status == TT_OK)
        status = pre_run_build(&whole.pre, err);
    if (status == TT_OK)
        status = open_decrypted(&whole, err);
    if (status == TT_OK)
        status = execute(&whole, err);
    if (status == TT_OK)
        status = leave(&whole, err);
    if (status != TT_OK)
        return record_failure(options->stop.audit, status, err);
    *ret_report = (struct tt_run_report){.pre = whole.pre.report, .post = whole.post.report, .seconds = whole.seconds};
    whole.pre.report = (struct tt_stop_report){0};
    whole.post.report = (struct tt_stop_report){0};
    return TT_OK;
}

void tt_run_report_clear(struct tt_run_report *report)
{
    tt_stop_report_clear(&report->pre);
    tt_stop_report_clear(&report->post);
}
