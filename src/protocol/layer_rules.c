#include "protocol/layer_rules.h"

#include <string.h>

#include "archive/tar_reader.h"
#include "train/train.h"

/*
 * A layer is unpacked entry by entry, and whoever does it may follow the links that lie there by then: of its own layer
 * or, where file systems are whole copies, of those below. So no entry lies below a link, unless its layer puts a
 * folder in the link's place first.
 */
enum { PATHS_LIMIT = TT_ENTRY_LIMIT, NAMES_LIMIT = 16 << 20, STEPS_LIMIT = 1 << 22 };

static const char WHITEOUT[] = ".wh.";

struct path {
    size_t offset; /* in `text` */
    size_t place;  /* in its layer: what came first has the smaller one */
};

/* Paths with their text in one piece. */
struct paths {
    struct path *items;
    size_t count;
    size_t capacity;
    struct tt_buffer text;
};

/* What has to be remembered of a layer. */
struct layer_paths {
    struct paths links;   /* symbolic and hard */
    struct paths folders; /* that the layer names */
    struct paths parents; /* in which its entries lie, and what its hard links lead to */
    bool is_copy;         /* the memory is another layer's */
    size_t entries;
};

struct layer_rules {
    size_t first;
    size_t count;
    struct layer_paths below;   /* links only */
    struct layer_paths current; /* of the archive that is being looked at */
    struct layer_paths *layers;
    char *run_in;      /* without the first slash; NULL for the root */
    size_t taken;      /* layer + 1 that has what was in `current`; 0 for none */
    size_t name_bytes; /* of all that is remembered */
    size_t steps;      /* folders on the ways to all entries, and links, that were looked up in the end */
};

static const char *text_of(const struct paths *paths, size_t index)
{
    return (const char *)paths->text.data + paths->items[index].offset;
}

static void paths_clear(struct paths *paths)
{
    free(paths->items);
    tt_buffer_clear(&paths->text);
    *paths = (struct paths){0};
}

static void layer_paths_clear(struct layer_paths *layer)
{
    if (!layer->is_copy) {
        paths_clear(&layer->links);
        paths_clear(&layer->folders);
        paths_clear(&layer->parents);
    }
    *layer = (struct layer_paths){0};
}

static enum tt_status paths_add(struct paths *paths, const char *path, size_t length, size_t place,
                                struct tt_error *err)
{
    if (paths->count == paths->capacity) {
        size_t capacity = paths->capacity ? 2 * paths->capacity : 16;
        struct path *items = realloc(paths->items, capacity * sizeof *items);
        if (!items)
            return tt_error_memory(err);
        paths->items = items;
        paths->capacity = capacity;
    }
    size_t offset = paths->text.length;
    enum tt_status status = tt_buffer_append(&paths->text, path, length, err);
    if (status == TT_OK)
        status = tt_buffer_append(&paths->text, "", 1, err);
    if (status == TT_OK)
        paths->items[paths->count++] = (struct path){.offset = offset, .place = place};
    return status;
}

/* --- entries --- */

static enum tt_status refuse(const struct tt_entry *entry, const char *why, struct tt_error *err)
{
    return tt_error_set(err, TT_TAMPERED, "the %s '/%.300s' %s", tt_entry_type_name(entry->type), entry->path, why);
}

static enum tt_status remember(struct layer_rules *rules, struct paths *paths, const char *path, size_t length,
                               struct tt_error *err)
{
    size_t bytes = length + 1 + sizeof(struct path);
    if (paths->count >= PATHS_LIMIT || bytes > NAMES_LIMIT - rules->name_bytes)
        return tt_error_set(err, TT_MALFORMED, "the train's layers have too many folders and links, or too long names");
    enum tt_status status = paths_add(paths, path, length, rules->current.entries, err);
    rules->name_bytes += status == TT_OK ? bytes : 0;
    return status;
}

/* Entries of one folder mostly come one after the other. */
static enum tt_status remember_parent(struct layer_rules *rules, const char *path, struct tt_error *err)
{
    struct paths *parents = &rules->current.parents;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return TT_OK;
    size_t length = (size_t)(slash - path);
    const char *last = parents->count > 0 ? text_of(parents, parents->count - 1) : "";
    if (strlen(last) == length && memcmp(last, path, length) == 0)
        return TT_OK;
    return remember(rules, parents, path, length, err);
}

