/* A new folder on this machine that appears whole or not at all. */
#ifndef TT_ARCHIVE_FOLDER_OUTPUT_H
#define TT_ARCHIVE_FOLDER_OUTPUT_H

#include <stddef.h>

#include "archive/entry.h"

struct tt_folder_output;

/* Starts `folder`, which must not exist yet; its parent must. Everything is put into a private folder beside it
 * (".NAME.traintoken", 0700; one that a killed run left is removed first). The umask of now holds for all that is put
 * there. TT_USAGE when it exists, TT_STORE when it cannot be made, another process is making it, or somebody else's
 * folder is in the way. */
TT_MUST_USE enum tt_status tt_folder_output_new(const char *folder, struct tt_folder_output **ret_output,
                                                struct tt_error *err);
/* Without a commit, removes everything. */
void tt_folder_output_free(struct tt_folder_output *output);
TT_DEFINE_CLEANUP(struct tt_folder_output *, tt_folder_output_free)

/* Adds an entry whose path is relative to the folder and free of ".." (missing folders are made). A file's content
 * follows through tt_folder_output_data; links must come after all files and folders. Owners are not set, set-id bits
 * neither. Hard links lead to a path relative to the folder. */
TT_MUST_USE enum tt_status tt_folder_output_add(struct tt_folder_output *output, const struct tt_entry *entry,
                                                struct tt_error *err);
TT_MUST_USE enum tt_status tt_folder_output_data(struct tt_folder_output *output, const void *data, size_t length,
                                                 struct tt_error *err);

/* Syncs and renames. */
TT_MUST_USE enum tt_status tt_folder_output_commit(struct tt_folder_output *output, struct tt_error *err);

#endif
