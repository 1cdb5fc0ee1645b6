#include "provisioning/subject.h"

#include <openssl/err.h>
#include <string.h>

#include "base/text.h"

enum { SUBJECT_LIMIT = 2048 };

static const struct part {
    const char *name;
    int type;
    bool may_repeat;
} parts[] = {{"C", NID_countryName, false},
             {"ST", NID_stateOrProvinceName, false},
             {"L", NID_localityName, false},
             {"O", NID_organizationName, false},
             {"OU", NID_organizationalUnitName, true},
             {"CN", NID_commonName, false},
             {"DC", NID_domainComponent, true},
             {"serialNumber", NID_serialNumber, false},
             {"emailAddress", NID_pkcs9_emailAddress, false}};

static const struct part *find_part(const char *text, size_t length)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strlen(parts[i].name) == length && strncmp(parts[i].name, text, length) == 0)
            return &parts[i];
    return NULL;
}

/* Copies a value up to the next "/" or the end; *text comes to stand there. False for a stray backslash. */
static bool unescape(const char **text, char *value)
{
    const char *place = *text;
    while (*place && *place != '/') {
        if (*place == '\\') {
            place++;
            if (*place != '/' && *place != '\\')
                return false;
        }
        *value++ = *place++;
    }
    *value = '\0';
    *text = place;
    return true;
}

static bool is_plain(const char *value)
{
    for (const char *place = value; *place; place++)
        if ((unsigned char)*place < ' ' || *place == 0x7F)
            return false;
    return *value && tt_text_is_utf8(value, strlen(value));
}

static enum tt_status add_part(const char **text, X509_NAME *name, struct tt_error *err)
{
    char value[SUBJECT_LIMIT + 1];
    const char *start = *text + 1;
    size_t length = strcspn(start, "=/\\");
    const struct part *part = **text == '/' && start[length] == '=' ? find_part(start, length) : NULL;
    if (!part)
        return tt_error_set(
            err, TT_USAGE,
            "the subject is not as in /CN=alpha/O=Hospital/C=DE (C, ST, L, O, OU, CN, DC, serialNumber, "
            "emailAddress): '%.64s'",
            *text);
    *text = start + length + 1;
    if (!unescape(text, value) || !is_plain(value))
        return tt_error_set(err, TT_USAGE,
                            "the subject's %s is not text; a '/' in it is written as '\\/', and a '\\' as '\\\\'",
                            part->name);
    if (!part->may_repeat && X509_NAME_get_index_by_NID(name, part->type, -1) >= 0)
        return tt_error_set(err, TT_USAGE, "the subject has more than one %s", part->name);
    if (part->type == NID_countryName && (strlen(value) != 2 || strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 2))
        return tt_error_set(err, TT_USAGE, "the subject's C is not a country's two capital letters");
    bool added = X509_NAME_add_entry_by_NID(name, part->type, MBSTRING_UTF8, (unsigned char *)value, -1, -1, 0) == 1;
    ERR_clear_error();
    if (!added)
        return tt_error_set(err, TT_USAGE, "the subject's %s is too long, or has characters that it must not have",
                            part->name);
    return TT_OK;
}

enum tt_status tt_subject_parse(const char *text, X509_NAME **ret_name, struct tt_error *err)
{
    X509_NAME *name TT_CLEANUP(tt_subject_cleanup) = X509_NAME_new();
    if (!name)
        return tt_error_memory(err);
    if (strlen(text) > SUBJECT_LIMIT)
        return tt_error_set(err, TT_USAGE, "the subject is longer than %d bytes", (int)SUBJECT_LIMIT);
    enum tt_status status = TT_OK;
    do
        status = add_part(&text, name, err);
    while (status == TT_OK && *text);
    if (status == TT_OK && X509_NAME_get_index_by_NID(name, NID_commonName, -1) < 0)
        status = tt_error_set(err, TT_USAGE, "the subject has no CN");
    if (status == TT_OK)
        *ret_name = TT_TAKE(name);
    return status;
}
