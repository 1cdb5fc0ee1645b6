#include <string.h>

#include "crypto/digest.h"
#include "image/store.h"
#include "json/json.h"

/*
 * Settings of two images, as JSON of the OCI form. What a setting's absence means is written in several ways (null, "",
 * [], {}, 0, false, no member), which count as one here. Names are compared as they are written: "env" is not "Env",
 * though some programs take it for that, so that it has to be in both images or in none.
 */
enum { VALUE_LIMIT = 50000, LIST_LIMIT = 2000 };

/* Of an image's configuration: nothing that a container of it would notice. */
static const char *const own_facts[] = {
    "created", "author", "history", "rootfs",     "comment",     "container", "container_config", "docker_version",
    "id",      "parent", "variant", "os.version", "os.features", "Size",      "throwaway",        "config",
};

/* Of its member "config": the command is checked apart; the others are those of the container that was committed, and
 * no image hands them on. */
static const char *const own_settings[] = {
    "Entrypoint",   "Cmd",        "Hostname",  "Domainname", "Image",       "AttachStdin", "AttachStdout",
    "AttachStderr", "Tty",        "OpenStdin", "StdinOnce",  "ArgsEscaped", "MacAddress",  "NetworkDisabled",
    "Env",          "WorkingDir",
};

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool is_own_fact(const char *name)
{
    return is_one_of(name, own_facts, sizeof own_facts / sizeof own_facts[0]) ||
           strncmp(name, "moby.buildkit.", strlen("moby.buildkit.")) == 0;
}

static bool is_own_setting(const char *name)
{
    return is_one_of(name, own_settings, sizeof own_settings / sizeof own_settings[0]);
}

static bool is_empty(const cJSON *value)
{
    if (!value || cJSON_IsNull(value) || cJSON_IsFalse(value))
        return true;
    if (cJSON_IsString(value))
        return value->valuestring[0] == '\0';
    if (cJSON_IsNumber(value))
        return value->valuedouble == 0;
    return (cJSON_IsArray(value) || cJSON_IsObject(value)) && !value->child;
}

static bool equal(const cJSON *one, const cJSON *other, bool empty_is_absent);

/* Whether every member of `one` is the same in `other`. */
static bool contains(const cJSON *one, const cJSON *other, bool empty_is_absent)
{
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, one)
    {
        const cJSON *same = cJSON_GetObjectItemCaseSensitive(other, member->string);
        bool absent = empty_is_absent && is_empty(member) && is_empty(same);
        if (!absent && (!same || !equal(member, same, empty_is_absent)))
            return false;
    }
    return true;
}

static bool equal_arrays(const cJSON *one, const cJSON *other, bool empty_is_absent)
{
    const cJSON *left = one->child;
    const cJSON *right = other->child;
    for (; left && right && equal(left, right, empty_is_absent); left = left->next)
        right = right->next;
    return !left && !right;
}

/* As deep as the parser lets JSON be. */
static bool equal(const cJSON *one, const cJSON *other, bool empty_is_absent)
{
    if ((one->type & 0xFF) != (other->type & 0xFF))
        return false;
    if (cJSON_IsString(one))
        return strcmp(one->valuestring, other->valuestring) == 0;
    if (cJSON_IsNumber(one))
        return one->valuedouble == other->valuedouble;
    if (cJSON_IsArray(one))
        return equal_arrays(one, other, empty_is_absent);
    return !cJSON_IsObject(one) || (contains(one, other, empty_is_absent) && contains(other, one, empty_is_absent));
}

/* Two images' settings under comparison. */
struct comparison {
    const struct tt_image *image;
    const struct tt_image *base;
    cJSON *mine;
    cJSON *theirs;
};

static void comparison_clear(struct comparison *comparison)
{
    cJSON_Delete(comparison->mine);
    cJSON_Delete(comparison->theirs);
}

static enum tt_status differs(const struct comparison *comparison, const char *name, struct tt_error *err)
{
    return tt_error_set(err, TT_TAMPERED, "the setting '%.100s' of %s is not that of %s, on which it should be built",
                        name, tt_image_reference(comparison->image), tt_image_reference(comparison->base));
}

static enum tt_status parse(const struct tt_image *image, cJSON **ret_root, struct tt_error *err)
{
    const struct tt_buffer *text = tt_image_configuration(image);
    enum tt_status status =
        tt_json_parse((const char *)text->data, text->length, VALUE_LIMIT, "the image's configuration", ret_root, err);
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(*ret_root, "config");
    if (status == TT_OK && (!cJSON_IsObject(*ret_root) || (config && !cJSON_IsObject(config) && !cJSON_IsNull(config))))
        status = tt_error_set(err, TT_MALFORMED, "the image's configuration is not one");
    return status == TT_OK ? TT_OK : tt_error_context(err, "%s", tt_image_reference(image));
}

