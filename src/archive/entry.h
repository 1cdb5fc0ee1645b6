/* One file, folder or link of an image, as tar archives describe it. */
#ifndef TT_ARCHIVE_ENTRY_H
#define TT_ARCHIVE_ENTRY_H

#include <stdint.h>

#include "base/error.h"

enum tt_entry_type {
    TT_ENTRY_FILE,
    TT_ENTRY_FOLDER,
    TT_ENTRY_SYMLINK,
    TT_ENTRY_HARDLINK,
    TT_ENTRY_SPECIAL /* device, pipe, socket */
};

struct tt_entry {
    char *path; /* from the image's root, no leading or trailing slash: "opt/pht_train/main.py" */
    enum tt_entry_type type;
    uint32_t mode; /* permission, set-id and sticky bits: 07777 */
    uint32_t uid;
    uint32_t gid;
    int64_t mtime_seconds;
    uint32_t mtime_nanoseconds;
    uint64_t size;     /* bytes of a file's content; 0 for all else */
    char *link_target; /* of a symlink (as written) or hard link (path from the root); else NULL */
};

TT_MUST_USE enum tt_status tt_entry_copy(const struct tt_entry *entry, struct tt_entry *ret_copy, struct tt_error *err);
void tt_entry_clear(struct tt_entry *entry);

/* "file", "folder", "symbolic link", "hard link", "special file". */
const char *tt_entry_type_name(enum tt_entry_type type);

/* Whether path is `folder` itself or lies under it, component-wise ("opt/pht_train.so" is not under "opt/pht_train").
 */
int tt_path_is_under(const char *path, const char *folder);

/* Order of the protocol's archives (docs/protocol.md, "Hashes"): depth first, the entries of each folder by byte-wise
 * name, a folder's contents right after it. Returns as strcmp does. */
int tt_path_compare(const char *one, const char *other);

#endif
