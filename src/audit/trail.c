#include "audit/trail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "audit/audit_inside.h"
#include "base/interrupt.h"
#include "base/text.h"

enum { FILE_LIMIT = 10000, LOCK_TRIES = 500, LOCK_PAUSE = 10000000 /* nanoseconds */, CHUNK = 65536 };

/* A file of the trail. */
struct part {
    char *path;
    int descriptor; /* -1 while it is not needed: a trail may have more files than a process may open */
    uint64_t size;  /* as it was when we came: more may be appended while we read */
};

struct reading {
    const struct tt_trail_options *options;
    struct part *parts; /* the newest first */
    size_t count;
    struct audit_chain chain;
    struct tt_trail_report report;
    struct tt_error breach; /* the first one */
    bool met_mark;
};

static void reading_clear(struct reading *reading)
{
    for (size_t i = 0; i < reading->count; i++) {
        free(reading->parts[i].path);
        if (reading->parts[i].descriptor >= 0)
            close(reading->parts[i].descriptor);
    }
    free(reading->parts);
    audit_chain_clear(&reading->chain);
}

/* Keeps the first break, and goes on. */
static enum tt_status note_break(struct reading *reading, const struct part *part, enum tt_status status,
                                 const struct tt_error *said, struct tt_error *err)
{
    if (status == TT_OK)
        return TT_OK;
    if (status != TT_TAMPERED) {
        if (err)
            *err = *said;
        return status;
    }
    if (reading->breach.status == TT_OK) {
        reading->breach = *said;
        (void)tt_error_context(&reading->breach, "%s", part->path);
    }
    return TT_OK;
}

/* Lines. */

/* A file's lines in turn. What is too long for a record comes in pieces. */
struct lines {
    const struct part *part;
    uint64_t left;
    char *data; /* up to CHUNK bytes beyond the longest record */
    size_t start, length;
    bool is_inside; /* the last piece was not a line's end */
};

static enum tt_status fill(struct lines *lines, struct tt_error *err)
{
    memmove(lines->data, lines->data + lines->start, lines->length);
    lines->start = 0;
    size_t wanted = lines->left < CHUNK ? (size_t)lines->left : CHUNK;
    ssize_t count = read(lines->part->descriptor, lines->data + lines->length, wanted);
    if (count < 0 && errno == EINTR)
        return tt_interrupt_check(err);
    if (count < 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", lines->part->path);
    lines->left = count == 0 ? 0 : lines->left - (uint64_t)count;
    lines->length += (size_t)count;
    return TT_OK;
}

/* The next piece; *ret_text is NULL at the end. */
static enum tt_status next_piece(struct lines *lines, const char **ret_text, size_t *ret_length, bool *ret_begins,
                                 bool *ret_ends, struct tt_error *err)
{
    const char *newline = NULL;
    size_t seen = 0;
    while (!(newline = memchr(lines->data + lines->start + seen, '\n', lines->length - seen)) && lines->left > 0 &&
           lines->length <= TT_AUDIT_LINE_LIMIT) {
        seen = lines->length;
        enum tt_status status = fill(lines, err);
        if (status != TT_OK)
            return status;
    }
    const char *text = lines->data + lines->start;
    size_t length = newline ? (size_t)(newline - text) : lines->length;
    size_t taken = length + (newline != NULL);
    *ret_text = taken > 0 ? text : NULL;
    *ret_length = length;
    *ret_begins = !lines->is_inside;
    *ret_ends = newline != NULL;
    lines->is_inside = newline == NULL;
    lines->start += taken;
    lines->length -= taken;
    return TT_OK;
}

static enum tt_status lines_begin(const struct part *part, struct lines *lines, struct tt_error *err)
{
    *lines = (struct lines){.part = part, .left = part->size, .data = malloc(TT_AUDIT_LINE_LIMIT + CHUNK + 1)};
    if (!lines->data)
        return tt_error_memory(err);
    if (lseek(part->descriptor, 0, SEEK_SET) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", part->path);
    return TT_OK;
}

static void lines_clear(struct lines *lines)
{
    free(lines->data);
}

/* Files. */

/* The size at a moment when nobody is in the middle of a record. */
static enum tt_status take_size(struct part *part, struct tt_error *err)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE};
    struct stat facts;
    for (int left = LOCK_TRIES; left > 0 && flock(part->descriptor, LOCK_SH | LOCK_NB) != 0; left--)
        nanosleep(&pause, NULL);
    int outcome = fstat(part->descriptor, &facts);
    flock(part->descriptor, LOCK_UN);
    if (outcome != 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", part->path);
    part->size = (uint64_t)facts.st_size;
    return TT_OK;
}

static enum tt_status open_part(struct part *part, struct tt_error *err)
{
    int folder TT_CLEANUP(tt_close_cleanup) = -1;
    const char *name = NULL;
    enum tt_status status = audit_folder_open(part->path, AUDIT_FOLDER_READ, &folder, &name, err);
    return status == TT_OK ? audit_file_open(folder, name, part->path, false, &part->descriptor, err) : status;
}

/* The newest file stays open: rotation may give it another name. */
static void close_part(const struct reading *reading, struct part *part)
{
    if (part == reading->parts || part->descriptor < 0)
        return;
    close(part->descriptor);
    part->descriptor = -1;
}

/* Takes over `path`. */
static enum tt_status add_part(struct reading *reading, char *path, struct tt_error *err)
{
    struct part *parts = path ? realloc(reading->parts, (reading->count + 1) * sizeof *parts) : NULL;
    if (!parts) {
        free(path);
        return tt_error_memory(err);
    }
    struct part *part = &parts[reading->count++];
    *part = (struct part){.path = path, .descriptor = -1};
    reading->parts = parts;
    enum tt_status status = open_part(part, err);
    return status == TT_OK ? take_size(part, err) : status;
}

static bool is_plain_name(const char *name)
{
    return *name && strlen(name) <= NAME_MAX && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The name of the file that the newest one so far continues, in new memory, or NULL. */
static enum tt_status read_continued(const struct part *part, char **ret_name, struct tt_error *err)
{
    struct lines lines TT_CLEANUP(lines_clear) = {0};
    struct audit_line line TT_CLEANUP(audit_line_clear) = {0};
    const char *text = NULL;
    size_t length = 0;
    bool begins = false;
    bool ends = false;
    enum tt_status status = lines_begin(part, &lines, err);
    if (status == TT_OK)
        status = next_piece(&lines, &text, &length, &begins, &ends, err);
    if (status != TT_OK || !text)
        return status;
    status = audit_line_parse(text, length, &line, NULL);
    if (status != TT_OK) /* what is no record continues nothing */
        return status == TT_INTERNAL ? tt_error_memory(err) : TT_OK;
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line.json, "continues"));
    if (strcmp(line.event, AUDIT_FIRST_EVENT) != 0 || !name)
        return TT_OK;
    if (!is_plain_name(name))
        return tt_error_set(err, TT_TAMPERED, "%s: it says that it continues '%.100s', which is no name of a file",
                            part->path, name);
    *ret_name = strdup(name);
    return *ret_name ? TT_OK : tt_error_memory(err);
}

