#include "audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/audit_inside.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

struct tt_audit {
    char *path;
    const char *name; /* in the folder: the end of path */
    bool make_folder;
    int folder; /* -1 before the first record */
    int file;
    struct audit_channel channel;
    struct audit_member context[AUDIT_FACT_LIMIT];
    size_t count;
    size_t process_count; /* of them, that tell of the process */
    uint64_t last;        /* number of the last record of ours */
    dev_t synced_device;  /* the file whose name is on disk for sure */
    ino_t synced_file;
    bool lacks_memory;
    bool has_failed;
};

enum tt_status tt_audit_copy_parse(const char *word, enum tt_audit_copy *ret_copy, struct tt_error *err)
{
    static const char *const words[] = {"file", "syslog", "journald"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i]) == 0) {
            *ret_copy = (enum tt_audit_copy)i;
            return TT_OK;
        }
    return tt_error_set(err, TT_USAGE, "--audit-log takes file, syslog or journald, not '%.64s'", word);
}

/* What every record says of this process. */

static uint64_t login_user(void)
{
    char text[32] = "";
    int descriptor TT_CLEANUP(tt_close_cleanup) = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
    ssize_t length = descriptor >= 0 ? read(descriptor, text, sizeof text - 1) : 0;
    return length > 0 ? strtoull(text, NULL, 10) : UINT32_MAX;
}

static void note_process(struct tt_audit *audit)
{
    char host[256] = "";
    char room[4096];
    struct passwd entry;
    struct passwd *user = NULL;
    uint64_t login = login_user();
    gethostname(host, sizeof host - 1);
    if (getpwuid_r(geteuid(), &entry, room, sizeof room, &user) != 0)
        user = NULL;
    const struct tt_audit_fact facts[] = {
        {.name = "host", .kind = TT_AUDIT_TEXT, .text = host},
        {.name = "user", .kind = TT_AUDIT_TEXT, .text = user ? user->pw_name : NULL},
        {.name = "uid", .kind = TT_AUDIT_NUMBER, .number = geteuid()},
        {.name = "pid", .kind = TT_AUDIT_NUMBER, .number = (uint64_t)getpid()},
        {.name = "version", .kind = TT_AUDIT_TEXT, .text = TT_VERSION},
        {.name = "login_uid", .kind = TT_AUDIT_NUMBER, .number = login}, /* who logged in, behind sudo */
    };
    tt_audit_context(audit, facts, login == UINT32_MAX ? 5 : 6);
}

enum tt_status tt_audit_new(const char *path, bool make_folder, enum tt_audit_copy copy, struct tt_audit **ret_audit,
                            struct tt_error *err)
{
    if (!*path)
        return tt_error_set(err, TT_USAGE, "the name of the audit trail is empty");
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = calloc(1, sizeof *audit);
    if (!audit)
        return tt_error_memory(err);
    audit->folder = audit->file = audit->channel.socket = -1;
    audit->channel.kind = copy;
    audit->make_folder = make_folder;
    audit->path = strdup(path);
    if (!audit->path)
        return tt_error_memory(err);
    note_process(audit);
    audit->process_count = audit->count;
    *ret_audit = TT_TAKE(audit);
    return TT_OK;
}

static void member_clear(struct audit_member *member)
{
    free(member->value);
    free(member->text);
}

void tt_audit_free(struct tt_audit *audit)
{
    if (!audit)
        return;
    for (size_t i = 0; i < audit->count; i++)
        member_clear(&audit->context[i]);
    audit_channel_close(&audit->channel);
    if (audit->file >= 0)
        close(audit->file);
    if (audit->folder >= 0)
        close(audit->folder);
    free(audit->path);
    free(audit);
}

bool tt_audit_has_failed(const struct tt_audit *audit)
{
    return audit->has_failed;
}

static void keep(struct tt_audit *audit, const struct tt_audit_fact *fact)
{
    char *value = NULL;
    size_t at = 0;
    while (at < audit->count && strcmp(audit->context[at].name, fact->name) != 0)
        at++;
    if (at == AUDIT_FACT_LIMIT || audit_fact_value(fact, &value, NULL) != TT_OK) {
        audit->lacks_memory = true;
        return;
    }
    if (at == audit->count)
        audit->context[audit->count++] = (struct audit_member){.name = fact->name};
    member_clear(&audit->context[at]);
    audit->context[at].value = value;
    bool has_text = fact->kind == TT_AUDIT_TEXT && fact->text;
    audit->context[at].text = has_text ? strdup(fact->text) : NULL;
    audit->lacks_memory = audit->lacks_memory || (has_text && !audit->context[at].text);
}

