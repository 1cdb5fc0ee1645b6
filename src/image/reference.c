#include "image/reference.h"

#include <stdbool.h>
#include <string.h>

#include "base/text.h"

enum { OCI_TAG_LIMIT = 255, ENGINE_TAG_LIMIT = 128, ENGINE_NAME_LIMIT = 255, SHA256_HEX = 64 };

static const char OCI[] = "oci:";
static const char DOCKER[] = "docker-daemon:";
static const char DEFAULT_TAG[] = "latest";

void tt_reference_clear(struct tt_reference *reference)
{
    free(reference->place);
    free(reference->tag);
    free(reference->digest);
    *reference = (struct tt_reference){0};
}

static bool is_lower_alphanumeric(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
}

static bool is_alphanumeric(char byte)
{
    return is_lower_alphanumeric(byte) || (byte >= 'A' && byte <= 'Z');
}

/* What the OCI specification allows in the annotation that holds the tag. */
static bool is_oci_tag(const char *tag)
{
    size_t length = strlen(tag);
    if (length == 0 || length > OCI_TAG_LIMIT || !is_alphanumeric(tag[0]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_alphanumeric(tag[i]) && !strchr("-._:@+/", tag[i]))
            return false;
    return true;
}

/* A tag as the distribution specification has it. */
static bool is_engine_tag(const char *tag)
{
    size_t length = strlen(tag);
    if (length == 0 || length > ENGINE_TAG_LIMIT || tag[0] == '.' || tag[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_alphanumeric(tag[i]) && !strchr("_.-", tag[i]))
            return false;
    return true;
}

static bool is_digest(const char *digest)
{
    static const char algorithm[] = "sha256:";
    const char *hex = digest + sizeof algorithm - 1;
    return strncmp(digest, algorithm, sizeof algorithm - 1) == 0 && strlen(hex) == SHA256_HEX &&
           strspn(hex, "0123456789abcdef") == SHA256_HEX;
}

/* One part of a name between slashes: lower case, with separators only in between. */
static bool is_name_part(const char *part, size_t length)
{
    if (length == 0 || !is_lower_alphanumeric(part[0]) || !is_lower_alphanumeric(part[length - 1]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_lower_alphanumeric(part[i]) && (part[i] == '\0' || !strchr("._-", part[i])))
            return false;
    return true;
}

/* What stands before the first slash is a registry's host when it could be nothing else: docker's rule. */
static bool is_host(const char *part, size_t length)
{
    static const char local[] = "localhost";
    bool named = length == sizeof local - 1 && memcmp(part, local, length) == 0;
    if (!named && !memchr(part, '.', length) && !memchr(part, ':', length))
        return false;
    const char *colon = part[0] == '[' ? memchr(part, ']', length) : part;
    colon = colon ? memchr(colon, ':', length - (size_t)(colon - part)) : NULL;
    size_t host = colon ? (size_t)(colon - part) : length;
    if ((!is_alphanumeric(part[0]) && part[0] != '[') ||
        (colon && strspn(colon + 1, "0123456789") != length - host - 1) || (colon && host + 1 == length))
        return false;
    for (size_t i = 0; i < host; i++)
        if (!is_alphanumeric(part[i]) && !strchr("-.[]:", part[i]))
            return false;
    return true;
}

static bool is_engine_name(const char *name)
{
    const char *slash = strchr(name, '/');
    if (strlen(name) > ENGINE_NAME_LIMIT)
        return false;
    if (slash && is_host(name, (size_t)(slash - name)))
        name = slash + 1;
    for (;;) {
        size_t length = strcspn(name, "/");
        if (!is_name_part(name, length))
            return false;
        if (name[length] == '\0')
            return true;
        name += length + 1;
    }
}

static enum tt_status bad_reference(const char *text, struct tt_error *err)
{
    return tt_error_set(err, TT_USAGE,
                        "'%s' is not an image reference; write NAME[:TAG] or docker-daemon:NAME[:TAG] for an image in "
                        "Docker or Podman, or oci:FOLDER[:TAG] for an OCI image layout (without a tag, 'latest')",
                        text);
}

/* Other places that skopeo knows, where no train can be worked on. */
static enum tt_status check_other_transport(const char *text, struct tt_error *err)
{
    static const char *const others[] = {
        "docker-archive:", "oci-archive:", "dir:", "ostree:", "containers-storage:", "tarball:"};
    if (strncmp(text, "docker://", 9) == 0)
        return tt_error_set(err, TT_USAGE,
                            "'%s' lies in a registry; fetch it with 'traintoken pull %s' and then name it without "
                            "docker://",
                            text, text + 9);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strncmp(text, others[i], strlen(others[i])) == 0)
            return tt_error_set(err, TT_USAGE,
                                "images in '%s' cannot be worked on; bring the train to an OCI image layout, for "
                                "example with 'skopeo copy %s oci:FOLDER:TAG'",
                                others[i], text);
    return TT_OK;
}

static enum tt_status parse_oci(const char *text, struct tt_reference *reference, struct tt_error *err)
{
    const char *place = text + sizeof OCI - 1;
    const char *colon = strchr(place, ':');
    size_t length = colon ? (size_t)(colon - place) : strlen(place);
    const char *tag = colon ? colon + 1 : DEFAULT_TAG;
    if (length == 0 || !is_oci_tag(tag))
        return bad_reference(text, err);
    reference->kind = TT_REFERENCE_OCI;
    reference->place = strndup(place, length);
    reference->tag = strdup(tag);
    return reference->place && reference->tag ? TT_OK : tt_error_memory(err);
}

static enum tt_status parse_docker(const char *text, const char *name, struct tt_reference *reference,
                                   struct tt_error *err)
{
    const char *at = strchr(name, '@');
    const char *slash = strrchr(name, '/');
    const char *colon = at ? NULL : strchr(slash ? slash : name, ':');
    size_t length = at ? (size_t)(at - name) : colon ? (size_t)(colon - name) : strlen(name);
    const char *tag = colon ? colon + 1 : DEFAULT_TAG;
    reference->kind = TT_REFERENCE_DOCKER;
    reference->place = strndup(name, length);
    reference->tag = at ? NULL : strdup(tag);
    reference->digest = at ? strdup(at + 1) : NULL;
    if (!reference->place || (!reference->tag && !reference->digest))
        return tt_error_memory(err);
    bool good = at ? is_digest(reference->digest) : is_engine_tag(reference->tag);
    return good && is_engine_name(reference->place) ? TT_OK : bad_reference(text, err);
}

enum tt_status tt_reference_parse(const char *text, struct tt_reference *ret_reference, struct tt_error *err)
{
    struct tt_reference reference TT_CLEANUP(tt_reference_clear) = {0};
    enum tt_status status = check_other_transport(text, err);
    if (status != TT_OK)
        return status;
    if (strncmp(text, OCI, sizeof OCI - 1) == 0)
        status = parse_oci(text, &reference, err);
    else if (strncmp(text, DOCKER, sizeof DOCKER - 1) == 0)
        status = parse_docker(text, text + sizeof DOCKER - 1, &reference, err);
    else
        status = parse_docker(text, text, &reference, err);
    if (status != TT_OK)
        return status;
    *ret_reference = reference;
    reference = (struct tt_reference){0};
    return TT_OK;
}

enum tt_status tt_reference_text(const struct tt_reference *reference, char **ret_text, struct tt_error *err)
{
    const char *scheme = reference->kind == TT_REFERENCE_OCI ? OCI : DOCKER;
    char *text = reference->digest ? tt_text_format("%s%s@%s", scheme, reference->place, reference->digest)
                                   : tt_text_format("%s%s:%s", scheme, reference->place, reference->tag);
    if (!text)
        return tt_error_memory(err);
    *ret_text = text;
    return TT_OK;
}

enum tt_status tt_reference_engine_name(const struct tt_reference *reference, char **ret_name, struct tt_error *err)
{
    char *name = reference->digest ? tt_text_format("%s@%s", reference->place, reference->digest)
                                   : tt_text_format("%s:%s", reference->place, reference->tag);
    if (!name)
        return tt_error_memory(err);
    *ret_name = name;
    return TT_OK;
}
