/* What a shell does in one line and C in many. */
#ifndef TT_TESTS_UNIT_RUN_COMMAND_H
#define TT_TESTS_UNIT_RUN_COMMAND_H

/* Has a shell run it, which must go well. At most 2,047 bytes. */
void run_command(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
