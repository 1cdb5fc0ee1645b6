#include "cli/stop_command.h"

#include "state/state.h"

void stop_command_clear(struct stop_command *command)
{
    tt_stop_report_clear(&command->report);
    tt_pkcs11_source_free(command->source);
    trust_choice_clear(&command->trust);
    tt_audit_free(command->trail);
    free(command->default_state);
}

enum tt_status stop_command_prepare(struct stop_command *command, const char *image, struct tt_error *err)
{
    struct tt_stop_options *options = &command->options;
    options->image = image;
    enum tt_status status = tt_image_reference_check_tag(image, err);
    if (status == TT_OK && options->base)
        status = tt_image_reference_check(options->base, err);
    if (status == TT_OK)
        status = command_station(command->station, &options->station, err);
    if (status == TT_OK && !command->state)
        status = tt_state_default_folder(&command->default_state, err);
    if (status == TT_OK)
        status = trust_choice_open(&command->trust, &options->trust, err);
    if (status == TT_OK)
        status = command_key_source(&command->key, &command->source, err);
    if (status != TT_OK)
        return status;
    options->state_folder = command->state ? command->state : command->default_state;
    options->key = tt_pkcs11_key_source(command->source);
    status = audit_open(&command->audit, options->state_folder, &command->trail, err);
    options->audit = command->trail;
    return status;
}

cJSON *stop_command_json(const struct stop_command *command)
{
    const struct tt_stop_report *report = &command->report;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", command->options.image);
    output_add_text(object, "train", report->train);
    output_add_hex(object, "session_id", report->session_id, sizeof report->session_id);
    output_add_text(object, "station", command->options.station);
    output_add_number(object, "stop", report->stop);
    output_add_number(object, "stops", report->stop_count);
    output_add_text(object, "digest_before", report->digest_before);
    output_add_text(object, "digest_after", report->digest_after);
    output_add_number(object, "definition_files", report->definition.files);
    output_add_number(object, "definition_bytes", report->definition.bytes);
    output_add_number(object, "result_files", report->results.files);
    output_add_number(object, "result_bytes", report->results.bytes);
    command_add_key(object, command->source, &report->token);
    return object;
}

void stop_command_add_signed(cJSON *object, const struct tt_stop_report *report)
{
    output_add_text(object, "base", report->base);
    output_add_hex(object, "result_hash", report->result_hash, sizeof report->result_hash);
    output_add_hex(object, "route_digest", report->route_digest, sizeof report->route_digest);
}