void tt_audit_context(struct tt_audit *audit, const struct tt_audit_fact *facts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        keep(audit, &facts[i]);
}

void tt_audit_context_add(struct tt_audit *audit, const char *name, const char *text)
{
    char all[TT_AUDIT_TEXT_LIMIT + 1];
    const char *before = NULL;
    for (size_t i = 0; i < audit->count; i++)
        if (strcmp(audit->context[i].name, name) == 0)
            before = audit->context[i].text;
    snprintf(all, sizeof all, "%s%s%s", before ? before : "", before ? ", " : "", text);
    const struct tt_audit_fact fact = {.name = name, .kind = TT_AUDIT_TEXT, .text = all};
    keep(audit, &fact);
}

/* Opening and locking. */

static void let_go(struct tt_audit *audit)
{
    if (audit->file >= 0)
        close(audit->file); /* and with it the lock */
    audit->file = -1;
}

/* A trail that is rotated while we wait for its lock is another file afterwards. */
static enum tt_status open_and_lock(struct tt_audit *audit, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    if (audit->folder < 0)
        status = audit_folder_open(audit->path, audit->make_folder ? AUDIT_FOLDER_MAKE : AUDIT_FOLDER_WRITE,
                                   &audit->folder, &audit->name, err);
    for (bool moved = true; status == TT_OK && moved;) {
        status = audit_file_open(audit->folder, audit->name, audit->path, true, &audit->file, err);
        if (status == TT_OK)
            status = audit_file_lock(audit->file, audit->folder, audit->name, audit->path, &moved, err);
        if (status != TT_OK || moved)
            let_go(audit);
    }
    return status;
}

/* Closed files. */

bool tt_audit_is_closed_name(const char *path, uint64_t number)
{
    char ending[24];
    size_t wanted = (size_t)snprintf(ending, sizeof ending, ".%llu", (unsigned long long)number);
    size_t length = strlen(path);
    return length > wanted && strcmp(path + length - wanted, ending) == 0;
}

/* Whatever came after the last record of a closed file would break the chain: the next file goes on from there. Killed
 * halfway, rotation leaves such a name on the file that goes on itself. */
static bool is_closed(const struct tt_audit *audit, const struct audit_end *end)
{
    struct stat held;
    struct stat next;
    char current[NAME_MAX + 1];
    if (!tt_audit_is_closed_name(audit->name, end->place.number))
        return false;
    snprintf(current, sizeof current, "%.*s", (int)(strrchr(audit->name, '.') - audit->name), audit->name);
    return fstat(audit->file, &held) == 0 && fstatat(audit->folder, current, &next, AT_SYMLINK_NOFOLLOW) == 0 &&
           (held.st_dev != next.st_dev || held.st_ino != next.st_ino);
}

/* Appending. */

/* Adds one line to *text and goes on to its place. */
static enum tt_status add_line(const struct tt_audit *audit, struct audit_place *place, const char *event,
                               const struct tt_audit_fact *facts, size_t count, struct tt_buffer *text,
                               struct tt_error *err)
{
    size_t start = text->length;
    if (place->number >= AUDIT_NUMBER_LIMIT)
        return tt_error_set(err, TT_STORE, "the audit trail %s has no number left for a record", audit->path);
    bool of_trail = strcmp(event, AUDIT_FIRST_EVENT) == 0 || strcmp(event, AUDIT_RECOVERY_EVENT) == 0;
    enum tt_status status = audit_line_make(place, event, facts, count, audit->context,
                                            of_trail ? audit->process_count : audit->count, text, err);
    if (status == TT_OK && text->length - start > TT_AUDIT_LINE_LIMIT)
        status = tt_error_set(err, TT_STORE, "the record is too long");
    if (status == TT_OK)
        status = tt_digest_once(TT_SHA256, text->data + start, text->length - start - 1, place->hash, err);
    place->number++;
    place->has_previous = true;
    return status;
}

/* What must stand before the record: a first one in an empty file, and one about a ruin. */
static enum tt_status add_preparation(const struct tt_audit *audit, struct audit_end *end, struct tt_buffer *text,
                                      struct tt_error *err)
{
    const struct tt_audit_fact ruin = {
        .name = "ruined_bytes", .kind = TT_AUDIT_NUMBER, .number = end->ruin - (end->lacks_newline ? 0 : 1)};
    if (end->size == 0)
        return add_line(audit, &end->place, AUDIT_FIRST_EVENT, NULL, 0, text, err);
    enum tt_status status = end->lacks_newline ? tt_buffer_append(text, "\n", 1, err) : TT_OK;
    if (end->ruin == 0)
        return status;
    return status == TT_OK ? add_line(audit, &end->place, AUDIT_RECOVERY_EVENT, &ruin, 1, text, err) : status;
}

