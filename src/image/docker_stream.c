#include <string.h>

#include "archive/tar_reader.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "image/docker.h"

/*
 * Files come out of a container as a tar archive whose names start with the last component of the path that was asked
 * for. Engines write the end of an archive in full; one that fails over a file half-way closes the connection as if all
 * were well, so what lacks its end was broken off.
 */
enum { END_OF_ARCHIVE = 2 * 512, TAIL_LIMIT = 1 << 20 };

static const char RESULTS[] = "opt/pht_results";

/* A container to read from, marked as busy or made for this alone. */
struct lease {
    struct docker_image *image;
    char *container;
    bool is_ran;
    bool is_reader;
};

static void lease_end(struct lease *lease)
{
    struct docker_image *image = TT_TAKE(lease->image);
    if (!image)
        return;
    pthread_mutex_lock(&image->lock);
    if (lease->is_ran)
        image->ran_is_busy = false;
    if (lease->is_reader)
        image->reader_is_busy = false;
    pthread_mutex_unlock(&image->lock);
    if (lease->is_ran || lease->is_reader)
        free(lease->container);
    else
        tt_docker_container_remove(image->engine, lease->container);
    lease->container = NULL;
    docker_image_release(image);
}

static enum tt_status make_reader(struct docker_image *image, char **ret_container, struct tt_error *err)
{
    cJSON *config = cJSON_CreateObject();
    enum tt_status status =
        config && cJSON_AddStringToObject(config, "Image", image->id) ? TT_OK : tt_error_memory(err);
    if (status == TT_OK)
        status = tt_docker_container_create(image->engine, TT_DOCKER_READ, config, ret_container, err);
    cJSON_Delete(config);
    return status;
}

static enum tt_status take_ran(struct docker_image *image, struct lease *lease, struct tt_error *err)
{
    if (image->ran_is_busy)
        return tt_error_set(err, TT_INTERNAL, "the results of the run are being read already");
    lease->container = strdup(image->ran);
    lease->is_ran = lease->container != NULL;
    image->ran_is_busy = lease->is_ran;
    return lease->is_ran ? TT_OK : tt_error_memory(err);
}

static enum tt_status take_reader(struct docker_image *image, struct lease *lease, struct tt_error *err)
{
    if (image->reader_is_busy)
        return make_reader(image, &lease->container, err);
    enum tt_status status = image->reader ? TT_OK : make_reader(image, &image->reader, err);
    if (status != TT_OK)
        return status;
    lease->container = strdup(image->reader);
    lease->is_reader = lease->container != NULL;
    image->reader_is_busy = lease->is_reader;
    return lease->is_reader ? TT_OK : tt_error_memory(err);
}

/* Of a run, only its results count. */
static enum tt_status lease_take(struct docker_image *image, const char *path, struct lease *lease,
                                 struct tt_error *err)
{
    pthread_mutex_lock(&image->lock);
    enum tt_status status =
        image->ran && tt_path_is_under(path, RESULTS) ? take_ran(image, lease, err) : take_reader(image, lease, err);
    pthread_mutex_unlock(&image->lock);
    if (status != TT_OK)
        return status;
    docker_image_hold(image);
    lease->image = image;
    return TT_OK;
}

static enum tt_status look_at(const struct lease *lease, const char *path, bool *ret_found, uint32_t *ret_mode,
                              struct tt_error *err)
{
    struct tt_docker_path_stat facts = {0};
    char *absolute TT_CLEANUP(tt_free_cleanup) = tt_text_format("/%s", path);
    if (!absolute)
        return tt_error_memory(err);
    enum tt_status status = tt_docker_stat(lease->image->engine, lease->container, absolute, ret_found, &facts, err);
    if (status != TT_OK)
        return status;
    *ret_mode = facts.mode;
    return TT_OK;
}

