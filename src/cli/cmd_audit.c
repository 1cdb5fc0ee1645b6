#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "audit/checkpoint.h"
#include "audit/trail.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/text.h"
#include "cli/audit_options.h"
#include "cli/command.h"
#include "protocol/record.h"
#include "protocol/token_use.h"
#include "statement/envelope.h"

enum { CHECKPOINT_LIMIT = 65536 };

/* The trail that was named, or the one that commands write to. */
static enum tt_status find_trail(const char *operand, char **ret_path, struct tt_error *err)
{
    bool make_folder = false;
    return audit_path(operand, NULL, ret_path, &make_folder, err);
}

/* To write to it, with copies where all commands make them (TRAINTOKEN_AUDIT_LOG). */
static enum tt_status open_trail(const char *path, struct tt_audit **ret_audit, struct tt_error *err)
{
    const struct audit_options options = {.file = path};
    return audit_open(&options, NULL, ret_audit, err);
}

static const char *member(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
    return text ? text : "";
}

/* --- audit verify --- */

struct verify_options {
    const char *checkpoint;
    const char *public_key;
    bool alone;
};

static enum tt_status read_checkpoint(const struct verify_options *options, struct tt_checkpoint *ret_checkpoint,
                                      struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    EVP_PKEY *expected TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = options->public_key ? command_public_key(options->public_key, &expected, err) : TT_OK;
    if (status == TT_OK)
        status = tt_file_read(AT_FDCWD, options->checkpoint, CHECKPOINT_LIMIT, &text, err);
    if (status == TT_OK)
        status = tt_checkpoint_parse(text.data, text.length, options->checkpoint, expected, ret_checkpoint, err);
    return status;
}

static void print_verified(const struct output *output, const char *path, const struct tt_trail_report *report,
                           const struct tt_checkpoint *checkpoint)
{
    char hash[2 * TT_SHA256_SIZE + 1];
    tt_hex_encode(report->last.hash, TT_SHA256_SIZE, hash);
    if (report->first == 0) {
        output_line(output, "%s: there is no record yet", path);
    } else {
        output_line(output, "%s: the chain holds, records %" PRIu64 " to %" PRIu64 " in %zu file%s", path,
                    report->first, report->last.records, report->files, report->files == 1 ? "" : "s");
        output_line(output, "  from %s to %s", report->first_time, report->last_time);
        output_line(output, "  the last record is sha256:%s", hash);
    }
    if (report->recoveries > 0)
        output_line(output, "  %" PRIu64 " of them tell of a record before that was never finished, by a crash",
                    report->recoveries);
    if (report->unfinished > 0)
        output_line(output,
                    "  then follow %" PRIu64 " bytes of a record that was never finished: a crash, or cut off by hand",
                    report->unfinished);
    if (checkpoint && checkpoint->fingerprint[0])
        output_line(output, "  the checkpoint of %s over %" PRIu64 " records, signed by %s, holds", checkpoint->time,
                    checkpoint->mark.records, checkpoint->fingerprint);
    else if (checkpoint)
        output_line(output, "  the checkpoint of %s over %" PRIu64 " records holds", checkpoint->time,
                    checkpoint->mark.records);
    else if (report->first != 0)
        output_line(output, "  whether records were cut off at the end, only a checkpoint can tell (--checkpoint)");
}

static void print_verified_json(const struct output *output, const char *path, const struct tt_trail_report *report,
                                const struct tt_checkpoint *checkpoint)
{
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "file", path);
    output_add_number(object, "first", report->first);
    output_add_number(object, "last", report->last.records);
    output_add_hex(object, "last_sha256", report->last.hash, report->first ? TT_SHA256_SIZE : 0);
    output_add_text(object, "first_time", report->first ? report->first_time : NULL);
    output_add_text(object, "last_time", report->first ? report->last_time : NULL);
    output_add_number(object, "files", report->files);
    output_add_number(object, "recoveries", report->recoveries);
    output_add_number(object, "unfinished_bytes", report->unfinished);
    if (checkpoint) {
        cJSON *mark = cJSON_AddObjectToObject(object, "checkpoint");
        output_add_number(mark, "records", checkpoint->mark.records);
        output_add_text(mark, "time", checkpoint->time);
        output_add_text(mark, "signed_by", checkpoint->fingerprint[0] ? checkpoint->fingerprint : NULL);
    } else {
        cJSON_AddNullToObject(object, "checkpoint");
    }
    output_result(output, "audit verify", object);
}