/* On disk, with the name that leads to it: whoever made or rotated the file may have been killed before that. */
static enum tt_status sync_trail(struct tt_audit *audit, struct tt_error *err)
{
    struct stat facts;
    bool fails = fsync(audit->file) != 0 || fstat(audit->file, &facts) != 0;
    if (!fails && (facts.st_dev != audit->synced_device || facts.st_ino != audit->synced_file)) {
        fails = fsync(audit->folder) != 0 && errno != EINVAL;
        audit->synced_device = facts.st_dev;
        audit->synced_file = facts.st_ino;
    }
    return fails ? tt_error_errno(err, TT_STORE, "cannot write the audit trail %s to disk", audit->path) : TT_OK;
}

/* The lines of `text`: the last one is of `event`, others prepared for it. */
static enum tt_status send_copies(struct tt_audit *audit, const struct tt_buffer *text, const char *preparation,
                                  const char *event, struct tt_error *err)
{
    const char *line = (const char *)text->data;
    const char *end = line + text->length;
    enum tt_status status = TT_OK;
    while (status == TT_OK && line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)(newline - line);
        if (length > 0) /* the end of a line before it is none */
            status = audit_channel_send(&audit->channel, newline + 1 == end ? event : preparation, line, length, err);
        line = newline + 1;
    }
    return status;
}

static enum tt_status append(struct tt_audit *audit, const char *event, const struct tt_audit_fact *facts, size_t count,
                             struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct audit_end end = {0};
    enum tt_status status = audit_channel_open(&audit->channel, err);
    if (status == TT_OK)
        status = open_and_lock(audit, err);
    if (status == TT_OK)
        status = audit_end_read(audit->file, audit->path, &end, err);
    if (status == TT_OK && is_closed(audit, &end))
        status = tt_error_set(err, TT_STORE,
                              "%s was closed by rotation; name the file that the trail goes on in (the same name "
                              "without the number)",
                              audit->path);
    if (status == TT_OK && end.place.number < audit->last)
        status = tt_error_set(err, TT_STORE, "the audit trail %s lost records while it was in use", audit->path);
    bool is_new = status == TT_OK && end.size == 0;
    if (status == TT_OK && end.ruin > 0)
        tt_log(TT_LOG_WARNING, "the audit trail %s ended with a record that was never finished; that is recorded",
               audit->path);
    if (status == TT_OK)
        status = add_preparation(audit, &end, &text, err);
    if (status == TT_OK)
        status = add_line(audit, &end.place, event, facts, count, &text, err);
    if (status == TT_OK)
        status = tt_file_write_all(audit->file, text.data, text.length, audit->path, err);
    if (status == TT_OK)
        status = sync_trail(audit, err);
    if (status == TT_OK)
        audit->last = end.place.number;
    let_go(audit);
    if (status == TT_OK)
        status = send_copies(audit, &text, is_new ? AUDIT_FIRST_EVENT : AUDIT_RECOVERY_EVENT, event, err);
    return status;
}

enum tt_status tt_audit_write(struct tt_audit *audit, const char *event, const struct tt_audit_fact *facts,
                              size_t count, struct tt_error *err)
{
    struct tt_error said = TT_ERROR_INIT;
    enum tt_status status = audit->lacks_memory ? tt_error_memory(&said) : append(audit, event, facts, count, &said);
    if (status == TT_OK)
        return TT_OK;
    audit->has_failed = true;
    if (err)
        *err = said;
    (void)tt_error_context(err, "what is about to happen cannot be recorded");
    return status;
}

/* Rotating. */

