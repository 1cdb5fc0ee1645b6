/*
 * Two images' configurations, parted by a line with a lone "=": the second is that of the image on which the first
 * should be built. Where both count as the same, so do their digests; how a configuration is written means nothing.
 */
#include <string.h>

#include "image/store.h"
#include "short_memory.h"
#include "json/json.h"

static const char *const command[] = {"/bin/sh", "/opt/pht_train/entrypoint.sh", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

/* Nothing but a reference and a configuration: no more of an image is looked at. */
struct pair {
    struct tt_image image;
    struct tt_image base;
};

static void pair_clear(struct pair *pair)
{
    tt_buffer_clear(&pair->image.configuration);
    tt_buffer_clear(&pair->base.configuration);
}

static enum tt_status part(const uint8_t *data, size_t size, struct pair *pair, struct tt_error *err)
{
    static char names[2][12] = {"oci:image", "oci:base"};
    const uint8_t *sign = size ? memmem(data, size, "\n=\n", 3) : NULL;
    const uint8_t *rest = sign ? sign + 3 : data;
    pair->image.reference = names[0];
    pair->base.reference = names[1];
    enum tt_status status = tt_buffer_append(&pair->image.configuration, size ? (const void *)data : "",
                                             sign ? (size_t)(sign - data) : size, err);
    if (status != TT_OK)
        return status;
    return tt_buffer_append(&pair->base.configuration, size ? (const void *)rest : "",
                            sign ? size - (size_t)(rest - data) : size, err);
}

static cJSON *parse(const struct tt_image *image)
{
    cJSON *root = NULL;
    const struct tt_buffer *text = &image->configuration;
    demand(tt_json_parse((const char *)text->data, text->length, 50000, "settings", &root, NULL) == TT_OK);
    return root;
}

static const cJSON *setting(const cJSON *root, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "config"), name);
}

/* --- the same, written in another way --- */

static void put(struct tt_buffer *text, const char *sign)
{
    demand(tt_buffer_append(text, sign, strlen(sign), NULL) == TT_OK);
}

/* The tree as text, the last members first. */
static void put_reversed(struct tt_buffer *text, const cJSON *value)
{
    bool is_list = cJSON_IsArray(value);
    if (!is_list && !cJSON_IsObject(value)) {
        if (cJSON_IsString(value))
            demand(tt_json_quote(text, value->valuestring, NULL) == TT_OK);
        else if (cJSON_IsNumber(value))
            put(text, value->valuestring); /* as tt_json_parse found it */
        else
            put(text, cJSON_IsTrue(value) ? "true" : cJSON_IsFalse(value) ? "false" : "null");
        return;
    }
    put(text, is_list ? "[" : "{ ");
    const cJSON *first = value->child;
    const cJSON *item = is_list || !first ? first : first->prev; /* the first one's is the last */
    for (; item; item = is_list ? item->next : item == first ? NULL : item->prev) {
        if (!is_list) {
            demand(tt_json_quote(text, item->string, NULL) == TT_OK);
            put(text, " :");
        }
        put_reversed(text, item);
        if (is_list ? item->next != NULL : item != first)
            put(text, ",");
    }
    put(text, is_list ? "]" : "}");
}

static void demand_same_reversed(const struct tt_image *image, const uint8_t *digest)
{
    struct tt_image reversed = {.reference = image->reference};
    uint8_t found[TT_SHA512_SIZE];
    cJSON *root TT_CLEANUP(tt_json_cleanup) = parse(image);
    put_reversed(&reversed.configuration, root);
    demand(tt_image_settings_digest(&reversed, NULL, found, NULL) == TT_OK);
    demand(memcmp(found, digest, sizeof found) == 0);
    demand(tt_image_settings_check(&reversed, image, NULL) == tt_image_settings_check(image, &reversed, NULL));
    demand(tt_image_settings_check(&reversed, image, NULL) == tt_image_settings_check(image, image, NULL));
    tt_buffer_clear(&reversed.configuration);
}

/* --- one image --- */

/* A setting more or another one, in an image that is fit to be compared, is noticed, unless it is the image's own. */
static void demand_noticed(const struct tt_image *image, const uint8_t *digest)
{
    static const char *const changes[][2] = {
        {"User", "\"another\""}, {"Labels", "{\"one\":\"x\"}"}, {"Labels", "{\"two\":\"x\"}"}};
    uint8_t found[3][TT_SHA512_SIZE];
    cJSON *root TT_CLEANUP(tt_json_cleanup) = parse(image);
    bool is_object = cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(root, "config"));
    for (size_t i = 0; is_object && i < sizeof changes / sizeof changes[0]; i++) {
        const struct tt_json_step steps[] = {{.member = "config"}, {.member = changes[i][0]}};
        struct tt_image other = {.reference = image->reference};
        struct tt_error err = TT_ERROR_INIT;
        const struct tt_buffer *text = &image->configuration;
        demand(tt_buffer_append(&other.configuration, text->data, text->length, NULL) == TT_OK);
        demand(tt_json_put(&other.configuration, steps, 2, changes[i][1], NULL) == TT_OK);
        enum tt_status status = tt_image_settings_check(&other, image, &err);
        demand(status == TT_OK || (status == TT_TAMPERED && strstr(err.message, changes[i][0])));
        demand(tt_image_settings_check(image, &other, NULL) == status);
        demand(tt_image_settings_digest(&other, NULL, found[i], NULL) == TT_OK);
        demand((memcmp(found[i], digest, TT_SHA512_SIZE) == 0) == (status == TT_OK));
        demand(i == 0 || memcmp(found[i], found[i - 1], TT_SHA512_SIZE) != 0);
        tt_buffer_clear(&other.configuration);
    }
}

