#include "protocol/base_image.h"

#include <string.h>

#include "protocol/visit.h"

static enum tt_status open_image(struct base_image *base, struct tt_error *err)
{
    const struct tt_stop_options *options = base->options;
    const struct tt_image_options how = {.platform = options->platform};
    enum tt_status status = TT_OK;
    if (!options->base)
        status = tt_image_reference_sibling(options->image, "base", &base->reference, err);
    else if (!(base->reference = strdup(options->base)))
        status = tt_error_memory(err);
    if (status != TT_OK)
        return status;
    status = tt_image_open(base->reference, &how, &base->image, err);
    if (status == TT_OK)
        return TT_OK;
    return tt_error_context(
        err,
        "the train's base image %s is needed (it comes with the train, from the same registry, under "
        "the tag 'base': 'traintoken pull' fetches it; name another with --base)",
        base->reference);
}

static enum tt_status read_image(struct base_image *base, struct tt_error *err)
{
    enum tt_status status = visit_read_train(base->image, &base->train, err);
    if (status == TT_OK)
        status = tt_image_files(base->image, TT_TRAIN_DEFINITION, &base->definition, err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "the base image %s", base->reference);
}

static void *run(void *argument)
{
    struct base_image *base = argument;
    base->status = open_image(base, &base->failure);
    if (base->status == TT_OK)
        base->status = read_image(base, &base->failure);
    return NULL;
}

enum tt_status base_image_start(struct base_image *base, const struct tt_stop_options *options, struct tt_error *err)
{
    base->options = options;
    if (pthread_create(&base->thread, NULL, run, base) != 0)
        return tt_error_memory(err);
    base->is_underway = true;
    return TT_OK;
}

static void join(struct base_image *base)
{
    if (base->is_underway)
        pthread_join(base->thread, NULL);
    base->is_underway = false;
}

enum tt_status base_image_wait(struct base_image *base, struct tt_error *err)
{
    join(base);
    if (base->status != TT_OK && err)
        *err = base->failure;
    return base->status;
}

void base_image_clear(struct base_image *base)
{
    join(base);
    tt_file_set_free(base->definition);
    tt_train_free(base->train);
    tt_image_free(base->image);
    free(base->reference);
    *base = (struct base_image){0};
}
