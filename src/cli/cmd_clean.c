#include "cli/command.h"

struct findings {
    struct output *output;
    cJSON *leftovers;
};

static void take_leftover(void *user, const char *what, const char *name, const char *says)
{
    struct findings *findings = user;
    cJSON *leftover = cJSON_CreateObject();
    output_add_text(leftover, "what", what);
    output_add_text(leftover, "name", name);
    output_add_text(leftover, "says", says);
    cJSON_AddItemToArray(findings->leftovers, leftover);
    output_line(findings->output, "%s %s: %s", what, name, says);
}

static void print(struct output *output, cJSON *leftovers, bool dry_run)
{
    int count = cJSON_GetArraySize(leftovers);
    cJSON *object = cJSON_CreateObject();
    if (count == 0)
        output_line(output, "nothing is left of runs that were ended");
    else
        output_line(output, "%d leftover%s %s", count, count == 1 ? "" : "s", dry_run ? "found" : "removed");
    cJSON_AddItemToObject(object, "leftovers", leftovers);
    cJSON_AddBoolToObject(object, "removed", !dry_run);
    output_result(output, "clean", object);
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"clean", "[IMAGE]",
                                           "Removes what runs that were killed have left: containers, decrypted "
                                           "images, files of a layout. Without IMAGE,\n"
                                           "in the container engine. What a run that is still going on works with "
                                           "stays. pre-run, post-run and run do the\n"
                                           "same as they start.",
                                           0};
    bool dry_run = false;
    const struct cli_option own[] = {
        {"dry-run", 'n', CLI_FLAG, &dry_run, NULL, "say what would be removed, and remove nothing"}, {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    cJSON *leftovers TT_CLEANUP(cli_json_cleanup) = cJSON_CreateArray();
    struct findings findings = {.output = output, .leftovers = leftovers};
    if (image)
        status = tt_image_reference_check(image, err);
    if (status == TT_OK)
        status = tt_image_clean(image, dry_run, take_leftover, &findings, err);
    if (status == TT_OK)
        print(output, TT_TAKE(leftovers), dry_run);
    return status;
}

const struct command command_clean = {"clean", "remove what a killed run left", run};