static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return tt_text_format("%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name);
}

/* All files, back to the first one. */
static enum tt_status find_parts(struct reading *reading, const char *path, struct tt_error *err)
{
    enum tt_status status = add_part(reading, strdup(path), err);
    while (status == TT_OK && !reading->options->alone) {
        char *name TT_CLEANUP(tt_free_cleanup) = NULL;
        status = read_continued(&reading->parts[reading->count - 1], &name, err);
        close_part(reading, &reading->parts[reading->count - 1]);
        if (status != TT_OK || !name)
            break;
        if (reading->count == FILE_LIMIT)
            return tt_error_set(err, TT_TAMPERED, "%s: its files continue each other without an end", path);
        char *older = beside(path, name);
        if (older && access(older, F_OK) != 0 && errno == ENOENT) {
            status = tt_error_set(err, TT_TAMPERED,
                                  "%s continues %s, which is not there: bring it back, or look at this file alone "
                                  "(--alone)",
                                  reading->parts[reading->count - 1].path, older);
            free(older);
            return status;
        }
        status = add_part(reading, older, err);
    }
    return status;
}

/* Records. */

static void keep_time(const cJSON *json, char ret_time[TT_TRAIL_TIME_SIZE])
{
    const char *time = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "time"));
    tt_text_printable(time ? time : "", ret_time, TT_TRAIL_TIME_SIZE);
}

static void count_record(struct reading *reading, const struct audit_line *line)
{
    struct tt_trail_report *report = &reading->report;
    if (report->first == 0) {
        report->first = line->number;
        keep_time(line->json, report->first_time);
    }
    keep_time(line->json, report->last_time);
}

static enum tt_status check_mark(struct reading *reading, struct tt_error *err)
{
    const struct tt_trail_mark *mark = reading->options->mark;
    if (!mark || reading->chain.number != mark->records)
        return TT_OK;
    reading->met_mark = true;
    if (tt_digest_equal(reading->chain.hash, mark->hash, TT_SHA256_SIZE))
        return TT_OK;
    return tt_error_set(err, TT_TAMPERED,
                        "record %llu is not the one that the checkpoint vouches for: the trail was written anew",
                        (unsigned long long)mark->records);
}

