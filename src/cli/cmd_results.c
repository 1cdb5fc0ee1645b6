#include "cli/audit_options.h"
#include "cli/command.h"
#include "cli/trust_options.h"

static void print(const struct output *output, const struct tt_results_options *options,
                  const struct tt_results_report *report)
{
    char results[64];
    output_line(output, "%s: opened the results of train %s", options->source,
                report->train->id ? report->train->id : "(without an id)");
    output_line(output, "  %s in %s", command_content(&report->results, results), options->directory);
    output_line(output, "  key: %s, unwrapped once (padding: %s)", report->token.fingerprint,
                output_padding_name(report->token.operations[0].padding_by));
}

static void print_json(const struct output *output, const struct tt_results_options *options,
                       const struct tt_pkcs11_source *source, const struct tt_results_report *report)
{
    const struct tt_train *train = report->train;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "source", options->source);
    output_add_text(object, "directory", options->directory);
    output_add_text(object, "train", train->id);
    output_add_hex(object, "session_id", train->session_id, sizeof train->session_id);
    output_add_number(object, "files", report->results.files);
    output_add_number(object, "bytes", report->results.bytes);
    output_add_hex(object, "result_hash", train->result_hash, sizeof train->result_hash);
    command_add_key(object, source, &report->token);
    output_result(output, "results", object);
}

static enum tt_status open_results(struct output *output, const struct key_options *key, struct trust_choice *trust,
                                   const struct audit_options *audit, struct tt_results_options *options,
                                   struct tt_error *err)
{
    struct tt_pkcs11_source *source TT_CLEANUP(tt_pkcs11_source_free_cleanup) = NULL;
    struct tt_audit *trail TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_results_report report TT_CLEANUP(tt_results_report_clear) = {0};
    if (!options->directory)
        return tt_error_set(err, TT_USAGE, "-o DIR is missing; see traintoken results --help");
    enum tt_status status = trust_choice_open(trust, &options->trust, err);
    if (status == TT_OK)
        status = command_key_source(key, &source, err);
    if (status == TT_OK)
        status = audit_open(audit, NULL, &trail, err);
    if (status != TT_OK)
        return status;
    options->audit = trail;
    options->key = tt_pkcs11_key_source(source);
    status = tt_results(options, &report, err);
    if (status != TT_OK)
        return status;
    print(output, options, &report);
    print_json(output, options, source, &report);
    return TT_OK;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"results", "SOURCE",
                                           "Verifies a train that came home and opens its results with the key in the "
                                           "creator's token. SOURCE is an image,\n"
                                           "or a tar with pht_results/ and train_config.json.",
                                           1};
    struct key_options key = KEY_OPTIONS_INIT;
    struct trust_choice trust TT_CLEANUP(trust_choice_clear) = {0};
    struct audit_options audit = {0};
    struct tt_results_options to = {0};
    const struct cli_option options[] = {
        {"output", 'o', CLI_TEXT, &to.directory, "DIR", "folder to make; it appears whole or not at all"},
        {"unfinished", 0, CLI_FLAG, &to.unfinished, NULL, "take what there is before the last stop"},
        KEY_OPTION_ROWS(key),
        TRUST_OPTION_ROWS(trust),
        AUDIT_OPTION_ROWS(audit),
        {0}};
    const struct cli_option *common = command_common_options(output, &to.platform);
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, &to.source, &help, err);
    if (status != TT_OK || help)
        return status;
    return open_results(output, &key, &trust, &audit, &to, err);
}

const struct command command_results = {"results", "open the results as the train's creator", run};
