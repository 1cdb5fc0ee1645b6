/* Which files may be where in a train. */
#include <limits.h>
#include <string.h>

#include "crypto/file_cipher.h"
#include "protocol/visit.h"

enum {
    LINK_STEPS_LIMIT = 40,
    WALK_LIMIT = 1 << 22 /* components on the ways of all links together: long chains of links would cost hours */
};

static const char *below(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return path[length] == '/' ? path + length + 1 : "";
}

static int compare_names(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

static enum tt_status check_encrypted_size(const struct tt_entry *entry, struct tt_error *err)
{
    if (tt_file_encrypted_size_is_valid(entry->size))
        return TT_OK;
    return tt_error_set(err, TT_TAMPERED,
                        "/%s cannot be an encrypted file: it has %llu bytes (an encrypted file has at least 32 and a "
                        "multiple of 16)",
                        entry->path, (unsigned long long)entry->size);
}

/* The folder's own entry comes first in every set. */
static enum tt_status check_root(const struct tt_entry *root, const char *folder, struct tt_error *err)
{
    if (root->type != TT_ENTRY_FOLDER)
        return tt_error_set(err, TT_TAMPERED, "/%s is a %s where a folder must be", folder,
                            tt_entry_type_name(root->type));
    return TT_OK;
}

/* The names that belong to the definition, to be searched. */
struct listed {
    const char **sorted;
    size_t count;
};

static void listed_clear(struct listed *listed)
{
    free(listed->sorted);
}

static enum tt_status sort_listed(const struct tt_train *train, struct listed *listed, struct tt_error *err)
{
    listed->sorted = calloc(train->file_count + 1, sizeof *listed->sorted);
    if (!listed->sorted)
        return tt_error_memory(err);
    for (size_t i = 0; i < train->file_count; i++)
        listed->sorted[i] = train->files[i];
    listed->sorted[train->file_count] = TT_TRAIN_QUERY_NAME;
    listed->count = train->file_count + 1;
    qsort(listed->sorted, listed->count, sizeof *listed->sorted, compare_names);
    return TT_OK;
}

static bool is_listed(const struct listed *listed, const char *name)
{
    return bsearch(&name, listed->sorted, listed->count, sizeof *listed->sorted, compare_names);
}

/* Whether a component of the path is a Python interpreter's folder of compiled modules. */
static bool is_python_cache(const char *path)
{
    static const char name[] = "/__pycache__";
    size_t length = sizeof name - 1;
    for (const char *found = strstr(path, name); found; found = strstr(found + length, name))
        if (found[length] == '/' || found[length] == '\0')
            return true;
    return false;
}

static enum tt_status check_definition_entry(const struct tt_entry *entry, const struct listed *listed,
                                             enum definition_moment moment, bool *ret_taken, struct tt_error *err)
{
    bool cache = is_python_cache(entry->path);
    *ret_taken = entry->type == TT_ENTRY_FOLDER ? !cache : is_listed(listed, below(entry->path, TT_TRAIN_DEFINITION));
    if (entry->type == TT_ENTRY_FOLDER || (entry->type == TT_ENTRY_FILE && cache && !*ret_taken))
        return TT_OK;
    if (entry->type != TT_ENTRY_FILE)
        return tt_error_set(err, TT_TAMPERED, "/%s is a %s; the definition of a train has only files and folders",
                            entry->path, tt_entry_type_name(entry->type));
    if (!*ret_taken)
        return tt_error_set(err, TT_TAMPERED, "/%s is not in file_list: no hash covers it", entry->path);
    return moment == DEFINITION_ARRIVES ? check_encrypted_size(entry, err) : TT_OK;
}

static enum tt_status check_listed_file(const struct tt_file_set *files, const char *name, struct tt_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", TT_TRAIN_DEFINITION, name);
    size_t index = tt_file_set_find(files, path);
    if (index == tt_file_set_count(files))
        return tt_error_set(err, TT_TAMPERED, "/%s is in file_list but not in the image", path);
    if (tt_file_set_entry(files, index)->type != TT_ENTRY_FILE)
        return tt_error_set(err, TT_TAMPERED, "/%s is in file_list but is no file in the image", path);
    return TT_OK;
}

void definition_files_clear(struct definition_files *files)
{
    free(files->taken);
    *files = (struct definition_files){0};
}

static enum tt_status select_files(const struct tt_train *train, const struct tt_file_set *files,
                                   enum definition_moment moment, struct definition_files *selected,
                                   struct tt_error *err)
{
    struct listed listed TT_CLEANUP(listed_clear) = {0};
    enum tt_status status = sort_listed(train, &listed, err);
    selected->taken = calloc(tt_file_set_count(files), sizeof *selected->taken);
    if (status == TT_OK && !selected->taken)
        return tt_error_memory(err);
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        status = check_definition_entry(entry, &listed, moment, &selected->taken[i], err);
        if (!selected->taken[i] && entry->type != TT_ENTRY_FOLDER)
            selected->left_out++;
    }
    return status;
}

