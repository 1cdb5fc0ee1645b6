#include "failing_calls.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <execinfo.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_ulong left; /* until the one that fails; 0: none will */
static atomic_bool came;

/* --- places --- */

enum { DEPTH = 24, PLACES = 1 << 14 };

struct place {
    uint64_t hash;      /* of all who called */
    const void *caller; /* the last of them */
    const char *name;   /* the function that was called */
};

static atomic_bool watching;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct place places[PLACES];
static size_t place_count;
static _Atomic(const struct place *) unlucky; /* the place that fails, once; NULL: none does */
static const void *beginning;
static atomic_bool interrupts; /* it is interrupted instead */

void failing_calls_begin(const void *caller)
{
    beginning = caller;
}

/* From the caller upwards: what is below it is of this file. */
static uint64_t hash_of_callers(const void *caller)
{
    void *frames[DEPTH];
    int depth = backtrace(frames, DEPTH);
    int i = 0;
    while (i < depth && frames[i] != caller)
        i++;
    if (i == depth)
        abort();
    uint64_t hash = 14695981039346656037U;
    for (; i < depth && frames[i] != beginning; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211U;
    return hash;
}

static void note_place(const char *name, const void *caller)
{
    uint64_t hash = hash_of_callers(caller);
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < place_count && places[i].hash != hash)
        i++;
    if (i == place_count && i < PLACES)
        places[place_count++] = (struct place){.hash = hash, .caller = caller, .name = name};
    pthread_mutex_unlock(&lock);
}

static bool is_unlucky(const void *caller)
{
    const struct place *wanted = atomic_load(&unlucky);
    return wanted && wanted->caller == caller && wanted->hash == hash_of_callers(caller) &&
           atomic_compare_exchange_strong(&unlucky, &wanted, NULL);
}

void failing_calls_watch(void)
{
    void *frames[2];
    (void)backtrace(frames, 2); /* the first time, it allocates itself */
    place_count = 0;
    atomic_store(&watching, true);
}

size_t failing_calls_places(void)
{
    atomic_store(&watching, false);
    return place_count;
}

const char *failing_calls_name(size_t index)
{
    return places[index].name;
}

void failing_calls_arm_place(size_t index, bool only_interrupted)
{
    atomic_store(&came, false);
    atomic_store(&interrupts, only_interrupted);
    atomic_store(&unlucky, &places[index]);
}

/* --- failing --- */

bool failing_calls_now(const char *name, const void *caller)
{
    if (atomic_load(&watching))
        note_place(name, caller);
    if (is_unlucky(caller)) {
        atomic_store(&came, true);
        return true;
    }
    unsigned long now = atomic_load(&left);
    while (now > 0 && !atomic_compare_exchange_weak(&left, &now, now - 1))
        ;
    if (now != 1)
        return false;
    atomic_store(&came, true);
    return true;
}

int failing_calls_errno(int number)
{
    errno = atomic_load(&interrupts) ? EINTR : number;
    return -1;
}

void failing_calls_arm(unsigned long nth)
{
    atomic_store(&came, false);
    atomic_store(&left, nth);
}

bool failing_calls_disarm(void)
{
    atomic_store(&left, 0);
    atomic_store(&unlucky, NULL);
    return atomic_load(&came);
}

unsigned long failing_calls_count(void)
{
    return ULONG_MAX - atomic_load(&left);
}

/* --- memory --- */

FAILING_CALL(void *, NULL, malloc, (size_t size), (size))
FAILING_CALL(void *, NULL, calloc, (size_t count, size_t size), (count, size))
FAILING_CALL(void *, NULL, realloc, (void *old, size_t size), (old, size))
FAILING_CALL(void *, NULL, reallocarray, (void *old, size_t count, size_t size), (old, count, size))
FAILING_CALL(char *, NULL, strdup, (const char *text), (text))
FAILING_CALL(char *, NULL, strndup, (const char *text, size_t most), (text, most))
FAILING_CALL(FILE *, NULL, open_memstream, (char **text, size_t *size), (text, size))
FAILING_CALL(int, -1, vasprintf, (char **text, const char *format, va_list values), (text, format, values))
FAILING_CALL(int, -1, __vasprintf_chk, (char **text, int flag, const char *format, va_list values),
             (text, flag, format, values))

static void __attribute__((constructor)) take_memory_of_json(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = __wrap_malloc, .free_fn = free});
}
