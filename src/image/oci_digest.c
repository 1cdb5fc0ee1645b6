#include <string.h>

#include "base/hex.h"
#include "image/oci.h"

struct algorithm {
    const char *prefix;
    size_t size;
};

static const struct algorithm algorithms[] = {
    [TT_SHA256] = {"sha256:", TT_SHA256_SIZE}, [TT_SHA512] = {"sha512:", TT_SHA512_SIZE}};

enum { PREFIX_LENGTH = 7 };

enum tt_status oci_digest_parse(const char *text, struct oci_digest *ret_digest, struct tt_error *err)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        struct oci_digest digest = {.algorithm = (enum tt_digest_algorithm)i};
        size_t length = PREFIX_LENGTH + 2 * algorithms[i].size;
        if (strncmp(text, algorithms[i].prefix, PREFIX_LENGTH) != 0 || strnlen(text, length + 1) != length ||
            !tt_hex_decode(text + PREFIX_LENGTH, length - PREFIX_LENGTH, digest.value, algorithms[i].size))
            continue;
        memcpy(digest.text, text, length + 1);
        *ret_digest = digest;
        return TT_OK;
    }
    return tt_error_set(err, TT_MALFORMED, "'%.200s' is not a sha256 or sha512 digest", text);
}

void oci_digest_make(enum tt_digest_algorithm algorithm, const uint8_t *value, struct oci_digest *ret_digest)
{
    struct oci_digest digest = {.algorithm = algorithm};
    memcpy(digest.value, value, algorithms[algorithm].size);
    memcpy(digest.text, algorithms[algorithm].prefix, PREFIX_LENGTH);
    tt_hex_encode(value, algorithms[algorithm].size, digest.text + PREFIX_LENGTH);
    *ret_digest = digest;
}

bool oci_digest_equal(const struct oci_digest *one, const struct oci_digest *other)
{
    return one->algorithm == other->algorithm &&
           tt_digest_equal(one->value, other->value, algorithms[one->algorithm].size);
}

void oci_digest_path(const struct oci_digest *digest, char path[OCI_DIGEST_TEXT + 8])
{
    snprintf(path, OCI_DIGEST_TEXT + 8, "blobs/%.6s/%s", digest->text, digest->text + PREFIX_LENGTH);
}

/* The next letter as the readers see it that do not mind capitals: the Kelvin sign is a k, the long s an s. */
static int folded(const char **text)
{
    const char *at = *text;
    *text += strncmp(at, "\u212A", 3) == 0 ? 3 : strncmp(at, "\u017F", 2) == 0 ? 2 : 1;
    if (*text == at + 3)
        return 'k';
    if (*text == at + 2)
        return 's';
    return *at >= 'A' && *at <= 'Z' ? *at + ('a' - 'A') : *at;
}

static bool is_like(const char *one, const char *other)
{
    while (*one && *other)
        if (folded(&one) != folded(&other))
            return false;
    return !*one && !*other;
}

enum tt_status oci_check_names(const cJSON *object, const char *const *names, const char *what, struct tt_error *err)
{
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, object)
    {
        for (const char *const *name = names; member->string && *name; name++)
            if (strcmp(member->string, *name) != 0 && is_like(member->string, *name))
                return tt_error_set(err, TT_MALFORMED,
                                    "%s has a member '%.100s' that differs only in capital letters from '%s': programs "
                                    "read that in different ways",
                                    what, member->string, *name);
    }
    return TT_OK;
}

/* Sizes are exact up to here in JSON's numbers as everyone reads them. */
static const double SIZE_MOST = 9007199254740992.0;

enum tt_status oci_descriptor_parse(const cJSON *object, struct oci_descriptor *ret_descriptor, struct tt_error *err)
{
    const cJSON *digest = cJSON_GetObjectItemCaseSensitive(object, "digest");
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(object, "size");
    const cJSON *media_type = cJSON_GetObjectItemCaseSensitive(object, "mediaType");
    static const char *const names[] = {"digest", "size", "mediaType", "urls", "data", "platform", NULL};
    enum tt_status status = oci_check_names(object, names, "a descriptor", err);
    if (status != TT_OK)
        return status;
    if (!cJSON_IsString(digest))
        return tt_error_set(err, TT_MALFORMED, "a descriptor has no digest");
    struct oci_descriptor descriptor = {0};
    status = oci_digest_parse(digest->valuestring, &descriptor.digest, err);
    if (status != TT_OK)
        return status;
    if (!cJSON_IsNumber(size) || !(size->valuedouble >= 0) || size->valuedouble > SIZE_MOST ||
        size->valuedouble != (double)(uint64_t)size->valuedouble)
        return tt_error_set(err, TT_MALFORMED, "the descriptor of %s has no proper size", descriptor.digest.text);
    descriptor.size = (uint64_t)size->valuedouble;
    if (cJSON_IsString(media_type) && strlen(media_type->valuestring) < sizeof descriptor.media_type)
        strcpy(descriptor.media_type, media_type->valuestring);
    *ret_descriptor = descriptor;
    return TT_OK;
}

bool oci_is_index_type(const char *media_type)
{
    return strcmp(media_type, OCI_TYPE_INDEX) == 0 ||
           strcmp(media_type, "application/vnd.docker.distribution.manifest.list.v2+json") == 0;
}

bool oci_is_manifest_type(const char *media_type)
{
    return strcmp(media_type, OCI_TYPE_MANIFEST) == 0 ||
           strcmp(media_type, "application/vnd.docker.distribution.manifest.v2+json") == 0;
}

enum tt_status oci_digest_matches(struct tt_digest *made, const struct oci_digest *said, bool *ret_matches,
                                  struct tt_error *err)
{
    uint8_t value[TT_SHA512_SIZE];
    struct oci_digest digest;
    enum tt_status status = tt_digest_final(made, value, err);
    if (status != TT_OK)
        return status;
    oci_digest_make(said->algorithm, value, &digest);
    *ret_matches = oci_digest_equal(&digest, said);
    return TT_OK;
}
