#include "cli/command.h"
#include "cli/trust_options.h"

struct listing {
    struct output *output;
    cJSON *checks;
};

static void take_check(void *user, const char *name, bool passed, const char *says)
{
    struct listing *listing = user;
    cJSON *check = cJSON_CreateObject();
    cJSON_AddStringToObject(check, "name", name);
    cJSON_AddStringToObject(check, "result", passed ? "ok" : "needs-key");
    cJSON_AddStringToObject(check, "says", says);
    cJSON_AddItemToArray(listing->checks, check);
    output_line(listing->output, "  %-9s  %s", passed ? "ok" : "needs key", says);
}

static const char *station_at(const struct tt_verify_report *report)
{
    return report->position < report->train->stop_count ? report->train->stops[report->position].station : NULL;
}

static void print(const struct output *output, const char *image, const struct tt_verify_report *report)
{
    const char *station = station_at(report);
    const char *absence = tt_manifest_absence(report->train, report->position);
    if (absence)
        output_line(output, "%s", absence);
    if (!station)
        output_line(output, "%s came home: all %zu stops have signed", image, report->train->stop_count);
    else
        output_line(output, "%s is at station '%s' (stop %zu of %zu)%s", image, station, report->position + 1,
                    report->train->stop_count, report->decrypted ? ", decrypted there" : "");
}

static void print_json(const struct output *output, const char *image, const struct tt_verify_report *report,
                       cJSON *checks)
{
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", image);
    output_add_text(object, "train", report->train->id);
    output_add_hex(object, "session_id", report->train->session_id, sizeof report->train->session_id);
    output_add_text(object, "digest", report->digest);
    output_add_number(object, "position", report->position);
    output_add_number(object, "stops", report->train->stop_count);
    output_add_text(object, "station", station_at(report));
    cJSON_AddBoolToObject(object, "decrypted", report->decrypted);
    command_add_manifests(object, report->train, report->position);
    cJSON_AddItemToObject(object, "checks", checks);
    output_result(output, "verify", object);
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"verify", "IMAGE",
                                           "Checks everything about a train that public data can decide; no token is "
                                           "needed. Whether the keys that it names\n"
                                           "belong to whom they should, the trust store tells (traintoken trust).",
                                           1};
    struct tt_verify_options options = {0};
    struct tt_trust_options trusted;
    struct trust_choice trust TT_CLEANUP(trust_choice_clear) = {0};
    const struct cli_option own[] = {
        {"against", 0, CLI_TEXT, &options.against, "REF", "master image that the train must be built on"},
        {"station", 0, CLI_TEXT, &options.station, "ID", "our id, whose key only our token can confirm (STATION_ID)"},
        TRUST_OPTION_ROWS(trust),
        {0}};
    const struct cli_option *common = command_common_options(output, &options.platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    cJSON *checks TT_CLEANUP(cli_json_cleanup) = cJSON_CreateArray();
    struct listing listing = {.output = output, .checks = checks};
    struct tt_verify_report report TT_CLEANUP(tt_verify_report_clear) = {0};
    status = tt_image_reference_check(image, err);
    if (status == TT_OK && options.against)
        status = tt_image_reference_check(options.against, err);
    if (status == TT_OK)
        status = trust_choice_open(&trust, &trusted, err);
    options.trust = &trusted;
    options.station = options.station ? options.station : getenv("STATION_ID");
    if (status == TT_OK)
        status = tt_verify(image, &options, take_check, &listing, &report, err);
    if (status != TT_OK)
        return status;
    print(output, image, &report);
    print_json(output, image, &report, TT_TAKE(checks));
    return TT_OK;
}

const struct command command_verify = {"verify", "check all that can be checked without a key", run};
