#include "image/reference.h"

#include <stdbool.h>
#include <string.h>

#include "base/text.h"

enum { TAG_LIMIT = 255 };

static const char SCHEME[] = "oci:";
static const char DEFAULT_TAG[] = "latest";

void tt_reference_clear(struct tt_reference *reference)
{
    free(reference->place);
    free(reference->tag);
    *reference = (struct tt_reference){0};
}

static bool is_alphanumeric(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

/* What the OCI specification allows in the annotation that holds the tag. */
static bool is_tag(const char *tag)
{
    size_t length = strlen(tag);
    if (length == 0 || length > TAG_LIMIT || !is_alphanumeric(tag[0]))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!is_alphanumeric(tag[i]) && !strchr("-._:@+/", tag[i]))
            return false;
    return true;
}

static enum tt_status bad_reference(const char *text, struct tt_error *err)
{
    return tt_error_set(
        err, TT_USAGE,
        "'%s' is not an image reference; write oci:FOLDER or oci:FOLDER:TAG (the folder of an OCI image "
        "layout; without a tag, 'latest')",
        text);
}

enum tt_status tt_reference_parse(const char *text, struct tt_reference *ret_reference, struct tt_error *err)
{
    if (strncmp(text, SCHEME, sizeof SCHEME - 1) != 0)
        return bad_reference(text, err);
    const char *place = text + sizeof SCHEME - 1;
    const char *colon = strchr(place, ':');
    size_t length = colon ? (size_t)(colon - place) : strlen(place);
    const char *tag = colon ? colon + 1 : DEFAULT_TAG;
    if (length == 0 || !is_tag(tag))
        return bad_reference(text, err);
    struct tt_reference reference = {strndup(place, length), strdup(tag)};
    if (!reference.place || !reference.tag) {
        tt_reference_clear(&reference);
        return tt_error_memory(err);
    }
    *ret_reference = reference;
    return TT_OK;
}

enum tt_status tt_reference_text(const struct tt_reference *reference, char **ret_text, struct tt_error *err)
{
    char *text = tt_text_format("%s%s:%s", SCHEME, reference->place, reference->tag);
    if (!text)
        return tt_error_memory(err);
    *ret_text = text;
    return TT_OK;
}