enum tt_status definition_check(const struct tt_train *train, const struct tt_file_set *files,
                                enum definition_moment moment, struct definition_files *ret_files, struct tt_error *err)
{
    struct definition_files selected TT_CLEANUP(definition_files_clear) = {0};
    if (tt_file_set_count(files) == 0)
        return tt_error_set(err, TT_MALFORMED, "this is not a train: it has no /%s", TT_TRAIN_DEFINITION);
    enum tt_status status = check_root(tt_file_set_entry(files, 0), TT_TRAIN_DEFINITION, err);
    if (status == TT_OK)
        status = select_files(train, files, moment, &selected, err);
    for (size_t i = 0; status == TT_OK && i < train->file_count; i++)
        status = check_listed_file(files, train->files[i], err);
    if (status != TT_OK || !ret_files)
        return status;
    *ret_files = selected;
    selected = (struct definition_files){0};
    return TT_OK;
}

/* A path that is being resolved, from the image's root. */
struct walk {
    char done[PATH_MAX];    /* resolved so far: real folders only */
    char pending[PATH_MAX]; /* what is still to be walked */
    int steps;
};

static void pop_component(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    else
        path[0] = '\0';
}

/* Takes the first component off walk->pending. False at the end. */
static bool next_component(struct walk *walk, char component[NAME_MAX + 1])
{
    char *start = walk->pending + strspn(walk->pending, "/");
    size_t length = strcspn(start, "/");
    if (length == 0 || length > NAME_MAX)
        return false;
    memcpy(component, start, length);
    component[length] = '\0';
    memmove(walk->pending, start + length, strlen(start + length) + 1);
    return true;
}

/* Puts a link's target in front of what is still to be walked. False when that gets too long or loops. */
static bool follow(struct walk *walk, const char *target)
{
    char rest[PATH_MAX];
    snprintf(rest, sizeof rest, "%s", walk->pending);
    int written = snprintf(walk->pending, sizeof walk->pending, "%s/%s", target, rest);
    if (target[0] == '/')
        walk->done[0] = '\0';
    else
        pop_component(walk->done);
    return (size_t)written < sizeof walk->pending && ++walk->steps <= LINK_STEPS_LIMIT;
}

/* Whether a symbolic link, followed as a kernel would follow it through the other links of the set, stays inside the
 * results. Comparing names alone is not enough: after a link to a shallower folder, ".." leads further up. */
static bool link_stays_inside(const struct tt_file_set *files, const struct tt_entry *link, size_t *walk_left)
{
    struct walk walk = {.steps = 0};
    char component[NAME_MAX + 1];
    snprintf(walk.done, sizeof walk.done, "%s", link->path);
    if (strlen(link->path) >= sizeof walk.done || !follow(&walk, link->link_target))
        return false;
    bool absolute = link->link_target[0] == '/';
    while (*walk_left > 0 && next_component(&walk, component)) {
        --*walk_left;
        if (strcmp(component, ".") == 0)
            continue;
        if (strcmp(component, "..") == 0) {
            pop_component(walk.done);
        } else {
            size_t used = strlen(walk.done);
            int written = snprintf(walk.done + used, sizeof walk.done - used, "%s%s", used ? "/" : "", component);
            if ((size_t)written >= sizeof walk.done - used)
                return false;
        }
        /* On the way from "/" to the results folder an absolute link is outside for two components. Once it got there
         * it may not leave again, not even to come back: the creator's folder of results has another way to it. */
        bool inside = tt_path_is_under(walk.done, TT_TRAIN_RESULTS);
        absolute = absolute && !inside;
        if (!inside && !(absolute && tt_path_is_under(TT_TRAIN_RESULTS, walk.done)))
            return false;
        size_t index = tt_file_set_find(files, walk.done);
        const struct tt_entry *met = index < tt_file_set_count(files) ? tt_file_set_entry(files, index) : NULL;
        if (met && met->type == TT_ENTRY_SYMLINK) {
            absolute = met->link_target[0] == '/';
            if (!follow(&walk, met->link_target))
                return false;
        }
    }
    return walk.pending[strspn(walk.pending, "/")] == '\0' && tt_path_is_under(walk.done, TT_TRAIN_RESULTS);
}

