#include "cli/stop_command.h"

static void print(const struct output *output, const struct stop_command *command)
{
    const struct tt_stop_report *report = &command->report;
    char results[64];
    output_line(output, "%s: signed and encrypted at station '%s' (stop %zu of %zu)", command->options.image,
                command->options.station, report->stop + 1, report->stop_count);
    output_line(output, "  results: %s", command_content(&report->results, results));
    output_line(output, "  key: %s, signed twice (padding: %s)", report->token.fingerprint,
                output_padding_name(report->token.operations[0].padding_by));
    output_line(output, "  next: %s",
                report->stop + 1 < report->stop_count ? "hand the train on to its next stop"
                                                      : "hand the train back to its creator");
}

static void print_json(const struct output *output, const struct stop_command *command)
{
    cJSON *object = stop_command_json(command);
    stop_command_add_signed(object, &command->report);
    output_result(output, "post-run", object);
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "post-run", "IMAGE",
        "Hashes and signs the results of a train that ran, with the key in the station's token, and encrypts\n"
        "everything anew, on the train's base image, for the next stop. Only /opt/pht_results is taken over.",
        1};
    struct stop_command command TT_CLEANUP(stop_command_clear) = STOP_COMMAND_INIT;
    bool rebase = false; /* the existing implementation's word for what is always done here */
    const struct cli_option options[] = {
        STOP_OPTION_ROWS(command),
        {"base", 0, CLI_TEXT, &command.options.base, "REF", "base image (default: the tag 'base' beside IMAGE)"},
        {"config", 0, CLI_TEXT, &command.options.config_file, "FILE",
         "verified configuration, where there is no record"},
        {"rebase", 0, CLI_FLAG, &rebase, NULL, "accepted and changes nothing: the base image is always what is used"},
        {0}};
    const struct cli_option *common = command_common_options(output, &command.options.platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    status = stop_command_prepare(&command, image, err);
    if (status == TT_OK)
        status = tt_post_run(&command.options, &command.report, err);
    if (status != TT_OK)
        return status;
    print(output, &command);
    print_json(output, &command);
    return TT_OK;
}

const struct command command_post_run = {"post-run", "sign and encrypt a train that ran", run};
