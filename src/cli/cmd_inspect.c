#include "cli/command.h"

static const char *stop_state(const struct tt_inspection *inspection, size_t index)
{
    if (inspection->train->stops[index].is_signed)
        return "signed";
    return inspection->in_order && index == inspection->position ? "here" : "to-come";
}

static void print_route(const struct output *output, const struct tt_inspection *inspection)
{
    const struct tt_train *train = inspection->train;
    bool colour = output_is_coloured();
    output_line(output, "route");
    for (size_t i = 0; i < train->stop_count; i++) {
        const char *state = stop_state(inspection, i);
        bool here = state[0] == 'h';
        const char *mark = here ? "-> you are here" : state[0] == 's' ? "x  signed" : ".  to come";
        if (colour && here && !output->json && !output->quiet)
            printf("\033[1m");
        output_line(output, "  %3zu  %-16s %-24s %s  RSA-%u", i, mark, train->stops[i].station,
                    inspection->stops[i].fingerprint, inspection->stops[i].bits);
        if (colour && here && !output->json && !output->quiet)
            printf("\033[0m");
    }
    if (!inspection->in_order)
        output_line(output, "  the signatures on the route do not fit together (traintoken verify tells)");
    else if (inspection->position == train->stop_count)
        output_line(output, "  the train came home");
}

static void print_files(const struct output *output, const char *title, const struct tt_listed_file *files,
                        size_t count)
{
    output_line(output, "%s: %zu file%s", title, count, count == 1 ? "" : "s");
    for (size_t i = 0; i < count; i++) {
        char bytes[24];
        output_line(output, "  %10s  %s", output_bytes(files[i].size, bytes), files[i].path);
    }
}

static void print_manifests(const struct output *output, const struct tt_inspection *inspection)
{
    const char *absence = tt_manifest_absence(inspection->train, inspection->position);
    if (absence)
        output_line(output, "%s", absence);
    else
        output_line(output, "signed manifests: %zu", inspection->train->manifest_count);
}

static void print(const struct output *output, const struct tt_inspection *inspection)
{
    const struct tt_train *train = inspection->train;
    output_line(output, "train     %s", train->id ? train->id : "(without an id)");
    output_line(output, "image     %s  %s", tt_image_reference(inspection->image), tt_image_digest(inspection->image));
    output_line(output, "creator   %s  %s  RSA-%u", train->creator_id, inspection->creator.fingerprint,
                inspection->creator.bits);
    output_line(output, "builder   %s  RSA-%u", inspection->builder.fingerprint, inspection->builder.bits);
    if (train->source_address)
        output_line(output, "built on  %s%s%s", train->source_address, train->source_tag ? ":" : "",
                    train->source_tag ? train->source_tag : "");
    print_route(output, inspection);
    print_manifests(output, inspection);
    print_files(output, "definition (sizes as stored)", inspection->definition, inspection->definition_count);
    print_files(output, "results (sizes as stored)", inspection->results, inspection->results_count);
    output_line(output, "layers: %zu", tt_image_layer_count(inspection->image));
    output_line(output, "nothing of this is verified; traintoken verify does that");
}

static cJSON *key_json(const char *id, const struct tt_key_facts *facts)
{
    cJSON *object = cJSON_CreateObject();
    if (id)
        output_add_text(object, "id", id);
    output_add_text(object, "fingerprint", facts->fingerprint);
    output_add_number(object, "bits", facts->bits);
    return object;
}

static cJSON *route_json(const struct tt_inspection *inspection)
{
    cJSON *route = cJSON_CreateArray();
    for (size_t i = 0; i < inspection->train->stop_count; i++) {
        const struct tt_stop *stop = &inspection->train->stops[i];
        cJSON *object = cJSON_CreateObject();
        output_add_number(object, "index", i);
        output_add_text(object, "station", stop->station);
        output_add_text(object, "eco_system", stop->eco_system);
        output_add_text(object, "state", stop_state(inspection, i));
        output_add_text(object, "fingerprint", inspection->stops[i].fingerprint);
        output_add_number(object, "bits", inspection->stops[i].bits);
        cJSON_AddItemToArray(route, object);
    }
    return route;
}

