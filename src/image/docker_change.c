#include <string.h>

#include "archive/tar_writer.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "image/docker.h"
#include "json/json.h"

/*
 * A change is one tar archive that the engine unpacks, as it comes, into a container of the parent that is never
 * started, and one commit of that container. The image that comes of it has no tag before the change is committed.
 * The container has no label, since a commit would hand it on; it and the image are told by the name of their owner.
 */
enum { FOLDER_LIMIT = 16, VOLUME_LIMIT = 100 };

struct docker_change {
    struct docker_image *parent;
    char *owner;       /* in the comment of the image */
    char *container;   /* NULL once it is being removed */
    char *removed;     /* the same, while a thread removes it, */
    pthread_t remover; /* which is this one */
    char *target;      /* the engine's name for what is to be changed, */
    char *expected;    /* and the id that it has until then; NULL where it is not there yet */
    struct tt_http_upload *upload;
    struct tt_tar_writer *writer;
    char *replaced[FOLDER_LIMIT];
    size_t replaced_count;
    bool moves_times;        /* the engine's commit would take a new file of the same size and time for the old one */
    bool just_replaced;      /* the last folder: its entry is written already */
    bool may_have_committed; /* a container's commit was asked for */
    char id[DOCKER_ID_TEXT]; /* of the sealed image; empty before */
    bool is_visible;         /* a tag names it */
    bool is_in_doubt;        /* a tag may name it: the engine was not heard of any more */
};

/* Whatever came of a commit that was not heard of again: an image with our comment. */
static void remove_unheard_image(struct docker_change *change)
{
    cJSON *images TT_CLEANUP(tt_json_cleanup) = NULL;
    const cJSON *image = NULL;
    if (docker_untagged_images(change->parent->engine, &images, NULL) != TT_OK)
        return;
    cJSON_ArrayForEach(image, images)
    {
        cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
        char id[DOCKER_ID_TEXT];
        size_t length = strlen(change->owner);
        if (docker_id(image, "Id", id, NULL) != TT_OK ||
            docker_inspect_image(change->parent->engine, id, &facts, NULL) != TT_OK || !facts)
            continue;
        const char *comment = docker_text(facts, "Comment");
        if (strncmp(comment, change->owner, length) == 0 && (comment[length] == ' ' || comment[length] == '\0'))
            (void)!docker_delete_image(change->parent->engine, id, NULL, NULL);
    }
}

static void remove_image(struct docker_change *change)
{
    struct tt_error err = TT_ERROR_INIT;
    if (change->is_visible || change->is_in_doubt)
        return;
    if (change->may_have_committed && !change->id[0])
        remove_unheard_image(change);
    if (change->id[0] && docker_delete_image(change->parent->engine, change->id, NULL, &err) != TT_OK)
        tt_log(TT_LOG_WARNING,
               "the image %.19s, which nobody needs, could not be removed from %s; the next start or 'traintoken "
               "clean' does it: %s",
               change->id, tt_docker_name(change->parent->engine), err.message);
}

static void *remove_container(void *argument)
{
    struct docker_change *change = argument;
    tt_docker_container_remove(change->parent->engine, change->removed);
    return NULL;
}

/* Once it was committed, nobody needs the container. It is as large as the change, and an engine takes its time for it:
 * that goes on beside what is still to be done. */
static void start_removal(struct docker_change *change)
{
    change->removed = TT_TAKE(change->container);
    if (pthread_create(&change->remover, NULL, remove_container, change) != 0)
        change->container = TT_TAKE(change->removed);
}

void docker_change_free(void *state)
{
    struct docker_change *change = state;
    if (!change)
        return;
    tt_tar_writer_free(change->writer);
    tt_http_upload_free(change->upload);
    if (change->removed)
        pthread_join(change->remover, NULL);
    if (change->parent) {
        tt_docker_container_remove(change->parent->engine, change->container);
        remove_image(change);
    }
    docker_image_release(change->parent);
    for (size_t i = 0; i < change->replaced_count; i++)
        free(change->replaced[i]);
    free(change->owner);
    free(change->target);
    free(change->expected);
    free(change);
}

