#include "protocol/protocol.h"

#include "protocol/visit.h"

/* What has no configuration is no train: other images are nobody's business here. */
static enum tt_status is_train(const char *reference, const struct tt_image_options *options, bool *ret_is_train,
                               struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    enum tt_status status = tt_image_open(reference, options, &image, err);
    if (status == TT_OK)
        status = tt_image_files(image, TT_TRAIN_CONFIG_PATH, &files, err);
    if (status == TT_OK)
        *ret_is_train = tt_file_set_count(files) > 0;
    return status;
}

enum tt_status tt_departure_check(const char *image, const struct tt_image_options *options, struct tt_error *err)
{
    struct tt_verify_report report TT_CLEANUP(tt_verify_report_clear) = {0};
    bool train = false;
    enum tt_status status = is_train(image, options, &train, err);
    if (status != TT_OK || !train)
        return status;
    struct tt_verify_options how = {.platform = options ? options->platform : NULL, .quick = true};
    status = tt_verify(image, &how, NULL, NULL, &report, err);
    if (status != TT_OK)
        return tt_error_context(err, "%s stays here, as the next station could not take it", image);
    if (report.decrypted)
        return tt_error_set(err, TT_WRONG_STOP,
                            "%s is decrypted: whoever can read the registry could read it; post-run comes first",
                            image);
    return TT_OK;
}
