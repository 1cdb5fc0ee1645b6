#include "archive/entry.h"

#include <string.h>

enum tt_status tt_entry_copy(const struct tt_entry *entry, struct tt_entry *ret_copy, struct tt_error *err)
{
    struct tt_entry copy = *entry;
    copy.path = strdup(entry->path);
    copy.link_target = entry->link_target ? strdup(entry->link_target) : NULL;
    if (!copy.path || (entry->link_target && !copy.link_target)) {
        tt_entry_clear(&copy);
        return tt_error_memory(err);
    }
    *ret_copy = copy;
    return TT_OK;
}

void tt_entry_clear(struct tt_entry *entry)
{
    free(entry->path);
    free(entry->link_target);
    *entry = (struct tt_entry){0};
}

const char *tt_entry_type_name(enum tt_entry_type type)
{
    switch (type) {
    case TT_ENTRY_FILE:
        return "file";
    case TT_ENTRY_FOLDER:
        return "folder";
    case TT_ENTRY_SYMLINK:
        return "symbolic link";
    case TT_ENTRY_HARDLINK:
        return "hard link";
    case TT_ENTRY_SPECIAL:
        break;
    }
    return "special file";
}

int tt_path_is_under(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    if (length == 0)
        return 1;
    return strncmp(path, folder, length) == 0 && (path[length] == '\0' || path[length] == '/');
}

/* The end of a path sorts before everything, a slash before every other byte: so a folder's contents follow the folder
 * at once, and a name that only begins alike ("a.txt" beside "a") comes after them. */
static int rank(char byte)
{
    if (byte == '\0')
        return 0;
    return byte == '/' ? 1 : (int)(unsigned char)byte + 1;
}

int tt_path_compare(const char *one, const char *other)
{
    while (*one == *other && *one != '\0') {
        one++;
        other++;
    }
    return rank(*one) - rank(*other);
}
