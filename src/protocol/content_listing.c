#include "protocol/content_listing.h"

#include <string.h>

#include "archive/tar_reader.h"
#include "base/lane.h"

enum { LANE_CAPACITY = 4 * 1024 * 1024 };

/* What goes into the lane before a path and then a content. */
struct header {
    enum tt_manifest_kind kind;
    uint32_t mode;
    uint64_t size;
    size_t path_length;
};

/* The producer's side is `lane` alone; the rest belongs to the lane's thread until the lane was drained. */
struct content_listing {
    struct tt_lane *lane;
    size_t root; /* bytes of the folder's path and its slash */
    struct tt_manifest_listing *list;
    struct tt_digest *digest;
    union {
        struct header header;
        uint8_t bytes[sizeof(struct header)];
    } head;
    size_t head_length; /* bytes of it that have come */
    char path[TT_PATH_LIMIT + 1];
    size_t path_length; /* bytes of it that have come */
    uint64_t left;      /* bytes of the content that are still to come */
};

static size_t least(uint64_t one, size_t other)
{
    return one < other ? (size_t)one : other;
}

/* Both of them have come, and all of the content. */
static enum tt_status end_entry(struct content_listing *listing, struct tt_error *err)
{
    const struct header *header = &listing->head.header;
    struct tt_manifest_entry entry = {
        .path = listing->path, .kind = header->kind, .mode = header->mode, .size = header->size};
    listing->path[header->path_length] = '\0';
    listing->head_length = 0;
    listing->path_length = 0;
    enum tt_status status = tt_digest_final(listing->digest, entry.sha512, err);
    return status == TT_OK ? tt_manifest_listing_add(listing->list, &entry, err) : status;
}

/* Takes what belongs to one part of an entry off the front. */
static enum tt_status consume_some(struct content_listing *listing, const uint8_t *data, size_t length,
                                   size_t *ret_took, struct tt_error *err)
{
    const struct header *header = &listing->head.header;
    size_t took = 0;
    enum tt_status status = TT_OK;
    if (listing->head_length < sizeof *header) {
        took = least(sizeof *header - listing->head_length, length);
        memcpy(listing->head.bytes + listing->head_length, data, took);
        listing->head_length += took;
        if (listing->head_length == sizeof *header)
            listing->left = header->size;
    } else if (listing->path_length < header->path_length) {
        took = least(header->path_length - listing->path_length, length);
        memcpy(listing->path + listing->path_length, data, took);
        listing->path_length += took;
    } else {
        took = least(listing->left, length);
        status = tt_digest_update(listing->digest, data, took, err);
        listing->left -= took;
    }
    *ret_took = took;
    bool whole = listing->head_length == sizeof *header && listing->path_length == header->path_length;
    return status == TT_OK && whole && listing->left == 0 ? end_entry(listing, err) : status;
}

static enum tt_status consume(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t took = 0; status == TT_OK && length > 0; data += took, length -= took)
        status = consume_some(user, data, length, &took, err);
    return status;
}

enum tt_status content_listing_new(const char *folder, struct content_listing **ret_listing, struct tt_error *err)
{
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = calloc(1, sizeof *listing);
    if (!listing)
        return tt_error_memory(err);
    listing->root = strlen(folder) + 1;
    enum tt_status status = tt_manifest_listing_new(&listing->list, err);
    if (status == TT_OK)
        status = tt_digest_new(TT_SHA512, &listing->digest, err);
    if (status == TT_OK)
        status = tt_lane_start(LANE_CAPACITY, consume, listing, &listing->lane, err);
    if (status != TT_OK)
        return status;
    *ret_listing = TT_TAKE(listing);
    return TT_OK;
}

void content_listing_free(struct content_listing *listing)
{
    if (!listing)
        return;
    tt_lane_free(listing->lane);
    tt_digest_free(listing->digest);
    tt_manifest_listing_free(listing->list);
    free(listing);
}

/* The target of a hard link is a path from the image's root: without the folder, as all others. */
static const char *target_of(const struct content_listing *listing, const struct tt_entry *entry)
{
    bool is_below = entry->type == TT_ENTRY_HARDLINK && strlen(entry->link_target) > listing->root;
    return is_below ? entry->link_target + listing->root : entry->link_target;
}

enum tt_status content_listing_entry(struct content_listing *listing, const struct tt_entry *entry,
                                     struct tt_error *err)
{
    static const enum tt_manifest_kind kinds[] = {[TT_ENTRY_FILE] = TT_MANIFEST_FILE,
                                                  [TT_ENTRY_SYMLINK] = TT_MANIFEST_SYMLINK,
                                                  [TT_ENTRY_HARDLINK] = TT_MANIFEST_HARDLINK};
    if (!listing || entry->type == TT_ENTRY_FOLDER || entry->type == TT_ENTRY_SPECIAL)
        return TT_OK;
    bool is_file = entry->type == TT_ENTRY_FILE;
    const char *target = is_file ? NULL : target_of(listing, entry);
    size_t length = strlen(entry->path);
    if (length <= listing->root || length - listing->root > TT_PATH_LIMIT)
        return tt_error_set(err, TT_INTERNAL, "/%s is outside the folder that is listed", entry->path);
    struct header header;
    memset(&header, 0, sizeof header);
    header.kind = kinds[entry->type];
    header.mode = is_file ? entry->mode & 07777 : 0;
    header.size = is_file ? entry->size : strlen(target);
    header.path_length = length - listing->root;
    enum tt_status status = tt_lane_write(listing->lane, &header, sizeof header, err);
    if (status == TT_OK)
        status = tt_lane_write(listing->lane, entry->path + listing->root, header.path_length, err);
    if (status == TT_OK && !is_file)
        status = tt_lane_write(listing->lane, target, strlen(target), err);
    return status;
}

enum tt_status content_listing_data(struct content_listing *listing, const uint8_t *data, size_t length,
                                    struct tt_error *err)
{
    return listing ? tt_lane_write(listing->lane, data, length, err) : TT_OK;
}

enum tt_status content_listing_end(struct content_listing *listing, struct tt_manifest_list *ret_list,
                                   struct tt_error *err)
{
    if (!listing)
        return TT_OK;
    enum tt_status status = tt_lane_drain(listing->lane, err);
    if (status == TT_OK && listing->head_length != 0)
        return tt_error_set(err, TT_INTERNAL, "the content of a file that is listed did not come whole");
    return status == TT_OK ? tt_manifest_listing_end(listing->list, ret_list, err) : status;
}
