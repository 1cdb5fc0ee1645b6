#include <fcntl.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "audit/audit.h"
#include "audit/audit_inside.h"
#include "audit/checkpoint.h"
#include "audit/trail.h"
#include "base/file.h"
#include "base/text.h"
#include "suite.h"

static char folder[64];
static char trail[128];

static void begin_test(void)
{
    strcpy(folder, "/tmp/traintoken-audit-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(trail, sizeof trail, "%s/audit.jsonl", folder);
}

static void end_test(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static struct tt_audit *open_trail(void)
{
    struct tt_audit *audit = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_audit_new(trail, false, TT_AUDIT_FILE_ONLY, &audit, NULL), TT_OK);
    return audit;
}

static struct tt_audit_fact text_fact(const char *name, const char *text)
{
    return (struct tt_audit_fact){.name = name, .kind = TT_AUDIT_TEXT, .text = text};
}

static void write_event(const char *event, const char *what)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    const struct tt_audit_fact fact = text_fact("what", what);
    CU_ASSERT_EQUAL_FATAL(tt_audit_write(audit, event, &fact, 1, NULL), TT_OK);
}

static void write_some(size_t count)
{
    for (size_t i = 0; i < count; i++)
        write_event("decision", i % 2 ? "odd" : "even");
}

static struct tt_buffer read_file(const char *path)
{
    struct tt_buffer text = {0};
    CU_ASSERT_EQUAL_FATAL(tt_file_read(AT_FDCWD, path, 1 << 24, &text, NULL), TT_OK);
    return text;
}

static void put_file(const char *path, const void *data, size_t length)
{
    int file TT_CLEANUP(tt_close_cleanup) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CU_ASSERT_FATAL(file >= 0);
    CU_ASSERT_EQUAL_FATAL(tt_file_write_all(file, data, length, path, NULL), TT_OK);
}

static void append_file(const char *path, const void *data, size_t length)
{
    int file TT_CLEANUP(tt_close_cleanup) = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    CU_ASSERT_FATAL(file >= 0);
    CU_ASSERT_EQUAL_FATAL(tt_file_write_all(file, data, length, path, NULL), TT_OK);
}

static enum tt_status verify(const struct tt_trail_mark *mark, struct tt_trail_report *report, struct tt_error *err)
{
    const struct tt_trail_options options = {.mark = mark};
    struct tt_trail_report ignored;
    return tt_trail_read(trail, &options, report ? report : &ignored, err);
}

static struct tt_trail_report verified(void)
{
    struct tt_trail_report report = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(verify(NULL, &report, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(err.message, "");
    return report;
}

static void broken(enum tt_status wanted, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(verify(NULL, NULL, &err), wanted);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    if (!strstr(err.message, words))
        fprintf(stderr, "\n  '%s' says nothing of '%s'\n", err.message, words);
}

static void cannot_write(const char *words)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_audit_write(audit, "decision", NULL, 0, &err), TT_STORE);
    CU_ASSERT_TRUE(tt_audit_has_failed(audit));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    if (!strstr(err.message, words))
        fprintf(stderr, "\n  '%s' says nothing of '%s'\n", err.message, words);
}

/* A member of record `number`, in new memory; "" where it has none. */
struct wanted {
    uint64_t number;
    const char *name;
    char *value;
};

static enum tt_status take_wanted(void *user, const struct tt_trail_record *record, struct tt_error *err)
{
    struct wanted *wanted = user;
    (void)err;
    if (record->number != wanted->number)
        return TT_OK;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(record->json, wanted->name);
    wanted->value =
        item ? strdup(cJSON_IsBool(item) ? cJSON_IsTrue(item) ? "true" : "false" : item->valuestring) : NULL;
    return TT_OK;
}