/* Members of `one` that are not the same in `other`, but for those that `is_own` names. */
static enum tt_status compare_members(const struct comparison *comparison, const cJSON *one, const cJSON *other,
                                      bool (*is_own)(const char *), struct tt_error *err)
{
    const cJSON *member = NULL;
    cJSON_ArrayForEach(member, one)
    {
        const cJSON *same = cJSON_GetObjectItemCaseSensitive(other, member->string);
        /* Only Healthcheck has members of which some stores leave out the empty ones. */
        bool loose = strcmp(member->string, "Healthcheck") == 0;
        bool empty = is_empty(member) && is_empty(same);
        if (!is_own(member->string) && !empty && (!same || !equal(member, same, loose)))
            return differs(comparison, member->string, err);
    }
    return TT_OK;
}

/* --- variables --- */

static size_t name_length(const char *variable)
{
    const char *sign = strchr(variable, '=');
    return sign ? (size_t)(sign - variable) : strlen(variable);
}

static bool is_same_name(const char *one, const char *other)
{
    size_t length = name_length(one);
    return name_length(other) == length && strncmp(one, other, length) == 0;
}

static const char *find_variable(const cJSON *list, const char *variable)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        if (is_same_name(item->valuestring, variable))
            return item->valuestring;
    }
    return NULL;
}

/* Which of two variables of one name counts is for each program to say. */
static bool has_twins(const cJSON *list)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        for (const cJSON *other = item->next; other; other = other->next)
            if (is_same_name(item->valuestring, other->valuestring))
                return true;
    }
    return false;
}

/* What Podman sets in every container, and keeps when one becomes an image. */
static bool is_podmans(const char *variable)
{
    static const char *const variables[] = {"container=podman", "container=oci", "TERM=xterm",
                                            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
    return is_one_of(variable, variables, sizeof variables / sizeof variables[0]);
}

static enum tt_status check_list(const cJSON *list, const struct tt_image *image, const char *name,
                                 struct tt_error *err)
{
    const cJSON *item = NULL;
    bool good = !list || cJSON_IsNull(list) || (cJSON_IsArray(list) && cJSON_GetArraySize(list) <= LIST_LIMIT);
    cJSON_ArrayForEach(item, list)
    {
        good = good && cJSON_IsString(item);
    }
    return good ? TT_OK
                : tt_error_set(err, TT_MALFORMED, "%s: the setting '%s' is not a list of at most %d texts",
                               tt_image_reference(image), name, LIST_LIMIT);
}

static enum tt_status variable_differs(const struct comparison *comparison, const char *variable, struct tt_error *err)
{
    char name[100];
    size_t length = name_length(variable);
    snprintf(name, sizeof name, "Env: %.*s", (int)(length < 80 ? length : 80), variable);
    return differs(comparison, name, err);
}

static enum tt_status compare_variables(const struct comparison *comparison, const cJSON *mine, const cJSON *theirs,
                                        struct tt_error *err)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, mine)
    {
        const char *same = find_variable(theirs, item->valuestring);
        if (same ? strcmp(item->valuestring, same) != 0 : !is_podmans(item->valuestring))
            return variable_differs(comparison, item->valuestring, err);
    }
    cJSON_ArrayForEach(item, theirs)
    {
        if (!find_variable(mine, item->valuestring))
            return variable_differs(comparison, item->valuestring, err);
    }
    return TT_OK;
}

/* Their order means nothing where each name is there once. */
static enum tt_status compare_environment(const struct comparison *comparison, const cJSON *mine, const cJSON *theirs,
                                          struct tt_error *err)
{
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(mine, "Env");
    const cJSON *other = cJSON_GetObjectItemCaseSensitive(theirs, "Env");
    enum tt_status status = check_list(one, comparison->image, "Env", err);
    if (status == TT_OK)
        status = check_list(other, comparison->base, "Env", err);
    if (status != TT_OK)
        return status;
    if (!has_twins(one) && !has_twins(other))
        return compare_variables(comparison, one, other, err);
    return one && other && equal(one, other, false) ? TT_OK : differs(comparison, "Env", err);
}