static enum tt_status verify(struct output *output, const struct verify_options *options, const char *operand,
                             struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_checkpoint checkpoint = {0};
    struct tt_trail_report report;
    struct tt_trail_options how = {.alone = options->alone, .mark = options->checkpoint ? &checkpoint.mark : NULL};
    if (options->public_key && !options->checkpoint)
        return tt_error_set(err, TT_USAGE, "--public-key is for the signature of a --checkpoint");
    enum tt_status status = find_trail(operand, &path, err);
    if (status == TT_OK && options->checkpoint)
        status = read_checkpoint(options, &checkpoint, err);
    if (status == TT_OK)
        status = tt_trail_read(path, &how, &report, err);
    if (status != TT_OK)
        return status;
    print_verified(output, path, &report, options->checkpoint ? &checkpoint : NULL);
    print_verified_json(output, path, &report, options->checkpoint ? &checkpoint : NULL);
    return TT_OK;
}

static enum tt_status run_verify(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "audit verify", "[FILE]",
        "Says whether an audit trail is whole: that no record was changed, taken out, put in or moved, through all\n"
        "files that rotation left. What was cut off at the end, or written anew, shows against a checkpoint.",
        0};
    struct verify_options options = {0};
    const struct cli_option own[] = {
        {"checkpoint", 0, CLI_TEXT, &options.checkpoint, "FILE", "the trail must go on from this checkpoint"},
        {"public-key", 0, CLI_TEXT, &options.public_key, "FILE", "the checkpoint must be signed by this key (PEM)"},
        {"alone", 0, CLI_FLAG, &options.alone, NULL, "this file only, not those that it continues"},
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *operand = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &operand, &help, err);
    return status != TT_OK || help ? status : verify(output, &options, operand, err);
}

const struct command command_audit_verify = {"audit verify", "say whether an audit trail is whole", run_verify};

/* --- audit show --- */

struct show_options {
    const char *train;
    const char *since;
    const char *event;
    const char *status;
    const char *key;
    bool alone;
};

struct showing {
    const struct show_options *options;
    const struct output *output;
    cJSON *records; /* with --json */
    size_t count;
};

static bool is_number(const cJSON *json, const char *name, const char *wanted)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    return cJSON_IsNumber(item) && item->valuestring && strcmp(item->valuestring, wanted) == 0;
}

static bool is_wanted(const struct show_options *options, const struct tt_trail_record *record)
{
    const cJSON *json = record->json;
    if (options->train && strcmp(member(json, "train"), options->train) != 0 &&
        strcmp(member(json, "session_id"), options->train) != 0)
        return false;
    if (options->since && strncmp(record->time, options->since, strcspn(options->since, "Z")) < 0)
        return false;
    if (options->event && strcmp(record->event, options->event) != 0)
        return false;
    if (options->status && strcmp(member(json, "status"), options->status) != 0 &&
        !is_number(json, "code", options->status))
        return false;
    return !options->key || strcmp(member(json, "fingerprint"), options->key) == 0 ||
           strcmp(member(json, "accepted_fingerprint"), options->key) == 0;
}

/* What a record says, in a few words. */
static char *tell(const struct tt_trail_record *record)
{
    const cJSON *json = record->json;
    const char *purpose = member(json, "purpose");
    const char *message = member(json, "message");
    if (strcmp(record->event, "key") == 0)
        return tt_text_format("%s%s%s%s by %s%s%s", member(json, "operation"), *purpose ? " (" : "", purpose,
                              *purpose ? ")" : "", member(json, "mechanism"), *message ? ": " : "", message);
    if (strcmp(record->event, "begin") == 0)
        return tt_text_format("is about to use %s", member(json, "key"));
    if (strcmp(record->event, "trust") == 0)
        return tt_text_format("took the train's word for %s '%s': %s", member(json, "role"), member(json, "id"),
                              member(json, "accepted_fingerprint"));
    if (strcmp(record->event, "trail") == 0)
        return tt_text_format("the trail %s%s", *member(json, "continues") ? "continues " : "begins",
                              member(json, "continues"));
    if (strcmp(record->event, "recovered") == 0)
        return tt_text_format("a record before this one was never finished");
    return tt_text_format("%s%s%s", member(json, "outcome"), *message ? ": " : "", message);
}

