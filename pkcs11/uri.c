#include "pkcs11/uri.h"

#include <p11-kit/uri.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "pkcs11/pin.h"
#include "pkcs11/station_key.h"

enum { URI_LIMIT = 4096 };

struct tt_pkcs11_uri {
    P11KitUri *parsed;
    struct tt_secret *pin_value;
    bool pin_is_misplaced;
    bool names_library;
};

struct attribute {
    const char *name;
    enum { OF_OBJECT, OF_TOKEN, OF_LIBRARY, OF_QUERY, OF_PIN } of;
};

static const struct attribute attributes[] = {
    {"object", OF_OBJECT},
    {"id", OF_OBJECT},
    {"type", OF_OBJECT},
    {"token", OF_TOKEN},
    {"serial", OF_TOKEN},
    {"manufacturer", OF_TOKEN},
    {"model", OF_TOKEN},
    {"slot-id", OF_TOKEN},
    {"slot-description", OF_TOKEN},
    {"slot-manufacturer", OF_TOKEN},
    {"library-description", OF_LIBRARY},
    {"library-manufacturer", OF_LIBRARY},
    {"library-version", OF_LIBRARY},
    {"module-name", OF_QUERY},
    {"module-path", OF_QUERY},
    {"pin-source", OF_QUERY},
    {"pin-value", OF_PIN},
};

enum { ATTRIBUTES = sizeof attributes / sizeof attributes[0] };

/* What is not a URI at all. */

static bool looks_like_file(const char *text)
{
    struct stat facts;
    if (stat(text, &facts) == 0 || strchr(text, '/'))
        return true;
    static const char *const endings[] = {".pem", ".key", ".der", ".p8", ".p12", ".pk8"};
    const char *ending = strrchr(text, '.');
    for (size_t i = 0; ending && i < sizeof endings / sizeof endings[0]; i++)
        if (strcasecmp(ending, endings[i]) == 0)
            return true;
    return false;
}

static enum tt_status not_a_uri(const char *text, struct tt_error *err)
{
    bool pem = strstr(text, "-----BEGIN") != NULL; /* perhaps a private key: not one byte of it into a message */
    bool secret = strstr(text, "pin-") != NULL;
    if (!pem && (secret || !looks_like_file(text)))
        return tt_error_set(err, TT_USAGE,
                            "the key '%.200s' is not a pkcs11: URI; an example of one: "
                            "'pkcs11:token=station;object=train'",
                            secret ? "..." : text);
    return tt_error_set(
        err, TT_USAGE,
        "the key %s%.200s%s, but traintoken uses keys in PKCS#11 tokens only. Bring it into one, with \"traintoken key "
        "import --label train FILE pkcs11:token=station\", and name it as 'pkcs11:token=station;object=train'; "
        "traintoken "
        "token init makes a token, traintoken key generate a key that never was in a file",
        pem ? "is PEM text" : "'", pem ? "" : text, pem ? "" : "' is a file");
}

/* One "name=value" after the other. */

static const struct attribute *find_attribute(const char *name, size_t length)
{
    for (size_t i = 0; i < ATTRIBUTES; i++)
        if (strlen(attributes[i].name) == length && strncmp(attributes[i].name, name, length) == 0)
            return &attributes[i];
    return NULL;
}

/* The name up to "=", for messages; the value might be a secret with a mistyped name. */
static enum tt_status unknown(const char *name, size_t length, bool in_query, struct tt_error *err)
{
    return tt_error_set(err, TT_USAGE, "the key's URI has an unknown %s attribute '%.*s'", in_query ? "query" : "path",
                        (int)(length > 64 ? 64 : length), name);
}

/* A URI that is being taken apart. */
struct taking {
    struct tt_pkcs11_uri *uri;
    bool in_query;
    unsigned seen;         /* bit i: attributes[i] */
    struct tt_buffer rest; /* what p11-kit gets to see: all but the PIN */
    bool part_is_empty;    /* nothing was put into this part of the rest yet */
};

