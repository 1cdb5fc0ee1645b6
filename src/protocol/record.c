#include "protocol/record.h"

#include <string.h>

#include "base/log.h"

#define TEXT(member, value) ((struct tt_audit_fact){.name = (member), .kind = TT_AUDIT_TEXT, .text = (value)})
#define NUMBER(member, value) ((struct tt_audit_fact){.name = (member), .kind = TT_AUDIT_NUMBER, .number = (value)})
#define HEX(member, bytes, size)                                                                                       \
    ((struct tt_audit_fact){.name = (member), .kind = TT_AUDIT_HEX, .data = (bytes), .length = (size)})

enum { LIMIT = 8 /* facts at once */ };

static void note(struct tt_audit *audit, const struct tt_audit_fact *facts, size_t count)
{
    if (audit)
        tt_audit_context(audit, facts, count);
}

static enum tt_status put(struct tt_audit *audit, const char *event, const struct tt_audit_fact *facts, size_t count,
                          struct tt_error *err)
{
    return audit ? tt_audit_write(audit, event, facts, count, err) : TT_OK;
}

void record_command(struct tt_audit *audit, const char *command, const char *image, const char *station)
{
    const struct tt_audit_fact facts[] = {TEXT("command", command), TEXT("image", image), TEXT("station", station)};
    note(audit, facts, 3);
}

void record_train(struct tt_audit *audit, const struct tt_train *train, const char *digest)
{
    const struct tt_audit_fact facts[] = {TEXT("train", train->id),
                                          HEX("session_id", train->session_id, sizeof train->session_id),
                                          TEXT("digest_before", digest)};
    note(audit, facts, 3);
}

void record_stop(struct tt_audit *audit, size_t stop, size_t stop_count)
{
    const struct tt_audit_fact facts[] = {NUMBER("stop", stop), NUMBER("stops", stop_count)};
    note(audit, facts, 2);
}

void record_checked(struct tt_audit *audit, const char *names)
{
    if (audit)
        tt_audit_context_add(audit, "checked", names);
}

enum tt_status record_trusted_by_train(struct tt_audit *audit, const char *role, const char *id,
                                       const char *fingerprint, struct tt_error *err)
{
    const struct tt_audit_fact facts[] = {TEXT("role", role), TEXT("id", id), TEXT("accepted_fingerprint", fingerprint),
                                          TEXT("because", "the train names it and --trust-train-keys was given")};
    return put(audit, "trust", facts, 4, err);
}

/* Using a key. */

static size_t place_facts(const struct tt_key_source *source, struct tt_audit_fact facts[LIMIT])
{
    struct tt_key_place place = {0};
    if (source->place)
        source->place(source->user, &place);
    facts[0] = TEXT("key", place.uri);
    facts[1] = TEXT("token", place.token);
    facts[2] = TEXT("token_serial", place.serial);
    facts[3] = TEXT("loader", place.loader);
    return 4;
}

enum tt_status record_begin(struct tt_audit *audit, const struct tt_key_source *source, struct tt_error *err)
{
    struct tt_audit_fact facts[LIMIT];
    size_t count = place_facts(source, facts);
    enum tt_status status = put(audit, "begin", facts, count, err);
    if (status != TT_OK)
        (void)tt_error_context(err, "the key was not used");
    return status;
}

/* What the digest of an event is. */
static const char *digest_name(const struct tt_key_event *event)
{
    if (event->use == TT_USE_UNWRAP)
        return "ciphertext_sha256";
    return event->digest_length == TT_SHA512_SIZE ? "digest_sha512" : "block_sha256";
}

enum tt_status record_use(struct tt_audit *audit, const struct tt_key_event *event, struct tt_error *err)
{
    static const char *const by[] = {
        [TT_PADDING_UNKNOWN] = "unknown", [TT_PADDING_NATIVE] = "native", [TT_PADDING_RAW] = "raw"};
    bool sign = event->use == TT_USE_SIGN;
    const struct tt_audit_fact facts[] = {
        TEXT("operation", sign ? "sign" : "unwrap"),
        TEXT("purpose", event->purpose),
        TEXT("mechanism", event->mechanism),
        TEXT("padding", event->status == TT_OK ? by[event->padding_by] : NULL),
        NUMBER("attempts", event->attempts),
        HEX(digest_name(event), event->digest, event->digest_length),
        TEXT("outcome", event->status == TT_OK ? "done" : "failed"),
        TEXT("status", tt_status_name(event->status)),
        NUMBER("code", (uint64_t)event->status),
        TEXT("message", event->status == TT_OK ? NULL : event->failure->message),
        TEXT("detail", event->status == TT_OK ? NULL : event->failure->detail),
    };
    enum tt_status status = put(audit, "key", facts, sizeof facts / sizeof facts[0], err);
    if (status != TT_OK)
        (void)tt_error_context(err, "what came of the key's use was thrown away");
    return status;
}

static enum tt_status key_was_used(void *user, const struct tt_key_event *event, struct tt_error *err)
{
    return record_use(user, event, err);
}

void record_watch(struct tt_audit *audit, const struct tt_key_source *source, struct tt_private_key *key,
                  const char *fingerprint)
{
    struct tt_audit_fact facts[LIMIT];
    if (!audit)
        return;
    size_t count = place_facts(source, facts);
    facts[count++] = TEXT("fingerprint", fingerprint);
    note(audit, facts, count);
    const struct tt_key_witness witness = {.used = key_was_used, .user = audit};
    tt_private_key_watch(key, &witness);
}

/* Decisions. */

enum tt_status record_decision(struct tt_audit *audit, const char *digest_after, struct tt_error *err)
{
    const struct tt_audit_fact after = TEXT("digest_after", digest_after);
    const struct tt_audit_fact facts[] = {TEXT("outcome", "accepted"), TEXT("status", tt_status_name(TT_OK)),
                                          NUMBER("code", TT_OK)};
    note(audit, &after, 1);
    return put(audit, "decision", facts, 3, err);
}

void record_done(struct tt_audit *audit)
{
    const struct tt_audit_fact facts[] = {TEXT("outcome", "done"), TEXT("status", tt_status_name(TT_OK)),
                                          NUMBER("code", TT_OK)};
    struct tt_error ignored = TT_ERROR_INIT;
    if (put(audit, "end", facts, 3, &ignored) != TT_OK)
        tt_log(TT_LOG_WARNING, "this was done, and the audit trail says that it was about to be: %s", ignored.message);
}

static bool is_refusal(enum tt_status status)
{
    return status == TT_MALFORMED || status == TT_TAMPERED || status == TT_UNTRUSTED || status == TT_WRONG_STOP;
}

enum tt_status record_failure(struct tt_audit *audit, enum tt_status status, const struct tt_error *err)
{
    const struct tt_audit_fact facts[] = {
        TEXT("outcome", is_refusal(status) ? "refused" : "failed"),
        TEXT("status", tt_status_name(status)),
        NUMBER("code", (uint64_t)status),
        TEXT("message", err ? err->message : NULL),
        TEXT("detail", err ? err->detail : NULL),
        TEXT("digest_after", NULL), /* it did not come to that */
    };
    struct tt_error ignored = TT_ERROR_INIT;
    bool is_known = audit && tt_audit_has_failed(audit); /* the failure is that of the trail */
    if (!is_known && put(audit, "decision", facts, 6, &ignored) != TT_OK)
        tt_log(TT_LOG_WARNING, "that this was %s could not be recorded: %s",
               is_refusal(status) ? "refused" : "given up", ignored.message);
    return status;
}
