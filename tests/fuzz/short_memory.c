#include "short_memory.h"

#include <limits.h>

#include "failing_calls.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { TRIES = 1 };
#else
enum { TRIES = 12 };
#endif

static uint32_t hash_of(const uint8_t *data, size_t size)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 16777619U;
    return hash;
}

void short_memory_try(const uint8_t *data, size_t size, short_memory_reader read)
{
    uint32_t hash = hash_of(data, size);
    failing_calls_arm(ULONG_MAX);
    (void)read(data, size, NULL);
    unsigned long count = failing_calls_count();
    (void)failing_calls_disarm();
    for (int i = 0; i < TRIES && count > 0; i++, hash = hash * 1664525U + 1013904223U) {
        struct tt_error err = TT_ERROR_INIT;
        failing_calls_arm(1 + (hash >> 8) % count);
        enum tt_status status = read(data, size, &err);
        if (failing_calls_disarm() && status != TT_OK && !err.message[0])
            abort();
    }
}