static enum tt_status check_folder(const struct lease *lease, const char *folder, bool *ret_found, struct tt_error *err)
{
    uint32_t mode = 0;
    enum tt_status status = look_at(lease, folder, ret_found, &mode, err);
    if (status != TT_OK || !*ret_found || mode & TT_DOCKER_MODE_FOLDER)
        return status;
    return tt_error_set(err, TT_TAMPERED, "/%s is a %s where a folder must be", folder,
                        mode & TT_DOCKER_MODE_SYMLINK ? "symbolic link" : "file");
}

/* From the root down: an engine follows links on the way to what it looks at. */
static enum tt_status check_folders(const struct lease *lease, const char *path, bool *ret_found, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    *ret_found = true;
    for (const char *slash = strchr(path, '/'); status == TT_OK && *ret_found && slash;
         slash = strchr(slash + 1, '/')) {
        char *folder TT_CLEANUP(tt_free_cleanup) = strndup(path, (size_t)(slash - path));
        status = folder ? check_folder(lease, folder, ret_found, err) : tt_error_memory(err);
    }
    return status;
}

static enum tt_status check_way(const struct lease *lease, const char *path, bool *ret_found, struct tt_error *err)
{
    const char *slash = strrchr(path, '/');
    struct docker_image *image = lease->image;
    char *folder TT_CLEANUP(tt_free_cleanup) = strndup(path, slash ? (size_t)(slash - path) : 0);
    if (!folder)
        return tt_error_memory(err);
    pthread_mutex_lock(&image->lock);
    *ret_found = !slash || (!lease->is_ran && image->folder && strcmp(image->folder, folder) == 0);
    pthread_mutex_unlock(&image->lock);
    if (*ret_found)
        return TT_OK;
    enum tt_status status = check_folders(lease, path, ret_found, err);
    if (status != TT_OK || !*ret_found || lease->is_ran)
        return status;
    pthread_mutex_lock(&image->lock);
    free(image->folder);
    image->folder = TT_TAKE(folder);
    pthread_mutex_unlock(&image->lock);
    return TT_OK;
}

enum tt_status docker_check_way(struct docker_image *image, const char *path, bool *ret_found, struct tt_error *err)
{
    struct lease lease TT_CLEANUP(lease_end) = {0};
    enum tt_status status = lease_take(image, path, &lease, err);
    return status == TT_OK ? check_way(&lease, path, ret_found, err) : status;
}

/* Files as they come. */
struct docker_stream {
    struct lease lease;
    char *what;                        /* for messages */
    char *path;                        /* that was asked for */
    const char *name;                  /* its last component */
    struct tt_http_download *download; /* NULL once everything came, or where there is nothing */
    struct tt_tar_reader *tar;
    uint64_t received;
    uint64_t zeros; /* at the end of what was received */
    bool is_over;   /* nothing more can be received */
    size_t name_bytes;
    size_t entries;
    uint32_t mode;         /* of what lies at the path */
    struct tt_entry entry; /* the current one, with names from the image's root */
};

void docker_stream_free(void *store)
{
    struct docker_stream *stream = store;
    if (!stream)
        return;
    tt_tar_reader_free(stream->tar);
    tt_http_download_free(stream->download);
    lease_end(&stream->lease);
    tt_entry_clear(&stream->entry);
    free(stream->path);
    free(stream->what);
    free(stream);
}

const char *docker_stream_what(const struct docker_stream *stream)
{
    return stream->what;
}

static enum tt_status receive(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct docker_stream *stream = user;
    const uint8_t *bytes = data;
    enum tt_status status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = tt_http_download_read(stream->download, data, capacity, ret_length, err);
    if (status != TT_OK)
        return tt_error_context(err, "%s", stream->what);
    size_t zeros = 0;
    while (zeros < *ret_length && bytes[*ret_length - 1 - zeros] == 0)
        zeros++;
    stream->zeros = zeros == *ret_length ? stream->zeros + zeros : zeros;
    stream->received += *ret_length;
    stream->is_over = *ret_length == 0;
    return TT_OK;
}