static enum tt_status show_record(void *user, const struct tt_trail_record *record, struct tt_error *err)
{
    struct showing *showing = user;
    char says[2 * TT_ERROR_MESSAGE_SIZE];
    char fields[5][TT_ERROR_MESSAGE_SIZE];
    const char *const names[] = {"command", "train", "station", "status", "user"};
    if (!is_wanted(showing->options, record))
        return TT_OK;
    showing->count++;
    if (showing->records) {
        cJSON *copy = cJSON_Duplicate(record->json, true);
        if (!copy || !cJSON_AddItemToArray(showing->records, copy)) {
            cJSON_Delete(copy);
            return tt_error_memory(err);
        }
        return TT_OK;
    }
    char *words TT_CLEANUP(tt_free_cleanup) = tell(record);
    if (!words)
        return tt_error_memory(err);
    tt_text_printable(words, says, sizeof says);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = member(record->json, names[i]);
        /* An id may have spaces: what a train calls itself must not read as the columns behind it. */
        const char *quote = strchr(text, ' ') ? "'" : "";
        char *quoted TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%s%s", quote, *text ? text : "-", quote);
        if (!quoted)
            return tt_error_memory(err);
        tt_text_printable(quoted, fields[i], sizeof fields[i]);
    }
    char time[TT_TRAIL_TIME_SIZE];
    tt_text_printable(record->time, time, sizeof time);
    output_line(showing->output, "%6" PRIu64 "  %-24s  %-9s  %-9s  %-18s  %-10s  %-9s  %-8s  %s", record->number, time,
                record->event, fields[0], fields[1], fields[2], fields[3], fields[4], says);
    return TT_OK;
}

/* A date, or a time in UTC, as records have it. */
static enum tt_status check_since(const char *text, struct tt_error *err)
{
    static const char form[] = "0000-00-00T00:00:00.000";
    size_t length = strcspn(text, "Z");
    bool fits = (length == 10 || length == 16 || length == 19 || length == 23) &&
                (text[length] == '\0' || (length > 10 && text[length + 1] == '\0'));
    for (size_t i = 0; fits && i < length; i++)
        fits = form[i] == '0' ? text[i] >= '0' && text[i] <= '9' : text[i] == form[i];
    if (fits) /* there is such a day, or nearly */
        fits = strncmp(text + 5, "01", 2) >= 0 && strncmp(text + 5, "12", 2) <= 0 && strncmp(text + 8, "01", 2) >= 0 &&
               strncmp(text + 8, "31", 2) <= 0;
    return fits ? TT_OK
                : tt_error_set(err, TT_USAGE,
                               "--since takes a date or a time in UTC, as 2026-11-22 or 2026-11-22T14:30:00Z, not "
                               "'%.64s'",
                               text);
}

/* Nothing would be found with a word that no record has, which looks like a good sign. */
static enum tt_status check_words(const struct show_options *options, struct tt_error *err)
{
    static const char *const events[] = {"trail", "trust", "begin", "key", "decision", "end", "recovered"};
    char number[16];
    bool is_event = !options->event;
    bool is_status = !options->status;
    for (size_t i = 0; !is_event && i < sizeof events / sizeof events[0]; i++)
        is_event = strcmp(options->event, events[i]) == 0;
    for (enum tt_status status = TT_OK; !is_status && status <= TT_TRAIN_FAILED; status++) {
        snprintf(number, sizeof number, "%d", (int)status);
        is_status = strcmp(options->status, tt_status_name(status)) == 0 || strcmp(options->status, number) == 0;
    }
    if (!is_event)
        return tt_error_set(err, TT_USAGE, "there are no records of an event '%.64s'; see traintoken audit show --help",
                            options->event);
    if (!is_status)
        return tt_error_set(err, TT_USAGE, "--status takes the name or the number of an exit status, not '%.64s'",
                            options->status);
    return options->since ? check_since(options->since, err) : TT_OK;
}

static enum tt_status show(struct output *output, const struct show_options *options, const char *operand,
                           struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    cJSON *object TT_CLEANUP(cli_json_cleanup) = cJSON_CreateObject();
    struct showing showing = {.options = options, .output = output};
    struct tt_trail_options how = {.alone = options->alone, .visit = show_record, .user = &showing};
    struct tt_trail_report report;
    enum tt_status status = check_words(options, err);
    if (status == TT_OK)
        status = find_trail(operand, &path, err);
    if (status != TT_OK)
        return status;
    output_add_text(object, "file", path);
    if (output->json)
        showing.records = cJSON_AddArrayToObject(object, "records");
    output_line(output, "%6s  %-24s  %-9s  %-9s  %-18s  %-10s  %-9s  %-8s  %s", "number", "time", "event", "command",
                "train", "station", "status", "user", "what");
    status = tt_trail_read(path, &how, &report, err);
    if (status != TT_OK) {
        if (status == TT_TAMPERED)
            output->facts = TT_TAKE(object);
        return status;
    }
    output_result(output, "audit show", TT_TAKE(object));
    return TT_OK;
}

