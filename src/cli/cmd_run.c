#include <string.h>

#include "cli/run_options.h"
#include "cli/stop_command.h"
#include "cli/train_output.h"
#include "image/reference.h"
#include "image/registry.h"

/* What "run" takes beside the options of a stop, as it was given. */
struct run_words {
    struct cli_list env;
    struct cli_list env_file;
    struct cli_list volume;
    const char *gpus;
    const char *memory;
    const char *cpus;
    const char *timeout;
    const char *log;
    const char *against;
    bool pull;
    bool push;
};

struct run_command {
    struct stop_command stop;
    struct run_words words;
    struct run_environment environment;
    struct run_volumes volumes;
    struct tt_execution_options execution;
    struct train_output train;
    char *base; /* reference of the base image */
    struct tt_registry_login *login;
    struct tt_registry_login *base_login;
    struct tt_stop_report pre;
    double seconds;
};

static void run_command_clear(struct run_command *command)
{
    stop_command_clear(&command->stop);
    tt_stop_report_clear(&command->pre);
    run_environment_clear(&command->environment);
    run_volumes_clear(&command->volumes);
    train_output_clear(&command->train);
    tt_registry_login_free(command->login);
    tt_registry_login_free(command->base_login);
    free(command->base);
    free(command->words.env.values);
    free(command->words.env_file.values);
    free(command->words.volume.values);
}

/* --- what was asked for --- */

/* Files first, as docker does it: what is said by itself wins. */
static enum tt_status take_environment(struct run_command *command, struct tt_error *err)
{
    const struct run_words *words = &command->words;
    struct run_environment *environment = &command->environment;
    enum tt_status status = TT_OK;
    for (size_t i = 0; i < words->env_file.count && status == TT_OK; i++)
        status = run_environment_add_file(environment, words->env_file.values[i], err);
    for (size_t i = 0; i < words->env.count && status == TT_OK; i++)
        status = run_environment_add(environment, words->env.values[i], err);
    command->execution.environment = (const char *const *)environment->values;
    command->execution.environment_count = environment->count;
    return status;
}

static enum tt_status take_volumes(struct run_command *command, struct tt_error *err)
{
    const struct cli_list *list = &command->words.volume;
    enum tt_status status = TT_OK;
    for (size_t i = 0; i < list->count && status == TT_OK; i++)
        status = run_volumes_add(&command->volumes, list->values[i], err);
    command->execution.volumes = command->volumes.items;
    command->execution.volume_count = command->volumes.count;
    return status;
}

static enum tt_status take_limits(struct run_command *command, struct tt_error *err)
{
    const struct run_words *words = &command->words;
    struct tt_execution_options *execution = &command->execution;
    enum tt_status status = TT_OK;
    if (words->memory)
        status = run_parse_size("memory", words->memory, &execution->memory_bytes, err);
    if (status == TT_OK && words->cpus)
        status = run_parse_cpus("cpus", words->cpus, &execution->cpus_billionths, err);
    if (status == TT_OK && words->timeout)
        status = run_parse_duration("timeout", words->timeout, &execution->timeout_seconds, err);
    if (status == TT_OK && words->gpus)
        status = run_parse_gpus("gpus", words->gpus, &execution->gpus, err);
    return status;
}

/* The registry's logins come before anything else that is done, as helpers may ask for passwords of their own. */
static enum tt_status find_logins(struct run_command *command, struct tt_error *err)
{
    const struct tt_stop_options *options = &command->stop.options;
    enum tt_status status = TT_OK;
    if (command->words.pull && options->base)
        command->base = strdup(options->base);
    else if (command->words.pull)
        status = tt_image_reference_sibling(options->image, "base", &command->base, err);
    if (status == TT_OK && command->words.pull && !command->base)
        status = tt_error_memory(err);
    if (status == TT_OK && (command->words.pull || command->words.push))
        status = tt_registry_login_find(options->image, &command->login, err);
    if (status == TT_OK && command->words.pull)
        status = tt_registry_login_find(command->base, &command->base_login, err);
    return status;
}