static enum tt_status take_pin(struct tt_pkcs11_uri *uri, const char *value, size_t length, struct tt_error *err)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_pin_decode(value, length, &pin, err);
    if (status == TT_OK)
        uri->pin_value = TT_TAKE(pin);
    return status;
}

static enum tt_status take_attribute(struct taking *taking, const char *text, size_t length, struct tt_error *err)
{
    bool in_query = taking->in_query;
    const char *equals = memchr(text, '=', length);
    if (!equals)
        return tt_error_set(err, TT_USAGE, "the key's URI has a part without '=' in its %s",
                            in_query ? "query" : "path");
    size_t name_length = (size_t)(equals - text);
    const struct attribute *known = find_attribute(text, name_length);
    if (!known && in_query && name_length > 2 && strncmp(text, "x-", 2) == 0)
        return TT_OK; /* RFC 7512, 2.4: a vendor's, not critical */
    if (!known || (in_query && known->of < OF_QUERY) || (!in_query && known->of == OF_QUERY))
        return unknown(text, name_length, in_query, err);
    unsigned bit = 1U << (known - attributes);
    if (taking->seen & bit)
        return tt_error_set(err, TT_USAGE, "the key's URI has '%s' twice", known->name);
    taking->seen |= bit;
    if (known->of == OF_PIN) {
        taking->uri->pin_is_misplaced = !in_query;
        return take_pin(taking->uri, equals + 1, length - name_length - 1, err);
    }
    if (strcmp(known->name, "id") != 0 && memmem(text, length, "%00", 3))
        return tt_error_set(err, TT_USAGE, "the key's URI has a NUL in '%s'", known->name);
    taking->uri->names_library = taking->uri->names_library || known->of == OF_LIBRARY;
    const char *separator = taking->part_is_empty ? "" : in_query ? "&" : ";";
    taking->part_is_empty = false;
    return tt_buffer_printf(&taking->rest, err, "%s%.*s", separator, (int)length, text);
}

static enum tt_status take_part(struct taking *taking, const char *part, size_t length, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    taking->part_is_empty = true;
    while (status == TT_OK && length > 0) {
        const char *end = memchr(part, taking->in_query ? '&' : ';', length);
        size_t step = end ? (size_t)(end - part) : length;
        if (step > 0)
            status = take_attribute(taking, part, step, err);
        size_t taken = end ? step + 1 : step;
        part += taken;
        length -= taken;
    }
    return status;
}

/* Splits off the PIN, so that it reaches neither p11-kit's memory nor a message, and checks all names. */
static enum tt_status take_apart(struct taking *taking, const char *text, struct tt_error *err)
{
    const char *path = text + strlen("pkcs11:");
    const char *query = strchr(path, '?');
    size_t path_length = query ? (size_t)(query - path) : strlen(path);
    enum tt_status status = tt_buffer_append(&taking->rest, "pkcs11:", strlen("pkcs11:"), err);
    if (status == TT_OK)
        status = take_part(taking, path, path_length, err);
    if (status != TT_OK || !query)
        return status;
    taking->in_query = true;
    status = tt_buffer_append(&taking->rest, "?", 1, err);
    if (status == TT_OK)
        status = take_part(taking, query + 1, strlen(query + 1), err);
    return status;
}

static enum tt_status parse_rest(struct tt_pkcs11_uri *uri, const char *rest, struct tt_error *err)
{
    int outcome = p11_kit_uri_parse(rest, P11_KIT_URI_FOR_ANY, uri->parsed);
    if (outcome != P11_KIT_URI_OK)
        return tt_error_set(err, TT_USAGE, "the key's URI '%.300s' is malformed: %s", rest,
                            p11_kit_uri_message(outcome));
    if (p11_kit_uri_any_unrecognized(uri->parsed))
        return tt_error_set(err, TT_USAGE, "the key's URI '%.300s' has an attribute with an unknown or too long value",
                            rest);
    return TT_OK;
}