/* An image equals itself, unless it names its folder by what is no text. */
static void demand_itself(const struct tt_image *image, const uint8_t *digest)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_image_settings_check(image, image, &err);
    cJSON *root TT_CLEANUP(tt_json_cleanup) = parse(image);
    demand(status == TT_OK || (status == TT_TAMPERED && strstr(err.message, "WorkingDir") &&
                               !cJSON_IsString(setting(root, "WorkingDir"))));
    demand_same_reversed(image, digest);
    if (status == TT_OK)
        demand_noticed(image, digest);
}

/* A command of its own words is the image's own. */
static void demand_command(const struct tt_image *image, const struct tt_image_command *its, const uint8_t *digest)
{
    uint8_t found[TT_SHA512_SIZE];
    cJSON *root TT_CLEANUP(tt_json_cleanup) = parse(image);
    const cJSON *entry = setting(root, "Entrypoint");
    const cJSON *cmd = setting(root, "Cmd");
    demand(its->entry_count == (size_t)cJSON_GetArraySize(entry));
    demand(its->count == its->entry_count + (size_t)cJSON_GetArraySize(cmd) && its->folder && !its->words[its->count]);
    bool has_empty = false;
    for (size_t i = 0; i < its->count; i++) {
        const cJSON *list = i < its->entry_count ? entry : cmd;
        const cJSON *word = cJSON_GetArrayItem(list, (int)(i < its->entry_count ? i : i - its->entry_count));
        demand(strcmp(its->words[i], word->valuestring) == 0);
        has_empty = has_empty || !its->words[i][0];
    }
    if (!digest || has_empty || its->entry_count == 0 || its->count > its->entry_count)
        return;
    demand(tt_image_settings_digest(image, (const char *const *)its->words, found, NULL) == TT_OK);
    demand(memcmp(found, digest, sizeof found) == 0);
}

static void look_at(const struct tt_image *image)
{
    struct tt_image_command its TT_CLEANUP(tt_image_command_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    uint8_t digest[TT_SHA512_SIZE];
    enum tt_status status = tt_image_settings_digest(image, NULL, digest, &err);
    demand(status == TT_OK || (status == TT_MALFORMED && err.message[0]));
    demand(status == TT_OK || tt_image_settings_check(image, image, NULL) != TT_OK);
    if (status == TT_OK)
        demand_itself(image, digest);
    enum tt_status runs = tt_image_command(image, &its, &err);
    demand(runs == TT_OK || (runs == TT_MALFORMED && err.message[0] && !its.words));
    if (runs == TT_OK)
        demand_command(image, &its, status == TT_OK ? digest : NULL);
}

/* --- both --- */

static bool has_object(const cJSON *value)
{
    for (; value; value = value->next)
        if (cJSON_IsObject(value) || has_object(value->child))
            return true;
    return false;
}

/* None, or as stores write one. Of others ({} and {"Interval":0}) the digest is more exact than the comparison. */
static bool has_plain_healthcheck(const struct tt_image *image)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = parse(image);
    const cJSON *check = setting(root, "Healthcheck");
    const cJSON *test = cJSON_GetObjectItemCaseSensitive(check, "Test");
    return !check || (cJSON_IsArray(test) && test->child && !has_object(check->child));
}

static void compare(const struct tt_image *image, const struct tt_image *base)
{
    uint8_t one[TT_SHA512_SIZE];
    uint8_t other[TT_SHA512_SIZE];
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_image_settings_check(image, base, &err);
    demand(status == TT_OK || ((status == TT_MALFORMED || status == TT_TAMPERED) && err.message[0]));
    if (status != TT_OK || !has_plain_healthcheck(image) || !has_plain_healthcheck(base))
        return;
    demand(tt_image_settings_digest(image, command, one, NULL) == TT_OK);
    demand(tt_image_settings_digest(base, command, other, NULL) == TT_OK);
    demand(memcmp(one, other, sizeof one) == 0);
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct pair pair TT_CLEANUP(pair_clear) = {0};
    struct tt_image_command its TT_CLEANUP(tt_image_command_clear) = {0};
    uint8_t digest[TT_SHA512_SIZE];
    enum tt_status status = part(data, size, &pair, err);
    if (status == TT_OK)
        status = tt_image_command(&pair.image, &its, err);
    if (status == TT_OK)
        status = tt_image_settings_digest(&pair.image, command, digest, err);
    return status == TT_OK ? tt_image_settings_check(&pair.image, &pair.base, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pair pair TT_CLEANUP(pair_clear) = {0};
    demand(part(data, size, &pair, NULL) == TT_OK);
    look_at(&pair.image);
    look_at(&pair.base);
    compare(&pair.image, &pair.base);
    compare(&pair.base, &pair.image);
    short_memory_try(data, size, read_again);
    return 0;
}
