/* A tar file of this machine as a file set. */
#ifndef TT_ARCHIVE_TAR_FILES_H
#define TT_ARCHIVE_TAR_FILES_H

#include "archive/file_set.h"

/* Opens an uncompressed tar. What it holds at and under `from` ("pht_results", with or without a leading "opt/") comes
 * as paths that start with `root` ("opt/pht_results"); a missing entry for the folder itself is made up. Empty when
 * there is nothing. TT_STORE when it cannot be read, TT_MALFORMED when it is no tar, TT_TAMPERED when it has a path
 * twice, an absolute one, or sparse files. */
TT_MUST_USE enum tt_status tt_tar_files(const char *tar, const char *from, const char *root,
                                        struct tt_file_set **ret_files, struct tt_error *err);

#endif
