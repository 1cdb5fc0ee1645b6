#include "failing_memory.h"

#include <cjson/cJSON.h>
#include <execinfo.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_ulong left; /* until the one that fails; 0: none will */
static atomic_bool came;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t most);
FILE *__real_open_memstream(char **text, size_t *size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t most);
FILE *__wrap_open_memstream(char **text, size_t *size);

/* --- places --- */

enum { DEPTH = 24, PLACES = 1 << 14 };

static atomic_bool watching;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t places[PLACES];
static size_t place_count;
static atomic_ullong unlucky; /* the place that fails, once; 0: none does */

static uint64_t place(void)
{
    void *frames[DEPTH];
    int depth = backtrace(frames, DEPTH);
    uint64_t hash = 14695981039346656037U;
    for (int i = 0; i < depth; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 1099511628211U;
    return hash | 1;
}

static void note_place(void)
{
    uint64_t hash = place();
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < place_count && places[i] != hash)
        i++;
    if (i == place_count && i < PLACES)
        places[place_count++] = hash;
    pthread_mutex_unlock(&lock);
}

void failing_memory_watch(void)
{
    void *frames[2];
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = __wrap_malloc, .free_fn = free});
    (void)backtrace(frames, 2); /* the first time, it allocates itself */
    place_count = 0;
    atomic_store(&watching, true);
}

size_t failing_memory_places(void)
{
    atomic_store(&watching, false);
    return place_count;
}

void failing_memory_arm_place(size_t index)
{
    atomic_store(&came, false);
    atomic_store(&unlucky, places[index]);
}

static bool is_unlucky(void)
{
    unsigned long long wanted = atomic_load(&unlucky);
    return wanted != 0 && wanted == place() && atomic_compare_exchange_strong(&unlucky, &wanted, 0);
}

/* --- failing --- */

static bool fails(void)
{
    if (atomic_load(&watching))
        note_place();
    if (is_unlucky()) {
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

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t most)
{
    return fails() ? NULL : __real_strndup(text, most);
}

FILE *__wrap_open_memstream(char **text, size_t *size)
{
    return fails() ? NULL : __real_open_memstream(text, size);
}

void failing_memory_arm(unsigned long nth)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = __wrap_malloc, .free_fn = free});
    atomic_store(&came, false);
    atomic_store(&left, nth);
}

bool failing_memory_disarm(void)
{
    atomic_store(&left, 0);
    atomic_store(&unlucky, 0);
    return atomic_load(&came);
}

unsigned long failing_memory_count(void)
{
    return ULONG_MAX - atomic_load(&left);
}
