#include "base/secret.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

void tt_wipe(void *data, size_t length)
{
    if (length > 0)
        explicit_bzero(data, length);
}

static size_t mapping_size(size_t capacity)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (capacity + page - 1) / page * page;
}

/* The kernel's flags are a bonus that may be missing; the lock is what the operator should hear about. */
static void protect(void *memory, size_t size)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (mlock(memory, size) != 0 && !atomic_flag_test_and_set(&warned))
        tt_log(TT_LOG_WARNING, "secrets cannot be locked in memory and might be swapped out; raise the limit on locked "
                               "memory (ulimit -l)");
    (void)madvise(memory, size, MADV_DONTDUMP);
    (void)madvise(memory, size, MADV_WIPEONFORK);
}

enum tt_status tt_secret_new(size_t capacity, struct tt_secret **ret_secret, struct tt_error *err)
{
    struct tt_secret *secret = calloc(1, sizeof *secret);
    if (!secret || capacity == 0 || capacity > SIZE_MAX / 2) {
        free(secret);
        return tt_error_memory(err);
    }
    size_t size = mapping_size(capacity);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(secret);
        return tt_error_memory(err);
    }
    protect(memory, size);
    secret->data = memory;
    secret->capacity = capacity;
    *ret_secret = secret;
    return TT_OK;
}

void tt_secret_free(struct tt_secret *secret)
{
    if (!secret)
        return;
    if (secret->data) {
        size_t size = mapping_size(secret->capacity);
        tt_wipe(secret->data, size);
        munmap(secret->data, size);
    }
    free(secret);
}
