#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_LIMIT = 48, FIRST_CODE = 256 };

struct table {
    const struct cli_option *options[OPTION_LIMIT];
    struct option longs[OPTION_LIMIT + 1];
    char shorts[2 * OPTION_LIMIT + 3];
    size_t count;
};

static void add_options(struct table *table, const struct cli_option *options)
{
    size_t used = strlen(table->shorts);
    for (const struct cli_option *option = options; option && option->name; option++) {
        bool has_value = option->kind != CLI_FLAG && option->kind != CLI_COUNT;
        table->longs[table->count] = (struct option){.name = option->name,
                                                     .has_arg = has_value ? required_argument : no_argument,
                                                     .val = FIRST_CODE + (int)table->count};
        table->options[table->count++] = option;
        if (option->letter)
            table->shorts[used++] = option->letter;
        if (option->letter && has_value)
            table->shorts[used++] = ':';
    }
}

static const struct cli_option *find_option(const struct table *table, int code)
{
    if (code >= FIRST_CODE)
        return table->options[code - FIRST_CODE];
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i]->letter == code)
            return table->options[i];
    return NULL;
}

static enum tt_status take_number(const struct cli_option *option, const char *text, struct tt_error *err)
{
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    bool is_number = !errno && end != text && !*end && number >= 0 && number <= INT_MAX;
    size_t length = strlen(option->name);
    if (!is_number && length > 3 && strcmp(option->name + length - 3, "-fd") == 0) /* perhaps a PIN: not repeated */
        return tt_error_set(err, TT_USAGE, "--%s takes the number of a file descriptor, never the secret itself",
                            option->name);
    if (!is_number)
        return tt_error_set(err, TT_USAGE, "--%s takes a whole number, not '%s'", option->name, text);
    *(int *)option->target = (int)number;
    return TT_OK;
}

static enum tt_status take(const struct cli_option *option, const char *value, struct tt_error *err)
{
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->target = true;
        return TT_OK;
    case CLI_COUNT:
        ++*(int *)option->target;
        return TT_OK;
    case CLI_TEXT:
        if (!*value)
            return tt_error_set(err, TT_USAGE, "--%s has an empty value", option->name);
        *(const char **)option->target = value;
        return TT_OK;
    case CLI_NUMBER:
        return take_number(option, value, err);
    case CLI_LIST: {
        struct cli_list *list = option->target;
        const char **grown = realloc(list->values, (list->count + 1) * sizeof *grown);
        if (!grown)
            return tt_error_memory(err);
        list->values = grown;
        list->values[list->count++] = value;
        return TT_OK;
    }
    }
    return tt_error_set(err, TT_INTERNAL, "unknown kind of option");
}

static enum tt_status take_operands(int argc, char **argv, const struct cli_usage *usage, const char **operands,
                                    struct tt_error *err)
{
    size_t count = (size_t)(argc - optind);
    size_t most = usage->operand_count;
    for (const char *place = usage->arguments; *place; place++)
        most += *place == '[';
    if (count < usage->operand_count)
        return tt_error_set(err, TT_USAGE, "%s is missing; see traintoken %s --help", usage->arguments, usage->command);
    if (count > most)
        return tt_error_set(err, TT_USAGE, "'%s' is one argument too many; see traintoken %s --help",
                            argv[optind + (int)most], usage->command);
    for (size_t i = 0; i < count; i++) {
        operands[i] = argv[optind + (int)i];
        if (!*operands[i])
            return tt_error_set(err, TT_USAGE, "%s is empty; see traintoken %s --help", usage->arguments,
                                usage->command);
    }
    return TT_OK;
}

static void print_options(const struct cli_option *options)
{
    for (const struct cli_option *option = options; option && option->name; option++) {
        char left[64];
        char letter[5] = "    ";
        if (option->letter)
            snprintf(letter, sizeof letter, "-%c, ", option->letter);
        snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name, option->argument ? " " : "",
                 option->argument ? option->argument : "");
        printf("%-30s %s\n", left, option->help);
    }
}

static void print_help(const struct cli_usage *usage, const struct cli_option *own, const struct cli_option *common)
{
    printf("usage: traintoken %s [OPTION]... %s\n\n%s\n\n", usage->command, usage->arguments, usage->summary);
    print_options(own);
    if (own && own->name)
        printf("\n");
    print_options(common);
}

enum tt_status cli_parse(int argc, char **argv, const struct cli_usage *usage, const struct cli_option *own,
                         const struct cli_option *common, const char **operands, bool *ret_help, struct tt_error *err)
{
    struct table table = {.shorts = ":"};
    add_options(&table, own);
    add_options(&table, common);
    opterr = 0;
    optind = 1;
    for (;;) {
        int before = optind;
        int code = getopt_long(argc, argv, table.shorts, table.longs, NULL);
        if (code == -1)
            break;
        const char *given = argv[before < argc ? before : argc - 1];
        if (code == '?')
            return tt_error_set(err, TT_USAGE, "unknown option '%s'; see traintoken %s --help", given, usage->command);
        if (code == ':')
            return tt_error_set(err, TT_USAGE, "option '%s' needs a value; see traintoken %s --help", given,
                                usage->command);
        const struct cli_option *option = find_option(&table, code);
        if (strcmp(option->name, "help") == 0) {
            print_help(usage, own, common);
            *ret_help = true;
            return TT_OK;
        }
        enum tt_status status = take(option, optarg, err);
        if (status != TT_OK)
            return status;
    }
    return take_operands(argc, argv, usage, operands, err);
}