static enum tt_status check_meaning(struct tt_pkcs11_uri *uri, struct tt_error *err)
{
    CK_ATTRIBUTE *class = p11_kit_uri_get_attribute(uri->parsed, CKA_CLASS);
    if (class && (class->ulValueLen != sizeof(CK_OBJECT_CLASS) || *(CK_OBJECT_CLASS *)class->pValue != CKO_PRIVATE_KEY))
        return tt_error_set(err, TT_USAGE,
                            "the key's URI asks for another type than a private key; write "
                            "'type=private' or leave the type out");
    if (uri->pin_value && tt_uri_pin_source(uri))
        return tt_error_set(err, TT_USAGE, "the key's URI has both a pin-value and a pin-source");
    if (tt_uri_module_name(uri) && tt_uri_module_path(uri))
        return tt_error_set(err, TT_USAGE, "the key's URI has both a module-name and a module-path");
    if (tt_uri_module_path(uri) && tt_uri_module_path(uri)[0] != '/')
        return tt_error_set(err, TT_USAGE, "the module-path in the key's URI is not absolute");
    const char *name = tt_uri_module_name(uri);
    if (name && (strchr(name, '/') || name[0] == '.' || name[0] == '\0'))
        return tt_error_set(err, TT_USAGE, "the module-name in the key's URI is not a plain name");
    return TT_OK;
}

enum tt_status tt_uri_parse(const char *text, struct tt_pkcs11_uri **ret_uri, struct tt_error *err)
{
    if (strncasecmp(text, "pkcs11:", strlen("pkcs11:")) != 0)
        return not_a_uri(text, err);
    if (strlen(text) > URI_LIMIT)
        return tt_error_set(err, TT_USAGE, "the key's URI is longer than %d bytes", (int)URI_LIMIT);
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = calloc(1, sizeof *uri);
    if (!uri || !(uri->parsed = p11_kit_uri_new()))
        return tt_error_memory(err);
    struct taking taking = {.uri = uri, .rest = TT_BUFFER_INIT(URI_LIMIT + 16)};
    enum tt_status status = take_apart(&taking, text, err);
    if (status == TT_OK)
        status = parse_rest(uri, (const char *)taking.rest.data, err);
    tt_buffer_clear(&taking.rest);
    if (status == TT_OK)
        status = check_meaning(uri, err);
    if (status == TT_OK)
        *ret_uri = TT_TAKE(uri);
    return status;
}

void tt_uri_free(struct tt_pkcs11_uri *uri)
{
    if (!uri)
        return;
    if (uri->parsed)
        p11_kit_uri_free(uri->parsed);
    tt_secret_free(uri->pin_value);
    free(uri);
}

enum tt_status tt_pkcs11_uri_check(const char *text, struct tt_error *err)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = NULL;
    return tt_uri_parse(text, &uri, err);
}

void tt_pkcs11_uri_hide_pin(char *text)
{
    static const char *const name = "pin-value=";
    const char *query = strchr(text, '?');
    for (char *place = text; (place = strstr(place, name)) != NULL;) {
        place += strlen(name);
        size_t length = strcspn(place, query && place > query ? "&" : ";?");
        memset(place, 'x', length);
        place += length;
    }
}

const struct tt_secret *tt_uri_pin_value(const struct tt_pkcs11_uri *uri)
{
    return uri->pin_value;
}

const char *tt_uri_pin_source(const struct tt_pkcs11_uri *uri)
{
    return p11_kit_uri_get_pin_source(uri->parsed);
}

const char *tt_uri_module_name(const struct tt_pkcs11_uri *uri)
{
    return p11_kit_uri_get_module_name(uri->parsed);
}

const char *tt_uri_module_path(const struct tt_pkcs11_uri *uri)
{
    return p11_kit_uri_get_module_path(uri->parsed);
}

bool tt_uri_pin_is_misplaced(const struct tt_pkcs11_uri *uri)
{
    return uri->pin_is_misplaced;
}

bool tt_uri_names_library(const struct tt_pkcs11_uri *uri)
{
    return uri->names_library;
}

/* Matching. libp11 hands out trimmed strings, p11-kit compares Cryptoki's blank-padded fields. */

static void pad(unsigned char *field, size_t size, const char *text)
{
    size_t length = text ? strnlen(text, size) : 0;
    memset(field, ' ', size);
    if (length > 0)
        memcpy(field, text, length);
}

