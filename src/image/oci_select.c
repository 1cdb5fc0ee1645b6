#include <string.h>
#include <sys/utsname.h>

#include "image/oci.h"
#include "json/json.h"

enum { NESTED_LIMIT = 64, PART_SIZE = 64 };

struct platform {
    char os[PART_SIZE];
    char architecture[PART_SIZE];
    char variant[PART_SIZE];
};

/* How well an entry fits what is asked for. */
enum fit { FIT_NONE, FIT_UNKNOWN, FIT_LOOSE, FIT_EXACT };

struct search {
    const struct oci_layout *layout;
    const char *tag;
    struct platform wanted;
    bool explicit;
    unsigned nested; /* indexes read so far */
    enum fit best;
    struct oci_descriptor found;
    struct oci_descriptor first; /* that the tag names directly: the only one */
    struct tt_buffer seen;       /* platforms there are, for the message */
};

static bool copy_part(const char *from, size_t length, char to[PART_SIZE])
{
    if (length == 0 || length >= PART_SIZE)
        return false;
    memcpy(to, from, length);
    to[length] = '\0';
    return true;
}

static enum tt_status parse_platform(const char *text, struct platform *ret_platform, struct tt_error *err)
{
    struct platform platform = {0};
    const char *first = strchr(text, '/');
    const char *second = first ? strchr(first + 1, '/') : NULL;
    const char *end = text + strlen(text);
    bool good =
        first && copy_part(text, (size_t)(first - text), platform.os) &&
        copy_part(first + 1, (size_t)((second ? second : end) - first - 1), platform.architecture) &&
        (!second || (copy_part(second + 1, (size_t)(end - second - 1), platform.variant) && !strchr(second + 1, '/')));
    if (!good)
        return tt_error_set(err, TT_USAGE,
                            "'%s' is not a platform; write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, "
                            "for example linux/arm64",
                            text);
    *ret_platform = platform;
    return TT_OK;
}

/* The container world's names for what uname says. */
static void this_machine(struct platform *platform)
{
    static const struct {
        const char *machine, *architecture, *variant;
    } names[] = {{"x86_64", "amd64", ""},    {"aarch64", "arm64", ""},      {"armv7l", "arm", "v7"},
                 {"armv6l", "arm", "v6"},    {"i686", "386", ""},           {"i386", "386", ""},
                 {"ppc64le", "ppc64le", ""}, {"loongarch64", "loong64", ""}};
    struct utsname facts;
    *platform = (struct platform){.os = "linux"};
    if (uname(&facts) != 0)
        return;
    snprintf(platform->architecture, PART_SIZE, "%.63s", facts.machine);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(facts.machine, names[i].machine) == 0) {
            strcpy(platform->architecture, names[i].architecture);
            strcpy(platform->variant, names[i].variant);
        }
}

static const char *text_of(const cJSON *object, const char *member)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, member);
    return cJSON_IsString(value) ? value->valuestring : "";
}

/* "v8" is what arm64 is when nothing is said. */
static const char *variant_of(const char *architecture, const char *variant)
{
    return strcmp(architecture, "arm64") == 0 && strcmp(variant, "v8") == 0 ? "" : variant;
}

static enum fit fit_of(const struct search *search, const cJSON *platform)
{
    const struct platform *wanted = &search->wanted;
    if (!cJSON_IsObject(platform))
        return FIT_UNKNOWN;
    const char *architecture = text_of(platform, "architecture");
    if (strcmp(text_of(platform, "os"), wanted->os) != 0 || strcmp(architecture, wanted->architecture) != 0)
        return FIT_NONE;
    const char *has = variant_of(architecture, text_of(platform, "variant"));
    const char *wants = variant_of(architecture, wanted->variant);
    if (strcmp(has, wants) == 0)
        return FIT_EXACT;
    return has[0] == '\0' || wants[0] == '\0' ? FIT_LOOSE : FIT_NONE;
}

static enum tt_status note_platform(struct search *search, const cJSON *platform, struct tt_error *err)
{
    if (!cJSON_IsObject(platform) || search->seen.length > 300)
        return TT_OK;
    const char *variant = text_of(platform, "variant");
    return tt_buffer_printf(&search->seen, err, "%s%.40s/%.40s%s%.20s", search->seen.length ? ", " : "",
                            text_of(platform, "os"), text_of(platform, "architecture"), variant[0] ? "/" : "", variant);
}

static enum tt_status consider_manifest(struct search *search, const cJSON *entry,
                                        const struct oci_descriptor *descriptor, unsigned depth, struct tt_error *err)
{
    const cJSON *platform = cJSON_GetObjectItemCaseSensitive(entry, "platform");
    enum fit fit = fit_of(search, platform);
    /* What a tag names directly is meant, unless another platform was asked for. */
    if (fit == FIT_NONE && depth == 0 && !search->explicit)
        fit = FIT_UNKNOWN;
    enum tt_status status = note_platform(search, platform, err);
    if (status != TT_OK || fit == FIT_NONE)
        return status;
    if (fit > search->best) {
        search->best = fit;
        search->found = *descriptor;
    }
    return TT_OK;
}

