#include <string.h>

#include "image/oci.h"

enum { LINK_STEPS = 8 };

/* The node of a path in a sorted list, or NULL. */
static const struct oci_node *find_node(const struct oci_node *nodes, size_t count, const char *path)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = tt_path_compare(nodes[middle].entry.path, path);
        if (order == 0)
            return &nodes[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The file that a hard link leads to, through other links, or NULL. */
static const struct oci_node *follow(struct oci_tree *tree, struct oci_layer_files *files, const char *path)
{
    for (int step = 0; step < LINK_STEPS; step++) {
        const struct oci_node *node = find_node(files->nodes, files->count, path);
        if (!node)
            node = find_node(tree->nodes, tree->count, path);
        if (node && node->entry.type == TT_ENTRY_FILE)
            return node;
        if (!node || node->entry.type != TT_ENTRY_HARDLINK)
            return NULL;
        path = node->entry.link_target;
    }
    return NULL;
}

/* Another name of `file`. */
static void become(struct oci_node *link, const struct oci_node *file)
{
    char *path = link->entry.path;
    free(link->entry.link_target);
    link->entry = file->entry;
    link->entry.path = path;
    link->entry.link_target = NULL;
    link->layer = file->layer;
    link->offset = file->offset;
    link->file = file->file;
}

void oci_links_resolve(struct oci_tree *tree, struct oci_layer_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        if (files->nodes[i].entry.type != TT_ENTRY_HARDLINK)
            continue;
        const struct oci_node *file = follow(tree, files, files->nodes[i].entry.link_target);
        if (!file)
            continue;
        become(&files->nodes[i], file);
        tree->has_links = true;
    }
}

/* By file; in archive order (that of the pointers) where it is the same. */
static int compare_files(const void *one, const void *other)
{
    const struct oci_node *first = *(const struct oci_node *const *)one;
    const struct oci_node *second = *(const struct oci_node *const *)other;
    if (first->file != second->file)
        return first->file < second->file ? -1 : 1;
    return first < second ? -1 : first > second;
}

enum tt_status oci_links_restore(struct oci_tree *tree, struct tt_error *err)
{
    struct oci_node **files TT_CLEANUP(tt_free_cleanup) = calloc(tree->count + 1, sizeof(struct oci_node *));
    if (!files)
        return tt_error_memory(err);
    size_t count = 0;
    for (size_t i = 0; i < tree->count; i++)
        if (tree->nodes[i].entry.type == TT_ENTRY_FILE)
            files[count++] = &tree->nodes[i];
    qsort(files, count, sizeof(struct oci_node *), compare_files);
    const struct oci_node *first = count > 0 ? files[0] : NULL;
    for (size_t i = 1; i < count; i++) {
        struct tt_entry *entry = &files[i]->entry;
        if (files[i]->file != first->file) {
            first = files[i];
            continue;
        }
        entry->link_target = strdup(first->entry.path);
        if (!entry->link_target)
            return tt_error_memory(err);
        entry->type = TT_ENTRY_HARDLINK;
        entry->size = 0;
    }
    return TT_OK;
}
