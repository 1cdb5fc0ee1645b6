/* Shows what src/image makes of an image, and puts a layer on one: for tests with the tools of the container world.
 *
 *   image_tool list REFERENCE                one line per file of the train: TYPE MODE SIZE SHA256 PATH
 *   image_tool replace REFERENCE TARGET TEXT puts results/out.txt with this text in the place of all results
 *   image_tool files REFERENCE PATH          one line per file: TYPE MODE UID:GID MTIME SIZE SHA256|TARGET PATH
 *   image_tool stream REFERENCE PATH         the same as they come by
 *   image_tool pour REFERENCE PATH           reads the contents as they come by and says how many bytes they are
 *   image_tool copy REFERENCE SOURCE TARGET HOW [COMMAND]
 *       puts the results of SOURCE in the place of those of REFERENCE and the new image at TARGET, with this COMMAND.
 *       HOW is commit, both (under the tag "base" too), abandon, abandon-sealed, or wait, wait-sealed, wait-committed:
 *       say so and wait for a signal. An ending "+plaintext" of HOW makes it a decrypted image.
 *   image_tool sweep REFERENCE DIGEST        says what still uses it, if anything does
 *   image_tool clean [--dry-run]             one line per leftover: WHAT NAME SAYS */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "crypto/digest.h"
#include "image/image.h"

enum { CHUNK = 65536 };

static enum tt_status show_file(const struct tt_file_set *files, size_t index, struct tt_error *err)
{
    const struct tt_entry *entry = tt_file_set_entry(files, index);
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
    uint8_t value[TT_SHA256_SIZE];
    char text[2 * TT_SHA256_SIZE + 1];
    enum tt_status status = tt_digest_new(TT_SHA256, &digest, err);
    for (uint64_t offset = 0; status == TT_OK && offset < entry->size;) {
        char chunk[CHUNK];
        size_t length = entry->size - offset < sizeof chunk ? (size_t)(entry->size - offset) : sizeof chunk;
        status = tt_file_set_read(files, index, offset, chunk, length, err);
        if (status == TT_OK)
            status = tt_digest_update(digest, chunk, length, err);
        offset += length;
    }
    if (status == TT_OK)
        status = tt_digest_final(digest, value, err);
    if (status != TT_OK)
        return status;
    tt_hex_encode(value, sizeof value, text);
    printf("%s %o %llu %s %s\n", tt_entry_type_name(entry->type), entry->mode, (unsigned long long)entry->size,
           entry->type == TT_ENTRY_FILE ? text
           : entry->link_target         ? entry->link_target
                                        : "-",
           entry->path);
    return TT_OK;
}

static enum tt_status list(const char *reference, struct tt_error *err)
{
    static const char *const paths[] = {"opt/train_config.json", "opt/pht_train", "opt/pht_results"};
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    enum tt_status status = tt_image_open(reference, NULL, &image, err);
    if (status == TT_OK)
        status = tt_image_verify_blobs(image, err);
    for (size_t i = 0; status == TT_OK && i < sizeof paths / sizeof paths[0]; i++) {
        struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
        status = tt_image_files(image, paths[i], &files, err);
        for (size_t j = 0; status == TT_OK && j < tt_file_set_count(files); j++)
            status = show_file(files, j, err);
    }
    return status;
}

static enum tt_status replace(const char *reference, const char *target, const char *text, struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    struct tt_entry folder = {.path = (char *)"opt/pht_results", .type = TT_ENTRY_FOLDER, .mode = 0755};
    struct tt_entry file = {.path = (char *)"opt/pht_results/out.txt",
                            .type = TT_ENTRY_FILE,
                            .mode = 0640,
                            .mtime_seconds = 1700000000,
                            .mtime_nanoseconds = 5000,
                            .size = strlen(text)};
    const char *digest = NULL;
    enum tt_status status = tt_image_open(reference, NULL, &image, err);
    if (status == TT_OK)
        status = tt_image_change_new_in(image, target, &change, err);
    if (status == TT_OK)
        status = tt_image_change_replace(change, &folder, err);
    if (status == TT_OK)
        status = tt_image_change_add(change, &file, err);
    if (status == TT_OK)
        status = tt_image_change_data(change, text, strlen(text), err);
    if (status == TT_OK)
        status = tt_image_change_seal(change, NULL, &digest, err);
    return status == TT_OK ? tt_image_change_commit(change, target, NULL, NULL, err) : status;
}