static enum tt_status broken_off(const struct docker_stream *stream, struct tt_error *err)
{
    return tt_error_set(err, TT_STORE, "%s: the container engine broke off what it sends; its log says why",
                        stream->what);
}

/* A damaged archive that ends is one that was broken off. */
static enum tt_status tar_failed(const struct docker_stream *stream, enum tt_status status, struct tt_error *err)
{
    return status == TT_MALFORMED && stream->is_over ? broken_off(stream, err) : status;
}

/* Gives the container free for others as soon as everything came. */
static enum tt_status finish(struct docker_stream *stream, struct tt_error *err)
{
    uint8_t chunk[4096];
    uint64_t limit = stream->received + TAIL_LIMIT;
    enum tt_status status = TT_OK;
    for (size_t length = 0; status == TT_OK && !stream->is_over && stream->received < limit;)
        status = receive(stream, chunk, sizeof chunk, &length, err);
    if (status != TT_OK)
        return status;
    if (!stream->is_over || stream->zeros < END_OF_ARCHIVE || stream->received % 512 != 0 || stream->entries == 0)
        return broken_off(stream, err);
    tt_tar_reader_free(TT_TAKE(stream->tar));
    tt_http_download_free(TT_TAKE(stream->download));
    lease_end(&stream->lease);
    return TT_OK;
}

/* "pht_results/one" is "opt/pht_results/one". */
static enum tt_status rebase(const struct docker_stream *stream, const char *name, char **ret_path,
                             struct tt_error *err)
{
    if (!tt_path_is_under(name, stream->name))
        return tt_error_set(err, TT_STORE, "%s: the container engine sent '%.300s', which nobody asked for",
                            stream->what, name);
    *ret_path = tt_text_format("%.*s%s", (int)(stream->name - stream->path), stream->path, name);
    return *ret_path ? TT_OK : tt_error_memory(err);
}

/* Podman follows a link at the path itself, too. */
static enum tt_status check_first(const struct docker_stream *stream, const struct tt_entry *entry,
                                  struct tt_error *err)
{
    bool is_link = stream->mode & TT_DOCKER_MODE_SYMLINK;
    bool is_folder = stream->mode & TT_DOCKER_MODE_FOLDER;
    if (is_link && entry->type != TT_ENTRY_SYMLINK)
        return tt_error_set(err, TT_TAMPERED, "/%s is a symbolic link", stream->path);
    if (is_link != (entry->type == TT_ENTRY_SYMLINK) || is_folder != (entry->type == TT_ENTRY_FOLDER))
        return tt_error_set(err, TT_STORE, "%s: the container engine sent a %s instead", stream->what,
                            tt_entry_type_name(entry->type));
    return TT_OK;
}

static enum tt_status take_entry(struct docker_stream *stream, const struct tt_entry *sent, struct tt_error *err)
{
    struct tt_entry entry TT_CLEANUP(tt_entry_clear) = *sent;
    entry.path = entry.link_target = NULL;
    enum tt_status status = rebase(stream, sent->path, &entry.path, err);
    if (status == TT_OK && sent->type == TT_ENTRY_HARDLINK)
        status = rebase(stream, sent->link_target, &entry.link_target, err);
    else if (status == TT_OK && sent->link_target && !(entry.link_target = strdup(sent->link_target)))
        status = tt_error_memory(err);
    if (status != TT_OK)
        return status;
    if (stream->entries == 0)
        status = check_first(stream, &entry, err);
    if (status != TT_OK)
        return status;
    bool is_first = strcmp(entry.path, stream->path) == 0;
    bool is_below =
        stream->entry.path && stream->entry.type != TT_ENTRY_FOLDER && tt_path_is_under(entry.path, stream->entry.path);
    if (is_first != (stream->entries == 0) || is_below || tt_tar_reader_is_absolute(stream->tar))
        return tt_error_set(err, TT_STORE, "%s: the container engine sent '/%.300s' where it cannot be", stream->what,
                            entry.path);
    stream->entries++;
    stream->name_bytes += strlen(entry.path) + (entry.link_target ? strlen(entry.link_target) : 0);
    if (stream->entries > TT_ENTRY_LIMIT || stream->name_bytes > DOCKER_NAMES_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "there are too many files under /%s, or too long names", stream->path);
    tt_entry_clear(&stream->entry);
    stream->entry = entry;
    entry = (struct tt_entry){0};
    return TT_OK;
}

