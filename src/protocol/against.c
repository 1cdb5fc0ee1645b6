#include "protocol/against.h"

#include <string.h>

#include "base/text.h"
#include "protocol/layer_rules.h"

enum { SAYS_SIZE = 512 };

static void say(tt_check_sink sink, void *user, const char *name, const char *says)
{
    if (sink)
        sink(user, name, true, says);
}

/* --- layers --- */

static enum tt_status compare_layers(const struct tt_image *image, const struct against_layers *layers,
                                     struct tt_error *err)
{
    const char *reference = tt_image_reference(image);
    size_t count = tt_image_layer_count(image);
    if (layers->count == 0)
        return tt_error_set(err, TT_TAMPERED, "%s has no layers: there is nothing that %s could be compared with",
                            layers->name, reference);
    for (size_t i = 0; i < layers->count; i++) {
        const char *found = i < count ? tt_image_layer_diff_id(image, i) : "missing";
        if (strcmp(found, layers->diff_ids[i]) != 0)
            return tt_error_set(err, TT_TAMPERED,
                                "%s is not built on %s: its layer %zu should be %s (unpacked) and is %s", reference,
                                layers->name, i + 1, layers->diff_ids[i], found);
    }
    return TT_OK;
}

/* Links of the image below, where a layer could be led by them. */
static enum tt_status take_links_of(struct tt_image *master, const char *folder, struct layer_rules *rules,
                                    struct tt_error *err)
{
    struct tt_file_stream *stream TT_CLEANUP(tt_file_stream_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    enum tt_status status = tt_image_stream(master, folder, &stream, err);
    do {
        if (status == TT_OK)
            status = tt_file_stream_next(stream, &entry, err);
        if (status == TT_OK && entry)
            status = layer_rules_below(rules, entry, err);
    } while (status == TT_OK && entry);
    return status == TT_OK ? TT_OK : tt_error_context(err, "%s", tt_image_reference(master));
}

static enum tt_status check_own_layers(struct tt_image *image, size_t first, struct tt_image *master,
                                       struct tt_error *err)
{
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
    struct tt_image_command command TT_CLEANUP(tt_image_command_clear) = {0};
    enum tt_status status = layer_rules_new(first, tt_image_layer_count(image), &rules, err);
    if (status == TT_OK)
        status = tt_image_command(image, &command, err);
    if (status == TT_OK)
        status = layer_rules_run_in(rules, command.folder, err);
    if (status == TT_OK && master)
        status = take_links_of(master, TT_TRAIN_DEFINITION, rules, err);
    if (status == TT_OK && master)
        status = take_links_of(master, TT_TRAIN_RESULTS, rules, err);
    if (status != TT_OK)
        return status;
    struct tt_layer_visitor visitor = layer_rules_visitor(rules);
    status = tt_image_visit_layers(image, first, &visitor, err);
    if (status == TT_OK)
        status = layer_rules_finish(rules, err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "%s", tt_image_reference(image));
}

/* Blobs come first: they tell whether the layers' names are true. */
static enum tt_status check_layers(struct tt_image *image, const struct against_layers *layers, struct tt_image *master,
                                   tt_check_sink sink, void *user, struct tt_error *err)
{
    char says[SAYS_SIZE];
    enum tt_status status = tt_image_verify_blobs(image, err);
    if (status == TT_OK)
        status = compare_layers(image, layers, err);
    if (status != TT_OK)
        return status;
    snprintf(says, sizeof says, "the image begins with the %zu layers of %.300s", layers->count, layers->name);
    say(sink, user, "base-layers", says);
    status = check_own_layers(image, layers->count, master, err);
    if (status == TT_OK)
        say(sink, user, "own-layers", "its other layers touch nothing but the train's own files");
    return status;
}

/* --- the command --- */

static bool is_same(char *const *one, size_t count, char *const *other, size_t other_count)
{
    bool same = count == other_count;
    for (size_t i = 0; same && i < count; i++)
        same = strcmp(one[i], other[i]) == 0;
    return same;
}

static bool is_definition_file(const struct tt_train *train, const char *path)
{
    static const char folder[] = "/" TT_TRAIN_DEFINITION "/";
    if (strncmp(path, folder, sizeof folder - 1) != 0)
        return false;
    for (size_t i = 0; i < train->file_count; i++)
        if (strcmp(train->files[i], path + sizeof folder - 1) == 0)
            return true;
    return false;
}

/* Where there is more than the image below has: what a train brings along, also by way of links of the system's. */
static bool is_elsewhere(const char *path)
{
    static const char *const starts[] = {"/opt/pht_", "/proc/", "/dev/", "/sys/"};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (strncmp(path, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

/* A program of the image below: no option, and no way around by "..". */
bool against_is_program(const char *word)
{
    if (word[0] == '\0' || word[0] == '-')
        return false;
    if (!strchr(word, '/'))
        return true;
    if (word[0] != '/' || is_elsewhere(word))
        return false;
    for (const char *part = word + 1, *end = strchrnul(part, '/');; part = end + 1, end = strchrnul(part, '/')) {
        size_t length = (size_t)(end - part);
        if (length == 0 || (part[0] == '.' && (length == 1 || (length == 2 && part[1] == '.'))))
            return false;
        if (*end == '\0')
            return true;
    }
}

/* [PROGRAM,] FILE */
static bool runs_definition(char *const *words, size_t count, const struct tt_train *train)
{
    if (count == 0 || count > 2 || !is_definition_file(train, words[count - 1]))
        return false;
    return count == 1 || against_is_program(words[0]);
}

/* Either half may be the master's; what is the train's own runs a file of the definition. `theirs` without words: there
 * is no master to take anything from. */
static bool is_good_command(const struct tt_image_command *mine, const struct tt_image_command *theirs,
                            const struct tt_train *train)
{
    char *const *cmd = mine->words + mine->entry_count;
    size_t cmd_count = mine->count - mine->entry_count;
    bool same_entry = is_same(mine->words, mine->entry_count, theirs->words, theirs->entry_count);
    bool same_cmd = is_same(cmd, cmd_count, theirs->words ? theirs->words + theirs->entry_count : NULL,
                            theirs->count - theirs->entry_count);
    if (theirs->words && same_entry && same_cmd)
        return true;
    if (same_entry && runs_definition(cmd, cmd_count, train))
        return true;
    return (cmd_count == 0 || same_cmd) && runs_definition(mine->words, mine->entry_count, train);
}

static enum tt_status check_command(const struct tt_image *image, const struct tt_image *master,
                                    const struct tt_train *train, tt_check_sink sink, void *user, struct tt_error *err)
{
    struct tt_image_command mine TT_CLEANUP(tt_image_command_clear) = {0};
    struct tt_image_command theirs TT_CLEANUP(tt_image_command_clear) = {0};
    enum tt_status status = tt_image_command(image, &mine, err);
    if (status == TT_OK && master)
        status = tt_image_command(master, &theirs, err);
    if (status != TT_OK)
        return status;
    if (!is_good_command(&mine, &theirs, train))
        return tt_error_set(
            err, TT_TAMPERED,
            "what %s runs (its Entrypoint and Cmd) is neither that of the image it is built on nor a file "
            "of its definition, alone or after the name of a program",
            tt_image_reference(image));
    say(sink, user, "command", "what the image runs is a file of the definition, or what the image below runs");
    return TT_OK;
}

enum tt_status against_check_layers(struct tt_image *image, const struct tt_train *train,
                                    const struct against_layers *layers, tt_check_sink sink, void *user,
                                    struct tt_error *err)
{
    enum tt_status status = check_layers(image, layers, NULL, sink, user, err);
    return status == TT_OK ? check_command(image, NULL, train, sink, user, err) : status;
}

/* --- a master image --- */

/* The base of a train has its definition in it, and came from whoever made the train. */
static enum tt_status check_master(struct tt_image *master, struct tt_error *err)
{
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    enum tt_status status = tt_image_files(master, TT_TRAIN_CONFIG_PATH, &files, err);
    if (status == TT_OK)
        status = tt_image_verify_blobs(master, err);
    if (status == TT_OK && tt_file_set_count(files) > 0)
        return tt_error_set(err, TT_USAGE,
                            "%s is a train itself; --against needs the master image that trains are built on",
                            tt_image_reference(master));
    return status;
}

static enum tt_status check_against(struct tt_image *image, const struct tt_train *train, struct tt_image *master,
                                    tt_check_sink sink, void *user, struct tt_error *err)
{
    size_t count = tt_image_layer_count(master);
    const char **diff_ids TT_CLEANUP(tt_free_cleanup) = calloc(count + 1, sizeof *diff_ids);
    if (!diff_ids)
        return tt_error_memory(err);
    for (size_t i = 0; i < count; i++)
        diff_ids[i] = tt_image_layer_diff_id(master, i);
    struct against_layers layers = {.diff_ids = diff_ids, .count = count, .name = tt_image_reference(master)};
    enum tt_status status = check_layers(image, &layers, master, sink, user, err);
    if (status == TT_OK)
        status = tt_image_settings_check(image, master, err);
    if (status == TT_OK)
        say(sink, user, "settings", "its settings (variables, user, folders, ports, labels and the like) are the same");
    return status == TT_OK ? check_command(image, master, train, sink, user, err) : status;
}

enum tt_status against_check_image(struct tt_image *image, const struct tt_train *train, const char *master,
                                   const char *platform, tt_check_sink sink, void *user, struct tt_error *err)
{
    struct tt_image *opened TT_CLEANUP(tt_image_free_cleanup) = NULL;
    const struct tt_image_options how = {.platform = platform};
    enum tt_status status = tt_image_open(master, &how, &opened, err);
    if (status == TT_OK)
        status = check_master(opened, err);
    return status == TT_OK ? check_against(image, train, opened, sink, user, err) : status;
}

enum tt_status against_check(struct tt_image *image, const struct tt_train *train, const char *master,
                             const char *platform, const struct manifests *manifests, tt_check_sink sink, void *user,
                             struct tt_error *err)
{
    struct against_layers layers = {.name = "the base image in the creator's manifest"};
    if (master)
        return against_check_image(image, train, master, platform, sink, user, err);
    layers.diff_ids = manifest_layers(manifests, &layers.count);
    return layers.count > 0 ? against_check_layers(image, train, &layers, sink, user, err) : TT_OK;
}
