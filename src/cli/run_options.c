#include "cli/run_options.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

enum { ENVIRONMENT_FILE_LIMIT = 1 << 20, BILLION = 1000000000, CPU_DECIMALS = 9 };

/* --- numbers --- */

/* Digits at the start of *text, which moves behind them. False without one, or above `most`. */
static bool take_digits(const char **text, uint64_t most, uint64_t *ret_number)
{
    const char *at = *text;
    uint64_t number = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (number > (most - digit) / 10)
            return false;
        number = 10 * number + digit;
    }
    if (at == *text)
        return false;
    *text = at;
    *ret_number = number;
    return true;
}

static int size_shift(const char *unit)
{
    static const char *const units[] = {"b", "k", "m", "g", "t"};
    char letter[2] = {(char)(*unit | 0x20), '\0'};
    if (!*unit)
        return 0;
    for (int i = 0; i < 5; i++)
        if (strcmp(letter, units[i]) == 0 &&
            (!unit[1] || (i > 0 && (strcasecmp(unit + 1, "b") == 0 || strcasecmp(unit + 1, "ib") == 0))))
            return 10 * i;
    return -1;
}

enum tt_status run_parse_size(const char *option, const char *text, uint64_t *ret_bytes, struct tt_error *err)
{
    const char *at = text;
    uint64_t number = 0;
    int shift = -1;
    if (take_digits(&at, INT64_MAX, &number))
        shift = size_shift(at);
    if (shift < 0 || number == 0 || number > (uint64_t)INT64_MAX >> shift)
        return tt_error_set(err, TT_USAGE, "--%s takes a size such as 512m or 2g, not '%s'", option, text);
    *ret_bytes = number << shift;
    return TT_OK;
}

enum tt_status run_parse_cpus(const char *option, const char *text, uint64_t *ret_billionths, struct tt_error *err)
{
    const char *at = text;
    uint64_t whole = 0;
    uint64_t part = 0;
    bool good = take_digits(&at, INT_MAX, &whole);
    if (good && *at == '.') {
        const char *start = ++at;
        good = take_digits(&at, BILLION - 1, &part) && at - start <= CPU_DECIMALS;
        for (ptrdiff_t digits = at - start; good && digits < CPU_DECIMALS; digits++)
            part *= 10;
    }
    if (!good || *at || whole + part == 0)
        return tt_error_set(err, TT_USAGE, "--%s takes a number of processors such as 2 or 1.5, not '%s'", option,
                            text);
    *ret_billionths = whole * BILLION + part;
    return TT_OK;
}

enum tt_status run_parse_duration(const char *option, const char *text, unsigned *ret_seconds, struct tt_error *err)
{
    const char *at = text;
    uint64_t number = 0;
    uint64_t unit = 0;
    if (take_digits(&at, INT_MAX, &number)) {
        unit = !*at || strcmp(at, "s") == 0 ? 1 : strcmp(at, "m") == 0 ? 60 : strcmp(at, "h") == 0 ? 3600 : 0;
        unit = number * unit <= INT_MAX ? unit : 0;
    }
    if (unit == 0 || number == 0)
        return tt_error_set(err, TT_USAGE, "--%s takes a time such as 90s, 15m or 2h, not '%s'", option, text);
    *ret_seconds = (unsigned)(number * unit);
    return TT_OK;
}

enum tt_status run_parse_gpus(const char *option, const char *text, int *ret_gpus, struct tt_error *err)
{
    const char *at = text;
    uint64_t number = 0;
    if (strcmp(text, "all") == 0) {
        *ret_gpus = -1;
        return TT_OK;
    }
    if (!take_digits(&at, INT_MAX, &number) || *at || number == 0)
        return tt_error_set(err, TT_USAGE, "--%s takes 'all' or a number, not '%s'", option, text);
    *ret_gpus = (int)number;
    return TT_OK;
}

/* --- volumes --- */

/* Puts together what lies between slashes, without empty parts and "."; false when a part is "..". `out` has room for
 * the text and is empty for "/". */
static bool tidy_path(const char *text, char *out, bool may_climb)
{
    char *end = out;
    while (*text) {
        size_t length = strcspn(text, "/");
        if (length == 2 && memcmp(text, "..", 2) == 0 && !may_climb)
            return false;
        if (length > 0 && !(length == 1 && *text == '.')) {
            *end++ = '/';
            memcpy(end, text, length);
            end += length;
        }
        text += length + (text[length] == '/');
    }
    *end = '\0';
    return true;
}