static void change_cleanup(struct docker_change **change)
{
    docker_change_free(*change);
}

/* As an engine reads it: from the root, without empty parts and ".", and ".." taken back. `name` is changed; "" for the
 * root. */
static void tidy_volume(char *name)
{
    char *end = name;
    for (const char *from = name; *from;) {
        size_t length = strcspn(from, "/");
        bool is_up = length == 2 && memcmp(from, "..", 2) == 0;
        while (is_up && end > name) {
            end--;
            if (*end == '/')
                break;
        }
        if (length > 0 && !is_up && !(length == 1 && *from == '.')) {
            *end++ = '/';
            memmove(end, from, length);
            end += length;
        }
        from += length + (from[length] == '/');
    }
    *end = '\0';
}

/* A volume lies where the links on its way lead to. */
static enum tt_status check_volume_way(struct docker_image *parent, const char *name, struct tt_error *err)
{
    bool found = false;
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/.", name + 1); /* all above is looked at */
    enum tt_status status = path ? docker_check_way(parent, path, &found, err) : tt_error_memory(err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "the volume %s that the image declares", name);
}

/* What is put into a volume is in no image, and an engine says nothing of it. */
static enum tt_status check_volumes(struct docker_image *parent, struct tt_error *err)
{
    static const char *const paths[] = {"/opt/pht_train", "/opt/pht_results", "/opt/train_config.json",
                                        "/opt/user_sym_key.key"};
    const cJSON *volumes = cJSON_GetObjectItemCaseSensitive(parent->config, "Volumes");
    const cJSON *volume = NULL;
    if (cJSON_GetArraySize(volumes) > VOLUME_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the image declares %d volumes; at most %d are allowed",
                            cJSON_GetArraySize(volumes), VOLUME_LIMIT);
    cJSON_ArrayForEach(volume, volumes)
    {
        /* The copy starts with the slash that the tidy name starts with, and never gets longer. */
        char *name TT_CLEANUP(tt_free_cleanup) = tt_text_format("/%s", volume->string ? volume->string : "");
        if (!name)
            return tt_error_memory(err);
        tidy_volume(name);
        for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
            if (tt_path_is_under(paths[i], name) || tt_path_is_under(name, paths[i]))
                return tt_error_set(err, TT_MALFORMED,
                                    "the image declares %s a volume (VOLUME), and what is put there never becomes a "
                                    "part of the image: %s would be lost",
                                    name[0] ? name : "/", paths[i]);
        enum tt_status status = check_volume_way(parent, name, err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

/* The name that is to be changed, and what it names now. */
static enum tt_status take_target(struct docker_change *change, const struct tt_image *parent,
                                  const struct tt_reference *target, struct tt_error *err)
{
    struct tt_reference own TT_CLEANUP(tt_reference_clear) = {0};
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    char id[DOCKER_ID_TEXT] = "";
    enum tt_status status = target ? TT_OK : tt_reference_parse(parent->reference, &own, err);
    if (status != TT_OK)
        return status;
    if (!target && own.digest)
        return tt_error_set(err, TT_USAGE,
                            "%s names one state of an image by its digest, which cannot change; name a tag",
                            parent->reference);
    status = tt_reference_engine_name(target ? target : &own, &change->target, err);
    if (status == TT_OK && !target)
        memcpy(id, change->parent->id, sizeof id);
    if (status == TT_OK && target)
        status = docker_inspect_image(change->parent->engine, change->target, &facts, err);
    if (status == TT_OK && facts)
        status = docker_id(facts, "Id", id, err);
    if (status == TT_OK && id[0] && !(change->expected = strdup(id)))
        status = tt_error_memory(err);
    return status;
}

/* What is to be encrypted may have nothing decrypted in the layers below it, where it would travel on. */
static enum tt_status check_below(const struct docker_change *change, const struct tt_image *parent,
                                  struct tt_error *err)
{
    struct docker_chain chain;
    enum tt_status status = docker_find_chain(change->parent->engine, change->parent->id, &chain, err);
    if (status != TT_OK || !chain.is_plaintext)
        return status;
    return tt_error_set(
        err, TT_TAMPERED,
        "the base image %s was made of a decrypted train, whose files are still in its layers and would "
        "travel on; name the image as it was built",
        parent->reference);
}

static enum tt_status make_container(struct docker_change *change, struct tt_error *err)
{
    cJSON *config TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    if (!config || !cJSON_AddStringToObject(config, "Image", change->parent->id))
        return tt_error_memory(err);
    return tt_docker_container_create(change->parent->engine, TT_DOCKER_CHANGE, config, &change->container, err);
}

enum tt_status docker_change_new(struct tt_image *parent, const struct tt_reference *target, void **ret_state,
                                 struct tt_error *err)
{
    struct docker_change *change TT_CLEANUP(change_cleanup) = calloc(1, sizeof *change);
    bool found = false;
    if (!change)
        return tt_error_memory(err);
    change->parent = parent->state;
    docker_image_hold(change->parent);
    enum tt_status status = check_volumes(change->parent, err);
    if (status == TT_OK)
        status = docker_check_way(change->parent, "opt/pht_train", &found, err);
    if (status == TT_OK && target)
        status = check_below(change, parent, err);
    if (status == TT_OK)
        status = take_target(change, parent, target, err);
    if (status == TT_OK)
        status = docker_commit_compares(change->parent->engine, &change->moves_times, err);
    if (status == TT_OK)
        status = tt_docker_owner_name(&change->owner, err);
    if (status == TT_OK)
        status = make_container(change, err);
    if (status == TT_OK)
        *ret_state = TT_TAKE(change);
    return status;
}

static enum tt_status upload_bytes(void *user, const void *data, size_t length, struct tt_error *err)
{
    struct docker_change *change = user;
    return tt_http_upload_write(change->upload, data, length, err);
}

/* Not before there is something to send. */
static enum tt_status start_upload(struct docker_change *change, struct tt_error *err)
{
    static const char *const headers[] = {"Content-Type: application/x-tar", NULL};
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_sink sink = {.write = upload_bytes, .user = change};
    if (change->upload)
        return TT_OK;
    enum tt_status status = tt_docker_path(&path, err, "/containers/%s/archive?path=%%2F", change->container);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {
        .method = "PUT", .path = (const char *)path.data, .headers = headers, .patient = true};
    status = tt_docker_upload(change->parent->engine, &request, &change->upload, err);
    return status == TT_OK ? tt_tar_writer_new(&sink, &change->writer, err) : status;
}

static enum tt_status write_entry(struct docker_change *change, const struct tt_entry *entry, struct tt_error *err)
{
    struct tt_entry moved = *entry;
    enum tt_status status = tt_interrupt_check(err);
    if (status == TT_OK && (change->id[0] || change->may_have_committed))
        status = tt_error_set(err, TT_INTERNAL, "the change was sealed already");
    if (status == TT_OK)
        status = start_upload(change, err);
    if (change->moves_times && entry->type != TT_ENTRY_FOLDER && entry->mtime_seconds < INT64_MAX)
        moved.mtime_seconds++;
    return status == TT_OK ? tt_tar_writer_entry(change->writer, &moved, err) : status;
}

/* Below /opt itself, or in a folder that is filled anew: elsewhere a link of the parent could lead away. */
static bool is_way_known(const struct docker_change *change, const char *path)
{
    if (strncmp(path, "opt/", 4) == 0 && path[4] && !strchr(path + 4, '/'))
        return true;
    for (size_t i = 0; i < change->replaced_count; i++)
        if (tt_path_is_under(path, change->replaced[i]))
            return true;
    return false;
}

/* An engine removes what stands in the way of a file, a folder with everything in it too. */
enum tt_status docker_change_replace(void *state, const struct tt_entry *folder, struct tt_error *err)
{
    struct docker_change *change = state;
    struct tt_entry file = {
        .path = folder->path, .type = TT_ENTRY_FILE, .mode = 0600, .mtime_seconds = folder->mtime_seconds};
    if (folder->type != TT_ENTRY_FOLDER || !is_way_known(change, folder->path) ||
        change->replaced_count == FOLDER_LIMIT)
        return tt_error_set(err, TT_INTERNAL, "/%s is no folder whose contents could be replaced", folder->path);
    enum tt_status status = write_entry(change, &file, err);
    if (status == TT_OK)
        status = write_entry(change, folder, err);
    if (status != TT_OK)
        return status;
    change->replaced[change->replaced_count] = strdup(folder->path);
    if (!change->replaced[change->replaced_count])
        return tt_error_memory(err);
    change->replaced_count++;
    change->just_replaced = true;
    return TT_OK;
}

enum tt_status docker_change_add(void *state, const struct tt_entry *entry, struct tt_error *err)
{
    struct docker_change *change = state;
    bool is_again = change->just_replaced && entry->type == TT_ENTRY_FOLDER &&
                    strcmp(entry->path, change->replaced[change->replaced_count - 1]) == 0;
    change->just_replaced = false;
    if (is_again)
        return TT_OK;
    if (!is_way_known(change, entry->path))
        return tt_error_set(err, TT_INTERNAL, "/%s lies neither in /opt nor in a folder that is replaced", entry->path);
    return write_entry(change, entry, err);
}

enum tt_status docker_change_data(void *state, const void *data, size_t length, struct tt_error *err)
{
    struct docker_change *change = state;
    enum tt_status status = tt_interrupt_check(err);
    return status == TT_OK ? tt_tar_writer_data(change->writer, data, length, err) : status;
}

static enum tt_status finish_upload(struct docker_change *change, struct tt_error *err)
{
    enum tt_status status = change->upload ? tt_tar_writer_finish(change->writer, err) : TT_OK;
    if (status != TT_OK || !change->upload)
        return status;
    status = tt_docker_upload_finish(change->parent->engine, TT_TAKE(change->upload), NULL, err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "the new files could not be put into the image");
}

/* The parent's configuration as it is: what an engine is not told, it would take from the container. */
static enum tt_status new_configuration(const struct docker_change *change, const struct tt_image_settings *settings,
                                        cJSON **ret_config, struct tt_error *err)
{
    static const char *const names[] = {"Hostname", "Domainname", "Image"};
    cJSON *config TT_CLEANUP(tt_json_cleanup) = cJSON_Duplicate(change->parent->config, true);
    bool good = config != NULL;
    for (size_t i = 0; good && i < sizeof names / sizeof names[0]; i++) {
        cJSON_DeleteItemFromObjectCaseSensitive(config, names[i]);
        good = cJSON_AddStringToObject(config, names[i], "") != NULL;
    }
    /* A container of an image without a command was given one, and only an empty list keeps it from being inherited. */
    if (good && !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(config, "Entrypoint"))) {
        cJSON_DeleteItemFromObjectCaseSensitive(config, "Entrypoint");
        good = cJSON_AddArrayToObject(config, "Entrypoint") != NULL;
    }
    if (good && settings && settings->command) {
        cJSON_DeleteItemFromObjectCaseSensitive(config, "Entrypoint");
        cJSON_DeleteItemFromObjectCaseSensitive(config, "Cmd");
        cJSON *command = cJSON_AddArrayToObject(config, "Entrypoint");
        for (const char *const *word = settings->command; good && *word; word++)
            good = cJSON_AddItemToArray(command, cJSON_CreateString(*word));
    }
    if (!good)
        return tt_error_memory(err);
    *ret_config = TT_TAKE(config);
    return TT_OK;
}

/* The same once more as a change, which is what Podman listens to. */
static enum tt_status add_command(struct tt_buffer *path, const char *const *command, struct tt_error *err)
{
    cJSON *list TT_CLEANUP(tt_json_cleanup) = cJSON_CreateArray();
    bool good = list != NULL;
    for (const char *const *word = command; good && *word; word++)
        good = cJSON_AddItemToArray(list, cJSON_CreateString(*word));
    char *text = good ? cJSON_PrintUnformatted(list) : NULL;
    if (!text)
        return tt_error_memory(err);
    enum tt_status status = tt_docker_path(path, err, "&changes=CMD+%%5B%%5D&changes=ENTRYPOINT+%s", text);
    cJSON_free(text);
    return status;
}

static enum tt_status commit_container(struct docker_change *change, const struct tt_image_settings *settings,
                                       struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *config TT_CLEANUP(tt_json_cleanup) = NULL;
    cJSON *reply TT_CLEANUP(tt_json_cleanup) = NULL;
    char *comment TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("%s %s%s", change->owner, settings && settings->created_by ? settings->created_by : "traintoken",
                       settings && settings->is_plaintext ? DOCKER_PLAINTEXT : "");
    enum tt_status status = comment ? new_configuration(change, settings, &config, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = tt_docker_path(&path, err, "/commit?container=%s&comment=%s&pause=0", change->container, comment);
    if (status == TT_OK && settings && settings->command)
        status = add_command(&path, settings->command, err);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {
        .method = "POST", .path = (const char *)path.data, .body = config, .patient = true};
    change->may_have_committed = true;
    status = tt_docker_call(change->parent->engine, &request, &reply, NULL, err);
    return status == TT_OK ? docker_id(reply, "Id", change->id, err) : status;
}

enum tt_status docker_change_seal(void *state, const struct tt_image_settings *settings, const char **ret_digest,
                                  struct tt_error *err)
{
    struct docker_change *change = state;
    if (change->may_have_committed)
        return tt_error_set(err, TT_INTERNAL, "the change was sealed already");
    enum tt_status status = finish_upload(change, err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = commit_container(change, settings, err);
    if (status != TT_OK)
        return status;
    start_removal(change);
    *ret_digest = change->id;
    return TT_OK;
}

enum tt_status docker_change_open(void *state, struct tt_image *image, struct tt_error *err)
{
    const struct docker_change *change = state;
    if (!change->id[0])
        return tt_error_set(err, TT_INTERNAL, "the change is not sealed");
    return docker_image_fill(change->id, NULL, image, err);
}

/* The id that a name has now; empty where it names nothing. */
static enum tt_status look_up(const struct docker_change *change, const char *name, char id[DOCKER_ID_TEXT],
                              struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = docker_inspect_image(change->parent->engine, name, &facts, err);
    id[0] = '\0';
    return status == TT_OK && facts ? docker_id(facts, "Id", id, err) : status;
}

static enum tt_status post_tag(const struct docker_change *change, const char *id, const char *place, const char *tag,
                               int *ret_code, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_docker_path(&path, err, "/images/%s/tag?repo=%s&tag=%s", id, place, tag);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "POST", .path = (const char *)path.data, .patient = true};
    return tt_docker_call(change->parent->engine, &request, NULL, ret_code, err);
}

static void untag(struct docker_change *change, const char *name)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    if (tt_docker_path(&path, NULL, "/images/%p?noprune=1", name) != TT_OK)
        return;
    struct tt_docker_request request = {.method = "DELETE", .path = (const char *)path.data, .patient = true};
    (void)!tt_docker_call(change->parent->engine, &request, NULL, NULL, NULL);
}

/* Lets NAME (PLACE:TAG) be what it was: `before`, or nothing. What the engine then has counts, not what it answers. */
static void untake(struct docker_change *change, const char *name, const char *before, const char *place,
                   const char *tag)
{
    char now[DOCKER_ID_TEXT];
    if (before[0])
        (void)!post_tag(change, before, place, tag, NULL, NULL);
    else
        untag(change, name);
    if (look_up(change, name, now, NULL) != TT_OK || strcmp(now, before) != 0)
        change->is_in_doubt = true;
}

/*
 * Lets NAME (PLACE:TAG), which named `before` or nothing, name the new image. When the engine was not heard of any
 * more, it may have done so. And one that could not write it down, since its disk is full, says so, but goes on with
 * the new name until it is told the old one.
 */
static enum tt_status tag_image(struct docker_change *change, const char *name, const char *before, const char *place,
                                const char *tag, struct tt_error *err)
{
    char now[DOCKER_ID_TEXT];
    int code = 0;
    enum tt_status status = post_tag(change, change->id, place, tag, &code, err);
    if (status == TT_OK || (code != 0 && code < 500))
        return status;
    if (look_up(change, name, now, NULL) != TT_OK)
        change->is_in_doubt = true;
    else if (strcmp(now, change->id) == 0 && code == 0)
        return TT_OK;
    else if (strcmp(now, change->id) == 0)
        untake(change, name, before, place, tag);
    return status;
}

/* What was seen when the work began is what is replaced, and not what somebody else has put there since. */
static enum tt_status check_expected(const struct docker_change *change, const char *name, char now[DOCKER_ID_TEXT],
                                     struct tt_error *err)
{
    enum tt_status status = look_up(change, name, now, err);
    if (status != TT_OK || !change->target || strcmp(name, change->target) != 0 ||
        strcmp(now, change->expected ? change->expected : "") == 0)
        return status;
    return tt_error_set(err, TT_STORE,
                        "%s was changed by something else in the meantime; it stays as it is now, and nothing of this "
                        "run is taken over",
                        name);
}

/* NAME, which is `reference` and names `before` now, with `also` or not at all. */
static enum tt_status tag_both(struct docker_change *change, const char *name, const char *before,
                               const struct tt_reference *reference, const char *also, struct tt_error *err)
{
    char other_before[DOCKER_ID_TEXT] = "";
    char *other TT_CLEANUP(tt_free_cleanup) = also ? tt_text_format("%s:%s", reference->place, also) : NULL;
    if (also && !other)
        return tt_error_memory(err);
    enum tt_status status = also ? look_up(change, other, other_before, err) : TT_OK;
    if (status == TT_OK && also)
        status = tag_image(change, other, other_before, reference->place, also, err);
    if (status != TT_OK)
        return status;
    status = tag_image(change, name, before, reference->place, reference->tag, err);
    if (status != TT_OK && also && !change->is_in_doubt)
        untake(change, other, other_before, reference->place, also);
    return status;
}

static enum tt_status show(struct docker_change *change, const struct tt_reference *reference, const char *also,
                           struct tt_error *err)
{
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    char before[DOCKER_ID_TEXT];
    if (!change->id[0])
        return tt_error_set(err, TT_INTERNAL, "the change is not sealed");
    if (!reference->tag)
        return tt_error_set(err, TT_USAGE, "%s@%s names one state of an image, which cannot change; name a tag",
                            reference->place, reference->digest);
    enum tt_status status = tt_reference_engine_name(reference, &name, err);
    if (status == TT_OK)
        status = check_expected(change, name, before, err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = tag_both(change, name, before, reference, also, err);
    if (status != TT_OK)
        return status;
    change->is_visible = true;
    if (!change->target || strcmp(name, change->target) != 0)
        return TT_OK;
    free(change->target); /* it is what it was to become: nothing more to be compared */
    change->target = NULL;
    return TT_OK;
}

enum tt_status docker_change_commit(void *state, const struct tt_reference *reference, const char *also,
                                    bool *ret_in_doubt, struct tt_error *err)
{
    struct docker_change *change = state;
    change->is_in_doubt = false;
    enum tt_status status = show(change, reference, also, err);
    *ret_in_doubt = change->is_in_doubt;
    return status;
}
