/* Options of a sub-command as a table: what is parsed is what --help shows. */
#ifndef TT_CLI_OPTIONS_H
#define TT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum cli_kind { CLI_FLAG, CLI_COUNT, CLI_TEXT, CLI_NUMBER, CLI_LIST };

/* The values of an option that may be given several times; they are argv's own. */
struct cli_list {
    const char **values;
    size_t count;
};

struct cli_option {
    const char *name; /* long form; NULL ends a table */
    char letter;      /* short form, or 0 */
    enum cli_kind kind;
    void *target;         /* bool, int, const char *, int or struct cli_list, by kind */
    const char *argument; /* what --help calls the value */
    const char *help;
};

struct cli_usage {
    const char *command;   /* "pre-run" */
    const char *arguments; /* "IMAGE"; in brackets, "[IMAGE]", each that may be left out */
    const char *summary;   /* a sentence or a few */
    size_t operand_count;  /* how many arguments there must be beside options */
};

/* Parses argv (argv[0] being the sub-command) by two tables. Operands come in operands[], of which those that
 * are left out stay as they were. When help was asked for it is
 * written to standard output, *ret_help set, and nothing else checked. TT_USAGE. */
TT_MUST_USE enum tt_status cli_parse(int argc, char **argv, const struct cli_usage *usage, const struct cli_option *own,
                                     const struct cli_option *common, const char **operands, bool *ret_help,
                                     struct tt_error *err);

#endif
