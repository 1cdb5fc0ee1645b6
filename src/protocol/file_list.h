/* The list of a new train's definition files, which fixes the order they are hashed in. */
#ifndef TT_PROTOCOL_FILE_LIST_H
#define TT_PROTOCOL_FILE_LIST_H

#include "archive/file_set.h"

struct file_list {
    char **names; /* relative to the definition folder, without query.json */
    size_t count;
};

/* All regular files of `definition`, in archive order, or in the order of `order_file` (one path per line, which must
 * name each of them once). TT_USAGE when the definition has links or special files, an unsafe name, or no file. */
TT_MUST_USE enum tt_status file_list_make(const struct tt_file_set *definition, const char *order_file,
                                          struct file_list *ret_list, struct tt_error *err);
void file_list_clear(struct file_list *list);

#endif