/* Podman writes out what no folder means. */
static enum tt_status compare_folder(const struct comparison *comparison, const cJSON *mine, const cJSON *theirs,
                                     struct tt_error *err)
{
    const char *folders[2] = {"", ""};
    const cJSON *values[2] = {cJSON_GetObjectItemCaseSensitive(mine, "WorkingDir"),
                              cJSON_GetObjectItemCaseSensitive(theirs, "WorkingDir")};
    for (size_t i = 0; i < 2; i++) {
        if (!is_empty(values[i]) && !cJSON_IsString(values[i]))
            return differs(comparison, "WorkingDir", err);
        if (cJSON_IsString(values[i]) && strcmp(values[i]->valuestring, "/") != 0)
            folders[i] = values[i]->valuestring;
    }
    return strcmp(folders[0], folders[1]) == 0 ? TT_OK : differs(comparison, "WorkingDir", err);
}

static enum tt_status compare(const struct comparison *comparison, struct tt_error *err)
{
    const cJSON *mine = cJSON_GetObjectItemCaseSensitive(comparison->mine, "config");
    const cJSON *theirs = cJSON_GetObjectItemCaseSensitive(comparison->theirs, "config");
    enum tt_status status = compare_members(comparison, comparison->mine, comparison->theirs, is_own_fact, err);
    if (status == TT_OK)
        status = compare_members(comparison, comparison->theirs, comparison->mine, is_own_fact, err);
    if (status == TT_OK)
        status = compare_members(comparison, mine, theirs, is_own_setting, err);
    if (status == TT_OK)
        status = compare_members(comparison, theirs, mine, is_own_setting, err);
    if (status == TT_OK)
        status = compare_environment(comparison, mine, theirs, err);
    return status == TT_OK ? compare_folder(comparison, mine, theirs, err) : status;
}

enum tt_status tt_image_settings_check(const struct tt_image *image, const struct tt_image *base, struct tt_error *err)
{
    struct comparison comparison TT_CLEANUP(comparison_clear) = {.image = image, .base = base};
    enum tt_status status = parse(image, &comparison.mine, err);
    if (status == TT_OK)
        status = parse(base, &comparison.theirs, err);
    return status == TT_OK ? compare(&comparison, err) : status;
}

/* --- one value for all of them --- */

/* What every store keeps and a container notices, in the order of the alphabet. */
static const char *const noticed[] = {
    "Cmd",   "Entrypoint", "Env",         "ExposedPorts", "Healthcheck", "Labels",     "OnBuild",
    "Shell", "StopSignal", "StopTimeout", "User",         "Volumes",     "WorkingDir",
};

static int by_name(const void *one, const void *other)
{
    return strcmp((*(const cJSON *const *)one)->string, (*(const cJSON *const *)other)->string);
}

static int by_text(const void *one, const void *other)
{
    return strcmp((*(const cJSON *const *)one)->valuestring, (*(const cJSON *const *)other)->valuestring);
}

static enum tt_status put_value(struct tt_buffer *text, const cJSON *value, bool empty_is_absent, struct tt_error *err);

/* The items of a list, or the members of an object with their names, in this order. */
static enum tt_status put_items(struct tt_buffer *text, const cJSON *const *items, size_t count, bool empty_is_absent,
                                struct tt_error *err)
{
    enum tt_status status = tt_buffer_append(text, "(", 1, err);
    for (size_t i = 0; status == TT_OK && i < count; i++) {
        if (items[i]->string && empty_is_absent && is_empty(items[i]))
            continue;
        if (items[i]->string)
            status = tt_buffer_printf(text, err, "%zu:%s=", strlen(items[i]->string), items[i]->string);
        if (status == TT_OK)
            status = put_value(text, items[i], empty_is_absent, err);
    }
    return status == TT_OK ? tt_buffer_append(text, ")", 1, err) : status;
}

/* `order` NULL: as they stand. `left_out` (may be NULL) names texts that do not count. */
static enum tt_status put_children(struct tt_buffer *text, const cJSON *value, int (*order)(const void *, const void *),
                                   bool (*left_out)(const char *), bool empty_is_absent, struct tt_error *err)
{
    size_t count = 0;
    const cJSON **items TT_CLEANUP(tt_free_cleanup) = calloc((size_t)cJSON_GetArraySize(value) + 1, sizeof(void *));
    if (!items)
        return tt_error_memory(err);
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, value)
    {
        if (!left_out || !left_out(item->valuestring))
            items[count++] = item;
    }
    if (order)
        qsort(items, count, sizeof(void *), order);
    return put_items(text, items, count, empty_is_absent, err);
}

static enum tt_status put_value(struct tt_buffer *text, const cJSON *value, bool empty_is_absent, struct tt_error *err)
{
    if (is_empty(value))
        return tt_buffer_append(text, "-", 1, err);
    if (cJSON_IsString(value))
        return tt_buffer_printf(text, err, "%zu:%s", strlen(value->valuestring), value->valuestring);
    if (cJSON_IsNumber(value))
        return tt_buffer_printf(text, err, "#%.17g", value->valuedouble);
    if (cJSON_IsArray(value) || cJSON_IsObject(value))
        return put_children(text, value, cJSON_IsObject(value) ? by_name : NULL, NULL, empty_is_absent, err);
    return tt_buffer_append(text, "true", 4, err);
}