static enum tt_status consider(struct search *search, const cJSON *entry, unsigned depth, struct tt_error *err);

/* Inside an index the first entry that fits counts. */
static enum tt_status consider_index(struct search *search, const struct oci_descriptor *descriptor, unsigned depth,
                                     struct tt_error *err)
{
    if (depth >= OCI_DEPTH_LIMIT || ++search->nested > NESTED_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "there are too many indexes within indexes");
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = oci_blob_read(search->layout, descriptor, NULL, &root, err);
    if (status != TT_OK)
        return status;
    const cJSON *manifests = cJSON_GetObjectItemCaseSensitive(root, "manifests");
    const cJSON *entry = NULL;
    if (!cJSON_IsArray(manifests))
        return tt_error_set(err, TT_MALFORMED, "the index %s has no list 'manifests'", descriptor->digest.text);
    cJSON_ArrayForEach(entry, manifests)
    {
        status = consider(search, entry, depth + 1, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

/* Of several images under one tag others take the first, whatever its platform, or know another annotation for tags. */
static enum tt_status check_alone(struct search *search, const struct oci_descriptor *descriptor, struct tt_error *err)
{
    if (search->first.digest.text[0] == '\0')
        search->first = *descriptor;
    if (oci_digest_equal(&descriptor->digest, &search->first.digest))
        return TT_OK;
    return tt_error_set(err, TT_MALFORMED, "the tag '%s' in %s names several images", search->tag,
                        search->layout->path);
}

static enum tt_status consider(struct search *search, const cJSON *entry, unsigned depth, struct tt_error *err)
{
    struct oci_descriptor descriptor;
    enum tt_status status = oci_descriptor_parse(entry, &descriptor, err);
    if (status != TT_OK)
        return status;
    bool is_index = oci_is_index_type(descriptor.media_type);
    if (!is_index && descriptor.media_type[0] != '\0' && !oci_is_manifest_type(descriptor.media_type))
        return TT_OK; /* something else that travels with images */
    if (depth == 0)
        status = check_alone(search, &descriptor, err);
    if (status != TT_OK)
        return status;
    if (is_index)
        return consider_index(search, &descriptor, depth, err);
    return consider_manifest(search, entry, &descriptor, depth, err);
}

static enum tt_status no_such_tag(const struct search *search, const cJSON *manifests, const char *tag,
                                  struct tt_error *err)
{
    struct tt_buffer tags TT_CLEANUP(tt_buffer_clear) = {0};
    const cJSON *entry = NULL;
    size_t nameless = 0;
    cJSON_ArrayForEach(entry, manifests)
    {
        const char *own = oci_index_entry_tag(entry);
        nameless += own == NULL;
        if (!own || tags.length > 400)
            continue;
        enum tt_status status = tt_buffer_printf(&tags, err, "%s%.80s", tags.length ? ", " : "", own);
        if (status != TT_OK)
            return status;
    }
    return tt_error_set(err, TT_STORE, "there is no tag '%s' in %s; %s%s%s", tag, search->layout->path,
                        tags.length ? "the tags there are: " : "it has no tags at all",
                        tags.length ? (const char *)tags.data : "", nameless ? " (some images have no tag)" : "");
}

static enum tt_status no_such_platform(const struct search *search, const char *tag, struct tt_error *err)
{
    const struct platform *wanted = &search->wanted;
    return tt_error_set(err, TT_STORE, "'%s' in %s has no image for %s/%s%s%s; there are: %s", tag,
                        search->layout->path, wanted->os, wanted->architecture, wanted->variant[0] ? "/" : "",
                        wanted->variant, search->seen.length ? (const char *)search->seen.data : "none");
}

static enum tt_status search_tag(struct search *search, const cJSON *index, const char *tag,
                                 struct oci_descriptor *ret_manifest, struct tt_error *err)
{
    const cJSON *manifests = cJSON_GetObjectItemCaseSensitive(index, "manifests");
    const cJSON *entry = NULL;
    bool has_tag = false;
    cJSON_ArrayForEach(entry, manifests)
    {
        if (!oci_index_entry_is(entry, tag))
            continue;
        has_tag = true;
        enum tt_status status = consider(search, entry, 0, err);
        if (status != TT_OK)
            return status;
    }
    if (!has_tag)
        return no_such_tag(search, manifests, tag, err);
    if (search->best == FIT_NONE)
        return no_such_platform(search, tag, err);
    *ret_manifest = search->found;
    return TT_OK;
}

enum tt_status oci_select(const struct oci_layout *layout, const cJSON *index, const char *tag, const char *platform,
                          struct oci_descriptor *ret_manifest, struct tt_error *err)
{
    struct search search = {.layout = layout, .tag = tag, .explicit = platform != NULL};
    this_machine(&search.wanted);
    enum tt_status status = platform ? parse_platform(platform, &search.wanted, err) : TT_OK;
    if (status == TT_OK)
        status = search_tag(&search, index, tag, ret_manifest, err);
    tt_buffer_clear(&search.seen);
    return status;
}
