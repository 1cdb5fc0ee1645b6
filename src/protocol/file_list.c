#include "protocol/file_list.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "train/train.h"

enum { ORDER_FILE_LIMIT = 16 * 1024 * 1024 };

void file_list_clear(struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
    *list = (struct file_list){0};
}

/* Adds the entry's name unless it is a folder or the query. */
static enum tt_status add_entry(struct file_list *list, const struct tt_entry *entry, struct tt_error *err)
{
    const char *name = entry->path + strlen(TT_TRAIN_DEFINITION) + 1;
    const char *slash = strrchr(name, '/');
    if (strncmp(slash ? slash + 1 : name, ".wh.", 4) == 0)
        return tt_error_set(err, TT_USAGE,
                            "the definition's file '%s' cannot be in an image: there a name that starts with '.wh.' "
                            "stands for a removed file; rename it",
                            name);
    if (entry->type == TT_ENTRY_FOLDER)
        return TT_OK;
    if (entry->type != TT_ENTRY_FILE)
        return tt_error_set(err, TT_USAGE, "'%s' in the definition is a %s; a train takes only files and folders", name,
                            tt_entry_type_name(entry->type));
    if (!tt_train_path_is_safe(name) || !tt_text_is_utf8(name, strlen(name)))
        return tt_error_set(err, TT_USAGE, "the definition's file name '%s' is too long, not UTF-8 or unsafe", name);
    if (strcmp(name, TT_TRAIN_QUERY_NAME) == 0)
        return TT_OK;
    list->names[list->count] = strdup(name);
    if (!list->names[list->count])
        return tt_error_memory(err);
    list->count++;
    return TT_OK;
}

static enum tt_status list_all(const struct tt_file_set *definition, struct file_list *list, struct tt_error *err)
{
    size_t count = tt_file_set_count(definition);
    list->names = calloc(count + 1, sizeof *list->names);
    if (!list->names)
        return tt_error_memory(err);
    for (size_t i = 1; i < count; i++) {
        enum tt_status status = add_entry(list, tt_file_set_entry(definition, i), err);
        if (status != TT_OK)
            return status;
    }
    if (list->count == 0)
        return tt_error_set(err, TT_USAGE, "the definition has no file");
    return TT_OK;
}

/* The index from `start` on of the name, or list->count. */
static size_t find_name(const struct file_list *list, size_t start, const char *name)
{
    size_t index = start;
    while (index < list->count && strcmp(list->names[index], name) != 0)
        index++;
    return index;
}

/* Each line moves its file to the next place; the files before that place are the lines already seen. */
static enum tt_status reorder(struct file_list *list, char *lines, const char *order_file, struct tt_error *err)
{
    size_t place = 0;
    char *rest = NULL;
    for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const char *name = strncmp(line, "./", 2) == 0 ? line + 2 : line;
        if (strcmp(name, TT_TRAIN_QUERY_NAME) == 0)
            continue;
        size_t index = find_name(list, place, name);
        if (index == list->count)
            return tt_error_set(err, TT_USAGE, "%s names '%s', which is not in the definition or was named before",
                                order_file, name);
        char *moved = list->names[index];
        memmove(&list->names[place + 1], &list->names[place], (index - place) * sizeof *list->names);
        list->names[place++] = moved;
    }
    if (place < list->count)
        return tt_error_set(err, TT_USAGE, "%s does not name '%s', which is in the definition", order_file,
                            list->names[place]);
    return TT_OK;
}

enum tt_status file_list_make(const struct tt_file_set *definition, const char *order_file, struct file_list *ret_list,
                              struct tt_error *err)
{
    struct file_list list TT_CLEANUP(file_list_clear) = {0};
    enum tt_status status = list_all(definition, &list, err);
    if (status == TT_OK && order_file) {
        struct tt_buffer lines = {0};
        status = tt_file_read(AT_FDCWD, order_file, ORDER_FILE_LIMIT, &lines, err);
        if (status == TT_OK)
            status = reorder(&list, (char *)lines.data, order_file, err);
        tt_buffer_clear(&lines);
    }
    if (status != TT_OK)
        return status;
    *ret_list = list;
    list = (struct file_list){0};
    return TT_OK;
}