static enum tt_status run_show(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "audit show", "[FILE]",
        "Shows the records of an audit trail, through all files that rotation left, and checks the chain on the way.",
        0};
    struct show_options options = {0};
    const struct cli_option own[] = {
        {"train", 0, CLI_TEXT, &options.train, "ID", "only of this train, by its id or session id"},
        {"since", 0, CLI_TEXT, &options.since, "TIME", "only from this time on (UTC), as 2026-11-22T14:30:00Z"},
        {"event", 0, CLI_TEXT, &options.event, "EVENT",
         "only these: begin, key, trust, decision, end, trail, recovered"},
        {"status", 0, CLI_TEXT, &options.status, "STATUS", "only with this outcome, as tampered, or 4"},
        {"key", 0, CLI_TEXT, &options.key, "FINGERPRINT", "only of this key"},
        {"alone", 0, CLI_FLAG, &options.alone, NULL, "this file only, not those that it continues"},
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *operand = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &operand, &help, err);
    return status != TT_OK || help ? status : show(output, &options, operand, err);
}

const struct command command_audit_show = {"audit show", "show the records of an audit trail", run_show};

/* --- audit checkpoint --- */

struct checkpoint_options {
    struct key_options key;
    const char *file;
    bool alone;
};

/* The use of the key is recorded in the trail that it vouches for, after what it vouches for. */
static enum tt_status sign_mark(const struct checkpoint_options *options, const char *path,
                                const struct tt_trail_mark *mark, struct tt_token_use *use, struct tt_buffer *ret_text,
                                struct tt_error *err)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_pkcs11_source *source TT_CLEANUP(tt_pkcs11_source_free_cleanup) = NULL;
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    uint8_t digest[TT_SHA512_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t length = 0;
    if (tt_audit_is_closed_name(path, mark->records))
        return tt_error_set(err, TT_USAGE,
                            "%s was closed by rotation, and the use of the key for its checkpoint would be recorded in "
                            "it; sign one of the file that the trail goes on in, which covers it, or leave --key away",
                            path);
    enum tt_status status = command_key_source(&options->key, &source, err);
    if (status == TT_OK)
        status = open_trail(path, &audit, err);
    if (status != TT_OK)
        return status;
    record_command(audit, "audit checkpoint", NULL, NULL);
    struct tt_key_source opener = tt_pkcs11_key_source(source);
    status = token_open(&opener, audit, NULL, "its owner", use, &key, err);
    if (status == TT_OK)
        status = tt_checkpoint_write(path, mark, tt_private_key_public(key), &payload, err);
    if (status == TT_OK)
        status = tt_envelope_digest(payload.data, payload.length, digest, err);
    if (status == TT_OK) {
        tt_private_key_purpose(key, "sign-checkpoint");
        status = tt_private_key_sign_pss(key, digest, signature, &length, &padding_by, err);
    }
    if (status == TT_OK)
        status = tt_envelope_write(payload.data, payload.length, use->fingerprint, signature, length, ret_text, err);
    if (status == TT_OK)
        status = tt_buffer_append(ret_text, "\n", 1, err);
    return status == TT_OK ? record_decision(audit, NULL, err) : record_failure(audit, status, err);
}

/* A name that was mistyped, that of the trail above all, must not cost what it leads to; a device is everybody's. */
static enum tt_status check_replaced(const char *path, struct tt_error *err)
{
    struct stat facts;
    struct tt_checkpoint old;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    if (lstat(path, &facts) != 0 || (S_ISREG(facts.st_mode) && facts.st_size == 0))
        return TT_OK;
    if (!S_ISREG(facts.st_mode) || tt_file_read(AT_FDCWD, path, CHECKPOINT_LIMIT, &text, NULL) != TT_OK ||
        tt_checkpoint_parse(text.data, text.length, path, NULL, &old, NULL) != TT_OK)
        return tt_error_set(err, TT_USAGE, "%s is there and is no checkpoint, so it is not replaced; name another file",
                            path);
    return TT_OK;
}