static bool is_inside(const char *path)
{
    return tt_path_is_under(path, TT_TRAIN_DEFINITION) || tt_path_is_under(path, TT_TRAIN_RESULTS);
}

static bool is_root(const char *path)
{
    return strcmp(path, TT_TRAIN_DEFINITION) == 0 || strcmp(path, TT_TRAIN_RESULTS) == 0;
}

static bool is_single_file(const char *path)
{
    return strcmp(path, TT_TRAIN_CONFIG_PATH) == 0 || strcmp(path, TT_TRAIN_KEY_PATH) == 0;
}

/* Whether a component but the last is that of a whiteout: some programs would make a folder, others remove a file. */
static bool is_in_whiteout(const char *path)
{
    for (const char *slash = strchr(path, '/'); slash; path = slash + 1, slash = strchr(path, '/'))
        if (strncmp(path, WHITEOUT, sizeof WHITEOUT - 1) == 0)
            return true;
    return false;
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ".wh.NAME" removes NAME; ".wh..wh..opq" hides what its folder has in the layers below; other names like that mean
 * something to some file systems. */
static enum tt_status check_whiteout(const struct tt_entry *entry, struct tt_error *err)
{
    const char *name = last_component(entry->path);
    const char *removed = name + sizeof WHITEOUT - 1;
    size_t folder = name > entry->path ? (size_t)(name - entry->path) - 1 : 0;
    if (entry->type != TT_ENTRY_FILE)
        return refuse(entry, "has the name of a removal, but is no file", err);
    char *subject TT_CLEANUP(tt_free_cleanup) = strdup(entry->path);
    if (!subject)
        return tt_error_memory(err);
    if (strncmp(removed, WHITEOUT, sizeof WHITEOUT - 1) == 0) {
        subject[folder] = '\0';
        return is_inside(subject) ? TT_OK : refuse(entry, "hides what the image below has there", err);
    }
    if (removed[0] == '\0' || strcmp(removed, ".") == 0 || strcmp(removed, "..") == 0)
        return refuse(entry, "has the name of a removal, but of nothing", err);
    strcpy(subject + (name - entry->path), removed);
    if (!is_inside(subject) && !is_single_file(subject))
        return refuse(entry, "removes what is none of a train's files", err);
    return TT_OK;
}

static enum tt_status take_link(struct layer_rules *rules, const struct tt_entry *entry, struct tt_error *err)
{
    if (entry->type == TT_ENTRY_HARDLINK) {
        const char *target = entry->link_target;
        if (!is_inside(target) || is_root(target) || is_in_whiteout(target) ||
            strncmp(last_component(target), WHITEOUT, sizeof WHITEOUT - 1) == 0)
            return refuse(entry, "leads to what is none of a train's files", err);
        enum tt_status status = remember_parent(rules, target, err);
        if (status != TT_OK)
            return status;
    }
    return remember(rules, &rules->current.links, entry->path, strlen(entry->path), err);
}

/* Of what lies in one of the two folders; what of it belongs to the train is for the train's own checks. */
static enum tt_status check_inside(struct layer_rules *rules, const struct tt_entry *entry, struct tt_error *err)
{
    if (entry->type == TT_ENTRY_SPECIAL)
        return refuse(entry, "is a device, pipe or socket", err);
    if (is_root(entry->path) && entry->type != TT_ENTRY_FOLDER)
        return refuse(entry, "is where a folder must be", err);
    if (entry->type == TT_ENTRY_FOLDER)
        return remember(rules, &rules->current.folders, entry->path, strlen(entry->path), err);
    return entry->type == TT_ENTRY_FILE ? TT_OK : take_link(rules, entry, err);
}

static enum tt_status check_entry(struct layer_rules *rules, const struct tt_entry *entry, struct tt_error *err)
{
    const char *path = entry->path;
    if (is_in_whiteout(path))
        return refuse(entry, "lies in a folder whose name is that of a removal", err);
    if (strncmp(last_component(path), WHITEOUT, sizeof WHITEOUT - 1) == 0)
        return check_whiteout(entry, err);
    if (is_inside(path))
        return check_inside(rules, entry, err);
    bool is_above = path[0] == '\0' || tt_path_is_under(TT_TRAIN_DEFINITION, path);
    if (is_above && entry->type != TT_ENTRY_FOLDER)
        return refuse(entry, "is where a folder must be", err);
    if (is_single_file(path) && entry->type != TT_ENTRY_FILE)
        return refuse(entry, "is where a file must be", err);
    bool is_made = entry->type == TT_ENTRY_FOLDER && rules->run_in && tt_path_is_under(rules->run_in, path);
    return is_above || is_made || is_single_file(path) ? TT_OK : refuse(entry, "is none of a train's files", err);
}

static enum tt_status take_entry(void *user, const struct tt_entry *entry, struct tt_error *err)
{
    struct layer_rules *rules = user;
    rules->current.entries++;
    enum tt_status status = check_entry(rules, entry, err);
    return status == TT_OK ? remember_parent(rules, entry->path, err) : status;
}

/* --- layers --- */

/* What an archive that was none of the layers left counts for nothing. */
static void begin(void *user)
{
    struct layer_rules *rules = user;
    for (size_t i = 0; i < 3; i++) {
        const struct paths *paths[] = {&rules->current.links, &rules->current.folders, &rules->current.parents};
        rules->name_bytes -= rules->taken ? 0 : paths[i]->text.length + paths[i]->count * sizeof(struct path);
    }
    if (rules->taken)
        rules->current = (struct layer_paths){0};
    layer_paths_clear(&rules->current);
    rules->taken = 0;
}

static enum tt_status end(void *user, size_t layer, struct tt_error *err)
{
    struct layer_rules *rules = user;
    if (layer < rules->first || layer >= rules->count)
        return tt_error_set(err, TT_INTERNAL, "a layer came that nobody asked for");
    rules->layers[layer] = rules->current;
    rules->layers[layer].is_copy = rules->taken != 0;
    rules->taken = layer + 1;
    return TT_OK;
}

struct tt_layer_visitor layer_rules_visitor(struct layer_rules *rules)
{
    return (struct tt_layer_visitor){.user = rules, .begin = begin, .entry = take_entry, .end = end};
}

enum tt_status layer_rules_new(size_t first, size_t count, struct layer_rules **ret_rules, struct tt_error *err)
{
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = calloc(1, sizeof *rules);
    if (!rules || !(rules->layers = calloc(count + 1, sizeof *rules->layers)))
        return tt_error_memory(err);
    rules->first = first;
    rules->count = count;
    *ret_rules = TT_TAKE(rules);
    return TT_OK;
}

/* Components that are names, with a slash between two. */
static bool is_plain(const char *path)
{
    for (const char *end = strchrnul(path, '/');; path = end + 1, end = strchrnul(path, '/')) {
        size_t length = (size_t)(end - path);
        if (length == 0 || (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.'))))
            return false;
        if (*end == '\0')
            return true;
    }
}

enum tt_status layer_rules_run_in(struct layer_rules *rules, const char *folder, struct tt_error *err)
{
    if (folder[0] != '/' || !is_plain(folder + 1))
        return TT_OK;
    free(rules->run_in);
    rules->run_in = strdup(folder + 1);
    return rules->run_in ? TT_OK : tt_error_memory(err);
}

void layer_rules_free(struct layer_rules *rules)
{
    if (!rules)
        return;
    if (!rules->taken)
        layer_paths_clear(&rules->current);
    layer_paths_clear(&rules->below);
    for (size_t i = 0; rules->layers && i < rules->count; i++)
        layer_paths_clear(&rules->layers[i]);
    free(rules->layers);
    free(rules->run_in);
    free(rules);
}

enum tt_status layer_rules_below(struct layer_rules *rules, const struct tt_entry *entry, struct tt_error *err)
{
    if (entry->type != TT_ENTRY_SYMLINK && entry->type != TT_ENTRY_HARDLINK)
        return TT_OK;
    return remember(rules, &rules->below.links, entry->path, strlen(entry->path), err);
}

/* --- below links --- */

static int compare_paths(const void *one, const void *other, void *text)
{
    const struct path *left = one;
    const struct path *right = other;
    int order = strcmp((const char *)text + left->offset, (const char *)text + right->offset);
    return order != 0 ? order : (left->place > right->place) - (left->place < right->place);
}

static void sort(struct paths *paths)
{
    if (paths->count > 0)
        qsort_r(paths->items, paths->count, sizeof *paths->items, compare_paths, paths->text.data);
}

/* The first one that is exactly path[0..length); NULL when there is none. `paths` are sorted. */
static const struct path *find(const struct paths *paths, const char *path, size_t length)
{
    size_t low = 0;
    size_t high = paths->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *text = text_of(paths, middle);
        int order = strncmp(text, path, length);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool same = low < paths->count && strncmp(text_of(paths, low), path, length) == 0 && !text_of(paths, low)[length];
    return same ? &paths->items[low] : NULL;
}

static enum tt_status below_link(const char *path, size_t link, struct tt_error *err)
{
    return tt_error_set(err, TT_TAMPERED, "a layer of the train has files in '/%.300s', where '/%.*s' is a link", path,
                        (int)(link < 300 ? link : 300), path);
}

/* An image may have one layer many times over: what it takes memory for once, it takes time for each time. */
static enum tt_status count_steps(struct layer_rules *rules, size_t steps, struct tt_error *err)
{
    rules->steps += steps;
    if (rules->steps <= STEPS_LIMIT)
        return TT_OK;
    return tt_error_set(err, TT_MALFORMED, "the train's layers have more than %d folders on the ways to their entries",
                        STEPS_LIMIT);
}

/* Of one folder in which a layer has entries: it and those above it. */
static enum tt_status check_parent(struct layer_rules *rules, const struct layer_paths *layer,
                                   const struct paths *below, const struct path *parent, struct tt_error *err)
{
    const char *path = (const char *)layer->parents.text.data + parent->offset;
    for (const char *end = strchrnul(path, '/');; end = strchrnul(end + 1, '/')) {
        size_t length = (size_t)(end - path);
        enum tt_status status = count_steps(rules, 1, err);
        if (status != TT_OK)
            return status;
        if (find(&layer->links, path, length))
            return below_link(path, length, err);
        const struct path *folder = find(below, path, length) ? find(&layer->folders, path, length) : parent;
        if (!folder || (folder != parent && folder->place >= parent->place))
            return below_link(path, length, err);
        if (*end == '\0')
            return TT_OK;
    }
}

/* The links that the next layer finds: those of this layer, and those below that no folder has replaced. */
static enum tt_status links_above(const struct layer_paths *layer, const struct paths *below, struct paths *ret_links,
                                  struct tt_error *err)
{
    struct paths links = {0};
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < below->count; i++) {
        const char *path = text_of(below, i);
        if (!find(&layer->folders, path, strlen(path)) && !find(&layer->links, path, strlen(path)))
            status = paths_add(&links, path, strlen(path), 0, err);
    }
    for (size_t i = 0; status == TT_OK && i < layer->links.count; i++)
        status = paths_add(&links, text_of(&layer->links, i), strlen(text_of(&layer->links, i)), 0, err);
    if (status != TT_OK) {
        paths_clear(&links);
        return status;
    }
    sort(&links);
    *ret_links = links;
    return TT_OK;
}

static enum tt_status check_layer(struct layer_rules *rules, const struct layer_paths *layer, struct paths *below,
                                  struct tt_error *err)
{
    struct paths above = {0};
    enum tt_status status = count_steps(rules, below->count + layer->links.count, err);
    for (size_t i = 0; status == TT_OK && i < layer->parents.count; i++)
        status = check_parent(rules, layer, below, &layer->parents.items[i], err);
    if (status == TT_OK)
        status = links_above(layer, below, &above, err);
    if (status != TT_OK)
        return status;
    paths_clear(below);
    *below = above;
    return TT_OK;
}

enum tt_status layer_rules_finish(struct layer_rules *rules, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    sort(&rules->below.links);
    for (size_t i = rules->first; status == TT_OK && i < rules->count; i++) {
        if (!rules->layers[i].is_copy) {
            sort(&rules->layers[i].links);
            sort(&rules->layers[i].folders);
        }
        status = check_layer(rules, &rules->layers[i], &rules->below.links, err);
    }
    return status;
}
