#include <string.h>

#include "audit/audit_inside.h"

void audit_chain_clear(struct audit_chain *chain)
{
    tt_digest_free(chain->ruin);
    *chain = (struct audit_chain){0};
}

enum tt_status audit_chain_ruin(struct audit_chain *chain, const char *text, size_t length, bool begins,
                                struct tt_error *err)
{
    enum tt_status status = TT_OK;
    if (!chain->ruin) {
        chain->ruin_bytes = 0;
        status = tt_digest_new(TT_SHA256, &chain->ruin, err);
    } else if (begins) { /* the end of the line before is inside the ruin */
        chain->ruin_bytes++;
        status = tt_digest_update(chain->ruin, "\n", 1, err);
    }
    chain->ruin_bytes += length;
    chain->is_file_start = false;
    return status == TT_OK ? tt_digest_update(chain->ruin, text, length, err) : status;
}

static enum tt_status end_ruin(struct audit_chain *chain, const struct audit_line *line, struct tt_error *err)
{
    int64_t bytes = -1;
    uint64_t number = line->number;
    const cJSON *told = cJSON_GetObjectItemCaseSensitive(line->json, "ruined_bytes");
    enum tt_status status = tt_digest_final(chain->ruin, chain->hash, err);
    tt_digest_free(TT_TAKE(chain->ruin));
    chain->has_hash = true;
    if (status != TT_OK)
        return status;
    if (strcmp(line->event, AUDIT_RECOVERY_EVENT) != 0 || !tt_json_integer(told, 0, INT64_MAX, &bytes) ||
        (uint64_t)bytes != chain->ruin_bytes)
        return tt_error_set(err, TT_TAMPERED,
                            "before record %llu stands what is no record, and it does not say why: a record was "
                            "overwritten, or something was put in between",
                            (unsigned long long)number);
    chain->recoveries++;
    return TT_OK;
}

/* What kind of record may stand here. */
static enum tt_status check_event(const struct audit_chain *chain, const struct audit_line *line, struct tt_error *err)
{
    unsigned long long number = line->number;
    if (chain->is_file_start != (strcmp(line->event, AUDIT_FIRST_EVENT) == 0))
        return tt_error_set(err, TT_TAMPERED,
                            chain->is_file_start
                                ? "its first record, number %llu, is not one that begins a trail: what was before it "
                                  "is gone"
                                : "record %llu begins another trail in the middle of this one",
                            number);
    if (!chain->is_file_start && strcmp(line->event, AUDIT_RECOVERY_EVENT) == 0)
        return tt_error_set(err, TT_TAMPERED, "record %llu tells of a line that was never finished and that is gone",
                            number);
    return TT_OK;
}

static enum tt_status check_link(const struct audit_chain *chain, const struct audit_line *line, struct tt_error *err)
{
    unsigned long long number = line->number;
    unsigned long long last = chain->number;
    if (line->number != chain->number + 1)
        return tt_error_set(err, TT_TAMPERED,
                            number > last ? "record %llu follows on record %llu: records in between are gone"
                                          : "record %llu follows on record %llu: it was put in, or its number changed",
                            number, last);
    if (line->has_previous != chain->has_hash ||
        (line->has_previous && !tt_digest_equal(line->previous, chain->hash, TT_SHA256_SIZE)))
        return tt_error_set(err, TT_TAMPERED,
                            "record %llu was not written after what stands before it: record %llu was changed, or this "
                            "one was",
                            number, last);
    return TT_OK;
}

enum tt_status audit_chain_record(struct audit_chain *chain, const struct audit_line *line, const char *text,
                                  size_t length, struct tt_error *err)
{
    enum tt_status status = chain->ruin ? end_ruin(chain, line, err) : check_event(chain, line, err);
    if (chain->takes_any && chain->number == 0 && !chain->has_hash) {
        chain->number = line->number - 1;
        chain->has_hash = line->has_previous;
        memcpy(chain->hash, line->previous, sizeof chain->hash);
    }
    if (status == TT_OK)
        status = check_link(chain, line, err);
    chain->number = line->number;
    chain->has_hash = true;
    chain->is_file_start = false;
    enum tt_status hashed = tt_digest_once(TT_SHA256, text, length, chain->hash, err);
    return hashed == TT_OK ? status : hashed;
}