static void has(uint64_t number, const char *name, const char *value)
{
    struct wanted wanted = {.number = number, .name = name};
    const struct tt_trail_options options = {.visit = take_wanted, .user = &wanted};
    struct tt_trail_report report;
    CU_ASSERT_EQUAL(tt_trail_read(trail, &options, &report, NULL), TT_OK);
    if (value)
        CU_ASSERT_PTR_NOT_NULL_FATAL(wanted.value);
    if (value)
        CU_ASSERT_STRING_EQUAL(wanted.value, value);
    if (!value)
        CU_ASSERT_PTR_NULL(wanted.value);
    free(wanted.value);
}

/* --- writing --- */

static void facts_and_context(void)
{
    static const uint8_t bytes[] = {0xAB, 0x01};
    begin_test();
    struct tt_audit *audit = open_trail();
    CU_ASSERT_NOT_EQUAL(access(trail, F_OK), 0); /* nothing is touched before the first record */
    const struct tt_audit_fact context[] = {text_fact("train", "one"), text_fact("station", NULL)};
    tt_audit_context(audit, context, 2);
    tt_audit_context_add(audit, "checked", "a");
    tt_audit_context_add(audit, "checked", "b");
    const struct tt_audit_fact facts[] = {
        {.name = "bytes", .kind = TT_AUDIT_HEX, .data = bytes, .length = sizeof bytes},
        {.name = "count", .kind = TT_AUDIT_NUMBER, .number = UINT64_MAX},
        {.name = "flag", .kind = TT_AUDIT_FLAG, .number = 1},
        {.name = "none", .kind = TT_AUDIT_HEX},
        text_fact("hostile", "a\"b\\c\n\x1b[2J\xff"),
        text_fact("train", "two"),
    };
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", facts, 6, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "end", NULL, 0, NULL), TT_OK);
    tt_audit_free(audit);
    has(1, "event", "trail");
    has(1, "train", NULL); /* it tells of the process only */
    has(2, "bytes", "ab01");
    has(2, "count", "18446744073709551615");
    has(2, "flag", "true");
    has(2, "none", NULL);
    has(2, "hostile", "a\"b\\c\\x0a\\x1b[2J\\xff");
    has(2, "train", "two");
    has(2, "checked", "a, b");
    has(2, "version", TT_VERSION);
    has(3, "train", "one");
    has(3, "station", NULL);
    struct stat facts_of_file;
    CU_ASSERT_EQUAL(stat(trail, &facts_of_file), 0);
    CU_ASSERT_EQUAL(facts_of_file.st_mode & 07777, 0600);
    end_test();
}

static void long_text_is_cut(void)
{
    begin_test();
    char text[5000];
    memset(text, '"', sizeof text);
    text[sizeof text - 1] = '\0';
    struct tt_audit *audit = open_trail();
    struct tt_audit_fact facts[AUDIT_FACT_LIMIT];
    static const char names[AUDIT_FACT_LIMIT][4] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"};
    for (size_t i = 0; i < 13; i++)
        facts[i] = text_fact(names[i], text);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", facts, 13, NULL), TT_OK);
    text[TT_AUDIT_TEXT_LIMIT] = '\0';
    has(2, "m", text);
    /* Too many to remember: better none at all than a record that lacks some. */
    for (size_t i = 0; i < 2 * AUDIT_FACT_LIMIT; i++) {
        static char more[2 * AUDIT_FACT_LIMIT][8];
        snprintf(more[i], sizeof more[i], "n%zu", i);
        facts[0] = text_fact(more[i], "x");
        tt_audit_context(audit, facts, 1);
    }
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", NULL, 0, NULL), TT_INTERNAL);
    tt_audit_free(audit);
    end_test();
}

static void two_writers_take_turns(void)
{
    begin_test();
    struct tt_audit *one = open_trail();
    struct tt_audit *other = open_trail();
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(tt_audit_write(one, "key", NULL, 0, NULL), TT_OK);
        CU_ASSERT_EQUAL(tt_audit_write(other, "decision", NULL, 0, NULL), TT_OK);
    }
    tt_audit_free(one);
    tt_audit_free(other);
    CU_ASSERT_EQUAL(verified().last.records, 11);
    end_test();
}