/* Takes the contents of the files of a stream. */
typedef enum tt_status (*content_sink)(void *user, const void *data, size_t length, struct tt_error *err);

static enum tt_status take_content(struct tt_file_stream *stream, const struct tt_entry *entry, content_sink take,
                                   void *user, struct tt_error *err)
{
    static char chunk[CHUNK];
    enum tt_status status = TT_OK;
    for (uint64_t left = entry->size; status == TT_OK && left > 0;) {
        size_t length = left < sizeof chunk ? (size_t)left : sizeof chunk;
        status = tt_file_stream_read(stream, chunk, length, err);
        if (status == TT_OK)
            status = take(user, chunk, length, err);
        left -= length;
    }
    return status;
}

static enum tt_status hash(void *user, const void *data, size_t length, struct tt_error *err)
{
    return tt_digest_update(user, data, length, err);
}

static enum tt_status drop(void *user, const void *data, size_t length, struct tt_error *err)
{
    (void)data, (void)err;
    *(uint64_t *)user += length;
    return TT_OK;
}

static enum tt_status change_data(void *user, const void *data, size_t length, struct tt_error *err)
{
    return tt_image_change_data(user, data, length, err);
}

static enum tt_status show_entry(struct tt_file_stream *stream, const struct tt_entry *entry, struct tt_error *err)
{
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
    uint8_t value[TT_SHA256_SIZE];
    char text[2 * TT_SHA256_SIZE + 1];
    enum tt_status status = tt_digest_new(TT_SHA256, &digest, err);
    if (status == TT_OK)
        status = take_content(stream, entry, hash, digest, err);
    if (status == TT_OK)
        status = tt_digest_final(digest, value, err);
    if (status != TT_OK)
        return status;
    tt_hex_encode(value, sizeof value, text);
    printf("%s %o %u:%u %" PRId64 ".%09u %" PRIu64 " %s %s\n", tt_entry_type_name(entry->type), entry->mode, entry->uid,
           entry->gid, entry->mtime_seconds, entry->mtime_nanoseconds, entry->size,
           entry->type == TT_ENTRY_FILE ? text
           : entry->link_target         ? entry->link_target
                                        : "-",
           entry->path);
    return TT_OK;
}

static enum tt_status show_stream(struct tt_file_stream *stream, bool pour, struct tt_error *err)
{
    const struct tt_entry *entry = NULL;
    uint64_t bytes = 0;
    enum tt_status status = tt_file_stream_next(stream, &entry, err);
    while (status == TT_OK && entry) {
        status = pour ? take_content(stream, entry, drop, &bytes, err) : show_entry(stream, entry, err);
        if (status == TT_OK)
            status = tt_file_stream_next(stream, &entry, err);
    }
    if (pour && status == TT_OK)
        printf("%" PRIu64 "\n", bytes);
    return status;
}

static enum tt_status show(const char *how, const char *reference, const char *path, struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_file_set *files TT_CLEANUP(tt_file_set_free_cleanup) = NULL;
    struct tt_file_stream *stream TT_CLEANUP(tt_file_stream_free_cleanup) = NULL;
    bool as_set = strcmp(how, "files") == 0;
    enum tt_status status = tt_image_open(reference, NULL, &image, err);
    if (status == TT_OK && as_set)
        status = tt_image_files(image, path, &files, err);
    if (status == TT_OK)
        status = as_set ? tt_file_stream_over(files, &stream, err) : tt_image_stream(image, path, &stream, err);
    return status == TT_OK ? show_stream(stream, strcmp(how, "pour") == 0, err) : status;
}

