#include <string.h>

#include "base/file.h"
#include "image/oci.h"

/* A file set is a run of the tree's nodes. */
struct run {
    struct oci_tree *tree;
    size_t first;
};

static enum tt_status read_content(void *user, size_t index, uint64_t offset, void *data, size_t length,
                                   struct tt_error *err)
{
    const struct run *run = user;
    const struct oci_node *node = &run->tree->nodes[run->first + index];
    if (node->layer == OCI_IN_SPOOL)
        return tt_spool_read(run->tree->spool, node->offset + offset, data, length, err);
    return tt_file_read_at(run->tree->blobs[node->layer], node->offset + offset, data, length, node->entry.path, err);
}

static void free_run(void *user)
{
    struct run *run = user;
    oci_tree_release(run->tree);
    free(run);
}

/* The first node whose path is not before `path`. */
static size_t lower_bound(const struct oci_tree *tree, const char *path)
{
    size_t low = 0;
    size_t high = tree->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tt_path_compare(tree->nodes[middle].entry.path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum tt_status leads_elsewhere(const struct oci_node *node, struct tt_error *err)
{
    return tt_error_set(err, TT_TAMPERED, "/%s is a %s where a folder must be", node->entry.path,
                        tt_entry_type_name(node->entry.type));
}

/* On the way to `path` there must be nothing but folders. */
static enum tt_status check_ancestors(const struct oci_tree *tree, const char *path, struct tt_error *err)
{
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        char *folder TT_CLEANUP(tt_free_cleanup) = strndup(path, (size_t)(slash - path));
        if (!folder)
            return tt_error_memory(err);
        size_t at = lower_bound(tree, folder);
        if (at < tree->count && strcmp(tree->nodes[at].entry.path, folder) == 0 &&
            tree->nodes[at].entry.type != TT_ENTRY_FOLDER)
            return leads_elsewhere(&tree->nodes[at], err);
    }
    return TT_OK;
}

/* Nor may anything lie below what is no folder. In order, contents come right after what holds them. */
static enum tt_status check_run(const struct oci_tree *tree, size_t first, size_t count, struct tt_error *err)
{
    for (size_t i = first; i + 1 < first + count; i++)
        if (tree->nodes[i].entry.type != TT_ENTRY_FOLDER &&
            tt_path_is_under(tree->nodes[i + 1].entry.path, tree->nodes[i].entry.path))
            return leads_elsewhere(&tree->nodes[i], err);
    return TT_OK;
}

static void free_entries(struct tt_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tt_entry_clear(&entries[i]);
    free(entries);
}

static enum tt_status copy_run(struct oci_tree *tree, size_t first, size_t count, struct tt_file_set **ret_files,
                               struct tt_error *err)
{
    static const struct tt_file_set_ways ways = {.read = read_content, .free = free_run};
    struct tt_entry *entries = calloc(count + 1, sizeof *entries);
    struct run *run = calloc(1, sizeof *run);
    enum tt_status status = entries && run ? TT_OK : tt_error_memory(err);
    size_t copied = 0;
    for (; status == TT_OK && copied < count; copied++)
        status = tt_entry_copy(&tree->nodes[first + copied].entry, &entries[copied], err);
    if (status == TT_OK) {
        *run = (struct run){tree, first};
        status = tt_file_set_new(entries, count, &ways, run, ret_files, err);
    }
    if (status != TT_OK) {
        if (entries)
            free_entries(entries, copied);
        free(run);
        return status;
    }
    atomic_fetch_add(&tree->holders, 1);
    return TT_OK;
}

enum tt_status oci_tree_files(struct oci_tree *tree, const char *path, struct tt_file_set **ret_files,
                              struct tt_error *err)
{
    if (!oci_tree_wants(path))
        return tt_error_set(err, TT_INTERNAL, "/%s is none of a train's paths", path);
    enum tt_status status = check_ancestors(tree, path, err);
    if (status != TT_OK)
        return status;
    size_t first = lower_bound(tree, path);
    size_t end = first;
    while (end < tree->count && tt_path_is_under(tree->nodes[end].entry.path, path))
        end++;
    status = check_run(tree, first, end - first, err);
    return status == TT_OK ? copy_run(tree, first, end - first, ret_files, err) : status;
}
