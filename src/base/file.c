#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"

enum tt_status tt_file_read(int folder, const char *path, size_t limit, struct tt_buffer *ret_content,
                            struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat facts;
    if (descriptor < 0 || fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_STORE, "cannot read %s", path);
    if (!S_ISREG(facts.st_mode))
        return tt_error_set(err, TT_STORE, "%s is not a regular file", path);
    if ((uint64_t)facts.st_size > limit)
        return tt_error_set(err, TT_MALFORMED, "%s has %lld bytes; at most %zu are allowed", path,
                            (long long)facts.st_size, limit);
    struct tt_buffer content = TT_BUFFER_INIT(limit);
    uint8_t chunk[16384];
    for (;;) {
        ssize_t count = read(descriptor, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            tt_buffer_clear(&content);
            return tt_error_errno(err, TT_STORE, "cannot read %s", path);
        }
        enum tt_status status = tt_buffer_append(&content, chunk, (size_t)count, err);
        if (status != TT_OK) {
            tt_buffer_clear(&content);
            return tt_error_context(err, "%s", path);
        }
        if (count == 0)
            break;
    }
    *ret_content = content;
    return TT_OK;
}

enum tt_status tt_file_write_all(int descriptor, const void *data, size_t length, const char *what,
                                 struct tt_error *err)
{
    const uint8_t *bytes = data;
    while (length > 0) {
        ssize_t count = write(descriptor, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return tt_error_errno(err, TT_STORE, "cannot write %s%s", what,
                                  errno == ENOSPC ? ": the disk is full; free some space and run again" : "");
        bytes += count;
        length -= (size_t)count;
    }
    return TT_OK;
}

enum tt_status tt_file_read_at(int descriptor, uint64_t offset, void *data, size_t length, const char *what,
                               struct tt_error *err)
{
    uint8_t *bytes = data;
    while (length > 0) {
        ssize_t count = pread(descriptor, bytes, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return tt_error_errno(err, TT_STORE, "cannot read %s", what);
        if (count == 0)
            return tt_error_set(err, TT_STORE, "%s ends too early: it was cut off", what);
        bytes += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return TT_OK;
}

static enum tt_status write_and_rename(int folder, const char *temporary, const char *name, const void *data,
                                       size_t length, mode_t mode, struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) =
        openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot make a file beside %s", name);
    enum tt_status status = tt_file_write_all(descriptor, data, length, name, err);
    if (status != TT_OK)
        return status;
    if (fsync(descriptor) != 0 || renameat(folder, temporary, folder, name) != 0)
        return tt_error_errno(err, TT_STORE, "cannot replace %s", name);
    /* The file has changed: from here on there is no failure. */
    if (fsync(folder) != 0)
        tt_log(TT_LOG_WARNING, "%s is written, but the disk does not say that it will last", name);
    return TT_OK;
}

enum tt_status tt_file_replace(int folder, const char *name, const void *data, size_t length, mode_t mode,
                               struct tt_error *err)
{
    char temporary[NAME_MAX + 1];
    int written = snprintf(temporary, sizeof temporary, ".%s.traintoken", name);
    if (written < 0 || (size_t)written >= sizeof temporary)
        return tt_error_set(err, TT_INTERNAL, "the file name %s is too long", name);
    unlinkat(folder, temporary, 0); /* left by a killed run */
    enum tt_status status = write_and_rename(folder, temporary, name, data, length, mode, err);
    if (status != TT_OK)
        unlinkat(folder, temporary, 0);
    return status;
}

enum tt_status tt_file_sync_parent(const char *path, struct tt_error *err)
{
    const char *slash = strrchr(path, '/');
    char *parent TT_CLEANUP(tt_free_cleanup) = slash == NULL   ? strdup(".")
                                               : slash == path ? strdup("/")
                                                               : strndup(path, (size_t)(slash - path));
    if (!parent)
        return tt_error_memory(err);
    int descriptor TT_CLEANUP(tt_close_cleanup) = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0 && fsync(descriptor) != 0 && errno != EINVAL)
        return tt_error_errno(err, TT_STORE, "cannot write the folder %s to disk", parent);
    return TT_OK;
}

bool tt_file_name_encode(const char *id, size_t limit, struct tt_buffer *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t before = name->length;
    for (const char *place = id; *place; place++) {
        bool keep = strchr(plain, *place) && !(place == id && *place == '.');
        if (tt_buffer_printf(name, NULL, keep ? "%c" : "%%%02X", (unsigned char)*place) != TT_OK)
            return false;
        if (name->length - before > limit)
            return false;
    }
    return name->length > before;
}

char *tt_file_name_decode(const char *name)
{
    struct tt_buffer again TT_CLEANUP(tt_buffer_clear) = {0};
    size_t length = strlen(name);
    char *id TT_CLEANUP(tt_free_cleanup) = malloc(length + 1);
    size_t used = 0;
    for (size_t i = 0; id && i < length; i++) {
        char byte = name[i];
        if (byte == '%') {
            const char digits[] = {i + 2 < length ? name[i + 1] : '\0', i + 2 < length ? name[i + 2] : '\0', '\0'};
            byte = (char)strtoul(digits, NULL, 16); /* whatever it takes for a number comes out otherwise below */
            i += 2;
        }
        id[used++] = byte;
    }
    if (!id)
        return NULL;
    id[used] = '\0';
    /* Ids have one name each: what does not come out again is none. */
    if (!tt_file_name_encode(id, length, &again) || again.length != length || memcmp(again.data, name, length) != 0)
        return NULL;
    return TT_TAKE(id);
}

enum tt_status tt_file_unnamed(const char *folder, int *ret_descriptor, struct tt_error *err)
{
    int descriptor = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOSYS)) {
        char path[PATH_MAX];
        int written = snprintf(path, sizeof path, "%s/.traintoken-XXXXXX", folder);
        if (written > 0 && (size_t)written < sizeof path) {
            descriptor = mkostemp(path, O_CLOEXEC);
            if (descriptor >= 0)
                unlink(path);
        }
    }
    if (descriptor < 0)
        return tt_error_errno(err, TT_STORE, "cannot make a temporary file in %s", folder);
    *ret_descriptor = descriptor;
    return TT_OK;
}
