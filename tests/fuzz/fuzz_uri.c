/* The key's URI: parsing, its accessors, hiding the PIN, and formatting what was parsed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

#include "pkcs11/station_key.h"
#include "pkcs11/uri.h"
#include "short_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Against a token that is called what the input says, and a module that says nothing of itself. */
static void match(const struct tt_pkcs11_uri *uri, const char *text)
{
    CK_INFO library = {.libraryVersion = {3, 1}};
    CK_SLOT_INFO slot = {0};
    CK_TOKEN_INFO token = {0};
    memset(token.label, ' ', sizeof token.label);
    memcpy(token.label, text, strnlen(text, sizeof token.label));
    if (tt_uri_matches_token(uri, 7, &slot, &token) && !tt_uri_matches_token(uri, 7, &slot, &token))
        abort();
    if (!tt_uri_matches_library(uri, &library) && !tt_uri_names_library(uri))
        abort();
    if (tt_uri_pin_is_misplaced(uri) && !tt_uri_pin_value(uri))
        abort();
    char *plain = tt_uri_text(uri);
    if (!plain || strchr(plain, '?'))
        abort();
    free(plain);
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    char text[8192];
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = NULL;
    size_t length = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, length);
    text[length] = '\0';
    enum tt_status status = tt_uri_parse(text, &uri, err);
    char *label = NULL;
    unsigned char *id = NULL;
    if (status == TT_OK && tt_uri_object(uri, &label, &id, &length))
        free(label);
    return status;
}

static void use(const struct tt_pkcs11_uri *uri, const char *text)
{
    const struct tt_secret *pin = tt_uri_pin_value(uri);
    if (pin && (pin->length == 0 || pin->length >= pin->capacity || strlen((const char *)pin->data) != pin->length))
        abort();
    const char *path = tt_uri_module_path(uri);
    const char *name = tt_uri_module_name(uri);
    if ((path && path[0] != '/') || (name && strchr(name, '/')) || (pin && tt_uri_pin_source(uri)))
        abort();
    char *label = NULL;
    unsigned char *id = NULL;
    size_t id_length = 0;
    if (tt_uri_object(uri, &label, &id, &id_length)) {
        if (!tt_uri_matches_object(uri, label, id, id_length))
            abort();
        PKCS11_TOKEN token = {.label = (char *)text, .serialnr = (char *)text};
        PKCS11_KEY key = {.label = label, .id = id, .id_len = id_length};
        char *made = tt_uri_format(&token, &key, true);
        if (!made || tt_pkcs11_uri_check(made, NULL) != TT_OK)
            abort();
        free(made);
        free(label);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct tt_pkcs11_uri *uri = NULL;
    struct tt_error err = TT_ERROR_INIT;
    if (!text)
        return 0;
    enum tt_status status = tt_uri_parse(text, &uri, &err);
    if (status == TT_OK) {
        use(uri, text);
        match(uri, text);
        tt_uri_free(uri);
    } else if (status != TT_USAGE || err.message[0] == '\0') {
        abort();
    }
    short_memory_try(data, size, read_again);
    size_t length = strlen(text);
    tt_pkcs11_uri_hide_pin(text);
    if (strlen(text) != length)
        abort();
    free(text);
    return 0;
}