static void fill_token(CK_TOKEN_INFO *info, const PKCS11_TOKEN *token, bool complete)
{
    pad(info->label, sizeof info->label, token->label);
    pad(info->serialNumber, sizeof info->serialNumber, token->serialnr);
    if (!complete)
        return;
    pad(info->manufacturerID, sizeof info->manufacturerID, token->manufacturer);
    pad(info->model, sizeof info->model, token->model);
}

bool tt_uri_matches_library(const struct tt_pkcs11_uri *uri, const void *info)
{
    return p11_kit_uri_match_module_info(uri->parsed, info) == 1;
}

bool tt_uri_matches_token(const struct tt_pkcs11_uri *uri, unsigned long slot_id, const void *slot_info,
                          const void *token_info)
{
    CK_SLOT_ID id = p11_kit_uri_get_slot_id(uri->parsed);
    return (id == (CK_SLOT_ID)-1 || id == slot_id) && p11_kit_uri_match_slot_info(uri->parsed, slot_info) == 1 &&
           p11_kit_uri_match_token_info(uri->parsed, token_info) == 1;
}

bool tt_uri_matches_slot(const struct tt_pkcs11_uri *uri, PKCS11_SLOT *slot)
{
    CK_SLOT_INFO slot_info = {0};
    CK_TOKEN_INFO token_info = {0};
    pad(slot_info.slotDescription, sizeof slot_info.slotDescription, slot->description);
    pad(slot_info.manufacturerID, sizeof slot_info.manufacturerID, slot->manufacturer);
    fill_token(&token_info, slot->token, true);
    return tt_uri_matches_token(uri, PKCS11_get_slotid_from_slot(slot), &slot_info, &token_info);
}

bool tt_uri_matches_object(const struct tt_pkcs11_uri *uri, const char *label, const unsigned char *id,
                           size_t id_length)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE object[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_LABEL, (void *)(label ? label : ""), label ? strlen(label) : 0},
        {CKA_ID, (void *)(id ? id : (const unsigned char *)""), id ? id_length : 0},
    };
    return p11_kit_uri_match_attributes(uri->parsed, object, 3) == 1;
}

bool tt_uri_object(const struct tt_pkcs11_uri *uri, char **ret_label, unsigned char **ret_id, size_t *ret_id_length)
{
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL);
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(uri->parsed, CKA_ID);
    char *copy = label ? strndup(label->pValue, label->ulValueLen) : NULL;
    if ((!label && !id) || (label && !copy))
        return false;
    *ret_label = copy;
    *ret_id = id ? id->pValue : NULL;
    *ret_id_length = id ? id->ulValueLen : 0;
    return true;
}

char *tt_uri_format(const PKCS11_TOKEN *token, const PKCS11_KEY *key, bool complete)
{
    P11KitUri *made = p11_kit_uri_new();
    if (!made)
        return NULL;
    fill_token(p11_kit_uri_get_token_info(made), token, complete);
    bool ready = true;
    if (key) {
        CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
        CK_ATTRIBUTE object[] = {
            {CKA_CLASS, &class, sizeof class},
            {CKA_LABEL, key->label, key->label ? strlen(key->label) : 0},
            {CKA_ID, key->id, key->id_len},
        };
        for (size_t i = 0; ready && i < 3; i++)
            if (object[i].ulValueLen > 0)
                ready = p11_kit_uri_set_attribute(made, &object[i]) == P11_KIT_URI_OK;
    }
    char *text = NULL;
    if (!ready || p11_kit_uri_format(made, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &text) != P11_KIT_URI_OK)
        text = NULL;
    p11_kit_uri_free(made);
    return text;
}

char *tt_uri_text(const struct tt_pkcs11_uri *uri)
{
    char *text = NULL;
    if (p11_kit_uri_format(uri->parsed, P11_KIT_URI_FOR_ANY, &text) != P11_KIT_URI_OK)
        return NULL;
    text[strcspn(text, "?")] = '\0';
    return text;
}