static cJSON *files_json(const struct tt_listed_file *files, size_t count)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        cJSON *object = cJSON_CreateObject();
        output_add_text(object, "path", files[i].path);
        output_add_number(object, "size", files[i].size);
        cJSON_AddItemToArray(list, object);
    }
    return list;
}

static cJSON *layers_json(const struct tt_image *image)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < tt_image_layer_count(image); i++) {
        cJSON *object = cJSON_CreateObject();
        output_add_text(object, "digest", tt_image_layer_digest(image, i));
        output_add_number(object, "size", tt_image_layer_size(image, i));
        cJSON_AddItemToArray(list, object);
    }
    return list;
}

/* Entrypoint and Cmd in one list: what a container of this image runs. */
static cJSON *command_json(const struct tt_image *image)
{
    const struct tt_buffer *text = tt_image_configuration(image);
    cJSON *list = cJSON_CreateArray();
    cJSON *root TT_CLEANUP(cli_json_cleanup) = cJSON_ParseWithLength((const char *)text->data, text->length);
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    const cJSON *parts[] = {cJSON_GetObjectItemCaseSensitive(config, "Entrypoint"),
                            cJSON_GetObjectItemCaseSensitive(config, "Cmd")};
    for (size_t i = 0; i < 2; i++) {
        const cJSON *word = NULL;
        cJSON_ArrayForEach(word, parts[i])
        {
            if (cJSON_IsString(word))
                cJSON_AddItemToArray(list, cJSON_CreateString(word->valuestring));
        }
    }
    return list;
}

static void print_json(const struct output *output, const struct tt_inspection *inspection)
{
    const struct tt_train *train = inspection->train;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", tt_image_reference(inspection->image));
    output_add_text(object, "digest", tt_image_digest(inspection->image));
    output_add_text(object, "train", train->id);
    output_add_hex(object, "session_id", train->session_id, sizeof train->session_id);
    cJSON_AddItemToObject(object, "creator", key_json(train->creator_id, &inspection->creator));
    cJSON_AddItemToObject(object, "builder", key_json(NULL, &inspection->builder));
    cJSON *source = cJSON_AddObjectToObject(object, "source");
    output_add_text(source, "type", train->source_type);
    output_add_text(source, "address", train->source_address);
    output_add_text(source, "tag", train->source_tag);
    cJSON_AddItemToObject(object, "route", route_json(inspection));
    command_add_manifests(object, train, inspection->position);
    cJSON_AddItemToObject(object, "definition", files_json(inspection->definition, inspection->definition_count));
    cJSON_AddItemToObject(object, "results", files_json(inspection->results, inspection->results_count));
    cJSON_AddItemToObject(object, "layers", layers_json(inspection->image));
    cJSON_AddItemToObject(object, "command", command_json(inspection->image));
    output_result(output, "inspect", object);
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "inspect", "IMAGE",
        "Shows a train: who made it, where it goes and where it is, its files and keys. Nothing is verified.", 1};
    struct tt_image_options options = {0};
    static const struct cli_option none[] = {{0}};
    const struct cli_option *common = command_common_options(output, &options.platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, none, common, &image, &help, err);
    if (status != TT_OK || help)
        return status;
    struct tt_inspection inspection TT_CLEANUP(tt_inspection_clear) = {0};
    status = tt_image_reference_check(image, err);
    if (status == TT_OK)
        status = tt_inspect(image, &options, &inspection, err);
    if (status != TT_OK)
        return status;
    print(output, &inspection);
    print_json(output, &inspection);
    return TT_OK;
}

const struct command command_inspect = {"inspect", "show a train, for people or (--json) programs", run};