static enum tt_status copy_files(struct tt_image *source, struct tt_image_change *change, struct tt_error *err)
{
    struct tt_file_stream *stream TT_CLEANUP(tt_file_stream_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    enum tt_status status = tt_image_stream(source, "opt/pht_results", &stream, err);
    if (status == TT_OK)
        status = tt_file_stream_next(stream, &entry, err);
    if (status == TT_OK && entry)
        status = tt_image_change_replace(change, entry, err);
    while (status == TT_OK && entry) {
        status = tt_image_change_add(change, entry, err);
        if (status == TT_OK)
            status = take_content(stream, entry, change_data, change, err);
        if (status == TT_OK)
            status = tt_file_stream_next(stream, &entry, err);
    }
    return status;
}

static void say_and_wait(const char *how, const char *now)
{
    struct tt_error interrupted;
    if (strncmp(how, now, strlen(now)) != 0 || (how[strlen(now)] && how[strlen(now)] != '+'))
        return;
    printf("%s\n", now);
    fflush(stdout);
    /* pause() would sleep for ever when the signal came just before it. */
    while (tt_interrupt_pause(60, &interrupted) == TT_OK)
        ;
}

static enum tt_status seal_and_commit(struct tt_image_change *change, const char *target, const char *how,
                                      const char *command, struct tt_error *err)
{
    const char *const words[] = {command, NULL};
    struct tt_image_settings settings = {.command = command ? words : NULL,
                                         .created_by = "traintoken test",
                                         .is_plaintext = strstr(how, "+plaintext") != NULL};
    const char *digest = NULL;
    struct tt_image *sealed TT_CLEANUP(tt_image_free_cleanup) = NULL;
    enum tt_status status = tt_image_change_seal(change, &settings, &digest, err);
    if (status == TT_OK)
        printf("%s\n", digest);
    if (status == TT_OK)
        say_and_wait(how, "wait-sealed");
    if (status == TT_OK && strncmp(how, "abandon-sealed", 14) == 0)
        return tt_image_change_open(change, &sealed, err);
    if (status == TT_OK)
        status = tt_image_change_commit(change, target, strncmp(how, "both", 4) == 0 ? "base" : NULL, NULL, err);
    if (status == TT_OK)
        say_and_wait(how, "wait-committed");
    return status;
}

static enum tt_status copy(char **argv, struct tt_error *err)
{
    struct tt_image *parent TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image *source TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    const char *how = argv[3];
    enum tt_status status = tt_image_open(argv[0], NULL, &parent, err);
    if (status == TT_OK)
        status = tt_image_open(argv[1], NULL, &source, err);
    if (status == TT_OK)
        status = tt_image_change_new_in(parent, argv[2], &change, err);
    if (status == TT_OK)
        status = copy_files(source, change, err);
    if (status == TT_OK)
        say_and_wait(how, "wait");
    if (status != TT_OK || strcmp(how, "abandon") == 0)
        return status;
    return seal_and_commit(change, argv[2], how, argv[4], err);
}

static enum tt_status sweep(const char *reference, const char *digest, struct tt_error *err)
{
    char *used TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = tt_image_sweep(reference, digest, &used, err);
    if (status == TT_OK && used)
        printf("%s\n", used);
    return status;
}

static void print_leftover(void *user, const char *what, const char *name, const char *says)
{
    (void)user;
    printf("%s %s %s\n", what, name, says);
}

static void print_warning(void *user, enum tt_log_level level, const char *message)
{
    (void)user;
    if (level == TT_LOG_WARNING)
        fprintf(stderr, "image_tool: warning: %s\n", message);
}

int main(int argc, char **argv)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = TT_USAGE;
    const char *verb = argc > 1 ? argv[1] : "";
    tt_interrupt_catch();
    tt_log_set_sink(print_warning, NULL);
    if (argc == 3 && strcmp(verb, "list") == 0)
        status = list(argv[2], &err);
    else if (argc == 5 && strcmp(verb, "replace") == 0)
        status = replace(argv[2], argv[3], argv[4], &err);
    else if (argc == 4 && (strcmp(verb, "files") == 0 || strcmp(verb, "stream") == 0 || strcmp(verb, "pour") == 0))
        status = show(verb, argv[2], argv[3], &err);
    else if ((argc == 6 || argc == 7) && strcmp(verb, "copy") == 0)
        status = copy(argv + 2, &err);
    else if (argc == 4 && strcmp(verb, "sweep") == 0)
        status = sweep(argv[2], argv[3], &err);
    else if (argc <= 3 && strcmp(verb, "clean") == 0)
        status = tt_image_clean(NULL, argc == 3, print_leftover, NULL, &err);
    if (status != TT_OK)
        fprintf(stderr, "image_tool: %s (%s)\n", err.message, err.detail);
    return (int)status;
}
