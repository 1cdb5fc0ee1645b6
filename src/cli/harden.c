#include "cli/harden.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/system_calls.h"

enum { KEPT_LIMIT = 64 };

/* A sanitizer traces its own process in search of leaks, and counts of coverage are written as the process ends. */
#ifdef TT_INSTRUMENTED
static const bool IS_INSTRUMENTED = true;
#else
static const bool IS_INSTRUMENTED = false;
#endif

static struct rlimit inherited_core_limit;

/* Whether the program's file gave the process capabilities. Those of a service (ambient ones) came from who started it,
 * and root's are its own. */
static bool has_file_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    if (!getauxval(AT_SECURE) || getuid() == 0 || syscall(SYS_capget, &header, sets) != 0)
        return false;
    for (unsigned i = 0; i < 32 * _LINUX_CAPABILITY_U32S_3; i++)
        if ((sets[i / 32].permitted >> i % 32 & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) != 1)
            return true;
    return false;
}

/* A program that runs with rights of another user must not take modules, sockets and folders from this one. */
static enum tt_status refuse_foreign_rights(struct tt_error *err)
{
    bool has_own_user = getuid() == geteuid() && getgid() == getegid();
    if (has_own_user && has_file_capabilities())
        return tt_error_set(err, TT_USAGE,
                            "traintoken must not have capabilities of its own: whoever starts it chooses the PKCS#11 "
                            "module; take them away (setcap -r), or start it by a service of the station's user");
    if (has_own_user)
        return TT_OK;
    return tt_error_set(err, TT_USAGE,
                        "traintoken must not be installed set-user-ID or set-group-ID: whoever starts it chooses the "
                        "PKCS#11 module; take that bit away, or start it by a service of the station's user");
}

/* A file that is opened must not become the standard error that messages are written to. */
static void open_standard_descriptors(void)
{
    int descriptor = 0;
    while (descriptor >= 0 && descriptor <= STDERR_FILENO)
        descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (descriptor > STDERR_FILENO)
        close(descriptor);
    /* Helper programs get them too. */
    for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
        (void)fcntl(standard, F_SETFD, 0);
}

struct kept {
    unsigned numbers[KEPT_LIMIT];
    size_t count;
};

/* A number at the start of `text`, with nothing behind it, unless more may follow. */
static void keep_number(struct kept *kept, const char *text, bool more_may_follow)
{
    char *end = NULL;
    long number = isdigit((unsigned char)text[0]) ? strtol(text, &end, 10) : -1;
    if (number > STDERR_FILENO && number < 1 << 20 && (more_may_follow || *end == '\0') && kept->count < KEPT_LIMIT)
        kept->numbers[kept->count++] = (unsigned)number;
}

/* Paths as /dev/fd/5, wherever they stand in a URI, and however it writes them. */
static void keep_paths(struct kept *kept, const char *text)
{
    while ((text = strcasestr(text, "fd")) != NULL) {
        text += 2;
        size_t slash = *text == '/' ? 1 : strncasecmp(text, "%2F", 3) == 0 ? 3 : 0;
        if (slash > 0)
            keep_number(kept, text + slash, true);
    }
}

/* A number that an argument gives on its own or behind "=" may be a descriptor, and so may one in a path. */
static void keep_descriptors(struct kept *kept, const char *argument)
{
    const char *equals = strrchr(argument, '=');
    keep_number(kept, equals ? equals + 1 : argument, false);
    keep_paths(kept, argument);
}

static int by_number(const void *one, const void *other)
{
    unsigned left = *(const unsigned *)one;
    unsigned right = *(const unsigned *)other;
    return (left > right) - (left < right);
}

/* Descriptors that nobody meant for us could be written to by mistake, or be handed on to a helper program. */
static void close_stray_descriptors(int argc, char *const *argv)
{
    struct kept kept = {0};
    const char *key = getenv("PRIVATE_KEY_PATH");
    for (int i = 1; i < argc; i++)
        keep_descriptors(&kept, argv[i]);
    keep_paths(&kept, key ? key : "");
    qsort(kept.numbers, kept.count, sizeof kept.numbers[0], by_number);
    unsigned next = STDERR_FILENO + 1;
    for (size_t i = 0; i < kept.count; i++) {
        if (kept.numbers[i] > next)
            (void)syscall(SYS_close_range, next, kept.numbers[i] - 1, 0);
        (void)fcntl((int)kept.numbers[i], F_SETFD, FD_CLOEXEC);
        next = kept.numbers[i] + 1;
    }
    (void)syscall(SYS_close_range, next, ~0U, 0);
}

/* Modules keep PINs in memory of their own. All of it is locked where there is no limit that a module could run into;
 * secrets of ours are locked one by one in any case (base/secret.h), with a warning where that fails. */
static void lock_memory(void)
{
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY)
        (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

enum tt_status harden_process(int argc, char *const *argv, struct tt_error *err)
{
    struct rlimit none = {0};
    (void)getrlimit(RLIMIT_CORE, &inherited_core_limit);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    enum tt_status status = refuse_foreign_rights(err);
    if (status != TT_OK)
        return status;
    umask(umask(077) | 022); /* what is secret is made 0600 where it is made, whatever the umask */
    open_standard_descriptors();
    close_stray_descriptors(argc, argv);
    mallopt(M_ARENA_MAX, 2); /* few threads need few heaps */
    lock_memory();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && !IS_INSTRUMENTED)
        system_calls_refuse();
    return TT_OK;
}

rlim_t harden_core_limit(void)
{
    return inherited_core_limit.rlim_cur;
}

/* --- Landlock --- */

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14) /* since Linux 6.2 */
#endif

static const uint64_t WRITING =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

static void allow(int rules, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0)
        return;
    (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

void harden_read_only(void)
{
    if (IS_INSTRUMENTED)
        return;
    system_calls_read_only(); /* what Landlock does not know of, and something where it is lacking */
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    uint64_t truncate = version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0;
    struct landlock_ruleset_attr wanted = {.handled_access_fs = WRITING | truncate};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &wanted, sizeof wanted, 0);
    if (rules < 0)
        return;
    const char *temporary = secure_getenv("TMPDIR");
    allow(rules, temporary && temporary[0] ? temporary : "/var/tmp",
          LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE | truncate);
    allow(rules, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE | truncate);
    (void)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}