static void an_empty_file_becomes_a_trail(void)
{
    begin_test();
    put_file(trail, "", 0);
    CU_ASSERT_EQUAL(verified().first, 0);
    write_some(1);
    CU_ASSERT_EQUAL(verified().last.records, 2);
    end_test();
}

static void folders_are_made_where_that_is_asked(void)
{
    begin_test();
    struct tt_audit *audit = NULL;
    char path[160];
    snprintf(path, sizeof path, "%s/a/b/audit.jsonl", folder);
    CU_ASSERT_EQUAL_FATAL(tt_audit_new(path, false, TT_AUDIT_FILE_ONLY, &audit, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", NULL, 0, NULL), TT_STORE);
    tt_audit_free(audit);
    CU_ASSERT_EQUAL_FATAL(tt_audit_new(path, true, TT_AUDIT_FILE_ONLY, &audit, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", NULL, 0, NULL), TT_OK);
    tt_audit_free(audit);
    CU_ASSERT_EQUAL(tt_audit_new("", true, TT_AUDIT_FILE_ONLY, &audit, NULL), TT_USAGE);
    end_test();
}

static void files_that_are_not_ours(void)
{
    begin_test();
    put_file(trail, "# something else\n", 17);
    cannot_write("does not end with a record");
    put_file(trail, "{}\n", 3);
    cannot_write("does not end with a record");
    CU_ASSERT_EQUAL(unlink(trail), 0);
    CU_ASSERT_EQUAL(symlink("/dev/null", trail), 0);
    cannot_write("symbolic link");
    CU_ASSERT_EQUAL(unlink(trail), 0);
    CU_ASSERT_EQUAL(mkfifo(trail, 0600), 0);
    cannot_write("not a regular file");
    CU_ASSERT_EQUAL(unlink(trail), 0);
    CU_ASSERT_EQUAL(mkdir(trail, 0700), 0);
    cannot_write("cannot write");
    CU_ASSERT_EQUAL(rmdir(trail), 0);
    write_some(1);
    CU_ASSERT_EQUAL(chmod(trail, 0620), 0);
    cannot_write("others may write");
    CU_ASSERT_EQUAL(chmod(trail, 0640), 0); /* auditors may read */
    write_some(1);
    CU_ASSERT_EQUAL(chmod(folder, 0777), 0);
    cannot_write("everybody may write to the folder");
    (void)verified(); /* reading is another thing */
    CU_ASSERT_EQUAL(chmod(folder, 01777), 0);
    write_some(1);
    if (geteuid() == 0) {
        CU_ASSERT_EQUAL(chown(trail, 12345, 12345), 0);
        cannot_write("audit.jsonl belongs to user 12345");
        CU_ASSERT_EQUAL(chown(trail, 0, 0), 0);
        CU_ASSERT_EQUAL(chown(folder, 12345, 12345), 0);
        cannot_write("the folder of the audit trail");
        (void)verified();
    }
    end_test();
}

static void records_that_vanish_meanwhile(void)
{
    begin_test();
    write_some(3);
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_audit_write(audit, "begin", NULL, 0, NULL), TT_OK);
    CU_ASSERT_EQUAL(unlink(trail), 0);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", NULL, 0, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "lost records while it was in use"));
    end_test();
}

/* --- what a crash leaves --- */

static void ends(const void *data, size_t length, uint64_t unfinished)
{
    begin_test();
    write_some(2);
    append_file(trail, data, length);
    struct tt_trail_report report = verified();
    CU_ASSERT_EQUAL(report.unfinished, unfinished);
    CU_ASSERT_EQUAL(report.last.records, 3);
    write_some(2);
    report = verified();
    CU_ASSERT_EQUAL(report.unfinished, 0);
    CU_ASSERT_EQUAL(report.recoveries, 1);
    CU_ASSERT_EQUAL(report.last.records, 6);
    has(4, "event", "recovered");
    end_test();
}

static void lines_that_were_never_finished(void)
{
    static const char zeros[20000];
    ends("{\"number\":4,\"prev", 17, 17);
    ends("\0\0\0\0", 4, 4);
    ends(zeros, sizeof zeros, sizeof zeros); /* more than the first look */
    ends("x\n", 2, 1);
    ends("\n", 1, 0);
    ends("one\ntwo\n\nthree", 14, 14);
    ends("one\ntwo\n\nthree\n", 15, 14);
}

static void a_recovery_is_interrupted_too(void)
{
    begin_test();
    write_some(2);
    append_file(trail, "{\"numb", 6);
    append_file(trail, "\n{\"number\":4,\"previous\":\"sha256:00", 34);
    write_some(1);
    CU_ASSERT_EQUAL(verified().recoveries, 1);
    append_file(trail, "again", 5);
    write_some(1);
    CU_ASSERT_EQUAL(verified().recoveries, 2);
    end_test();
}

static void the_first_record_was_never_finished(void)
{
    begin_test();
    put_file(trail, "{\"number\":1,\"previous\":null,\"ti", 31);
    broken(TT_MALFORMED, "no audit trail");
    write_some(1);
    CU_ASSERT_EQUAL(verified().recoveries, 1);
    has(1, "event", "recovered");
    put_file(trail, "\0\0\0", 3);
    write_some(1);
    CU_ASSERT_EQUAL(verified().recoveries, 1);
    end_test();
}

/* A complete record that lacks its line's end was never acted upon; with the next one it is read all the same. */
static void a_record_without_its_end(void)
{
    begin_test();
    write_some(2);
    struct tt_buffer text = read_file(trail);
    put_file(trail, text.data, text.length - 1);
    CU_ASSERT_EQUAL(verified().last.records, 3);
    write_some(1);
    struct tt_trail_report report = verified();
    CU_ASSERT_EQUAL(report.last.records, 4);
    CU_ASSERT_EQUAL(report.recoveries, 0);
    tt_buffer_clear(&text);
    end_test();
}

/* --- tampering --- */

enum { LINES = 6 };

/* The lines of the trail, with their ends. */
struct cut {
    struct tt_buffer text;
    const char *lines[LINES];
    size_t lengths[LINES];
};

static void cut_trail(struct cut *cut)
{
    *cut = (struct cut){.text = read_file(trail)};
    const char *at = (const char *)cut->text.data;
    for (size_t i = 0; i < LINES; i++) {
        const char *end = strchr(at, '\n') + 1;
        cut->lines[i] = at;
        cut->lengths[i] = (size_t)(end - at);
        at = end;
    }
}

static void put_lines(const struct cut *cut, const size_t *order, size_t count)
{
    put_file(trail, "", 0);
    for (size_t i = 0; i < count; i++)
        append_file(trail, cut->lines[order[i]], cut->lengths[order[i]]);
}

static void missing_and_moved_lines(void)
{
    begin_test();
    write_some(LINES - 1);
    struct tt_trail_mark mark = verified().last;
    struct cut cut;
    cut_trail(&cut);
    for (size_t gone = 0; gone < LINES; gone++) {
        size_t order[LINES];
        size_t count = 0;
        for (size_t i = 0; i < LINES; i++)
            if (i != gone)
                order[count++] = i;
        put_lines(&cut, order, count);
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(verify(NULL, NULL, &err), gone == LINES - 1 ? TT_OK : TT_TAMPERED);
        CU_ASSERT_EQUAL(verify(&mark, NULL, &err), TT_TAMPERED);
    }
    for (size_t one = 0; one < LINES; one++) {
        size_t twice[] = {0, 1, 2, 3, 4, 5, 5};
        for (size_t i = LINES; i > one; i--)
            twice[i] = i - 1;
        put_lines(&cut, twice, LINES + 1);
        broken(TT_TAMPERED, one == 0 ? "begins another trail" : "follows on record");
    }
    for (size_t one = 0; one + 1 < LINES; one++) {
        size_t order[] = {0, 1, 2, 3, 4, 5};
        order[one] = one + 1;
        order[one + 1] = one;
        put_lines(&cut, order, LINES);
        CU_ASSERT_EQUAL(verify(NULL, NULL, NULL), TT_TAMPERED);
    }
    tt_buffer_clear(&cut.text);
    end_test();
}

/* Every bit of every byte, but in the last record, which only a checkpoint covers. */
static void changed_bytes(void)
{
    begin_test();
    write_some(2);
    struct tt_buffer text = read_file(trail);
    struct tt_trail_mark mark = verified().last;
    size_t last = text.length - 1;
    while (text.data[last - 1] != '\n')
        last--;
    for (size_t i = 0; i < text.length; i += i < 40 || i % 7 ? 1 : 3) {
        text.data[i] ^= (uint8_t)(1U << (i % 7));
        put_file(trail, text.data, text.length);
        enum tt_status status = verify(NULL, NULL, NULL);
        if (i + 1 < last && status != TT_TAMPERED)
            CU_FAIL("a changed byte was not found");
        if (verify(&mark, NULL, NULL) == TT_OK)
            CU_FAIL("the checkpoint did not find a changed byte");
        text.data[i] ^= (uint8_t)(1U << (i % 7));
    }
    tt_buffer_clear(&text);
    end_test();
}

static void lines_put_in_between(void)
{
    begin_test();
    write_some(LINES - 1);
    struct cut cut;
    cut_trail(&cut);
    static const char *const strangers[] = {"garbage\n", "\n", "{}\n",
                                            "{\"number\":3,\"previous\":null,\"time\":\"\",\"event\":\"end\"}\n"};
    for (size_t kind = 0; kind < 4; kind++)
        for (size_t place = 0; place < LINES; place++) {
            put_file(trail, "", 0);
            for (size_t i = 0; i < LINES; i++) {
                if (i == place)
                    append_file(trail, strangers[kind], strlen(strangers[kind]));
                append_file(trail, cut.lines[i], cut.lengths[i]);
            }
            CU_ASSERT_EQUAL(verify(NULL, NULL, NULL), TT_TAMPERED);
        }
    tt_buffer_clear(&cut.text);
    end_test();
}

/* A recovery vouches for exactly the ruin that it was written after. */
static void a_ruin_is_exchanged(void)
{
    begin_test();
    write_some(1);
    append_file(trail, "ruin", 4);
    write_some(1);
    struct tt_buffer text = read_file(trail);
    char *ruin = strstr((char *)text.data, "ruin\n{");
    CU_ASSERT_PTR_NOT_NULL_FATAL(ruin);
    ruin[0] = 'R';
    put_file(trail, text.data, text.length);
    broken(TT_TAMPERED, "was not written after what stands before it");
    memmove(ruin, ruin + 5, strlen(ruin + 5) + 1);
    put_file(trail, text.data, text.length - 5);
    broken(TT_TAMPERED, "never finished and that is gone");
    tt_buffer_clear(&text);
    end_test();
}

static void lines_without_an_end(void)
{
    begin_test();
    write_some(1);
    struct tt_buffer text = read_file(trail);
    char *huge = malloc(3 * TT_AUDIT_LINE_LIMIT);
    memset(huge, 'x', 3 * TT_AUDIT_LINE_LIMIT);
    append_file(trail, huge, 3 * TT_AUDIT_LINE_LIMIT);
    CU_ASSERT_EQUAL(verified().unfinished, 3 * TT_AUDIT_LINE_LIMIT);
    write_some(1);
    CU_ASSERT_EQUAL(verified().recoveries, 1);
    append_file(trail, "\n", 1);
    append_file(trail, text.data, text.length);
    CU_ASSERT_EQUAL(verify(NULL, NULL, NULL), TT_TAMPERED);
    free(huge);
    tt_buffer_clear(&text);
    end_test();
}

/* --- rotation --- */

static char *rotate(void)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    char *old = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_audit_rotate(audit, &old, NULL), TT_OK);
    return old;
}

static void rotation_keeps_the_chain(void)
{
    begin_test();
    write_some(2);
    struct tt_trail_mark mark = verified().last;
    char *first TT_CLEANUP(tt_free_cleanup) = rotate();
    write_some(2);
    char *second TT_CLEANUP(tt_free_cleanup) = rotate();
    struct tt_trail_report report = verified();
    CU_ASSERT_EQUAL(report.files, 3);
    CU_ASSERT_EQUAL(report.first, 1);
    CU_ASSERT_EQUAL(report.last.records, 7);
    CU_ASSERT_EQUAL(verify(&mark, NULL, NULL), TT_OK);
    const struct tt_trail_options alone = {.alone = true};
    CU_ASSERT_EQUAL(tt_trail_read(trail, &alone, &report, NULL), TT_OK);
    CU_ASSERT_EQUAL(report.first, 7);
    const struct tt_trail_options marked = {.alone = true, .mark = &mark};
    CU_ASSERT_EQUAL(tt_trail_read(trail, &marked, &report, NULL), TT_USAGE);
    /* A file in the middle that was cut off, changed, or is gone. */
    struct tt_buffer text = read_file(second);
    put_file(second, text.data, text.length - 20);
    broken(TT_TAMPERED, "does not end with a record");
    size_t line = text.length - 1;
    while (text.data[line - 1] != '\n')
        line--;
    put_file(second, text.data, line);
    broken(TT_TAMPERED, "records in between are gone");
    put_file(second, text.data, text.length);
    CU_ASSERT_EQUAL(verify(NULL, NULL, NULL), TT_OK);
    CU_ASSERT_EQUAL(unlink(first), 0);
    broken(TT_TAMPERED, "which is not there");
    tt_buffer_clear(&text);
    end_test();
}

static void rotation_that_was_killed(void)
{
    begin_test();
    write_some(2);
    char fresh[128];
    char old_name[128];
    snprintf(fresh, sizeof fresh, "%s/.audit.jsonl.new", folder);
    snprintf(old_name, sizeof old_name, "%s/audit.jsonl.3", folder);
    put_file(fresh, "left over", 9);
    CU_ASSERT_EQUAL(link(trail, old_name), 0); /* killed between its two names */
    char *old TT_CLEANUP(tt_free_cleanup) = rotate();
    CU_ASSERT_STRING_EQUAL(old, old_name);
    CU_ASSERT_EQUAL(verified().files, 2);
    CU_ASSERT_NOT_EQUAL(access(fresh, F_OK), 0);
    /* Another file has the name. */
    write_some(1);
    snprintf(old_name, sizeof old_name, "%s/audit.jsonl.5", folder);
    put_file(old_name, "mine", 4);
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    CU_ASSERT_EQUAL(tt_audit_rotate(audit, &old, NULL), TT_STORE);
    CU_ASSERT_EQUAL(verified().last.records, 5);
    CU_ASSERT_NOT_EQUAL(access(fresh, F_OK), 0);
    end_test();
}

static void nothing_to_rotate(void)
{
    begin_test();
    char *old = NULL;
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    CU_ASSERT_EQUAL(tt_audit_rotate(audit, &old, NULL), TT_USAGE);
    CU_ASSERT_NOT_EQUAL(access(trail, F_OK), 0);
    put_file(trail, "", 0);
    CU_ASSERT_EQUAL(tt_audit_rotate(audit, &old, NULL), TT_USAGE);
    write_some(1);
    append_file(trail, "cut", 3);
    CU_ASSERT_EQUAL(tt_audit_rotate(audit, &old, NULL), TT_USAGE);
    end_test();
}

/* More of them than the process may open. */
static void many_files(void)
{
    begin_test();
    struct rlimit before;
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    write_some(1);
    for (int i = 0; i < 40; i++) {
        char *old TT_CLEANUP(tt_free_cleanup) = NULL;
        CU_ASSERT_EQUAL_FATAL(tt_audit_rotate(audit, &old, NULL), TT_OK);
    }
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit few = {.rlim_cur = 30, .rlim_max = before.rlim_max};
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct tt_trail_report report = verified();
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    CU_ASSERT_EQUAL(report.files, 41);
    CU_ASSERT_EQUAL(report.last.records, 42);
    end_test();
}

/* Its record could not lead back to the old file. */
static void a_name_that_cannot_be_told(void)
{
    begin_test();
    char *old = NULL;
    struct tt_error err = TT_ERROR_INIT;
    strcat(trail, "\n");
    write_some(1);
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = open_trail();
    CU_ASSERT_EQUAL(tt_audit_rotate(audit, &old, &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "characters that a record cannot tell"));
    (void)verified();
    end_test();
}

static void hostile_continuations(void)
{
    begin_test();
    char text[512];
    static const char *const names[] = {"../audit.jsonl", "..", ".", "/etc/passwd", "audit.jsonl"};
    for (size_t i = 0; i < 5; i++) {
        int length = snprintf(text, sizeof text,
                              "{\"number\":2,\"previous\":\"sha256:%064d\",\"time\":\"\",\"event\":\"trail\","
                              "\"continues\":\"%s\"}\n",
                              0, names[i]);
        put_file(trail, text, (size_t)length);
        broken(TT_TAMPERED, i < 4 ? "no name of a file" : "without an end");
    }
    end_test();
}

/* --- copies --- */

/* The next datagram is this record, whole. */
static void journal_has(int journal, const char *event, unsigned number, const char *words)
{
    char got[4096];
    char wanted[128];
    ssize_t length = recv(journal, got, sizeof got - 1, MSG_DONTWAIT);
    CU_ASSERT_FATAL(length > 0);
    got[length] = '\0';
    snprintf(wanted, sizeof wanted, "TRAINTOKEN_EVENT=%s\nMESSAGE={\"number\":%u,", event, number);
    CU_ASSERT_PTR_NOT_NULL(strstr(got, "SYSLOG_IDENTIFIER=traintoken\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(got, wanted));
    CU_ASSERT_PTR_NOT_NULL(strstr(got, words));
    CU_ASSERT_STRING_EQUAL(got + length - 2, "}\n");
}

static void journald_gets_a_copy(void)
{
    begin_test();
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/journal", folder);
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    setenv("TRAINTOKEN_JOURNAL", address.sun_path, 1);
    CU_ASSERT_EQUAL_FATAL(tt_audit_new(trail, false, TT_AUDIT_JOURNALD, &audit, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", NULL, 0, &err), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "cannot reach the journal"));
    CU_ASSERT_NOT_EQUAL(access(trail, F_OK), 0);
    int journal TT_CLEANUP(tt_close_cleanup) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
    const struct tt_audit_fact fact = text_fact("what", "two\nlines");
    CU_ASSERT_EQUAL(tt_audit_write(audit, "key", &fact, 1, NULL), TT_OK);
    journal_has(journal, "trail", 1, "");
    journal_has(journal, "key", 2, "two\\\\x0alines");
    append_file(trail, "{\"num", 6);
    CU_ASSERT_EQUAL(tt_audit_write(audit, "end", NULL, 0, NULL), TT_OK);
    journal_has(journal, "recovered", 3, "\"ruined_bytes\":6");
    journal_has(journal, "end", 4, "");
    char *old TT_CLEANUP(tt_free_cleanup) = NULL;
    CU_ASSERT_EQUAL(tt_audit_rotate(audit, &old, NULL), TT_OK);
    journal_has(journal, "trail", 5, "\"continues\":\"audit.jsonl.4\"");
    unsetenv("TRAINTOKEN_JOURNAL");
    end_test();
}

static void copies_have_names(void)
{
    enum tt_audit_copy copy = TT_AUDIT_FILE_ONLY;
    CU_ASSERT_EQUAL(tt_audit_copy_parse("journald", &copy, NULL), TT_OK);
    CU_ASSERT_EQUAL(copy, TT_AUDIT_JOURNALD);
    CU_ASSERT_EQUAL(tt_audit_copy_parse("syslog", &copy, NULL), TT_OK);
    CU_ASSERT_EQUAL(copy, TT_AUDIT_SYSLOG);
    CU_ASSERT_EQUAL(tt_audit_copy_parse("paper", &copy, NULL), TT_USAGE);
}

/* --- checkpoints --- */

static enum tt_status parse(const char *text, const EVP_PKEY *expected, struct tt_checkpoint *checkpoint)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_checkpoint_parse(text, strlen(text), "it", expected, checkpoint, &err);
    CU_ASSERT_EQUAL(status == TT_OK, err.message[0] == '\0');
    return status;
}

static void checkpoints_are_read_back(void)
{
    begin_test();
    write_some(2);
    struct tt_trail_mark mark = verified().last;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_checkpoint checkpoint;
    EVP_PKEY *key = EVP_RSA_gen(2048);
    CU_ASSERT_EQUAL_FATAL(tt_checkpoint_write(trail, &mark, NULL, &text, NULL), TT_OK);
    CU_ASSERT_EQUAL(parse((char *)text.data, NULL, &checkpoint), TT_OK);
    CU_ASSERT_EQUAL(checkpoint.mark.records, 3);
    CU_ASSERT_EQUAL(memcmp(checkpoint.mark.hash, mark.hash, sizeof mark.hash), 0);
    CU_ASSERT_STRING_EQUAL(checkpoint.fingerprint, "");
    CU_ASSERT_EQUAL(parse((char *)text.data, key, &checkpoint), TT_TAMPERED); /* not signed */
    CU_ASSERT_EQUAL(parse("{}", NULL, &checkpoint), TT_MALFORMED);
    CU_ASSERT_EQUAL(parse("", NULL, &checkpoint), TT_MALFORMED);
    CU_ASSERT_EQUAL(parse("{\"payloadType\":7}", NULL, &checkpoint), TT_MALFORMED);
    EVP_PKEY_free(key);
    end_test();
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"facts and context", facts_and_context},
        {"long text is cut", long_text_is_cut},
        {"two writers take turns", two_writers_take_turns},
        {"an empty file becomes a trail", an_empty_file_becomes_a_trail},
        {"folders are made where that is asked", folders_are_made_where_that_is_asked},
        {"files that are not ours", files_that_are_not_ours},
        {"records that vanish meanwhile", records_that_vanish_meanwhile},
        {"lines that were never finished", lines_that_were_never_finished},
        {"a recovery is interrupted too", a_recovery_is_interrupted_too},
        {"the first record was never finished", the_first_record_was_never_finished},
        {"a record without its end", a_record_without_its_end},
        {"missing and moved lines", missing_and_moved_lines},
        {"changed bytes", changed_bytes},
        {"lines put in between", lines_put_in_between},
        {"a ruin is exchanged", a_ruin_is_exchanged},
        {"lines without an end", lines_without_an_end},
        {"rotation keeps the chain", rotation_keeps_the_chain},
        {"rotation that was killed", rotation_that_was_killed},
        {"nothing to rotate", nothing_to_rotate},
        {"many files", many_files},
        {"a name that cannot be told", a_name_that_cannot_be_told},
        {"hostile continuations", hostile_continuations},
        {"journald gets a copy", journald_gets_a_copy},
        {"copies have names", copies_have_names},
        {"checkpoints are read back", checkpoints_are_read_back},
    };
    return SUITE_RUN("audit", tests);
}
