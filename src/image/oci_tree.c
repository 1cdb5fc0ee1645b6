#include <string.h>

#include "archive/tar_reader.h"
#include "image/oci.h"

static const uint64_t GROWTH_LEFT = 1ULL << 30;

/* The train's paths (docs/protocol.md, "A train"). All else of an image is scanned and dropped: a base image may have a
 * hundred thousand files of its own, below /opt too. */
static const char *const wanted[] = {"opt/pht_train", "opt/pht_results", "opt/train_config.json",
                                     "opt/user_sym_key.key"};

bool oci_tree_wants(const char *path)
{
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (tt_path_is_under(path, wanted[i]) || tt_path_is_under(wanted[i], path))
            return true;
    return false;
}

void oci_layer_files_clear(struct oci_layer_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        tt_entry_clear(&files->nodes[i].entry);
    for (size_t i = 0; i < files->removal_count; i++)
        free(files->removals[i].path);
    free(files->nodes);
    free(files->removals);
    *files = (struct oci_layer_files){0};
}

static enum tt_status too_many(struct tt_error *err)
{
    return tt_error_set(err, TT_MALFORMED, "the train has more than %d files, or names of more than %d bytes in all",
                        TT_ENTRY_LIMIT, OCI_NAMES_LIMIT);
}

static enum tt_status count_names(struct oci_layer_files *files, size_t length, struct tt_error *err)
{
    files->name_bytes += length;
    return files->name_bytes > OCI_NAMES_LIMIT ? too_many(err) : TT_OK;
}

/* Room for one more of `count` elements. */
static enum tt_status grow(void **array, size_t element, size_t count, size_t *capacity, struct tt_error *err)
{
    if (count < *capacity)
        return TT_OK;
    if (count >= TT_ENTRY_LIMIT)
        return too_many(err);
    size_t more = *capacity ? *capacity + *capacity / 2 : 64;
    void *grown = reallocarray(*array, more, element);
    if (!grown)
        return tt_error_memory(err);
    *array = grown;
    *capacity = more;
    return TT_OK;
}

enum tt_status oci_layer_files_add(struct oci_layer_files *files, const struct tt_entry *entry,
                                   struct oci_node **ret_node, struct tt_error *err)
{
    enum tt_status status =
        count_names(files, strlen(entry->path) + (entry->link_target ? strlen(entry->link_target) : 0), err);
    if (status == TT_OK)
        status = grow((void **)&files->nodes, sizeof *files->nodes, files->count, &files->capacity, err);
    if (status != TT_OK)
        return status;
    struct oci_node *node = &files->nodes[files->count];
    *node = (struct oci_node){.layer = OCI_IN_SPOOL, .sequence = (uint32_t)files->count};
    status = tt_entry_copy(entry, &node->entry, err);
    if (status != TT_OK)
        return status;
    files->count++;
    *ret_node = node;
    return TT_OK;
}

enum tt_status oci_layer_files_remove(struct oci_layer_files *files, const char *path, size_t length, bool itself,
                                      struct tt_error *err)
{
    enum tt_status status = count_names(files, length, err);
    if (status == TT_OK)
        status = grow((void **)&files->removals, sizeof *files->removals, files->removal_count,
                      &files->removal_capacity, err);
    if (status != TT_OK)
        return status;
    char *copy = strndup(path, length);
    if (!copy)
        return tt_error_memory(err);
    files->removals[files->removal_count++] = (struct oci_removal){copy, itself};
    return TT_OK;
}

enum tt_status oci_tree_new(size_t layer_count, struct oci_tree **ret_tree, struct tt_error *err)
{
    struct oci_tree *tree = calloc(1, sizeof *tree);
    int *blobs = calloc(layer_count, sizeof *blobs);
    if (!tree || !blobs) {
        free(tree);
        free(blobs);
        return tt_error_memory(err);
    }
    atomic_init(&tree->holders, 1);
    for (size_t i = 0; i < layer_count; i++)
        blobs[i] = -1;
    tree->blobs = blobs;
    tree->layer_count = layer_count;
    tree->growth_left = GROWTH_LEFT;
    *ret_tree = tree;
    return TT_OK;
}

void oci_tree_release(struct oci_tree *tree)
{
    if (!tree || atomic_fetch_sub(&tree->holders, 1) != 1)
        return;
    for (size_t i = 0; i < tree->count; i++)
        tt_entry_clear(&tree->nodes[i].entry);
    for (size_t i = 0; i < tree->layer_count; i++)
        tt_close_cleanup(&tree->blobs[i]);
    free(tree->nodes);
    free(tree->blobs);
    tt_spool_free(tree->spool);
    free(tree);
}

static int compare_nodes(const void *one, const void *other)
{
    const struct oci_node *first = one;
    const struct oci_node *second = other;
    int order = tt_path_compare(first->entry.path, second->entry.path);
    if (order != 0)
        return order;
    return first->sequence < second->sequence ? -1 : first->sequence > second->sequence;
}

static int compare_removals(const void *one, const void *other)
{
    const struct oci_removal *first = one;
    const struct oci_removal *second = other;
    int order = tt_path_compare(first->path, second->path);
    return order != 0 ? order : (int)second->itself - (int)first->itself;
}

/* Sorted, and of several entries of one path the last. */
static void sort_nodes(struct oci_layer_files *files)
{
    if (files->count == 0)
        return;
    qsort(files->nodes, files->count, sizeof *files->nodes, compare_nodes);
    size_t kept = 0;
    for (size_t i = 1; i < files->count; i++) {
        if (strcmp(files->nodes[kept].entry.path, files->nodes[i].entry.path) == 0)
            tt_entry_clear(&files->nodes[kept].entry);
        else
            kept++;
        if (kept != i) {
            files->nodes[kept] = files->nodes[i];
            files->nodes[i].entry = (struct tt_entry){0};
        }
    }
    files->count = kept + 1;
}

