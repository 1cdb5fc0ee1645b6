/* The scan and the parser behind it agree; a value put into a text is there, and the text stays JSON. */
#include <stdint.h>
#include <string.h>

#include "short_memory.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum tt_status parse(const void *text, size_t length, cJSON **ret_root)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_json_parse(text, length, 10000, "fuzz", ret_root, &err);
    /* Anything else, memory aside, would mean that cJSON refuses what the scan let pass. */
    if (status != TT_OK && status != TT_MALFORMED)
        abort();
    return status;
}

/* Puts `marker` at the steps and looks for it in the parsed result. */
static void put_and_look(const char *text, size_t length, const struct tt_json_step *step)
{
    static const char marker[] = "-20731e-7";
    struct tt_buffer changed TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    if (tt_buffer_append(&changed, text, length, NULL) != TT_OK)
        return;
    if (tt_json_put(&changed, step, 1, marker, NULL) != TT_OK || parse(changed.data, changed.length, &root) != TT_OK)
        abort();
    const cJSON *item = step->member ? cJSON_GetObjectItemCaseSensitive(root, step->member)
                                     : cJSON_GetArrayItem(root, (int)step->element);
    if (!cJSON_IsNumber(item) || strcmp(item->valuestring, marker) != 0)
        abort();
}

static void quote_and_compare(const char *value)
{
    struct tt_buffer quoted TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    if (tt_json_quote(&quoted, value, NULL) != TT_OK || parse(quoted.data, quoted.length, &root) != TT_OK ||
        strcmp(root->valuestring, value) != 0)
        abort();
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    static const struct tt_json_step steps[] = {{.member = "a"}, {.element = 1}};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = tt_json_parse((const char *)data, size, 10000, "fuzz", &root, err);
    if (status == TT_OK)
        status = tt_buffer_append(&text, data, size, err);
    if (status == TT_OK && cJSON_IsString(root))
        status = tt_json_quote(&text, root->valuestring, err);
    else if (status == TT_OK)
        status = tt_json_put(&text, steps, 2, "0", err);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    short_memory_try(data, size, read_again);
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    const char *text = (const char *)data;
    if (parse(text, size, &root) != TT_OK) {
        /* Also what no scan has seen must not lead out of bounds. */
        struct tt_buffer any TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        const struct tt_json_step steps[] = {{.member = "a"}, {.element = 1}};
        if (tt_buffer_append(&any, data, size, NULL) == TT_OK && tt_json_put(&any, steps, 2, "0", NULL) == TT_INTERNAL)
            abort();
        return 0;
    }
    if (cJSON_IsString(root))
        quote_and_compare(root->valuestring);
    size_t element = 0;
    for (const cJSON *item = root->child; item && element < 20; item = item->next, element++)
        put_and_look(text, size, &(struct tt_json_step){.member = item->string, .element = element});
    if (cJSON_IsObject(root) && size < 5000 && !cJSON_GetObjectItemCaseSensitive(root, "never there"))
        put_and_look(text, size, &(struct tt_json_step){.member = "never there"});
    return 0;
}