static enum tt_status check_hard_link(const struct tt_file_set *files, const struct tt_entry *entry,
                                      struct tt_error *err)
{
    size_t target = tt_file_set_find(files, entry->link_target);
    if (target < tt_file_set_count(files) && tt_file_set_entry(files, target)->type == TT_ENTRY_FILE)
        return TT_OK;
    return tt_error_set(err, TT_TAMPERED, "/%s is a hard link to /%s, which is no file among the results", entry->path,
                        entry->link_target);
}

static enum tt_status check_symlink(const struct tt_file_set *files, const struct tt_entry *entry, size_t *walk_left,
                                    struct tt_error *err)
{
    if (link_stays_inside(files, entry, walk_left))
        return TT_OK;
    if (*walk_left == 0)
        return tt_error_set(err, TT_MALFORMED,
                            "the symbolic links in /%s lead through more than %d folders and links in all",
                            TT_TRAIN_RESULTS, WALK_LIMIT);
    return tt_error_set(err, TT_TAMPERED, "/%s is a symbolic link to '%s', which leads outside /%s", entry->path,
                        entry->link_target, TT_TRAIN_RESULTS);
}

/* In an image's layer such a name stands for a removed file, so that the file would be lost on the way, and the image
 * could neither be sent nor kept whole. */
static enum tt_status check_name(const struct tt_entry *entry, struct tt_error *err)
{
    const char *slash = strrchr(entry->path, '/');
    if (strncmp(slash ? slash + 1 : entry->path, ".wh.", 4) != 0)
        return TT_OK;
    return tt_error_set(err, TT_MALFORMED,
                        "/%s cannot be in an image: there a name that starts with '.wh.' stands for a removed file",
                        entry->path);
}

enum tt_status results_check_entry(const struct tt_entry *entry, struct tt_error *err)
{
    enum tt_status status = check_name(entry, err);
    if (status != TT_OK)
        return status;
    if (entry->type == TT_ENTRY_SPECIAL)
        return tt_error_set(err, TT_TAMPERED, "/%s is a %s; results have only files, folders and links", entry->path,
                            tt_entry_type_name(entry->type));
    bool is_root = strcmp(entry->path, TT_TRAIN_RESULTS) == 0;
    return is_root ? check_root(entry, TT_TRAIN_RESULTS, err) : TT_OK;
}

static enum tt_status check_result_entry(const struct tt_file_set *files, const struct tt_entry *entry, bool encrypted,
                                         bool first_stop, size_t *walk_left, struct tt_error *err)
{
    if (entry->type == TT_ENTRY_FOLDER)
        return TT_OK;
    if (first_stop)
        return tt_error_set(err, TT_TAMPERED, "/%s is there before the first stop: a train starts without results",
                            entry->path);
    if (entry->type == TT_ENTRY_FILE)
        return encrypted ? check_encrypted_size(entry, err) : TT_OK;
    if (entry->type == TT_ENTRY_HARDLINK)
        return check_hard_link(files, entry, err);
    if (entry->type == TT_ENTRY_SYMLINK)
        return check_symlink(files, entry, walk_left, err);
    return results_check_entry(entry, err);
}

enum tt_status results_check(const struct tt_file_set *files, bool encrypted, bool first_stop, struct tt_error *err)
{
    size_t count = tt_file_set_count(files);
    if (count == 0)
        return TT_OK;
    size_t walk_left = WALK_LIMIT;
    enum tt_status status = check_root(tt_file_set_entry(files, 0), TT_TRAIN_RESULTS, err);
    for (size_t i = 1; status == TT_OK && i < count; i++)
        status = check_result_entry(files, tt_file_set_entry(files, i), encrypted, first_stop, &walk_left, err);
    return status;
}
