#include <string.h>

#include "state/state_inside.h"
#include "json/json.h"

enum { RECORD_VERSION = 1, VALUE_LIMIT = 64 };

static const char *const phase_words[] = {
    [TT_STATE_ENTERING] = "entering",
    [TT_STATE_ENTERED] = "entered",
    [TT_STATE_LEAVING] = "leaving",
    [TT_STATE_DONE] = "done",
};

void tt_state_record_clear(struct tt_state_record *record)
{
    free(record->image_before);
    free(record->image_after);
    tt_buffer_clear(&record->config);
    memset(record, 0, sizeof *record);
}

static enum tt_status write_member(struct tt_buffer *out, const char *lead, const char *text, struct tt_error *err)
{
    enum tt_status status = tt_buffer_append(out, lead, strlen(lead), err);
    if (status != TT_OK)
        return status;
    return text ? tt_json_quote(out, text, err) : tt_buffer_append(out, "null", 4, err);
}

enum tt_status state_record_write(const struct state_subject *subject, const struct tt_state_record *record,
                                  struct tt_buffer *out, struct tt_error *err)
{
    const char *config = record->config.data ? (const char *)record->config.data : "";
    if (strlen(config) != record->config.length || record->config.length > STATE_CONFIG_LIMIT)
        return tt_error_set(err, TT_INTERNAL, "the configuration to remember holds a NUL, or more than %d bytes",
                            STATE_CONFIG_LIMIT);
    enum tt_status status = tt_buffer_printf(out, err, "{\n  \"version\": %d", RECORD_VERSION);
    if (status == TT_OK)
        status = write_member(out, ",\n  \"session_id\": ", subject->session_id, err);
    if (status == TT_OK)
        status = write_member(out, ",\n  \"station\": ", subject->station, err);
    if (status == TT_OK)
        status = write_member(out, ",\n  \"phase\": ", phase_words[record->phase], err);
    if (status == TT_OK)
        status = write_member(out, ",\n  \"image_before\": ", record->image_before, err);
    if (status == TT_OK)
        status = write_member(out, ",\n  \"image_after\": ", record->image_after, err);
    if (status == TT_OK)
        status = write_member(out, ",\n  \"config\": ", config, err);
    return status == TT_OK ? tt_buffer_append(out, "\n}\n", 3, err) : status;
}

/* *ret_text is NULL when the member is absent or null; `root` keeps it. */
static enum tt_status read_member(const cJSON *root, const char *member, bool required, const char **ret_text,
                                  struct tt_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, member);
    if (!cJSON_IsString(item) && (required || (item && !cJSON_IsNull(item))))
        return tt_error_set(err, TT_STORE, "%s is missing or is not a string", member);
    *ret_text = cJSON_IsString(item) ? item->valuestring : NULL;
    return TT_OK;
}

static enum tt_status check_subject(const cJSON *root, const struct state_subject *subject, struct tt_error *err)
{
    const char *session_id = NULL;
    const char *station = NULL;
    enum tt_status status = read_member(root, "session_id", true, &session_id, err);
    if (status == TT_OK)
        status = read_member(root, "station", true, &station, err);
    if (status != TT_OK)
        return status;
    if (strcmp(session_id, subject->session_id) != 0 || strcmp(station, subject->station) != 0)
        return tt_error_set(err, TT_STORE, "it tells of another train or station");
    return TT_OK;
}

static enum tt_status read_phase(const cJSON *root, enum tt_state_phase *ret_phase, struct tt_error *err)
{
    const char *word = NULL;
    enum tt_status status = read_member(root, "phase", true, &word, err);
    if (status != TT_OK)
        return status;
    for (int phase = TT_STATE_ENTERING; phase <= TT_STATE_DONE; phase++) {
        if (strcmp(word, phase_words[phase]) == 0) {
            *ret_phase = (enum tt_state_phase)phase;
            return TT_OK;
        }
    }
    return tt_error_set(err, TT_STORE, "phase is '%.100s', which is none", word);
}

static enum tt_status read_copy(const cJSON *root, const char *member, char **ret_copy, struct tt_error *err)
{
    const char *text = NULL;
    enum tt_status status = read_member(root, member, false, &text, err);
    if (status != TT_OK || !text)
        return status;
    *ret_copy = strdup(text);
    return *ret_copy ? TT_OK : tt_error_memory(err);
}

static enum tt_status read_all(const cJSON *root, const struct state_subject *subject, struct tt_state_record *record,
                               struct tt_error *err)
{
    int64_t version = 0;
    const char *config = NULL;
    if (!tt_json_integer(cJSON_GetObjectItemCaseSensitive(root, "version"), 1, INT64_MAX, &version))
        return tt_error_set(err, TT_STORE, "it has no version number");
    if (version != RECORD_VERSION)
        return tt_error_set(err, TT_STORE, "its version is %lld, and this traintoken knows %d", (long long)version,
                            RECORD_VERSION);
    enum tt_status status = check_subject(root, subject, err);
    if (status == TT_OK)
        status = read_phase(root, &record->phase, err);
    if (status == TT_OK)
        status = read_copy(root, "image_before", &record->image_before, err);
    if (status == TT_OK)
        status = read_copy(root, "image_after", &record->image_after, err);
    if (status == TT_OK)
        status = read_member(root, "config", true, &config, err);
    return status == TT_OK ? tt_buffer_append(&record->config, config, strlen(config), err) : status;
}

enum tt_status state_record_parse(const struct state_subject *subject, const struct tt_buffer *text,
                                  struct tt_state_record *ret_record, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status =
        tt_json_parse((const char *)text->data, text->length, VALUE_LIMIT, "the record", &root, err);
    if (status == TT_MALFORMED)
        return tt_error_set(err, TT_STORE, "%s", err ? err->message : "");
    if (status != TT_OK)
        return status;
    struct tt_state_record record TT_CLEANUP(tt_state_record_clear) = {0};
    record.config.limit = STATE_CONFIG_LIMIT;
    status = read_all(root, subject, &record, err);
    if (status != TT_OK)
        return status == TT_MALFORMED ? tt_error_set(err, TT_STORE, "its configuration is too long") : status;
    *ret_record = record;
    memset(&record, 0, sizeof record);
    return TT_OK;
}