/* Where the image lies shows in its name: nothing need be done to know that it cannot be run there. */
static enum tt_status check_place(const char *image, struct tt_error *err)
{
    struct tt_reference reference TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = tt_reference_parse(image, &reference, err);
    if (status != TT_OK || reference.kind == TT_REFERENCE_DOCKER)
        return status;
    return tt_error_set(err, TT_USAGE,
                        "%s cannot be run where it lies; bring it to a container engine, for example with 'skopeo copy "
                        "%s docker-daemon:NAME:TAG'",
                        image, image);
}

static enum tt_status prepare(struct run_command *command, const char *image, const struct output *output,
                              struct tt_error *err)
{
    enum tt_status status = take_limits(command, err);
    if (status == TT_OK)
        status = take_volumes(command, err);
    if (status == TT_OK)
        status = take_environment(command, err);
    if (status == TT_OK)
        status = check_place(image, err);
    if (status == TT_OK && command->words.against)
        status = tt_image_reference_check(command->words.against, err);
    if (status == TT_OK)
        status = stop_command_prepare(&command->stop, image, err);
    if (status == TT_OK)
        status = train_output_open(&command->train, command->words.log, err);
    if (status == TT_OK)
        status = find_logins(command, err);
    command->train.is_silent = output->quiet;
    command->execution.output = train_output_take;
    command->execution.user = &command->train;
    return status;
}

/* --- doing it --- */

static enum tt_status pull(const struct run_command *command, struct tt_error *err)
{
    const struct tt_stop_options *options = &command->stop.options;
    enum tt_status status = options->again ? TT_OK : tt_image_check_sent(options->image, err);
    if (status == TT_OK)
        status = tt_image_pull(options->image, options->platform, command->login, err);
    if (status == TT_OK)
        status = tt_image_pull(command->base, options->platform, command->base_login, err);
    return status;
}

/* Says where a failed train's output is, where nobody sees it. */
static enum tt_status point_to_log(const struct run_command *command, enum tt_status status, struct tt_error *err)
{
    char message[TT_ERROR_MESSAGE_SIZE];
    char detail[TT_ERROR_DETAIL_SIZE];
    if (status != TT_TRAIN_FAILED || !command->words.log)
        return status;
    memcpy(message, err->message, sizeof message);
    memcpy(detail, err->detail, sizeof detail);
    tt_error_set(err, status, "%s; its output is in %s", message, command->words.log);
    tt_error_detail(err, "%s", detail);
    return status;
}

static enum tt_status stop_here(struct run_command *command, struct tt_error *err)
{
    struct tt_run_options options = {
        .stop = command->stop.options, .execution = &command->execution, .against = command->words.against};
    struct tt_run_report report = {0};
    enum tt_status status = tt_run(&options, &report, err);
    if (status == TT_OK || status == TT_TRAIN_FAILED)
        train_output_end(&command->train);
    if (status != TT_OK)
        return point_to_log(command, status, err);
    command->pre = report.pre;
    command->stop.report = report.post;
    command->seconds = report.seconds;
    return TT_OK;
}

static enum tt_status push(const struct run_command *command, struct tt_error *err)
{
    const char *image = command->stop.options.image;
    enum tt_status status = tt_image_push(image, command->login, err);
    if (status == TT_OK)
        return TT_OK;
    return tt_error_context(err,
                            "the stop is done and %s holds the train for the way on, but it was not pushed "
                            "('traintoken push %s' tries again)",
                            image, image);
}

/* --- saying it --- */

static void print(const struct output *output, const struct run_command *command)
{
    const struct tt_stop_report *report = &command->stop.report;
    const char *image = command->stop.options.image;
    char results[64];
    output_line(output, "%s: verified, run for %.1f s, signed and encrypted at station '%s' (stop %zu of %zu)", image,
                command->seconds, command->stop.options.station, report->stop + 1, report->stop_count);
    output_line(output, "  results: %s", command_content(&report->results, results));
    output_line(output, "  key: %s, unwrapped once (padding: %s) and signed twice (padding: %s)",
                report->token.fingerprint, output_padding_name(command->pre.token.operations[0].padding_by),
                output_padding_name(report->token.operations[0].padding_by));
    if (command->words.push)
        output_line(output, "  pushed: the train is on its way");
    else
        output_line(output, "  next: %s",
                    report->stop + 1 < report->stop_count ? "hand the train on to its next stop"
                                                          : "hand the train back to its creator");
}

