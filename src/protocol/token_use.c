#include "protocol/token_use.h"

#include "base/log.h"
#include "protocol/record.h"

enum tt_status token_open(const struct tt_key_source *source, struct tt_audit *audit, const EVP_PKEY *expected,
                          const char *owner, struct tt_token_use *use, struct tt_private_key **ret_key,
                          struct tt_error *err)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    enum tt_status status = record_begin(audit, source, err);
    if (status == TT_OK)
        status = source->open(source->user, expected, &key, err);
    if (status != TT_OK)
        return status;
    const EVP_PKEY *held = tt_private_key_public(key);
    status = tt_public_key_fingerprint(held, use->fingerprint, err);
    if (status != TT_OK)
        return status;
    record_watch(audit, source, key, use->fingerprint);
    use->bits = tt_public_key_bits(held);
    if (expected && !tt_public_key_equal(expected, held)) {
        char named[TT_FINGERPRINT_SIZE];
        status = tt_public_key_fingerprint(expected, named, err);
        if (status != TT_OK)
            return status;
        return tt_error_set(err, TT_UNTRUSTED,
                            "the train is meant for another key: it names %s for %s, the token holds %s", named, owner,
                            use->fingerprint);
    }
    *ret_key = TT_TAKE(key);
    return TT_OK;
}

void token_used(struct tt_token_use *use, const char *name, enum tt_padding_by padding_by)
{
    static const char *const by[] = {[TT_PADDING_UNKNOWN] = "by whom is not known",
                                     [TT_PADDING_NATIVE] = "by the token",
                                     [TT_PADDING_RAW] = "by OpenSSL, around the token's raw RSA"};
    tt_log(TT_LOG_INFO, "%s: done in the token; padding %s", name, by[padding_by]);
    if (use->count < TT_TOKEN_OPERATION_LIMIT)
        use->operations[use->count++] = (struct tt_token_operation){.name = name, .padding_by = padding_by};
}
