/* Calls that fail on demand: of those that this project's own code makes, the one asked for fails. The program is
 * linked with --wrap for each of them (cmake/House.cmake): those that take memory in failing_calls.c, those of
 * libcrypto, the disk and the rest of the machine in failing_outside.c. */
#ifndef TT_TESTS_UNIT_FAILING_CALLS_H
#define TT_TESTS_UNIT_FAILING_CALLS_H

#include <stdbool.h>
#include <stddef.h>

/* From here on the nth call (from 1) of any thread fails, and none after it. */
void failing_calls_arm(unsigned long nth);
/* Nothing fails any more. True when that call came. */
bool failing_calls_disarm(void);
/* How many calls there were since ULONG_MAX was armed. */
unsigned long failing_calls_count(void);

/* From here on calls are watched. */
void failing_calls_watch(void);
/* Nothing is watched any more. How many places there were that calls came from: a place is all the functions that were
 * being called, so what a loop does again and again is one. */
size_t failing_calls_places(void);
/* Who called is told apart up to the function that returns to this address. */
void failing_calls_begin(const void *caller);
/* The function that is called from there. */
const char *failing_calls_name(size_t index);
/* From here on the next call from that place fails, whatever order threads come in, and none after it. Where errno
 * tells why, it is EINTR if `only_interrupted`. */
void failing_calls_arm_place(size_t index, bool only_interrupted);

/* --- for the wrappers --- */

/* Whether this call of `name`, which returns to `caller`, is the one. */
bool failing_calls_now(const char *name, const void *caller);
/* Sets errno to this number, or EINTR. Returns -1. */
int failing_calls_errno(int number);

/* The wrapper of a function: what it returns, and what when it fails. House.cmake reads the name, the third word of a
 * line that begins with FAILING_CALL. */
#define FAILING_CALL(type, failure, name, parameters, arguments)                                                       \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        if (failing_calls_now(#name, __builtin_return_address(0)))                                                     \
            return (failure);                                                                                          \
        return __real_##name arguments;                                                                                \
    }

#endif
