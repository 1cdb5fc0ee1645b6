#include "provisioning/cryptoki.h"

#include <dlfcn.h>
#include <p11-kit/uri.h>
#include <string.h>

#include "base/buffer.h"
#include "base/text.h"
#include "pkcs11/ckr.h"
#include "pkcs11/module.h"

enum { SLOT_LIMIT = 4096 };

/* The module stays mapped until the process ends: several cannot stand being unloaded before their exit handlers ran.
 */
static enum tt_status open_library(struct tt_cryptoki *cryptoki, struct tt_error *err)
{
    CK_C_GetFunctionList get_list = NULL;
    cryptoki->library = dlopen(cryptoki->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (cryptoki->library)
        *(void **)&get_list = dlsym(cryptoki->library, "C_GetFunctionList");
    if (get_list && get_list(&cryptoki->functions) == CKR_OK && cryptoki->functions)
        return TT_OK;
    const char *reason = get_list ? NULL : dlerror();
    tt_error_set(err, TT_TOKEN,
                 cryptoki->library ? "%s is not a PKCS#11 module" : "the PKCS#11 module %s cannot be loaded",
                 cryptoki->path);
    tt_error_detail(err, "%s", reason ? reason : "C_GetFunctionList");
    return TT_TOKEN;
}

enum tt_status tt_cryptoki_load(const char *wanted, const struct tt_pkcs11_uri *uri, struct tt_cryptoki **ret_cryptoki,
                                struct tt_error *err)
{
    struct tt_cryptoki *cryptoki TT_CLEANUP(tt_cryptoki_free_cleanup) = calloc(1, sizeof *cryptoki);
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    if (!cryptoki)
        return tt_error_memory(err);
    enum tt_status status = tt_module_path(wanted, uri, &cryptoki->path, err);
    if (status == TT_OK)
        status = open_library(cryptoki, err);
    if (status != TT_OK)
        return status;
    arguments.pReserved = (void *)tt_module_arguments(cryptoki->path);
    int turn = tt_module_turn(cryptoki->path);
    CK_RV outcome = cryptoki->functions->C_Initialize(&arguments);
    tt_close_cleanup(&turn);
    if (outcome != CKR_OK && outcome != CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return tt_ckr_error(outcome, err, "the PKCS#11 module %s cannot be initialized%s", cryptoki->path,
                            tt_module_arguments_advice(cryptoki->path, outcome));
    cryptoki->is_initialized = outcome == CKR_OK;
    *ret_cryptoki = TT_TAKE(cryptoki);
    return TT_OK;
}

void tt_cryptoki_free(struct tt_cryptoki *cryptoki)
{
    if (!cryptoki)
        return;
    if (cryptoki->is_initialized)
        cryptoki->functions->C_Finalize(NULL);
    if (cryptoki->library)
        dlclose(cryptoki->library);
    free(cryptoki->path);
    free(cryptoki);
}

static enum tt_status list_slots(struct tt_cryptoki *cryptoki, CK_SLOT_ID **ret_slots, CK_ULONG *ret_count,
                                 struct tt_error *err)
{
    CK_ULONG room = 0;
    CK_RV outcome = cryptoki->functions->C_GetSlotList(CK_TRUE, NULL, &room);
    if (outcome == CKR_OK && room > SLOT_LIMIT)
        outcome = CKR_GENERAL_ERROR;
    CK_SLOT_ID *slots TT_CLEANUP(tt_free_cleanup) = outcome == CKR_OK ? calloc(room + 1, sizeof *slots) : NULL;
    if (outcome == CKR_OK && !slots)
        return tt_error_memory(err);
    CK_ULONG count = room;
    if (outcome == CKR_OK)
        outcome = cryptoki->functions->C_GetSlotList(CK_TRUE, slots, &count);
    if (outcome == CKR_OK && count > room) /* more than it can have filled in */
        outcome = CKR_GENERAL_ERROR;
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the PKCS#11 module %s cannot list its slots", cryptoki->path);
    *ret_slots = TT_TAKE(slots);
    *ret_count = count;
    return TT_OK;
}

enum tt_status tt_tokens_list(struct tt_cryptoki *cryptoki, struct tt_token **ret_tokens, size_t *ret_count,
                              struct tt_error *err)
{
    CK_SLOT_ID *slots TT_CLEANUP(tt_free_cleanup) = NULL;
    CK_ULONG count = 0;
    enum tt_status status = list_slots(cryptoki, &slots, &count, err);
    struct tt_token *tokens = status == TT_OK ? calloc(count + 1, sizeof *tokens) : NULL;
    if (status != TT_OK)
        return status;
    if (!tokens)
        return tt_error_memory(err);
    size_t found = 0;
    for (CK_ULONG i = 0; i < count; i++) {
        struct tt_token *token = &tokens[found];
        token->slot = slots[i];
        /* One that cannot be asked (a card being pulled) is as good as not there. */
        if (cryptoki->functions->C_GetSlotInfo(token->slot, &token->slot_info) == CKR_OK &&
            cryptoki->functions->C_GetTokenInfo(token->slot, &token->info) == CKR_OK)
            found++;
    }
    *ret_tokens = tokens;
    *ret_count = found;
    return TT_OK;
}

char *tt_token_text(const CK_UTF8CHAR *text, size_t length)
{
    length = strnlen((const char *)text, length);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    return strndup((const char *)text, length);
}

char *tt_token_label(const struct tt_token *token)
{
    return tt_token_text(token->info.label, sizeof token->info.label);
}

static bool add_attribute(P11KitUri *uri, CK_ATTRIBUTE_TYPE type, const void *value, size_t length)
{
    CK_ATTRIBUTE attribute = {type, (void *)value, length};
    return !value || length == 0 || p11_kit_uri_set_attribute(uri, &attribute) == P11_KIT_URI_OK;
}

char *tt_token_uri(const struct tt_token *token, const char *type, const char *label, const unsigned char *id,
                   size_t id_length)
{
    P11KitUri *uri = p11_kit_uri_new();
    CK_OBJECT_CLASS class = type && strcmp(type, "public") == 0 ? CKO_PUBLIC_KEY : CKO_PRIVATE_KEY;
    char *made = NULL;
    char *text = NULL;
    if (!uri)
        return NULL;
    CK_TOKEN_INFO *info = p11_kit_uri_get_token_info(uri);
    memcpy(info->label, token->info.label, sizeof info->label);
    memcpy(info->serialNumber, token->info.serialNumber, sizeof info->serialNumber);
    if (add_attribute(uri, CKA_CLASS, type ? &class : NULL, sizeof class) &&
        add_attribute(uri, CKA_LABEL, label, label ? strlen(label) : 0) && add_attribute(uri, CKA_ID, id, id_length) &&
        p11_kit_uri_format(uri, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &made) == P11_KIT_URI_OK)
        text = strdup(made);
    free(made);
    p11_kit_uri_free(uri);
    return text;
}

static bool fits(const struct tt_token *token, const struct tt_pkcs11_uri *uri, bool initialized)
{
    if (initialized && !(token->info.flags & CKF_TOKEN_INITIALIZED))
        return false;
    return !uri || tt_uri_matches_token(uri, token->slot, &token->slot_info, &token->info);
}

/* The candidates in one line, for a message. */
static enum tt_status describe(const struct tt_token *tokens, size_t count, const struct tt_pkcs11_uri *uri,
                               bool initialized, struct tt_buffer *text, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < count; i++) {
        if (!fits(&tokens[i], uri, initialized))
            continue;
        char *one TT_CLEANUP(tt_free_cleanup) = tt_token_uri(&tokens[i], NULL, NULL, NULL, 0);
        status =
            one ? tt_buffer_printf(text, err, "%s'%s' (slot-id=%lu)", text->length ? ", " : "", one, tokens[i].slot)
                : tt_error_memory(err);
    }
    return status;
}

static enum tt_status fail_to_find(const struct tt_cryptoki *cryptoki, const struct tt_pkcs11_uri *uri,
                                   const struct tt_token *tokens, size_t count, size_t found, bool initialized,
                                   struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    char *asked TT_CLEANUP(tt_free_cleanup) = uri ? tt_uri_text(uri) : strdup("pkcs11:");
    enum tt_status status = describe(tokens, count, found ? uri : NULL, initialized, &text, err);
    if (status != TT_OK)
        return status;
    if (!asked)
        return tt_error_memory(err);
    if (count == 0)
        return tt_error_set(err, TT_TOKEN, "module %s shows no token at all; is it plugged in, and is it this module?",
                            cryptoki->path);
    return tt_error_set(err, TT_TOKEN,
                        found ? "'%s' names several tokens: %.700s; say more of the one that is meant"
                              : "no token of the module is '%s'; there are: %.700s",
                        asked, text.data ? (const char *)text.data : "none that was initialized");
}

enum tt_status tt_token_find(struct tt_cryptoki *cryptoki, const struct tt_pkcs11_uri *uri, bool initialized,
                             struct tt_token *ret_token, struct tt_error *err)
{
    struct tt_token *tokens TT_CLEANUP(tt_free_cleanup) = NULL;
    size_t count = 0;
    size_t found = 0;
    size_t last = 0;
    enum tt_status status = tt_tokens_list(cryptoki, &tokens, &count, err);
    if (status != TT_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        if (fits(&tokens[i], uri, initialized)) {
            found++;
            last = i;
        }
    if (found != 1)
        return fail_to_find(cryptoki, uri, tokens, count, found, initialized, err);
    *ret_token = tokens[last];
    return TT_OK;
}
