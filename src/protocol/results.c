#include "protocol/protocol.h"

#include <fcntl.h>
#include <string.h>

#include "archive/folder_output.h"
#include "archive/tar_files.h"
#include "protocol/chain.h"
#include "protocol/content.h"
#include "protocol/content_reader.h"
#include "protocol/manifest.h"
#include "protocol/record.h"
#include "protocol/token_use.h"
#include "protocol/trusted.h"
#include "protocol/visit.h"

/* docs/protocol.md, "Results": what the creator does with a train that came home. */
struct opening {
    const struct tt_results_options *options;
    struct visit visit; /* of a tar: without image and definition */
    size_t position;
    struct manifests manifests;
    struct tt_file_cipher *cipher;
    struct tt_results_report report;
};

static void opening_clear(struct opening *opening)
{
    tt_file_cipher_free(opening->cipher);
    manifests_clear(&opening->manifests);
    visit_clear(&opening->visit);
    tt_results_report_clear(&opening->report);
}

static enum tt_status open_tar(struct opening *opening, struct tt_error *err)
{
    enum tt_status status = visit_read_tar(opening->options->source, &opening->visit.train, err);
    if (status == TT_OK)
        status = train_keys_parse(opening->visit.train, &opening->visit.keys, err);
    if (status == TT_OK)
        status = tt_tar_files(opening->options->source, "pht_results", TT_TRAIN_RESULTS, &opening->visit.results, err);
    return status;
}

/* A path that exists is a tar; everything else must be a reference. */
static enum tt_status open_source(struct opening *opening, struct tt_error *err)
{
    if (access(opening->options->source, F_OK) == 0)
        return open_tar(opening, err);
    enum tt_status status = tt_image_reference_check(opening->options->source, err);
    if (status != TT_OK)
        return tt_error_context(err, "there is no file of that name, and as an image reference");
    return visit_open(opening->options->source, opening->options->platform, VISIT_RESULTS_READ, &opening->visit, err);
}

static enum tt_status check_position(struct opening *opening, struct tt_error *err)
{
    const struct tt_train *train = opening->visit.train;
    enum tt_status status = tt_route_position(train, &opening->position, err);
    if (status != TT_OK)
        return status;
    if (opening->position == 0)
        return tt_error_set(err, TT_WRONG_STOP, "the train has not visited any station yet: there are no results");
    if (opening->position < train->stop_count && !opening->options->unfinished)
        return tt_error_set(err, TT_WRONG_STOP,
                            "the train has visited %zu of %zu stops; wait until it came home, or open what there is "
                            "with --unfinished",
                            opening->position, train->stop_count);
    return TT_OK;
}

/* What the train's signed manifests say, as far as it shows from outside. A tar has no layers. */
static enum tt_status check_manifests(struct opening *opening, struct tt_error *err)
{
    const struct visit *visit = &opening->visit;
    enum tt_status status = manifest_verify(visit->train, &visit->keys, opening->position, &opening->options->trust,
                                            &opening->manifests, err);
    if (status == TT_OK && visit->image)
        status = manifest_check_image(&opening->manifests, visit->image, err);
    if (status == TT_OK)
        status = manifest_check_result_names(&opening->manifests, visit->results, err);
    if (status == TT_OK && opening->manifests.there)
        record_checked(opening->options->audit, "signed manifests");
    return status;
}

static enum tt_status check_public(struct opening *opening, struct tt_error *err)
{
    struct visit *visit = &opening->visit;
    enum tt_status status = check_position(opening, err);
    record_train(opening->options->audit, visit->train, visit->image ? tt_image_digest(visit->image) : NULL);
    if (status == TT_OK)
        status = chain_verify(visit->train, &visit->keys, opening->position, NULL, NULL, err);
    if (status == TT_OK)
        status = results_check(visit->results, true, false, err);
    if (status == TT_OK)
        status = check_manifests(opening, err);
    if (status == TT_OK && visit->train->creator_encrypted_key.length == 0)
        status = tt_error_set(err, TT_MALFORMED, "train_config.json: creator.encrypted_key is missing");
    if (status == TT_OK && visit->image)
        status = tt_image_verify_blobs(visit->image, err);
    if (status == TT_OK)
        record_checked(opening->options->audit, "route, signatures, result files");
    return status;
}

static enum tt_status check_trust(struct opening *opening, struct tt_error *err)
{
    const struct tt_results_options *options = opening->options;
    return trusted_check(opening->visit.train, &opening->visit.keys, TRUSTED_CREATOR, &options->trust, options->source,
                         options->audit, err);
}

