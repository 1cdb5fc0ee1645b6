#include "protocol/symmetric_key.h"

#include "crypto/digest.h"
#include "crypto/file_cipher.h"
#include "crypto/key_wrap.h"

enum tt_status symmetric_key_new(struct tt_secret **ret_key, struct tt_error *err)
{
    struct tt_secret *key TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(TT_FILE_KEY_SIZE, &key, err);
    if (status == TT_OK)
        status = tt_random(key->data, TT_FILE_KEY_SIZE, err);
    if (status != TT_OK)
        return status;
    key->length = TT_FILE_KEY_SIZE;
    *ret_key = TT_TAKE(key);
    return TT_OK;
}

enum tt_status symmetric_key_wrap_for_all(const struct tt_secret *key, const struct train_keys *keys,
                                          struct tt_train *train, struct tt_error *err)
{
    uint8_t wrapped[TT_RSA_BYTES_MAX];
    size_t length = 0;
    for (size_t i = 0; i < keys->stop_count; i++) {
        enum tt_status status = tt_key_wrap(keys->stops[i], key, wrapped, &length, err);
        if (status == TT_OK)
            status = tt_train_set_stop_key(train, i, wrapped, length, err);
        if (status != TT_OK)
            return status;
    }
    enum tt_status status = tt_key_wrap(keys->creator, key, wrapped, &length, err);
    return status == TT_OK ? tt_train_set_creator_key(train, wrapped, length, err) : status;
}
