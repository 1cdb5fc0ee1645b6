#include <string.h>

#include "cli/audit_options.h"
#include "cli/command.h"

struct seal_command {
    struct key_options key;
    const char *builder_key;
    struct cli_list stops; /* "ID=FILE" as given */
    char **stations;       /* the IDs, split off */
    const char **files;    /* the FILEs, in argv */
    struct tt_seal_options options;
    struct tt_pkcs11_source *creator;
    struct tt_pkcs11_source *builder;
    struct audit_options audit;
    struct tt_audit *trail;
    struct tt_seal_report report;
};

static void seal_command_clear(struct seal_command *command)
{
    tt_seal_report_clear(&command->report);
    tt_pkcs11_source_free(command->builder);
    tt_pkcs11_source_free(command->creator);
    tt_audit_free(command->trail);
    for (size_t i = 0; command->stations && i < command->stops.count; i++)
        free(command->stations[i]);
    free(command->stations);
    free(command->files);
    free(command->stops.values);
}

static enum tt_status split_stops(struct seal_command *command, struct tt_error *err)
{
    size_t count = command->stops.count;
    command->stations = calloc(count + 1, sizeof *command->stations);
    command->files = calloc(count + 1, sizeof *command->files);
    if (!command->stations || !command->files)
        return tt_error_memory(err);
    for (size_t i = 0; i < count; i++) {
        const char *given = command->stops.values[i];
        const char *equals = strchr(given, '=');
        if (!equals || equals == given || !equals[1])
            return tt_error_set(err, TT_USAGE, "--stop takes ID=FILE, an id and the file of its public key, not '%s'",
                                given);
        command->stations[i] = strndup(given, (size_t)(equals - given));
        command->files[i] = equals + 1;
        if (!command->stations[i])
            return tt_error_memory(err);
    }
    command->options.stations = (const char *const *)command->stations;
    command->options.stop_keys = command->files;
    command->options.stop_count = count;
    return TT_OK;
}

static enum tt_status open_sources(struct seal_command *command, struct tt_error *err)
{
    enum tt_status status = command_key_source(&command->key, &command->creator, err);
    if (status != TT_OK)
        return status;
    command->options.creator = tt_pkcs11_key_source(command->creator);
    if (!command->builder_key)
        return TT_OK;
    struct key_options builder = command->key;
    builder.key = command->builder_key;
    status = command_key_source(&builder, &command->builder, err);
    if (status != TT_OK)
        return tt_error_context(err, "--builder-key");
    command->options.builder = tt_pkcs11_key_source(command->builder);
    return TT_OK;
}

static enum tt_status prepare(struct seal_command *command, const char *image, struct tt_error *err)
{
    struct tt_seal_options *options = &command->options;
    options->image = image;
    enum tt_status status = tt_image_reference_check(image, err);
    if (status == TT_OK && (!options->definition || !options->base || !options->creator_id))
        status = tt_error_set(err, TT_USAGE, "%s is missing; see traintoken seal --help",
                              !options->definition ? "--definition DIR"
                              : !options->base     ? "--base REF"
                                                   : "--creator ID");
    if (status == TT_OK)
        status = tt_image_reference_check(options->base, err);
    if (status == TT_OK)
        status = split_stops(command, err);
    if (status == TT_OK)
        status = open_sources(command, err);
    if (status == TT_OK)
        status = audit_open(&command->audit, NULL, &command->trail, err);
    options->audit = command->trail;
    return status;
}

static void print(const struct output *output, const struct seal_command *command)
{
    const struct tt_seal_report *report = &command->report;
    char definition[64];
    output_line(output, "%s: sealed train %s for %zu stop%s", command->options.image, report->train->id,
                report->train->stop_count, report->train->stop_count == 1 ? "" : "s");
    output_line(output, "  definition: %s", command_content(&report->definition, definition));
    output_line(output, "  creator: %s, key %s", command->options.creator_id, report->token.fingerprint);
    output_line(output, "  base: %s", report->base);
    output_line(output, "  next: hand the train to station '%s'", report->train->stops[0].station);
}

static void print_json(const struct output *output, const struct seal_command *command)
{
    const struct tt_seal_report *report = &command->report;
    const struct tt_train *train = report->train;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", command->options.image);
    output_add_text(object, "base", report->base);
    output_add_text(object, "train", train->id);
    output_add_hex(object, "session_id", train->session_id, sizeof train->session_id);
    output_add_text(object, "digest", report->digest);
    output_add_text(object, "base_digest", report->digest);
    output_add_hex(object, "hash", train->hash, sizeof train->hash);
    cJSON *stops = cJSON_AddArrayToObject(object, "stops");
    for (size_t i = 0; i < train->stop_count; i++)
        cJSON_AddItemToArray(stops, cJSON_CreateString(train->stops[i].station));
    output_add_number(object, "files", report->definition.files);
    command_add_key(object, command->creator, &report->token);
    output_result(output, "seal", object);
}

static enum tt_status parse(struct output *output, int argc, char **argv, struct seal_command *command,
                            const char **image, bool *ret_help, struct tt_error *err)
{
    static const struct cli_usage usage = {"seal", "IMAGE",
                                           "Makes a train: puts the definition, encrypted and signed with the key in "
                                           "the creator's token, on a base image,\n"
                                           "for a route of stops. Writes IMAGE and, beside it, the tag 'base'.",
                                           1};
    struct tt_seal_options *to = &command->options;
    const struct cli_option options[] = {
        {"definition", 0, CLI_TEXT, &to->definition, "DIR", "folder with the train's code"},
        {"query", 0, CLI_TEXT, &to->query, "FILE", "query that goes with it, as query.json"},
        {"base", 0, CLI_TEXT, &to->base, "REF", "image that the train is built on"},
        {"creator", 0, CLI_TEXT, &to->creator_id, "ID", "id of the train's creator"},
        {"stop", 0, CLI_LIST, &command->stops, "ID=FILE", "a stop and its public key (PEM); once per stop, in order"},
        {"id", 0, CLI_TEXT, &to->train_id, "ID", "id of the train"},
        {"entry-point", 0, CLI_TEXT, &to->entry_point, "FILE", "file of the definition that is run"},
        {"interpreter", 0, CLI_TEXT, &to->interpreter, "PROGRAM", "program in the image that runs it"},
        {"file-list", 0, CLI_TEXT, &to->file_list, "FILE", "order of the files' hash, one path per line"},
        KEY_OPTION_ROWS(command->key),
        AUDIT_OPTION_ROWS(command->audit),
        {"builder-key", 0, CLI_TEXT, &command->builder_key, "URI", "the builder's key (default: the creator's)"},
        {0}};
    const struct cli_option *common = command_common_options(output, &to->platform);
    return cli_parse(argc, argv, &usage, options, common, image, ret_help, err);
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    struct seal_command command TT_CLEANUP(seal_command_clear) = {.key = KEY_OPTIONS_INIT};
    const char *image = NULL;
    bool help = false;
    enum tt_status status = parse(output, argc, argv, &command, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    status = prepare(&command, image, err);
    if (status == TT_OK)
        status = tt_seal(&command.options, &command.report, err);
    if (status != TT_OK)
        return status;
    print(output, &command);
    print_json(output, &command);
    return TT_OK;
}

const struct command command_seal = {"seal", "make a train", run};
