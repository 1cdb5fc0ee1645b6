/* Scope cleanup and the function attributes used everywhere (GNU C). */
#ifndef TT_BASE_CLEANUP_H
#define TT_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TT_MUST_USE __attribute__((warn_unused_result))
#define TT_PRINTF(position, first) __attribute__((__format__(__printf__, position, first)))

/* TT_CLEANUP(function) variable: function(&variable) runs when the variable leaves its scope. */
#define TT_CLEANUP(function) __attribute__((cleanup(function)))

/* Defines function_cleanup(type *) for a free function that takes NULL. */
#define TT_DEFINE_CLEANUP(type, function)                                                                              \
    static inline void function##_cleanup(type *variable)                                                              \
    {                                                                                                                  \
        function(*variable);                                                                                           \
    }

static inline void tt_free_cleanup(void *variable)
{
    free(*(void **)variable);
}

/* For a file descriptor; -1 means none. */
static inline void tt_close_cleanup(int *variable)
{
    if (*variable >= 0)
        close(*variable);
}

static inline void tt_fclose_cleanup(FILE **variable)
{
    if (*variable)
        fclose(*variable);
}

/* Hands a pointer's ownership on: *variable becomes NULL, so that its cleanup finds nothing. */
#define TT_TAKE(variable)                                                                                              \
    __extension__({                                                                                                    \
        __typeof__(variable) tt_taken_ = (variable);                                                                   \
        (variable) = NULL;                                                                                             \
        tt_taken_;                                                                                                     \
    })

#endif