/* Where each name is there once, the order of variables means nothing, nor do those that Podman adds. As the second of
 * its name, each of them could change what the first one says. */
static enum tt_status put_variables(struct tt_buffer *text, const cJSON *list, struct tt_error *err)
{
    bool twins = has_twins(list);
    return put_children(text, list, twins ? NULL : by_text, twins ? NULL : is_podmans, false, err);
}

static enum tt_status put_setting(struct tt_buffer *text, const char *name, const cJSON *value, struct tt_error *err)
{
    bool no_folder = strcmp(name, "WorkingDir") == 0 && cJSON_IsString(value) && strcmp(value->valuestring, "/") == 0;
    if (is_empty(value) || no_folder)
        return TT_OK;
    enum tt_status status = tt_buffer_printf(text, err, "%s=", name);
    if (status != TT_OK)
        return status;
    if (strcmp(name, "Env") == 0)
        return put_variables(text, value, err);
    return put_value(text, value, strcmp(name, "Healthcheck") == 0, err);
}

static enum tt_status put_command(struct tt_buffer *text, const char *const *command, struct tt_error *err)
{
    enum tt_status status = tt_buffer_printf(text, err, "Entrypoint=(");
    for (; status == TT_OK && *command; command++)
        status = tt_buffer_printf(text, err, "%zu:%s", strlen(*command), *command);
    return status == TT_OK ? tt_buffer_append(text, ")", 1, err) : status;
}

static enum tt_status put_settings(struct tt_buffer *text, const cJSON *config, const char *const *command,
                                   struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < sizeof noticed / sizeof noticed[0]; i++) {
        bool is_entry = strcmp(noticed[i], "Entrypoint") == 0;
        if (command && is_entry)
            status = put_command(text, command, err);
        else if (!command || strcmp(noticed[i], "Cmd") != 0)
            status = put_setting(text, noticed[i], cJSON_GetObjectItemCaseSensitive(config, noticed[i]), err);
    }
    return status;
}

enum tt_status tt_image_settings_digest(const struct tt_image *image, const char *const *command,
                                        uint8_t ret_digest[TT_SHA512_SIZE], struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = parse(image, &root, err);
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    if (status == TT_OK)
        status = check_list(cJSON_GetObjectItemCaseSensitive(config, "Env"), image, "Env", err);
    if (status == TT_OK)
        status = put_settings(&text, config, command, err);
    return status == TT_OK ? tt_digest_once(TT_SHA512, text.data, text.length, ret_digest, err) : status;
}

/* --- the command --- */

static enum tt_status add_words(const cJSON *list, struct tt_image_command *command, struct tt_error *err)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        if (!(command->words[command->count] = strdup(item->valuestring)))
            return tt_error_memory(err);
        command->count++;
    }
    return TT_OK;
}

enum tt_status tt_image_command(const struct tt_image *image, struct tt_image_command *ret_command,
                                struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_image_command command TT_CLEANUP(tt_image_command_clear) = {0};
    enum tt_status status = parse(image, &root, err);
    if (status != TT_OK)
        return status;
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(root, "config");
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(config, "Entrypoint");
    const cJSON *cmd = cJSON_GetObjectItemCaseSensitive(config, "Cmd");
    status = check_list(entry, image, "Entrypoint", err);
    if (status == TT_OK)
        status = check_list(cmd, image, "Cmd", err);
    if (status != TT_OK)
        return status;
    size_t size = (size_t)cJSON_GetArraySize(entry) + (size_t)cJSON_GetArraySize(cmd) + 1;
    if (!(command.words = calloc(size, sizeof *command.words)))
        return tt_error_memory(err);
    status = add_words(entry, &command, err);
    command.entry_count = command.count;
    if (status == TT_OK)
        status = add_words(cmd, &command, err);
    const cJSON *folder = cJSON_GetObjectItemCaseSensitive(config, "WorkingDir");
    command.folder = strdup(cJSON_IsString(folder) ? folder->valuestring : "");
    if (status == TT_OK && !command.folder)
        status = tt_error_memory(err);
    if (status != TT_OK)
        return status;
    *ret_command = command;
    command = (struct tt_image_command){0};
    return TT_OK;
}

void tt_image_command_clear(struct tt_image_command *command)
{
    for (size_t i = 0; i < command->count; i++)
        free(command->words[i]);
    free(command->words);
    free(command->folder);
    *command = (struct tt_image_command){0};
}
