#include "provisioning/policy.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "crypto/public_key.h"
#include "json/json.h"

enum { VALUE_LIMIT = 64 };

static enum tt_status take_native(const cJSON *item, const char *path, struct tt_key_policy *policy,
                                  struct tt_error *err)
{
    const cJSON *one = NULL;
    if (!cJSON_IsArray(item))
        return tt_error_set(err, TT_USAGE, "%s: \"native\" is not a list", path);
    cJSON_ArrayForEach(one, item)
    {
        const char *name = cJSON_IsString(one) ? one->valuestring : "";
        if (strcmp(name, "unwrap") == 0)
            policy->native_unwrap = true;
        else if (strcmp(name, "sign") == 0)
            policy->native_sign = true;
        else
            return tt_error_set(err, TT_USAGE, "%s: \"native\" lists \"unwrap\" and \"sign\", nothing else", path);
    }
    return TT_OK;
}

static enum tt_status take_bits(const cJSON *item, const char *path, struct tt_key_policy *policy, struct tt_error *err)
{
    int64_t bits = 0;
    if (!tt_json_integer(item, TT_RSA_BITS_MIN, TT_RSA_BITS_MAX, &bits))
        return tt_error_set(err, TT_USAGE, "%s: \"minimum_bits\" is not a whole number from %d to %d", path,
                            (int)TT_RSA_BITS_MIN, (int)TT_RSA_BITS_MAX);
    policy->minimum_bits = (unsigned)bits;
    return TT_OK;
}

static enum tt_status take_member(const cJSON *item, const char *path, struct tt_key_policy *policy,
                                  struct tt_error *err)
{
    const struct {
        const char *name;
        bool *target;
    } flags[] = {{"sensitive", &policy->sensitive},
                 {"always_sensitive", &policy->always_sensitive},
                 {"not_extractable", &policy->not_extractable},
                 {"never_extractable", &policy->never_extractable},
                 {"local", &policy->local},
                 {"private", &policy->is_private},
                 {"always_authenticate", &policy->always_authenticate},
                 {"no_other_use", &policy->no_other_use}};
    if (strcmp(item->string, "minimum_bits") == 0)
        return take_bits(item, path, policy, err);
    if (strcmp(item->string, "native") == 0)
        return take_native(item, path, policy, err);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(item->string, flags[i].name) != 0)
            continue;
        if (!cJSON_IsBool(item))
            return tt_error_set(err, TT_USAGE, "%s: \"%s\" is neither true nor false", path, item->string);
        *flags[i].target = cJSON_IsTrue(item);
        return TT_OK;
    }
    return tt_error_set(err, TT_USAGE, "%s: there is no wish \"%.64s\"", path, item->string);
}

enum tt_status tt_policy_read(const char *path, struct tt_key_policy *ret_policy, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_key_policy policy = {0};
    enum tt_status status = tt_file_read(AT_FDCWD, path, TT_POLICY_LIMIT, &text, err);
    if (status == TT_OK)
        status = tt_json_parse((const char *)text.data, text.length, VALUE_LIMIT, path, &root, err);
    if (status == TT_STORE || status == TT_MALFORMED) { /* the caller's file, not a train's */
        if (err)
            err->status = TT_USAGE;
        return TT_USAGE;
    }
    if (status == TT_OK && !cJSON_IsObject(root))
        status = tt_error_set(err, TT_USAGE, "%s is not a JSON object", path);
    const cJSON *item = NULL;
    if (status == TT_OK)
        cJSON_ArrayForEach(item, root)
        {
            status = take_member(item, path, &policy, err);
            if (status != TT_OK)
                break;
        }
    if (status == TT_OK)
        *ret_policy = policy;
    return status;
}