static char *absolute_source(const char *source)
{
    char *folder TT_CLEANUP(tt_free_cleanup) = source[0] == '/' ? strdup("") : getcwd(NULL, 0);
    char *joined TT_CLEANUP(tt_free_cleanup) = folder ? tt_text_format("%s/%s", folder, source) : NULL;
    char *tidy = joined ? calloc(1, strlen(joined) + 2) : NULL;
    if (tidy && tidy_path(joined, tidy, true) && !*tidy)
        strcpy(tidy, "/");
    return tidy;
}

static bool lies_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static enum tt_status check_target(const char *text, const char *target, struct tt_error *err)
{
    static const char *const own[] = {"/opt/pht_results", "/opt/pht_train", "/opt/train_config.json"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (lies_in(target, own[i]) || lies_in(own[i], target))
            return tt_error_set(err, TT_USAGE,
                                "--volume %s would lie over the train's own files (%s): name another place for it in "
                                "the container, such as /opt/train_data",
                                text, own[i]);
    return TT_OK;
}

static enum tt_status bad_volume(const char *text, const char *why, struct tt_error *err)
{
    return tt_error_set(err, TT_USAGE, "--volume takes SOURCE:TARGET[:ro|rw], and in '%s' %s", text, why);
}

/* Cuts `copy` at its colons. */
static enum tt_status split_volume(const char *text, char *copy, struct tt_volume *volume, struct tt_error *err)
{
    char *target = strchr(copy, ':');
    if (!target)
        return bad_volume(text, "there is no target", err);
    *target++ = '\0';
    char *mode = strchr(target, ':');
    if (mode)
        *mode++ = '\0';
    if (mode && strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0)
        return bad_volume(text, "there is something else than ro or rw at the end", err);
    if (!*copy)
        return bad_volume(text, "there is no source", err);
    if (*target != '/')
        return bad_volume(text, "the target is no absolute path", err);
    char *tidy = strdup(target);
    if (!tidy)
        return tt_error_memory(err);
    volume->target = tidy;
    volume->writable = mode && strcmp(mode, "rw") == 0;
    if (!tidy_path(target, tidy, false) || !*tidy)
        return bad_volume(text, "the target is no place that something can be put at", err);
    if (!tt_text_is_utf8(text, strlen(text)))
        return bad_volume(text, "there is text that is not UTF-8", err);
    return TT_OK;
}

static void volume_clear(struct tt_volume *volume)
{
    free((char *)volume->source);
    free((char *)volume->target);
}

enum tt_status run_volumes_add(struct run_volumes *volumes, const char *text, struct tt_error *err)
{
    char *copy TT_CLEANUP(tt_free_cleanup) = strdup(text);
    struct tt_volume volume TT_CLEANUP(volume_clear) = {0};
    if (!copy)
        return tt_error_memory(err);
    enum tt_status status = split_volume(text, copy, &volume, err);
    if (status == TT_OK)
        status = check_target(text, volume.target, err);
    if (status != TT_OK)
        return status;
    for (size_t i = 0; i < volumes->count; i++)
        if (strcmp(volumes->items[i].target, volume.target) == 0)
            return tt_error_set(err, TT_USAGE, "two volumes have the target %s", volume.target);
    volume.source = absolute_source(copy);
    struct tt_volume *grown = realloc(volumes->items, (volumes->count + 1) * sizeof *grown);
    if (grown)
        volumes->items = grown;
    if (!volume.source || !grown)
        return tt_error_memory(err);
    volumes->items[volumes->count++] = volume;
    volume = (struct tt_volume){0};
    return TT_OK;
}

void run_volumes_clear(struct run_volumes *volumes)
{
    for (size_t i = 0; i < volumes->count; i++)
        volume_clear(&volumes->items[i]);
    free(volumes->items);
    *volumes = (struct run_volumes){0};
}

/* --- environment --- */

/* What our own environment has for us alone: PINs, and URIs and folders that hold PINs. */
static bool is_ours(const char *name, size_t length)
{
    static const char *const names[] = {"PRIVATE_KEY_PASSWORD", "PRIVATE_KEY_PATH", "CREDENTIALS_DIRECTORY",
                                        "DOCKER_AUTH_CONFIG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0)
            return true;
    return false;
}

static bool is_name(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7F)
            return false;
    return length > 0 && tt_text_is_utf8(name, length);
}

static void wipe_text(char *text)
{
    if (text)
        tt_wipe(text, strlen(text));
    free(text);
}

/* Takes over `text`, in the place of a value of the same name. */
static enum tt_status keep(struct run_environment *environment, char *text, size_t name_length, struct tt_error *err)
{
    for (size_t i = 0; text && i < environment->count; i++) {
        if (strncmp(environment->values[i], text, name_length + 1) != 0)
            continue;
        wipe_text(environment->values[i]);
        environment->values[i] = text;
        return TT_OK;
    }
    char **grown = text ? realloc(environment->values, (environment->count + 1) * sizeof *grown) : NULL;
    if (!grown) {
        wipe_text(text);
        return tt_error_memory(err);
    }
    environment->values = grown;
    environment->values[environment->count++] = text;
    return TT_OK;
}

enum tt_status run_environment_add(struct run_environment *environment, const char *text, struct tt_error *err)
{
    size_t length = strcspn(text, "=");
    if (!is_name(text, length))
        return tt_error_set(err, TT_USAGE,
                            "a variable for the train is written NAME=VALUE, or NAME to hand on one of "
                            "this environment; there is one without such a name");
    int shown = length < 128 ? (int)length : 128;
    if (is_ours(text, length))
        return tt_error_set(err, TT_USAGE, "%.*s is for traintoken alone: it does not go into the train's environment",
                            shown, text);
    const char *value = text[length] ? text + length + 1 : NULL;
    if (!value) {
        value = getenv(text);
        if (!value)
            return TT_OK;
    }
    if (!tt_text_is_utf8(value, strlen(value)))
        return tt_error_set(err, TT_USAGE, "the variable %.*s for the train is not UTF-8", shown, text);
    return keep(environment, tt_text_format("%.*s=%s", (int)length, text, value), length, err);
}

static enum tt_status add_line(struct run_environment *environment, const char *line, size_t length,
                               struct tt_error *err)
{
    if (length > 0 && line[length - 1] == '\r')
        length--;
    while (length > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        length--;
    }
    if (length == 0 || *line == '#')
        return TT_OK;
    if (memchr(line, '\0', length))
        return tt_error_set(err, TT_USAGE, "there is a NUL byte");
    char *copy = strndup(line, length);
    if (!copy)
        return tt_error_memory(err);
    enum tt_status status = run_environment_add(environment, copy, err);
    wipe_text(copy);
    return status;
}

enum tt_status run_environment_add_text(struct run_environment *environment, const char *text, size_t length,
                                        const char *name, struct tt_error *err)
{
    static const char mark[] = "\xEF\xBB\xBF";
    if (length >= sizeof mark - 1 && memcmp(text, mark, sizeof mark - 1) == 0) {
        text += sizeof mark - 1;
        length -= sizeof mark - 1;
    }
    for (size_t number = 1; length > 0; number++) {
        const char *end = memchr(text, '\n', length);
        size_t line = end ? (size_t)(end - text) : length;
        enum tt_status status = add_line(environment, text, line, err);
        if (status != TT_OK)
            return tt_error_context(err, "%s, line %zu", name, number);
        size_t step = end ? line + 1 : line;
        text += step;
        length -= step;
    }
    return TT_OK;
}

enum tt_status run_environment_add_file(struct run_environment *environment, const char *path, struct tt_error *err)
{
    struct tt_buffer content = {0};
    enum tt_status status = tt_file_read(AT_FDCWD, path, ENVIRONMENT_FILE_LIMIT, &content, err);
    if (status != TT_OK)
        return status == TT_INTERNAL ? status
                                     : tt_error_set(err, TT_USAGE, "--env-file: %s", err ? err->message : path);
    status = run_environment_add_text(environment, (const char *)content.data, content.length, path, err);
    tt_wipe(content.data, content.capacity);
    tt_buffer_clear(&content);
    return status;
}

void run_environment_clear(struct run_environment *environment)
{
    for (size_t i = 0; i < environment->count; i++)
        wipe_text(environment->values[i]);
    free(environment->values);
    *environment = (struct run_environment){0};
}
