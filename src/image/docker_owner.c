#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/text.h"
#include "crypto/digest.h"
#include "image/docker.h"
#include "json/json.h"

enum {
    BOOT_DIGITS = 8,
    HOST_DIGITS = 8,
    HOST_LIMIT = 64,
    STAT_LIMIT = 4096,
    DAY = 24 * 60 * 60,
    CONTAINER_ID_DIGITS = 12
};

static const char PREFIX[] = "traintoken.";

struct owner {
    char boot[BOOT_DIGITS + 1];
    uint64_t pids;
    uint64_t pid;
    uint64_t start;
    char host[HOST_LIMIT + 1];
};

/* A process's start time is field 22 of its stat, counted after the name, which may hold anything. */
static enum tt_status start_of(const char *path, uint64_t *ret_start, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_file_read(AT_FDCWD, path, STAT_LIMIT, &text, err);
    if (status != TT_OK)
        return status;
    const char *at = text.data ? strrchr((const char *)text.data, ')') : NULL;
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || at[1] < '0' || at[1] > '9')
        return tt_error_set(err, TT_INTERNAL, "%s is not in the form that is known of it", path);
    *ret_start = strtoull(at + 1, NULL, 10);
    return TT_OK;
}

static bool is_container_id(const char *host)
{
    return strlen(host) == CONTAINER_ID_DIGITS && strspn(host, "0123456789abcdef") == CONTAINER_ID_DIGITS;
}

/* Images carry the name along, and what a station's machine is called is nobody's business. */
static enum tt_status take_host(char host[HOST_LIMIT + 1], struct tt_error *err)
{
    char name[256] = "";
    uint8_t digest[TT_SHA256_SIZE];
    if (gethostname(name, sizeof name - 1) != 0)
        return tt_error_errno(err, TT_INTERNAL, "the name of this machine cannot be told");
    if (is_container_id(name)) {
        memcpy(host, name, CONTAINER_ID_DIGITS + 1);
        return TT_OK;
    }
    enum tt_status status = tt_digest_once(TT_SHA256, name, strlen(name), digest, err);
    host[0] = 'h';
    if (status == TT_OK)
        tt_hex_encode(digest, HOST_DIGITS / 2, host + 1);
    return status;
}

static enum tt_status this_process(struct owner *owner, struct tt_error *err)
{
    struct tt_buffer boot TT_CLEANUP(tt_buffer_clear) = {0};
    struct stat facts;
    enum tt_status status = tt_file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", STAT_LIMIT, &boot, err);
    if (status == TT_OK && boot.length < BOOT_DIGITS)
        status = tt_error_set(err, TT_INTERNAL, "the kernel's boot id is too short");
    if (status == TT_OK)
        status = start_of("/proc/self/stat", &owner->start, err);
    if (status != TT_OK)
        return status;
    if (stat("/proc/self/ns/pid", &facts) != 0)
        return tt_error_errno(err, TT_INTERNAL, "the pid namespace of this process cannot be told");
    memcpy(owner->boot, boot.data, BOOT_DIGITS);
    owner->boot[BOOT_DIGITS] = '\0';
    owner->pids = facts.st_ino;
    owner->pid = (uint64_t)getpid();
    return take_host(owner->host, err);
}

static char *prefix_of(const struct owner *owner)
{
    return tt_text_format("%s%s.%" PRIu64 ".%" PRIu64 ".%" PRIu64 ".%s.", PREFIX, owner->boot, owner->pids, owner->pid,
                          owner->start, owner->host);
}

enum tt_status tt_docker_owner_name(char **ret_name, struct tt_error *err)
{
    static atomic_uint number;
    struct owner owner = {0};
    enum tt_status status = this_process(&owner, err);
    if (status != TT_OK)
        return status;
    char *prefix TT_CLEANUP(tt_free_cleanup) = prefix_of(&owner);
    char *name = prefix ? tt_text_format("%s%u", prefix, atomic_fetch_add(&number, 1) + 1) : NULL;
    if (!name)
        return tt_error_memory(err);
    *ret_name = name;
    return TT_OK;
}

