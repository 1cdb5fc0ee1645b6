#include <stdarg.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "image/docker_engine.h"

static const char *const part_names[DOCTOR_PARTS] = {"token", "images", "machine"};

/* Findings. */

void doctor_begin(struct doctor *doctor, enum doctor_part part, const char *name)
{
    doctor->part = part;
    snprintf(doctor->name, sizeof doctor->name, "%s", name);
    doctor_patience_next(&doctor->patience, name);
}

static void add(struct doctor *doctor, enum tt_verdict verdict, enum tt_status status, const char *text)
{
    struct doctor_finding *grown = realloc(doctor->findings, (doctor->count + 1) * sizeof *grown);
    char *safe = malloc(4 * strlen(text) + 1); /* \xNN for a byte at most */
    doctor->is_incomplete = doctor->is_incomplete || !grown || !safe;
    if (grown)
        doctor->findings = grown;
    if (!grown || !safe) {
        free(safe);
        return;
    }
    tt_text_printable(text, safe, 4 * strlen(text) + 1);
    struct doctor_finding *finding = &doctor->findings[doctor->count++];
    *finding = (struct doctor_finding){.part = doctor->part, .verdict = verdict, .status = status, .says = safe};
    memcpy(finding->name, doctor->name, sizeof finding->name);
}

