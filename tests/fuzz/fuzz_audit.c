/* A trail's file as anybody may have left it. Reading it ends well; and who appends to a trail in which the reader
 * finds no break leaves one in which he finds none either: both see the same end. */
#include <fcntl.h>
#include <openssl/rsa.h>
#include <stdint.h>
#include <string.h>

#include "audit/audit.h"
#include "audit/checkpoint.h"
#include "audit/trail.h"
#include "base/file.h"
#include "short_memory.h"
#include "json/json.h"

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
    const struct tt_audit_fact facts[] = {
        {.name = "text", .kind = TT_AUDIT_TEXT, .text = "one"},
        {.name = "count", .kind = TT_AUDIT_NUMBER, .number = 2},
        {.name = "flag", .kind = TT_AUDIT_FLAG, .number = 1},
        {.name = "hex", .kind = TT_AUDIT_HEX, .data = (const uint8_t *)"4", .length = 1},
        {.name = "empty", .kind = TT_AUDIT_HEX}};
    return tt_audit_write(audit, "decision", facts, sizeof facts / sizeof facts[0], NULL);
}

/* What a key would sign of it says whose key that is. */
static void prepare_signing(const struct tt_trail_mark *mark)
{
    static EVP_PKEY *key;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *json TT_CLEANUP(tt_json_cleanup) = NULL;
    if (!key && !(key = EVP_RSA_gen(2048)))
        abort();
    if (tt_checkpoint_write(path, mark, key, &text, NULL) != TT_OK ||
        tt_json_parse((const char *)text.data, text.length, 100, "again", &json, NULL) != TT_OK)
        abort();
    const cJSON *predicate = cJSON_GetObjectItemCaseSensitive(json, "predicate");
    if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(predicate, "public_key")))
        abort();
}

static void take_checkpoint(const struct tt_trail_mark *mark)
{
    struct tt_checkpoint checkpoint = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    if (tt_checkpoint_write(path, mark, NULL, &text, NULL) != TT_OK ||
        tt_checkpoint_parse(text.data, text.length, "again", NULL, &checkpoint, NULL) != TT_OK)
        abort();
    if (checkpoint.mark.records != mark->records || memcmp(checkpoint.mark.hash, mark->hash, sizeof mark->hash) != 0)
        abort();
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
    if (status == TT_OK && before.first > 0) {
        take_checkpoint(&before.last);
        prepare_signing(&before.last);
    }
    if (status != TT_OK || (before.first == 0 && size > 0))
        return;
    /* The number after the last one there can be is none. */
    if (appended != TT_OK && before.last.records < (UINT64_C(1) << 62) - 4)
        abort();
    if (appended == TT_OK && (read_trail(&after, &seen_after) != TT_OK || after.last.records <= before.last.records ||
                              seen_after <= seen_before || after.unfinished != 0))
        abort();
}

/* With the files that it continues. */
static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)size;
    struct tt_trail_report report = {0};
    struct tt_trail_mark mark = {.records = 3};
    const struct tt_trail_options options = {.mark = &mark};
    return tt_trail_read(path, &options, &report, err);
}

static enum tt_status read_checkpoint(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct tt_checkpoint checkpoint;
    return tt_checkpoint_parse(data, size, "fuzz", NULL, &checkpoint, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tt_checkpoint checkpoint;
    if (folder[0] == '\0')
        make_folder();
    if (tt_checkpoint_parse(data, size, "fuzz", NULL, &checkpoint, NULL) == TT_OK && checkpoint.mark.records == 0)
        abort();
    read_and_append(data, size);
    short_memory_try(data, size, read_again);
    short_memory_try(data, size, read_checkpoint);
    return 0;
}
