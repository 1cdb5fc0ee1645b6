#include <signal.h>
#include <string.h>

#include "base/interrupt.h"
#include "cli/command.h"
#include "cli/harden.h"

static const struct command *const commands[] = {
    &command_pre_run,       &command_post_run,     &command_run,
    &command_verify,        &command_inspect,      &command_seal,
    &command_results,       &command_pull,         &command_push,
    &command_clean,         &command_trust_add,    &command_trust_list,
    &command_trust_show,    &command_trust_remove, &command_trust_check,
    &command_trust_import,  &command_token_list,   &command_token_init,
    &command_token_set_pin, &command_key_generate, &command_key_import,
    &command_key_list,      &command_key_show,     &command_key_delete,
    &command_key_rename,    &command_key_check,    &command_key_export,
    &command_key_attest,    &command_key_enrol,    &command_doctor,
    &command_audit_verify,  &command_audit_show,   &command_audit_checkpoint,
    &command_audit_rotate,
};

/* These write no files and start no programs, and lose the right to before they look at a train. */
static const struct command *const readers[] = {&command_verify, &command_inspect, &command_audit_verify,
                                                &command_audit_show};

static bool only_reads(const struct command *command)
{
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        if (readers[i] == command)
            return true;
    return false;
}

static void print_overview(void)
{
    printf("usage: traintoken COMMAND [OPTION]... ARGUMENT\n\n"
           "Lets a station take part in the Personal Health Train with a private key that never leaves its token.\n\n"
           "commands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        printf("  %-13s  %s\n", commands[i]->name, commands[i]->summary);
    printf("\n  traintoken COMMAND --help   tells a command's options\n"
           "  traintoken --version        tells the version\n\n"
           "An image is named as NAME[:TAG], in the container engine, or as oci:DIR[:TAG].\n");
}

/* Whether commands start with this word, as "key generate" starts with "key". */
static bool is_group(const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strncmp(commands[i]->name, word, length) == 0 && commands[i]->name[length] == ' ')
            return true;
    return false;
}

/* `second` may be NULL. */
static const struct command *find_command(const char *first, const char *second)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s%s", first, second ? " " : "", second ? second : "");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* Ends as whoever sent the signal expects: killed by it, after the cleaning up. The first process of a container
 * cannot be: its signals have no default action. It ends with the status that a shell would show. */
static void die_of_signal(void)
{
    int number = tt_interrupt_signal();
    if (!number)
        return;
    signal(number, SIG_DFL);
    raise(number);
    exit(128 + number);
}

static int flush_output(int code, const struct output *output, const char *name)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    struct tt_error err = TT_ERROR_INIT;
    if (tt_error_errno(&err, TT_STORE,
                       "the result could not be written to standard output; the work itself was done") == TT_OK)
        return code;
    struct output plain = {.quiet = output->quiet};
    return code ? code : output_failure(&plain, name, &err);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct output output = {0};
    struct tt_error err = TT_ERROR_INIT;
    output_start(&output);
    if (only_reads(command))
        harden_read_only();
    enum tt_status status = command->run(&output, argc, argv, &err);
    if (status == TT_OK)
        return flush_output(0, &output, command->name);
    err.status = status;
    int code = output_failure(&output, command->name, &err);
    fflush(stdout);
    die_of_signal();
    return code;
}

/* Options that may stand before the command too, as in "traintoken --json verify IMAGE". */
static bool is_early_option(const char *word)
{
    static const char *const options[] = {"--json", "--quiet", "-q", "--verbose", "-v", "-vv"};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (strcmp(word, options[i]) == 0)
            return true;
    return false;
}

/* Moves the command in front of the options before it. Gives how many words it has. */
static int bring_command_forward(int argc, char **argv)
{
    int index = 1;
    while (index < argc && is_early_option(argv[index]))
        index++;
    if (index == argc)
        return 1;
    int words = is_group(argv[index]) && index + 1 < argc && argv[index + 1][0] != '-' ? 2 : 1;
    char *command[2] = {argv[index], words == 2 ? argv[index + 1] : NULL};
    memmove(&argv[1 + words], &argv[1], (size_t)(index - 1) * sizeof *argv);
    memcpy(&argv[1], command, (size_t)words * sizeof *argv);
    return words;
}

static void print_group(const char *word)
{
    size_t length = strlen(word);
    printf("usage: traintoken %s COMMAND [OPTION]... ARGUMENT\n\ncommands:\n", word);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strncmp(commands[i]->name, word, length) == 0 && commands[i]->name[length] == ' ')
            printf("  %-13s  %s\n", commands[i]->name, commands[i]->summary);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static int fail_usage(int argc, char **argv, const char *word, const char *second)
{
    struct output output = {0};
    for (int i = 1; i < argc; i++)
        output.json = output.json || strcmp(argv[i], "--json") == 0;
    struct tt_error err = TT_ERROR_INIT;
    if (word && is_group(word))
        tt_error_set(&err, TT_USAGE, "there is no command '%s%s%s'; see traintoken %s --help", word, second ? " " : "",
                     second ? second : "", word);
    else if (word)
        tt_error_set(&err, TT_USAGE, "there is no command '%s'; see traintoken --help", word);
    else
        tt_error_set(&err, TT_USAGE, "no command was given; see traintoken --help");
    return output_failure(&output, NULL, &err);
}

int main(int argc, char **argv)
{
    struct tt_error err = TT_ERROR_INIT;
    struct output plain = {0};
    if (harden_process(argc, argv, &err) != TT_OK)
        return output_failure(&plain, NULL, &err);
    tt_interrupt_catch();
    int words = bring_command_forward(argc, argv);
    const char *word = argc >= 2 ? argv[1] : NULL;
    const char *second = words == 2 ? argv[2] : NULL;
    const struct command *command = word ? find_command(word, second) : NULL;
    if (command)
        return run_command(command, argc - words, argv + words);
    if (word && is_group(word) && ((second && is_help(second)) || (argc >= 3 && is_help(argv[2]))))
        print_group(word);
    else if (word && strcmp(word, "--version") == 0)
        printf("traintoken %s\n", TT_VERSION);
    else if (word && is_help(word))
        print_overview();
    else
        return fail_usage(argc, argv, word, second);
    return 0;
}