void doctor_say(struct doctor *doctor, enum tt_verdict verdict, const char *format, ...)
{
    char text[2 * TT_ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(doctor, verdict, TT_OK, text);
}

void doctor_wrong(struct doctor *doctor, enum tt_status status, const char *format, ...)
{
    char text[2 * TT_ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(doctor, TT_VERDICT_WRONG, status, text);
}

void doctor_fail_as(struct doctor *doctor, enum tt_verdict verdict, const struct tt_error *failure, const char *advice)
{
    char text[2 * TT_ERROR_MESSAGE_SIZE];
    bool has_detail = failure->detail[0];
    snprintf(text, sizeof text, "%s%s%s%s%s%s", failure->message, has_detail ? " (" : "", failure->detail,
             has_detail ? ")" : "", advice ? "; " : "", advice ? advice : "");
    add(doctor, verdict, verdict == TT_VERDICT_WRONG ? failure->status : TT_OK, text);
}

void doctor_fail(struct doctor *doctor, const struct tt_error *failure, const char *advice)
{
    doctor_fail_as(doctor, TT_VERDICT_WRONG, failure, advice);
}

static void doctor_clear(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->count; i++)
        free(doctor->findings[i].says);
    free(doctor->findings);
    doctor_patience_end(&doctor->patience);
}

/* What the libraries would warn of during a run is a finding too, once. No check logs from another thread than this
 * one. */
static bool is_said(const struct doctor *doctor, const char *message)
{
    for (size_t i = 0; i < doctor->count; i++)
        if (strcmp(doctor->findings[i].says, message) == 0)
            return true;
    return false;
}

static void hear(void *user, enum tt_log_level level, const char *message)
{
    struct doctor *doctor = user;
    if (level == TT_LOG_WARNING && !is_said(doctor, message))
        doctor_say(doctor, TT_VERDICT_WARNING, "%s", message);
    else if (level != TT_LOG_WARNING && doctor->output->verbose >= (level == TT_LOG_INFO ? 1 : 2))
        fprintf(stderr, "traintoken: %s\n", message);
}

/* What it says. */

static const struct doctor_finding *print(const struct output *output, const struct doctor *doctor, cJSON *list,
                                          size_t *counts)
{
    static const char *const headings[DOCTOR_PARTS] = {"key and token", "images", "this machine"};
    const struct doctor_finding *first_wrong = NULL;
    for (int part = 0; part < DOCTOR_PARTS; part++) {
        output_line(output, "%s", headings[part]);
        for (size_t i = 0; i < doctor->count; i++) {
            const struct doctor_finding *finding = &doctor->findings[i];
            if ((int)finding->part != part)
                continue;
            const char *verdict = tt_verdict_name(finding->verdict);
            counts[finding->verdict]++;
            if (finding->verdict == TT_VERDICT_WRONG && !first_wrong)
                first_wrong = finding;
            output_line(output, "  %-7s  %-23s  %s", verdict, finding->name, finding->says);
            cJSON *one = cJSON_CreateObject();
            cJSON_AddStringToObject(one, "part", part_names[part]);
            cJSON_AddStringToObject(one, "name", finding->name);
            cJSON_AddStringToObject(one, "verdict", verdict);
            cJSON_AddNumberToObject(one, "code", finding->status);
            output_add_text(one, "says", finding->says);
            cJSON_AddItemToArray(list, one);
        }
    }
    return first_wrong;
}

static enum tt_status conclude(struct output *output, const struct doctor_options *options, const struct doctor *doctor,
                               struct tt_error *err)
{
    size_t counts[TT_VERDICT_WRONG + 1] = {0};
    cJSON *object TT_CLEANUP(cli_json_cleanup) = cJSON_CreateObject();
    output_add_text(object, "station", options->station);
    output_add_text(object, "image", options->image);
    output_add_text(object, "policy", options->policy_file);
    cJSON *list = cJSON_AddArrayToObject(object, "findings");
    const struct doctor_finding *wrong = print(output, doctor, list, counts);
    output_add_number(object, "ok", counts[TT_VERDICT_OK]);
    output_add_number(object, "warnings", counts[TT_VERDICT_WARNING]);
    output_add_number(object, "wrong", counts[TT_VERDICT_WRONG]);
    if (doctor->is_incomplete)
        return tt_error_memory(err);
    if (wrong) {
        output->facts = TT_TAKE(object);
        return tt_error_set(err, wrong->status, "%zu of %zu findings are wrong, the first being '%s': %s",
                            counts[TT_VERDICT_WRONG], doctor->count, wrong->name, wrong->says);
    }
    output_line(output, "nothing is wrong%s", counts[TT_VERDICT_WARNING] ? ", with the warnings above" : "");
    output_result(output, "doctor", TT_TAKE(object));
    return TT_OK;
}

/* The module comes last: once one is loaded, no program is started any more. */
static enum tt_status examine(struct doctor *doctor, const struct doctor_options *options, struct tt_error *err)
{
    struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
    doctor_machine(doctor, options);
    enum tt_status status = tt_interrupt_check(err);
    if (status == TT_OK)
        doctor_images(doctor, options->image, &engine);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        doctor_registry(doctor, options->image, engine);
    if (status == TT_OK)
        doctor_clock(doctor);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        doctor_token(doctor, options);
    return status == TT_OK ? tt_interrupt_check(err) : status;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "doctor", "",
        "Looks at the whole station: module, token, PIN, key, images, registry, folders, clock and limits. One "
        "finding\n"
        "per line, each that is not ok with what to do. No PIN is tried where a wrong one was tried before.",
        0};
    struct doctor_options options = {.key = KEY_OPTIONS_INIT};
    const struct cli_option own[] = {
        KEY_OPTION_ROWS(options.key),
        AUDIT_OPTION_ROWS(options.audit),
        {"station", 0, CLI_TEXT, &options.station, "ID", "this station, as the route names it (STATION_ID)"},
        {"state", 0, CLI_TEXT, &options.state, "DIR", "the station's memory (TRAINTOKEN_STATE)"},
        {"image", 0, CLI_TEXT, &options.image, "IMAGE", "a train to look for, and its registry"},
        {"policy", 0, CLI_TEXT, &options.policy_file, "FILE", "wishes (JSON) for the key, as in key check"},
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    struct doctor doctor TT_CLEANUP(doctor_clear) = {.output = output};
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, NULL, &help, err);
    if (status != TT_OK || help)
        return status;
    if (options.image)
        status = tt_image_reference_check(options.image, err);
    if (status == TT_OK && options.policy_file)
        status = tt_policy_read(options.policy_file, &options.policy, err);
    if (status != TT_OK)
        return status;
    if (command_station(options.station, &options.station, NULL) != TT_OK)
        options.station = NULL;
    tt_log_set_sink(hear, &doctor);
    if (!output->quiet)
        doctor_patience_start(&doctor.patience);
    status = examine(&doctor, &options, err);
    doctor_patience_end(&doctor.patience);
    output_start(output);
    return status == TT_OK ? conclude(output, &options, &doctor, err) : status;
}

const struct command command_doctor = {"doctor", "look at the whole station", run};
