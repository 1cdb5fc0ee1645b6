#include "cli/command.h"
#include "image/registry.h"

static enum tt_status print(const struct output *output, const char *reference, const struct tt_image_options *options,
                            struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    enum tt_status status = tt_image_open(reference, options, &image, err);
    if (status != TT_OK)
        return status;
    output_line(output, "pulled %s  %s", tt_image_reference(image), tt_image_digest(image));
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", tt_image_reference(image));
    output_add_text(object, "digest", tt_image_digest(image));
    output_result(output, "pull", object);
    return TT_OK;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"pull", "IMAGE",
                                           "Fetches an image from its registry into the container engine, with the "
                                           "login that docker or podman keeps for it.",
                                           1};
    static const struct cli_option none[] = {{0}};
    struct tt_registry_login *login TT_CLEANUP(tt_registry_login_free_cleanup) = NULL;
    struct tt_image_options options = {0};
    const struct cli_option *common = command_common_options(output, &options.platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, none, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    status = tt_registry_login_find(image, &login, err);
    if (status == TT_OK)
        status = tt_image_check_sent(image, err);
    if (status == TT_OK)
        status = tt_image_pull(image, options.platform, login, err);
    return status == TT_OK ? print(output, image, &options, err) : status;
}

const struct command command_pull = {"pull", "fetch an image from its registry into the engine", run};
