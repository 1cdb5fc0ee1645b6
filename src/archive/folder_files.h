/* A folder of this machine as a file set: what a researcher seals into a train. */
#ifndef TT_ARCHIVE_FOLDER_FILES_H
#define TT_ARCHIVE_FOLDER_FILES_H

#include "archive/file_set.h"

/* Lists everything below `folder` (links are not followed), with paths that start with `root` ("opt/pht_train"), owned
 * by root, with their modes and times. `extra` (may be NULL) is a file that is added as root/extra_name. TT_USAGE when
 * something cannot be read, or the folder has a file of that name too. Files must not change while the set is used: a
 * file that got shorter is TT_STORE. */
TT_MUST_USE enum tt_status tt_folder_files(const char *folder, const char *root, const char *extra,
                                           const char *extra_name, struct tt_file_set **ret_files,
                                           struct tt_error *err);

#endif