static bool take_number(const char **text, uint64_t *ret_number)
{
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > 19 || (*text)[digits] != '.')
        return false;
    *ret_number = strtoull(*text, NULL, 10);
    *text += digits + 1;
    return true;
}

static bool take_host_and_number(const char *text, struct owner *owner)
{
    size_t host = strspn(text, "0123456789abcdefh");
    size_t digits = text[host] == '.' ? strspn(text + host + 1, "0123456789") : 0;
    const char *end = text + host + 1 + digits;
    if (host == 0 || host > HOST_LIMIT || digits == 0 || (*end && *end != ' '))
        return false;
    memcpy(owner->host, text, host);
    owner->host[host] = '\0';
    return true;
}

static bool parse(const char *text, struct owner *owner)
{
    if (strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return false;
    text += sizeof PREFIX - 1;
    if (strspn(text, "0123456789abcdef") != BOOT_DIGITS || text[BOOT_DIGITS] != '.')
        return false;
    memcpy(owner->boot, text, BOOT_DIGITS);
    owner->boot[BOOT_DIGITS] = '\0';
    text += BOOT_DIGITS + 1;
    return take_number(&text, &owner->pids) && take_number(&text, &owner->pid) && take_number(&text, &owner->start) &&
           take_host_and_number(text, owner);
}

bool tt_docker_owner_is_ours(const char *text)
{
    struct owner owner = {0};
    return parse(text, &owner);
}

enum tt_status tt_docker_owner_is_self(const char *text, bool *ret_is_self, struct tt_error *err)
{
    struct owner self = {0};
    struct owner owner = {0};
    enum tt_status status = this_process(&self, err);
    if (status != TT_OK)
        return status;
    *ret_is_self = parse(text, &owner) && strcmp(owner.boot, self.boot) == 0 && owner.pids == self.pids &&
                   owner.pid == self.pid && owner.start == self.start;
    return TT_OK;
}

/* In this pid namespace. Where /proc hides the processes of others, one that is there counts as the one. */
static bool process_lives(const struct owner *owner)
{
    char path[64];
    uint64_t start = 0;
    if (owner->pid == 0 || owner->pid > INT32_MAX || (kill((pid_t)owner->pid, 0) != 0 && errno == ESRCH))
        return false;
    snprintf(path, sizeof path, "/proc/%" PRIu64 "/stat", owner->pid);
    return start_of(path, &start, NULL) != TT_OK || start == owner->start;
}

/* Of a container that ran under this kernel, only the engine knows. */
static enum tt_status container_lives(struct tt_docker_engine *engine, const char *id, bool *ret_lives,
                                      struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    int code = 0;
    enum tt_status status = tt_docker_path(&path, err, "/containers/%s/json", id);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data};
    status = tt_docker_call(engine, &request, &facts, &code, err);
    if (status != TT_OK && code != 404)
        return status;
    *ret_lives =
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(facts, "State"), "Running"));
    return TT_OK;
}

enum tt_status tt_docker_owner_lives(struct tt_docker_engine *engine, const char *text, int64_t age, bool *ret_lives,
                                     struct tt_error *err)
{
    struct owner self = {0};
    struct owner owner = {0};
    enum tt_status status = this_process(&self, err);
    if (status != TT_OK)
        return status;
    *ret_lives = true;
    if (!parse(text, &owner))
        return TT_OK;
    bool same_boot = strcmp(owner.boot, self.boot) == 0;
    *ret_lives = age < DAY;
    if (same_boot && owner.pids == self.pids)
        *ret_lives = process_lives(&owner);
    else if (same_boot && is_container_id(owner.host))
        status = container_lives(engine, owner.host, ret_lives, err);
    else if (!same_boot && strcmp(owner.host, self.host) == 0)
        *ret_lives = false;
    return status;
}