/* The new trail's file, under another name as yet. *text gets its record. */
static enum tt_status write_successor(const struct tt_audit *audit, const struct audit_end *end, const char *fresh,
                                      const char *old_name, struct tt_buffer *text, struct tt_error *err)
{
    char hash[AUDIT_HASH_SIZE];
    struct audit_place place = end->place;
    audit_hash_text(place.hash, hash);
    const struct tt_audit_fact facts[] = {{.name = "continues", .kind = TT_AUDIT_TEXT, .text = old_name},
                                          {.name = "continues_hash", .kind = TT_AUDIT_TEXT, .text = hash}};
    enum tt_status status = add_line(audit, &place, AUDIT_FIRST_EVENT, facts, 2, text, err);
    if (status != TT_OK)
        return status;
    unlinkat(audit->folder, fresh, 0); /* left by a killed one; others wait for our lock */
    int file TT_CLEANUP(tt_close_cleanup) =
        openat(audit->folder, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return tt_error_errno(err, TT_STORE, "cannot make a new audit trail beside %s", audit->path);
    status = tt_file_write_all(file, text->data, text->length, audit->path, err);
    if (status == TT_OK && fsync(file) != 0)
        status = tt_error_errno(err, TT_STORE, "cannot write the audit trail %s to disk", audit->path);
    return status;
}

/* The old file gets its second name before the new one takes the first. */
static enum tt_status swap(const struct tt_audit *audit, const char *fresh, const char *old_name, struct tt_error *err)
{
    struct stat held;
    struct stat named;
    bool is_named = fstat(audit->file, &held) == 0 &&
                    fstatat(audit->folder, old_name, &named, AT_SYMLINK_NOFOLLOW) == 0 && held.st_dev == named.st_dev &&
                    held.st_ino == named.st_ino; /* by a killed one */
    if (!is_named && linkat(audit->folder, audit->name, audit->folder, old_name, 0) != 0)
        return tt_error_errno(err, TT_STORE, "cannot give the audit trail %s the name %s", audit->path, old_name);
    if (renameat(audit->folder, fresh, audit->folder, audit->name) != 0)
        return tt_error_errno(err, TT_STORE, "cannot begin a new audit trail %s", audit->path);
    if (fsync(audit->folder) != 0 && errno != EINVAL)
        tt_log(TT_LOG_WARNING, "the audit trail is rotated, but the disk does not say that it will last");
    return TT_OK;
}

/* What the successor's record says as it is. */
static bool can_be_recorded(const char *name)
{
    char printable[NAME_MAX + 1];
    tt_text_printable(name, printable, sizeof printable);
    return strcmp(name, printable) == 0;
}

static enum tt_status rotate(struct tt_audit *audit, char **ret_old, struct tt_error *err)
{
    struct audit_end end;
    struct tt_error said = TT_ERROR_INIT;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = audit_end_read(audit->file, audit->path, &end, err);
    if (status == TT_OK && (end.size == 0 || end.ruin > 0 || end.lacks_newline))
        return tt_error_set(err, TT_USAGE, "%s %s; there is nothing to rotate before the next record was written to it",
                            audit->path, end.size == 0 ? "is empty" : "ends with a record that was never finished");
    if (status == TT_OK && is_closed(audit, &end))
        return tt_error_set(err, TT_USAGE, "%s is closed already; the trail goes on beside it", audit->path);
    if (status != TT_OK)
        return status;
    char *old TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("%s.%llu", audit->path, (unsigned long long)end.place.number);
    char *fresh TT_CLEANUP(tt_free_cleanup) = tt_text_format(".%s.new", audit->name);
    if (!old || !fresh)
        return tt_error_memory(err);
    const char *slash = strrchr(old, '/');
    const char *old_name = slash ? slash + 1 : old;
    if (!can_be_recorded(old_name))
        return tt_error_set(err, TT_USAGE,
                            "the name of %s has characters that a record cannot tell, or is too long, so that nothing "
                            "would lead to the old file; rename it (mv) and rotate again",
                            audit->path);
    status = write_successor(audit, &end, fresh, old_name, &text, err);
    if (status == TT_OK)
        status = swap(audit, fresh, old_name, err);
    if (status != TT_OK) {
        unlinkat(audit->folder, fresh, 0);
        return status;
    }
    if (send_copies(audit, &text, AUDIT_FIRST_EVENT, AUDIT_FIRST_EVENT, &said) != TT_OK)
        tt_log(TT_LOG_WARNING, "the audit trail is rotated, but that has no copy: %s", said.message);
    *ret_old = TT_TAKE(old);
    return TT_OK;
}

enum tt_status tt_audit_rotate(struct tt_audit *audit, char **ret_old, struct tt_error *err)
{
    struct stat facts;
    if (stat(audit->path, &facts) != 0)
        return tt_error_errno(err, errno == ENOENT ? TT_USAGE : TT_STORE, "there is no audit trail %s", audit->path);
    enum tt_status status = audit_channel_open(&audit->channel, err);
    if (status == TT_OK)
        status = open_and_lock(audit, err);
    if (status == TT_OK)
        status = rotate(audit, ret_old, err);
    let_go(audit);
    return status;
}