static enum tt_status unwrap(struct opening *opening, struct tt_error *err)
{
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct tt_secret *symmetric TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    const struct tt_bytes *wrapped = &opening->visit.train->creator_encrypted_key;
    enum tt_status status = token_open(&opening->options->key, opening->options->audit, opening->visit.keys.creator,
                                       "its creator", &opening->report.token, &key, err);
    if (status == TT_OK)
        status =
            tt_private_key_unwrap(key, wrapped->data, wrapped->length, TT_FILE_KEY_SIZE, &symmetric, &padding_by, err);
    if (status != TT_OK)
        return status;
    token_used(&opening->report.token, "unwrap", padding_by);
    return tt_file_cipher_new(symmetric, &opening->cipher, err);
}

/* One file on its way out. */
struct unpacking {
    struct tt_folder_output *output;
    struct content_listing *listing; /* NULL without a manifest */
    struct tt_content_size done;
};

static enum tt_status take_plain(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct unpacking *unpacking = user;
    unpacking->done.bytes += length;
    enum tt_status status = content_listing_data(unpacking->listing, data, length, err);
    return status == TT_OK ? tt_folder_output_data(unpacking->output, data, length, err) : status;
}

/* What an absolute target says below the results folder, which is two folders deep. That it leads there is known
 * (results_check), but "//opt/./pht_results" and the like lead there, too. */
static const char *below_results(const char *target)
{
    for (size_t depth = 0; depth < 2;) {
        target += strspn(target, "/");
        size_t length = strcspn(target, "/");
        if (length != 1) /* "." stays where it is, and no folder on the way has a name as long as "..", which goes up */
            depth = length == 2 ? 0 : depth + 1;
        target += length;
    }
    target += strspn(target, "/");
    return *target ? target : ".";
}

/* An absolute link among the results means a place in the image. Here it becomes the relative one that leads to the
 * same file of the folder. NULL when out of memory. */
static char *relative_target(const struct tt_entry *entry)
{
    if (entry->link_target[0] != '/')
        return strdup(entry->link_target);
    const char *below = below_results(entry->link_target);
    size_t ups = 0;
    for (const char *slash = strchr(entry->path + strlen(TT_TRAIN_RESULTS) + 1, '/'); slash;
         slash = strchr(slash + 1, '/'))
        ups++;
    char *text = malloc(3 * ups + strlen(below) + 1);
    if (!text)
        return NULL;
    char *end = text;
    for (; ups > 0; ups--)
        end = stpcpy(end, "../");
    (void)stpcpy(end, below);
    return text;
}

/* Adds the entry under its path below the results folder. */
static enum tt_status add_entry(struct unpacking *unpacking, const struct tt_entry *entry, struct tt_error *err)
{
    size_t root = strlen(TT_TRAIN_RESULTS) + 1;
    struct tt_entry relative = *entry;
    relative.path = entry->path + root;
    char *target TT_CLEANUP(tt_free_cleanup) = NULL;
    if (entry->type == TT_ENTRY_SYMLINK && !(target = relative_target(entry)))
        return tt_error_memory(err);
    if (entry->type == TT_ENTRY_SYMLINK)
        relative.link_target = target;
    if (entry->type == TT_ENTRY_HARDLINK)
        relative.link_target = entry->link_target + root;
    return tt_folder_output_add(unpacking->output, &relative, err);
}

static bool is_link(const struct tt_entry *entry)
{
    return entry->type == TT_ENTRY_SYMLINK || entry->type == TT_ENTRY_HARDLINK;
}

static enum tt_status list_entry(struct opening *opening, struct unpacking *unpacking, size_t index,
                                 struct tt_error *err)
{
    const struct tt_file_set *files = opening->visit.results;
    struct tt_entry entry = *tt_file_set_entry(files, index);
    enum tt_status status = TT_OK;
    if (unpacking->listing && entry.type == TT_ENTRY_FILE)
        status = content_plain_size(files, index, opening->cipher, &entry.size, err);
    return status == TT_OK ? content_listing_entry(unpacking->listing, &entry, err) : status;
}

