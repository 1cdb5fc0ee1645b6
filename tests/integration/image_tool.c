/* Shows what src/image makes of an image, and puts a layer on one: for tests with the tools of the container world.
 *
 *   image_tool list REFERENCE                one line per file of the train: TYPE MODE SIZE SHA256 PATH
 *   image_tool replace REFERENCE TARGET TEXT puts results/out.txt with this text in the place of all results */
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/digest.h"
#include "image/image.h"

static enum tt_status show_file(const struct tt_file_set *files, size_t index, struct tt_error *err)
{
    const struct tt_entry *entry = tt_file_set_entry(files, index);
    struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
    uint8_t value[TT_SHA256_SIZE];
    char text[2 * TT_SHA256_SIZE + 1];
    enum tt_status status = tt_digest_new(TT_SHA256, &digest, err);
    for (uint64_t offset = 0; status == TT_OK && offset < entry->size;) {
        char chunk[65536];
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

int main(int argc, char **argv)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = TT_USAGE;
    if (argc == 3 && strcmp(argv[1], "list") == 0)
        status = list(argv[2], &err);
    else if (argc == 5 && strcmp(argv[1], "replace") == 0)
        status = replace(argv[2], argv[3], argv[4], &err);
    if (status != TT_OK)
        fprintf(stderr, "image_tool: %s (%s)\n", err.message, err.detail);
    return (int)status;
}
