#include <string.h>

#include "cli/provision_command.h"
#include "cli/registry_options.h"
#include "crypto/public_key.h"
#include "provisioning/enrol.h"

struct enrol_options {
    struct registry_options registry;
    const char *station;
    bool replace;
    bool dry_run;
    struct provision_options provision;
};

/* What it says. */

static void print(const struct output *output, const struct tt_enrol_place *place, const char *fingerprint,
                  const struct tt_enrol_report *report)
{
    if (report->was_there)
        output_line(output, "%s has this key already: %s", place->server.url, fingerprint);
    else
        output_line(output, "%s %s %s%s%s", place->server.url,
                    place->dry_run ? "would get the key" : "has the key now:", fingerprint,
                    report->before[0] ? ", instead of " : "", report->before);
    if (place->dry_run && report->body) {
        output_line(output, "%s %s", report->method, report->url);
        output_line(output, "%s", place->is_vault ? "X-Vault-Token: (not shown)" : "Authorization: (not shown)");
        output_line(output, "Content-Type: application/json");
        output_line(output, "%s", "");
        if (!output->json && !output->quiet) /* longer than a line may be; JSON has no control characters */
            puts(report->body);
    }
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "url", place->server.url);
    output_add_text(object, "station", place->station);
    output_add_text(object, "path", place->path);
    if (place->is_vault)
        output_add_number(object, "kv", (uint64_t)report->kv);
    output_add_text(object, "fingerprint", fingerprint);
    output_add_text(object, "before", report->was_there ? fingerprint : report->before[0] ? report->before : NULL);
    cJSON_AddBoolToObject(object, "written", !report->was_there && !place->dry_run);
    cJSON_AddBoolToObject(object, "dry_run", place->dry_run);
    cJSON *request = report->body ? cJSON_AddObjectToObject(object, "request") : NULL;
    if (request) {
        output_add_text(request, "method", report->method);
        output_add_text(request, "url", report->url);
        output_add_text(request, "body", report->body);
    }
    output_result(output, "key enrol", object);
}

/* Only a key that serves: trains that are sealed for another cannot be opened. */
static enum tt_status open_key(const struct enrol_options *options, const char *uri, struct provision *token,
                               struct tt_key_object *key, struct tt_error *err)
{
    struct tt_key_probe probe = {0};
    enum tt_status status = provision_open(&options->provision, uri, false, token, err);
    if (status == TT_OK)
        status = tt_key_find(token->session, token->uri, key, err);
    if (status == TT_OK)
        status = tt_key_probe(token->session, key, token->pin, &probe, err);
    if (status == TT_OK && !tt_key_probe_is_good(&probe))
        status = tt_error_set(err, TT_TOKEN,
                              "this key cannot serve a station, so it is not enrolled; traintoken key "
                              "check says why");
    return status;
}

static enum tt_status enrol(struct output *output, const struct enrol_options *options, const char *uri,
                            struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_enrol_report report TT_CLEANUP(tt_enrol_report_clear) = {0};
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    char fingerprint[TT_FINGERPRINT_SIZE];
    struct tt_enrol_place place = {.replace = options->replace, .dry_run = options->dry_run};
    enum tt_status status = TT_OK;
    if (!options->registry.vault_path)
        status = command_station(options->station, &place.station, err);
    if (status == TT_OK)
        status = registry_place(&options->registry, &place, &path, &header, err);
    if (status == TT_OK)
        status = open_key(options, uri, &token, &key, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(key.public_half, fingerprint, err);
    if (status == TT_OK)
        status = tt_enrol(&place, key.public_half, &report, err);
    if (status == TT_OK)
        print(output, &place, fingerprint, &report);
    return status;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key enrol", "URI",
        "Brings the public half of a station's key to where trains' creators look for it: Vault's key-value store or\n"
        "the central service. Nothing is written where it is already; another key is replaced on request only.",
        1};
    struct enrol_options options = {.provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        REGISTRY_OPTION_ROWS(options.registry),
        {"station", 0, CLI_TEXT, &options.station, "ID", "this station, as the registry names it (STATION_ID)"},
        {"replace", 0, CLI_FLAG, &options.replace, NULL, "put it in the place of another key"},
        {"dry-run", 'n', CLI_FLAG, &options.dry_run, NULL, "look, and show what would be sent"},
        PROVISION_OPTION_ROWS(options.provision),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    if (!options.registry.vault == !options.registry.central)
        return tt_error_set(err, TT_USAGE, "where to? Give the address of either --vault or --central");
    status = registry_options_check(&options.registry, err);
    return status == TT_OK ? enrol(output, &options, uri, err) : status;
}

const struct command command_key_enrol = {"key enrol", "bring the public half to a registry", run};