static enum tt_status unpack(struct opening *opening, struct unpacking *unpacking, struct content_hash *hash,
                             struct tt_error *err)
{
    struct content_reader *reader TT_CLEANUP(content_reader_free_cleanup) = NULL;
    const struct tt_file_set *files = opening->visit.results;
    enum tt_status status = content_reader_new(hash, take_plain, unpacking, &reader, err);
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(files); i++) {
        const struct tt_entry *entry = tt_file_set_entry(files, i);
        status = list_entry(opening, unpacking, i, err);
        if (status != TT_OK || is_link(entry))
            continue;
        status = add_entry(unpacking, entry, err);
        if (status != TT_OK || entry->type != TT_ENTRY_FILE)
            continue;
        unpacking->done.files++;
        status = content_read(reader, files, i, opening->cipher, err);
    }
    return status;
}

/* Links last: nothing is ever written through one. */
static enum tt_status unpack_links(struct opening *opening, struct unpacking *unpacking, struct tt_error *err)
{
    const struct tt_file_set *files = opening->visit.results;
    enum tt_status status = TT_OK;
    for (size_t i = 1; status == TT_OK && i < tt_file_set_count(files); i++)
        if (is_link(tt_file_set_entry(files, i)))
            status = add_entry(unpacking, tt_file_set_entry(files, i), err);
    return status;
}

static enum tt_status compare_hash(struct opening *opening, struct content_hash *hash, struct tt_error *err)
{
    const struct tt_train *train = opening->visit.train;
    uint8_t value[TT_SHA512_SIZE];
    enum tt_status status = content_hash_update(hash, train->session_id, sizeof train->session_id, err);
    if (status == TT_OK)
        status = content_hash_final(hash, value, err);
    if (status == TT_OK && !tt_digest_equal(value, train->result_hash, sizeof value))
        status = TT_TAMPERED;
    return status;
}

static enum tt_status compare_list(struct opening *opening, struct content_listing *listing, struct tt_error *err)
{
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = {0};
    enum tt_status status = content_listing_end(listing, &found, err);
    return status == TT_OK && listing ? manifest_check_results(&opening->manifests, &found, err) : status;
}

static enum tt_status write_results(struct opening *opening, struct tt_error *err)
{
    struct tt_folder_output *output TT_CLEANUP(tt_folder_output_free_cleanup) = NULL;
    struct content_hash *hash TT_CLEANUP(content_hash_free_cleanup) = NULL;
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    enum tt_status status = tt_folder_output_new(opening->options->directory, &output, err);
    if (status == TT_OK)
        status = content_hash_new(&hash, err);
    if (status == TT_OK && opening->manifests.there)
        status = content_listing_new(TT_TRAIN_RESULTS, &listing, err);
    if (status != TT_OK)
        return status;
    struct unpacking unpacking = {.output = output, .listing = listing};
    status = unpack(opening, &unpacking, hash, err);
    if (status == TT_OK)
        status = compare_hash(opening, hash, err);
    if (status == TT_TAMPERED)
        return tt_error_set(err, TT_TAMPERED,
                            "the results of the train do not match the hash that the last station signed: they were "
                            "changed on the way; nothing was written");
    if (status == TT_OK)
        status = compare_list(opening, listing, err);
    if (status == TT_OK)
        status = unpack_links(opening, &unpacking, err);
    if (status == TT_OK)
        record_checked(opening->options->audit, "hash of the results");
    if (status == TT_OK)
        status = record_decision(opening->options->audit, NULL, err);
    if (status == TT_OK)
        status = tt_folder_output_commit(output, err);
    if (status == TT_OK)
        record_done(opening->options->audit);
    if (status == TT_OK)
        opening->report.results = unpacking.done;
    return status;
}

enum tt_status tt_results(const struct tt_results_options *options, struct tt_results_report *ret_report,
                          struct tt_error *err)
{
    struct opening opening TT_CLEANUP(opening_clear) = {.options = options};
    record_command(options->audit, "results", options->source, NULL);
    if (faccessat(AT_FDCWD, options->directory, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return tt_error_set(err, TT_USAGE, "%s exists already; name a folder that does not", options->directory);
    enum tt_status status = open_source(&opening, err);
    if (status == TT_OK)
        status = check_public(&opening, err);
    if (status == TT_OK)
        status = check_trust(&opening, err);
    if (status == TT_OK)
        status = unwrap(&opening, err);
    if (status == TT_OK)
        status = write_results(&opening, err);
    if (status != TT_OK)
        return record_failure(options->audit, status, err);
    opening.report.train = TT_TAKE(opening.visit.train);
    *ret_report = opening.report;
    opening.report = (struct tt_results_report){0};
    return TT_OK;
}

void tt_results_report_clear(struct tt_results_report *report)
{
    tt_train_free(report->train);
    *report = (struct tt_results_report){0};
}