static void add_pre_run(cJSON *object, const struct tt_stop_report *pre)
{
    cJSON *member = cJSON_AddObjectToObject(object, "pre_run");
    output_add_text(member, "digest", pre->digest_after);
    output_add_number(member, "definition_files", pre->definition.files);
    output_add_number(member, "definition_bytes", pre->definition.bytes);
    output_add_number(member, "result_files", pre->results.files);
    output_add_number(member, "result_bytes", pre->results.bytes);
    output_add_token_use(member, &pre->token);
}

static void print_json(const struct output *output, const struct run_command *command)
{
    const struct tt_stop_report *report = &command->stop.report;
    cJSON *object = stop_command_json(&command->stop);
    stop_command_add_signed(object, report);
    add_pre_run(object, &command->pre);
    cJSON_AddBoolToObject(object, "pulled", command->words.pull);
    cJSON_AddBoolToObject(object, "pushed", command->words.push);
    output_add_number(object, "exit_code", 0);
    cJSON_AddNumberToObject(object, "seconds", command->seconds);
    output_result(output, "run", object);
}

static enum tt_status run_whole(struct output *output, struct run_command *command, const char *image,
                                struct tt_error *err)
{
    enum tt_status status = prepare(command, image, output, err);
    if (status == TT_OK && command->words.pull)
        status = pull(command, err);
    if (status == TT_OK)
        status = stop_here(command, err);
    if (status == TT_OK && command->words.push)
        status = push(command, err);
    if (status != TT_OK)
        return status;
    print(output, command);
    print_json(output, command);
    return TT_OK;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "run", "IMAGE",
        "A train's whole stop: verifies and decrypts it, runs it in the container engine, signs and encrypts its\n"
        "results. Without network and with read-only data, unless asked for. When it fails, the image is as it came.",
        1};
    struct run_command command TT_CLEANUP(run_command_clear) = {.stop = STOP_COMMAND_INIT, .train = TRAIN_OUTPUT_INIT};
    command.stop.key.keep_pin = true;
    struct run_words *words = &command.words;
    const struct cli_option options[] = {
        STOP_OPTION_ROWS(command.stop),
        {"base", 0, CLI_TEXT, &command.stop.options.base, "REF", "base image (default: the tag 'base' beside IMAGE)"},
        {"against", 0, CLI_TEXT, &words->against, "REF", "master image that the train must be built on"},
        {"pull", 0, CLI_FLAG, &words->pull, NULL, "first fetch the image and its base from their registry"},
        {"push", 0, CLI_FLAG, &words->push, NULL, "afterwards send the image to its registry"},
        {"env", 0, CLI_LIST, &words->env, "NAME=VALUE", "a variable for the train; NAME alone: this environment's"},
        {"env-file", 0, CLI_LIST, &words->env_file, "FILE", "variables for the train, one per line"},
        {"volume", 0, CLI_LIST, &words->volume, "SRC:DST[:ro|rw]",
         "a file or folder for the train (default: read-only)"},
        {"network", 0, CLI_TEXT, &command.execution.network, "NAME", "the engine's network (default: none at all)"},
        {"gpus", 0, CLI_TEXT, &words->gpus, "all|N", "graphics processors for the train"},
        {"memory", 0, CLI_TEXT, &words->memory, "SIZE", "most memory it may use, such as 512m or 2g"},
        {"cpus", 0, CLI_TEXT, &words->cpus, "N", "most processors it may use, such as 1.5"},
        {"timeout", 0, CLI_TEXT, &words->timeout, "TIME", "end it after 90s, 15m or 2h"},
        {"log", 0, CLI_TEXT, &words->log, "FILE", "keep its output here (default: shown on standard error)"},
        {0}};
    const struct cli_option *common = command_common_options(output, &command.stop.options.platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, &image, &help, err);
    return status == TT_OK && !help ? run_whole(output, &command, image, err) : status;
}

const struct command command_run = {"run", "do a whole stop: pre-run, the train's code, post-run", run};