enum tt_status docker_stream_next(void *store, const struct tt_entry **ret_entry, struct tt_error *err)
{
    struct docker_stream *stream = store;
    const struct tt_entry *sent = NULL;
    *ret_entry = NULL;
    if (!stream->download)
        return TT_OK;
    enum tt_status status = tt_tar_reader_next(stream->tar, &sent, err);
    if (status != TT_OK)
        return tar_failed(stream, status, err);
    status = sent ? take_entry(stream, sent, err) : finish(stream, err);
    if (status == TT_OK && sent)
        *ret_entry = &stream->entry;
    return status;
}

enum tt_status docker_stream_read(void *store, void *data, size_t length, struct tt_error *err)
{
    struct docker_stream *stream = store;
    for (uint8_t *bytes = data; length > 0;) {
        size_t got = 0;
        enum tt_status status = tt_tar_reader_read(stream->tar, bytes, length, &got, err);
        if (status != TT_OK)
            return tar_failed(stream, status, err);
        if (got == 0)
            return tt_error_set(err, TT_INTERNAL, "reading past the end of a file of the image");
        bytes += got;
        length -= got;
    }
    return TT_OK;
}

static enum tt_status start_download(struct docker_stream *stream, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_source source = {.read = receive, .user = stream};
    enum tt_status status =
        tt_docker_path(&path, err, "/containers/%s/archive?path=%%2F%s", stream->lease.container, stream->path);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data};
    status = tt_docker_download(stream->lease.image->engine, &request, &stream->download, NULL, err);
    return status == TT_OK ? tt_tar_reader_new(&source, stream->what, &stream->tar, err) : status;
}

/* One that has nothing to download is empty. */
enum tt_status docker_stream_new(struct docker_image *image, const char *path, struct docker_stream **ret_stream,
                                 struct tt_error *err)
{
    struct docker_stream *stream TT_CLEANUP(docker_stream_free_cleanup) = calloc(1, sizeof *stream);
    bool found = false;
    if (!stream || !(stream->path = strdup(path)) ||
        !(stream->what = tt_text_format("/%s of the image in %s", path, tt_docker_name(image->engine))))
        return tt_error_memory(err);
    const char *slash = strrchr(stream->path, '/');
    stream->name = slash ? slash + 1 : stream->path;
    enum tt_status status = lease_take(image, path, &stream->lease, err);
    if (status == TT_OK)
        status = check_way(&stream->lease, path, &found, err);
    if (status == TT_OK && found)
        status = look_at(&stream->lease, path, &found, &stream->mode, err);
    if (status == TT_OK && found)
        status = start_download(stream, err);
    if (status != TT_OK)
        return status;
    if (!stream->download)
        lease_end(&stream->lease);
    *ret_stream = TT_TAKE(stream);
    return TT_OK;
}

enum tt_status docker_stream(void *state, const char *path, struct tt_file_stream **ret_stream, struct tt_error *err)
{
    static const struct tt_file_stream_ways ways = {
        .next = docker_stream_next, .read = docker_stream_read, .free = docker_stream_free};
    struct docker_stream *stream TT_CLEANUP(docker_stream_free_cleanup) = NULL;
    enum tt_status status = docker_stream_new(state, path, &stream, err);
    if (status == TT_OK)
        status = tt_file_stream_new(&ways, stream, ret_stream, err);
    if (status == TT_OK)
        stream = NULL;
    return status;
}