static enum tt_status write_checkpoint(const char *path, const struct tt_buffer *text, struct tt_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *folder_name TT_CLEANUP(tt_free_cleanup) = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!folder_name)
        return tt_error_memory(err);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return tt_error_set(err, TT_USAGE, "%s is a folder, not a file to write", path);
    int folder TT_CLEANUP(tt_close_cleanup) = open(folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return tt_error_errno(err, TT_STORE, "the folder %s cannot be opened", folder_name);
    return tt_file_replace(folder, name, text->data, text->length, 0644, err);
}

static void print_checkpoint(const struct output *output, const struct checkpoint_options *options, const char *path,
                             const struct tt_trail_mark *mark, const struct tt_token_use *use,
                             const struct tt_buffer *text)
{
    if (options->file)
        output_line(output, "wrote %s: %s had %" PRIu64 " records%s%s", options->file, path, mark->records,
                    use->fingerprint[0] ? ", signed by " : "", use->fingerprint);
    else if (!output->json)
        fwrite(text->data, 1, text->length, stdout);
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "trail", path);
    output_add_text(object, "file", options->file);
    output_add_number(object, "records", mark->records);
    output_add_hex(object, "last_sha256", mark->hash, sizeof mark->hash);
    output_add_text(object, "signed_by", use->fingerprint[0] ? use->fingerprint : NULL);
    output_add_text(object, "content", (const char *)text->data);
    output_result(output, "audit checkpoint", object);
}

static enum tt_status checkpoint(struct output *output, const struct checkpoint_options *options, const char *operand,
                                 struct tt_error *err)
{
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_trail_options how = {.alone = options->alone};
    struct tt_trail_report report = {0};
    struct tt_token_use use = {0};
    enum tt_status status = find_trail(operand, &path, err);
    if (status == TT_OK)
        status = tt_trail_read(path, &how, &report, err);
    if (status == TT_OK && report.first == 0)
        status = tt_error_set(err, TT_USAGE, "%s has no record yet, so there is nothing to vouch for", path);
    if (status == TT_OK && options->file)
        status = check_replaced(options->file, err);
    if (status == TT_OK && options->key.key)
        status = sign_mark(options, path, &report.last, &use, &text, err);
    else if (status == TT_OK)
        status = tt_checkpoint_write(path, &report.last, NULL, &text, err);
    if (status == TT_OK && options->file)
        status = write_checkpoint(options->file, &text, err);
    if (status == TT_OK)
        print_checkpoint(output, options, path, &report.last, &use, &text);
    return status;
}

static enum tt_status run_checkpoint(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "audit checkpoint", "[FILE]",
        "Verifies an audit trail and says how many records it has and what the last one is, to be kept elsewhere: "
        "with\n"
        "it, audit verify finds later that records were cut off or written anew. With --key, a token's key signs it.",
        0};
    struct checkpoint_options options = {.key = KEY_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"output", 'o', CLI_TEXT, &options.file, "FILE", "write to a file; a checkpoint there is replaced"},
        KEY_OPTION_ROWS(options.key),
        {"alone", 0, CLI_FLAG, &options.alone, NULL, "this file only, not those that it continues"},
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *operand = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &operand, &help, err);
    return status != TT_OK || help ? status : checkpoint(output, &options, operand, err);
}

const struct command command_audit_checkpoint = {"audit checkpoint", "vouch for an audit trail as it is now",
                                                 run_checkpoint};

/* --- audit rotate --- */

static enum tt_status run_rotate(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "audit rotate", "[FILE]",
        "Closes the file of an audit trail, as FILE.NUMBER after its last record, and goes on in a new one that "
        "continues\n"
        "the chain. Other commands may be writing to it meanwhile.",
        0};
    const struct cli_option own[] = {{0}};
    const struct cli_option *common = command_common_options(output, NULL);
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    char *old TT_CLEANUP(tt_free_cleanup) = NULL;
    const char *operand = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &operand, &help, err);
    if (status != TT_OK || help)
        return status;
    status = find_trail(operand, &path, err);
    if (status == TT_OK)
        status = open_trail(path, &audit, err);
    if (status == TT_OK)
        status = tt_audit_rotate(audit, &old, err);
    if (status != TT_OK)
        return status;
    output_line(output, "%s is closed as %s, and goes on", path, old);
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "file", path);
    output_add_text(object, "old_file", old);
    output_result(output, "audit rotate", object);
    return TT_OK;
}

const struct command command_audit_rotate = {"audit rotate", "go on with an audit trail in a new file", run_rotate};
