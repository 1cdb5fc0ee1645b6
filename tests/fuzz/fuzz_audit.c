/* A trail's file as anybody may have left it. Reading it ends well; and who appends to a trail in which the reader
 * finds no break leaves one in which he finds none either: both see the same end. */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "audit/audit.h"
#include "audit/checkpoint.h"
#include "audit/trail.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];
static char path[128];

static void remove_folder(void)
{
    unlink(path);
    rmdir(folder);
}

static void make_folder(void)
{
    /* In memory, where syncing costs nothing. */
    strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz-audit-XXXXXX" : "/tmp/fuzz-audit-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    snprintf(path, sizeof path, "%s/trail", folder);
    atexit(remove_folder);
}

static enum tt_status count(void *user, const struct tt_trail_record *record, struct tt_error *err)
{
    (void)err;
    if (record->number == 0 || !record->event || !record->time || !cJSON_IsObject(record->json))
        abort();
    (*(uint64_t *)user)++;
    return TT_OK;
}

static enum tt_status read_trail(struct tt_trail_report *report, uint64_t *seen)
{
    struct tt_error err = TT_ERROR_INIT;
    *seen = 0;
    const struct tt_trail_options options = {.alone = true, .visit = count, .user = seen};
    enum tt_status status = tt_trail_read(path, &options, report, &err);
    if (status != TT_OK && status != TT_TAMPERED && status != TT_MALFORMED)
        abort();
    if ((status == TT_OK) != (err.message[0] == '\0'))
        abort();
    return status;
}

static enum tt_status append(void)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    if (tt_audit_new(path, false, TT_AUDIT_FILE_ONLY, &audit, NULL) != TT_OK)
        abort();
    return tt_audit_write(audit, "decision", NULL, 0, NULL);
}

static void read_and_append(const uint8_t *data, size_t size)
{
    struct tt_trail_report before = {0};
    struct tt_trail_report after = {0};
    uint64_t seen_before = 0;
    uint64_t seen_after = 0;
    int file TT_CLEANUP(tt_close_cleanup) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || tt_file_write_all(file, data, size, path, NULL) != TT_OK)
        abort();
    enum tt_status status = read_trail(&before, &seen_before);
    enum tt_status appended = append();
    if (status != TT_OK || (before.first == 0 && size > 0))
        return;
    /* The number after the last one there can be is none. */
    if (appended != TT_OK && before.last.records < (UINT64_C(1) << 62) - 4)
        abort();
    if (appended == TT_OK && (read_trail(&after, &seen_after) != TT_OK || after.last.records <= before.last.records ||
                              seen_after <= seen_before || after.unfinished != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tt_checkpoint checkpoint;
    if (folder[0] == '\0')
        make_folder();
    if (tt_checkpoint_parse(data, size, "fuzz", NULL, &checkpoint, NULL) == TT_OK && checkpoint.mark.records == 0)
        abort();
    read_and_append(data, size);
    return 0;
}
