#include "cli/command.h"
#include "image/registry.h"
#include "protocol/protocol.h"

/* The image is opened first: what is printed is what was there when it was sent. */
static enum tt_status push(const struct output *output, const char *reference, const struct tt_registry_login *login,
                           struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    enum tt_status status = tt_image_open(reference, NULL, &image, err);
    if (status == TT_OK)
        status = tt_departure_check(reference, NULL, err);
    if (status == TT_OK)
        status = tt_image_push(reference, login, err);
    if (status != TT_OK)
        return status;
    output_line(output, "pushed %s  %s", tt_image_reference(image), tt_image_digest(image));
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", tt_image_reference(image));
    output_add_text(object, "digest", tt_image_digest(image));
    output_result(output, "push", object);
    return TT_OK;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"push", "IMAGE",
                                           "Sends an image from the container engine to its registry, with the login "
                                           "that docker or\npodman keeps for it. A train that is still decrypted "
                                           "stays here.",
                                           1};
    static const struct cli_option none[] = {{0}};
    struct tt_registry_login *login TT_CLEANUP(tt_registry_login_free_cleanup) = NULL;
    const struct cli_option *common = command_common_options(output, NULL);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, none, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    status = tt_registry_login_find(image, &login, err);
    return status == TT_OK ? push(output, image, login, err) : status;
}

const struct command command_push = {"push", "send an image from the engine to its registry", run};