/* Whether there is anything under `path` besides itself. */
static bool has_contents(const struct oci_tree *tree, const char *path)
{
    size_t low = 0;
    size_t high = tree->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tt_path_compare(tree->nodes[middle].entry.path, path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < tree->count && tt_path_is_under(tree->nodes[low].entry.path, path);
}

/* What is no folder takes the place of all that was under its path below. */
static enum tt_status add_replaced(const struct oci_tree *tree, struct oci_layer_files *files, struct tt_error *err)
{
    for (size_t i = 0; i < files->count; i++) {
        const char *path = files->nodes[i].entry.path;
        if (files->nodes[i].entry.type == TT_ENTRY_FOLDER || !has_contents(tree, path))
            continue;
        enum tt_status status = oci_layer_files_remove(files, path, strlen(path), false, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

/* Drops what the removals cover. Both lists are sorted so that what is under a path follows it at once: one walk. */
static void remove_covered(struct oci_tree *tree, const struct oci_layer_files *files)
{
    const struct oci_removal *active = NULL;
    size_t next = 0;
    size_t kept = 0;
    for (size_t i = 0; i < tree->count; i++) {
        const char *path = tree->nodes[i].entry.path;
        for (; next < files->removal_count && tt_path_compare(files->removals[next].path, path) <= 0; next++)
            if (!active || !tt_path_is_under(files->removals[next].path, active->path))
                active = &files->removals[next];
        bool covered =
            active && tt_path_is_under(path, active->path) && (active->itself || strcmp(path, active->path) != 0);
        if (covered)
            tt_entry_clear(&tree->nodes[i].entry);
        else
            tree->nodes[kept++] = tree->nodes[i];
    }
    tree->count = kept;
}

static enum tt_status check_limits(const struct oci_tree *tree, struct tt_error *err)
{
    size_t total = 0;
    for (size_t i = 0; i < tree->count; i++)
        total += strlen(tree->nodes[i].entry.path);
    return tree->count > TT_ENTRY_LIMIT || total > OCI_NAMES_LIMIT ? too_many(err) : TT_OK;
}

static enum tt_status merge(struct oci_tree *tree, struct oci_layer_files *files, struct tt_error *err)
{
    struct oci_node *merged = calloc(tree->count + files->count + 1, sizeof *merged);
    if (!merged)
        return tt_error_memory(err);
    size_t lower = 0;
    size_t upper = 0;
    size_t count = 0;
    while (lower < tree->count || upper < files->count) {
        int order = lower == tree->count ? 1
                    : upper == files->count
                        ? -1
                        : tt_path_compare(tree->nodes[lower].entry.path, files->nodes[upper].entry.path);
        if (order == 0)
            tt_entry_clear(&tree->nodes[lower++].entry);
        else
            merged[count++] = order < 0 ? tree->nodes[lower++] : files->nodes[upper++];
    }
    free(tree->nodes);
    tree->nodes = merged;
    tree->count = count;
    files->count = 0;
    return check_limits(tree, err);
}

enum tt_status oci_tree_apply(struct oci_tree *tree, struct oci_layer_files *files, struct tt_error *err)
{
    sort_nodes(files);
    oci_links_resolve(tree, files);
    enum tt_status status = add_replaced(tree, files, err);
    if (status != TT_OK)
        return status;
    if (files->removal_count > 0)
        qsort(files->removals, files->removal_count, sizeof *files->removals, compare_removals);
    remove_covered(tree, files);
    return files->count > 0 ? merge(tree, files, err) : TT_OK;
}

/* Adds the ancestors of `path` that come after `before` (the path in front of it in order). */
static enum tt_status add_ancestors(struct oci_layer_files *out, const char *before, const char *path,
                                    struct tt_error *err)
{
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t length = (size_t)(slash - path);
        if (strncmp(before, path, length) == 0 && (before[length] == '/' || before[length] == '\0'))
            continue; /* what is in front lies there too, so it has been seen to already */
        char *folder TT_CLEANUP(tt_free_cleanup) = strndup(path, length);
        if (!folder)
            return tt_error_memory(err);
        struct tt_entry entry = {.path = folder, .type = TT_ENTRY_FOLDER, .mode = 0755};
        struct oci_node *node = NULL;
        enum tt_status status = oci_layer_files_add(out, &entry, &node, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

static enum tt_status add_missing_folders(struct oci_tree *tree, struct tt_error *err)
{
    struct oci_layer_files missing TT_CLEANUP(oci_layer_files_clear) = {0};
    const char *before = "";
    for (size_t i = 0; i < tree->count; i++) {
        enum tt_status status = add_ancestors(&missing, before, tree->nodes[i].entry.path, err);
        if (status != TT_OK)
            return status;
        before = tree->nodes[i].entry.path;
    }
    return missing.count > 0 ? merge(tree, &missing, err) : TT_OK;
}

enum tt_status oci_tree_finish(struct oci_tree *tree, struct tt_error *err)
{
    enum tt_status status = add_missing_folders(tree, err);
    if (status == TT_OK && tree->has_links)
        status = oci_links_restore(tree, err);
    if (status != TT_OK)
        return status;
    for (size_t layer = 0; layer < tree->layer_count; layer++) {
        bool used = false;
        for (size_t i = 0; i < tree->count && !used && tree->blobs[layer] >= 0; i++)
            used = tree->nodes[i].layer == (int32_t)layer && tree->nodes[i].entry.type == TT_ENTRY_FILE;
        if (used)
            continue;
        tt_close_cleanup(&tree->blobs[layer]);
        tree->blobs[layer] = -1;
    }
    return TT_OK;
}
