#include "cli/stop_command.h"

static void print(const struct output *output, const struct stop_command *command)
{
    const struct tt_stop_report *report = &command->report;
    char definition[64];
    char results[64];
    output_line(output, "%s: verified and decrypted at station '%s' (stop %zu of %zu)", command->options.image,
                command->options.station, report->stop + 1, report->stop_count);
    output_line(output, "  definition: %s", command_content(&report->definition, definition));
    output_line(output, "  results so far: %s", command_content(&report->results, results));
    output_line(output, "  key: %s, unwrapped once (padding: %s)", report->token.fingerprint,
                output_padding_name(report->token.operations[0].padding_by));
    output_line(output, "  next: run the train, then traintoken post-run %s", command->options.image);
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "pre-run", "IMAGE",
        "Verifies a train that arrived, decrypts it with the key in the station's token, and makes the decrypted\n"
        "train the image's new state. Nothing changes unless everything holds.",
        1};
    struct stop_command command TT_CLEANUP(stop_command_clear) = STOP_COMMAND_INIT;
    const struct cli_option options[] = {STOP_OPTION_ROWS(command), {0}};
    const struct cli_option *common = command_common_options(output, &command.options.platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    status = stop_command_prepare(&command, image, err);
    if (status == TT_OK)
        status = tt_pre_run(&command.options, &command.report, err);
    if (status != TT_OK)
        return status;
    print(output, &command);
    output_result(output, usage.command, stop_command_json(&command));
    return TT_OK;
}

const struct command command_pre_run = {"pre-run", "verify and decrypt a train that arrived", run};