static enum tt_status take_record(struct reading *reading, const struct part *part, const struct audit_line *line,
                                  const char *text, size_t length, struct tt_error *err)
{
    struct tt_error said = TT_ERROR_INIT;
    const struct tt_trail_options *options = reading->options;
    enum tt_status status = audit_chain_record(&reading->chain, line, text, length, &said);
    if (status == TT_OK)
        status = check_mark(reading, &said);
    status = note_break(reading, part, status, &said, err);
    count_record(reading, line);
    if (status != TT_OK || !options->visit)
        return status;
    const char *time = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line->json, "time"));
    const struct tt_trail_record record = {
        .number = line->number, .event = line->event, .time = time, .json = line->json};
    return options->visit(options->user, &record, err);
}

static enum tt_status read_part(struct reading *reading, const struct part *part, struct tt_error *err)
{
    struct lines lines TT_CLEANUP(lines_clear) = {0};
    const char *text = NULL;
    size_t length = 0;
    bool begins = false;
    bool ends = false;
    enum tt_status status = lines_begin(part, &lines, err);
    reading->chain.is_file_start = true;
    while (status == TT_OK) {
        status = next_piece(&lines, &text, &length, &begins, &ends, err);
        if (status == TT_OK)
            status = tt_interrupt_check(err);
        if (status != TT_OK || !text)
            break;
        struct audit_line line TT_CLEANUP(audit_line_clear) = {0};
        /* The last record may lack its line's end: who appends the next one takes it for one, too. */
        enum tt_status read = begins ? audit_line_parse(text, length, &line, NULL) : TT_MALFORMED;
        if (read == TT_INTERNAL)
            status = tt_error_memory(err);
        else if (read == TT_OK)
            status = take_record(reading, part, &line, text, length, err);
        else
            status = audit_chain_ruin(&reading->chain, text, length, begins, err);
    }
    return status;
}

/* A crash can only have ended the last file without its last record. */
static enum tt_status check_part_end(struct reading *reading, const struct part *part, struct tt_error *err)
{
    struct tt_error said = TT_ERROR_INIT;
    if (!reading->chain.ruin || part == reading->parts)
        return TT_OK;
    tt_digest_free(TT_TAKE(reading->chain.ruin));
    enum tt_status status = tt_error_set(&said, TT_TAMPERED, "it was closed, and does not end with a record");
    return note_break(reading, part, status, &said, err);
}

static enum tt_status check_end(struct reading *reading, const char *path, struct tt_error *err)
{
    const struct tt_trail_mark *mark = reading->options->mark;
    if (reading->report.first == 0 && reading->chain.ruin)
        return tt_error_set(err, TT_MALFORMED, "%s is no audit trail: it has no record", path);
    if (reading->breach.status != TT_OK) {
        if (err)
            *err = reading->breach;
        return TT_TAMPERED;
    }
    if (mark && !reading->met_mark && mark->records >= reading->report.first)
        return tt_error_set(err, TT_TAMPERED,
                            "%s: it was cut off: the checkpoint vouches for %llu records, and the last one here is "
                            "number %llu",
                            path, (unsigned long long)mark->records, (unsigned long long)reading->chain.number);
    if (mark && !reading->met_mark)
        return tt_error_set(err, TT_USAGE,
                            "%s: the checkpoint speaks of record %llu, which is in an earlier file; leave --alone away",
                            path, (unsigned long long)mark->records);
    return TT_OK;
}

enum tt_status tt_trail_read(const char *path, const struct tt_trail_options *options,
                             struct tt_trail_report *ret_report, struct tt_error *err)
{
    struct reading reading TT_CLEANUP(reading_clear) = {.options = options, .chain.takes_any = options->alone};
    enum tt_status status = find_parts(&reading, path, err);
    for (size_t i = reading.count; status == TT_OK && i-- > 0;) {
        struct part *part = &reading.parts[i];
        status = part->descriptor < 0 ? open_part(part, err) : TT_OK;
        if (status == TT_OK)
            status = read_part(&reading, part, err);
        close_part(&reading, part);
        if (status == TT_OK)
            status = check_part_end(&reading, part, err);
    }
    if (status == TT_OK)
        status = check_end(&reading, path, err);
    if (status != TT_OK)
        return status;
    reading.report.last.records = reading.chain.number;
    memcpy(reading.report.last.hash, reading.chain.hash, sizeof reading.report.last.hash);
    reading.report.files = reading.count;
    reading.report.recoveries = reading.chain.recoveries;
    reading.report.unfinished = reading.chain.ruin ? reading.chain.ruin_bytes : 0;
    *ret_report = reading.report;
    return TT_OK;
}
