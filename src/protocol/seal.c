#include "protocol/protocol.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "archive/folder_files.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/text.h"
#include "protocol/against.h"
#include "protocol/chain.h"
#include "protocol/content.h"
#include "protocol/file_list.h"
#include "protocol/manifest.h"
#include "protocol/record.h"
#include "protocol/symmetric_key.h"
#include "protocol/token_use.h"
#include "protocol/visit.h"

/* What a creator does: docs/protocol.md, "Sealing". */
struct seal {
    const struct tt_seal_options *options;
    struct tt_file_set *definition;
    struct file_list files;
    char *entry_point;               /* path in the image */
    const char *command[3];          /* what the image runs, NULL-terminated */
    struct tt_manifest_list listing; /* of the definition */
    char **stop_keys;                /* PEM texts */
    struct tt_image *base;
    struct tt_train *train;
    struct train_keys keys;
    struct manifests manifests;
    struct tt_seal_report report;
};

static void seal_clear(struct seal *seal)
{
    for (size_t i = 0; seal->stop_keys && i < seal->options->stop_count; i++)
        free(seal->stop_keys[i]);
    free(seal->stop_keys);
    free(seal->entry_point);
    file_list_clear(&seal->files);
    tt_file_set_free(seal->definition);
    train_keys_clear(&seal->keys);
    tt_train_free(seal->train);
    tt_image_free(seal->base);
    manifests_clear(&seal->manifests);
    tt_manifest_list_clear(&seal->listing);
    tt_seal_report_clear(&seal->report);
}

static enum tt_status read_stop_key(const char *file, const char *station, char **ret_pem, struct tt_error *err)
{
    struct tt_buffer text = {0};
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = tt_file_read(AT_FDCWD, file, TT_PUBLIC_KEY_TEXT_LIMIT, &text, err);
    if (status == TT_OK)
        status = tt_public_key_parse(text.data, text.length, file, &key, err);
    tt_buffer_clear(&text);
    if (status == TT_OK)
        status = tt_public_key_pem(key, ret_pem, err);
    if (status != TT_OK) {
        if (err)
            err->status = TT_USAGE;
        (void)tt_error_context(err, "the public key of station '%s'", station);
        return TT_USAGE;
    }
    return TT_OK;
}

static enum tt_status read_stop_keys(struct seal *seal, struct tt_error *err)
{
    size_t count = seal->options->stop_count;
    if (count == 0)
        return tt_error_set(err, TT_USAGE, "a train needs at least one stop: --stop ID=PUBLIC_KEY.pem");
    seal->stop_keys = calloc(count, sizeof *seal->stop_keys);
    if (!seal->stop_keys)
        return tt_error_memory(err);
    for (size_t i = 0; i < count; i++) {
        enum tt_status status =
            read_stop_key(seal->options->stop_keys[i], seal->options->stations[i], &seal->stop_keys[i], err);
        if (status != TT_OK)
            return status;
    }
    return TT_OK;
}

static size_t find_file(const struct tt_file_set *files, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", TT_TRAIN_DEFINITION, name);
    size_t index = tt_file_set_find(files, path);
    bool is_file = index < tt_file_set_count(files) && tt_file_set_entry(files, index)->type == TT_ENTRY_FILE;
    return is_file ? index : tt_file_set_count(files);
}

static enum tt_status choose_entry_point(struct seal *seal, struct tt_error *err)
{
    static const char *const usual[] = {"entrypoint.py", "entrypoint.sh", "main.py", "main.sh", "main.R"};
    const char *name = seal->options->entry_point;
    size_t count = tt_file_set_count(seal->definition);
    size_t found = name ? find_file(seal->definition, name) : count;
    for (size_t i = 0; !name && found == count && i < sizeof usual / sizeof usual[0]; i++)
        found = find_file(seal->definition, usual[i]);
    if (found == count && name)
        return tt_error_set(err, TT_USAGE, "the entry point '%s' is not in %s", name, seal->options->definition);
    if (found == count)
        return tt_error_set(err, TT_USAGE, "%s has none of the usual entry points; name one with --entry-point",
                            seal->options->definition);
    const struct tt_entry *entry = tt_file_set_entry(seal->definition, found);
    if (seal->options->interpreter && !against_is_program(seal->options->interpreter))
        return tt_error_set(err, TT_USAGE,
                            "the interpreter '%s' is no program of the base image: name it alone, or by its absolute "
                            "path, outside of what the train brings along",
                            seal->options->interpreter);
    if (!seal->options->interpreter && !(entry->mode & 0111))
        return tt_error_set(err, TT_USAGE,
                            "/%s is not executable: make it so (chmod +x), or name what runs it with --interpreter",
                            entry->path);
    if (!seal->options->interpreter)
        tt_log(TT_LOG_WARNING,
               "stations with the existing implementation take the executable bit away from /%s: name "
               "what runs it with --interpreter if the train may meet one",
               entry->path);
    seal->entry_point = tt_text_format("/%s", entry->path);
    return seal->entry_point ? TT_OK : tt_error_memory(err);
}

/* Whether the existing implementation would take the id for a number and write that differently. */
static bool is_other_number(const char *id)
{
    size_t digits = strspn(id, "0123456789_+- ");
    bool is_number = id[0] && !id[digits] && strpbrk(id, "0123456789");
    bool is_canonical = strspn(id, "0123456789") == strlen(id) && (id[0] != '0' || !id[1]);
    return is_number && !is_canonical;
}

static enum tt_status check_ids(const struct tt_seal_options *options, struct tt_error *err)
{
    if (options->stop_count > TT_TRAIN_STOP_LIMIT)
        return tt_error_set(err, TT_USAGE, "a train has at most %d stops", TT_TRAIN_STOP_LIMIT);
    if (is_other_number(options->creator_id))
        return tt_error_set(
            err, TT_USAGE,
            "the creator's id '%s' would be read as a number by the existing implementation, and hashed "
            "in another spelling; use another id",
            options->creator_id);
    for (size_t i = 0; i < options->stop_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(options->stations[i], options->stations[j]) == 0)
                return tt_error_set(err, TT_USAGE, "station '%s' is named twice; a train visits each station once",
                                    options->stations[i]);
    for (size_t i = 0; i < options->stop_count; i++)
        if (strspn(options->stations[i], "0123456789") == strlen(options->stations[i]))
            tt_log(TT_LOG_WARNING,
                   "a station with the existing implementation does not find itself under the numeric "
                   "id '%s'",
                   options->stations[i]);
    return TT_OK;
}

/* The existing implementation takes an empty query for none, and encrypts it once more at each stop. */
static enum tt_status check_query(const struct tt_file_set *definition, struct tt_error *err)
{
    size_t index = tt_file_set_find(definition, TT_TRAIN_DEFINITION "/" TT_TRAIN_QUERY_NAME);
    if (index < tt_file_set_count(definition) && tt_file_set_entry(definition, index)->size == 0)
        return tt_error_set(err, TT_USAGE, "the query is empty; leave it away or give it content");
    return TT_OK;
}

static enum tt_status open_inputs(struct seal *seal, struct tt_error *err)
{
    const struct tt_seal_options *options = seal->options;
    struct tt_image_options image_options = {.platform = options->platform};
    enum tt_status status = check_ids(options, err);
    if (status == TT_OK)
        status = read_stop_keys(seal, err);
    if (status == TT_OK)
        status = tt_folder_files(options->definition, TT_TRAIN_DEFINITION, options->query, TT_TRAIN_QUERY_NAME,
                                 &seal->definition, err);
    if (status == TT_OK)
        status = check_query(seal->definition, err);
    if (status == TT_OK)
        status = file_list_make(seal->definition, options->file_list, &seal->files, err);
    if (status == TT_OK)
        status = choose_entry_point(seal, err);
    seal->command[0] = options->interpreter ? options->interpreter : seal->entry_point;
    seal->command[1] = options->interpreter ? seal->entry_point : NULL;
    if (status == TT_OK)
        status = tt_image_recover(options->image, err);
    if (status == TT_OK)
        status = tt_image_open(options->base, &image_options, &seal->base, err);
    if (status == TT_OK)
        status = tt_image_verify_blobs(seal->base, err);
    return status;
}

/* What the configuration is made from; the strings are others'. */
struct drafting {
    struct tt_train_plan plan;
    struct tt_creator_manifest manifest; /* its strings are others', too */
    struct tt_buffer envelope;           /* of it */
    uint8_t session_id[TT_TRAIN_SESSION_ID_SIZE];
    uint8_t hash[TT_TRAIN_HASH_SIZE];
    uint8_t signature[TT_RSA_BYTES_MAX];
    uint8_t build_signature[TT_RSA_BYTES_MAX];
    char *id;
    char *creator_pem;
    char *builder_pem;
};

static void drafting_clear(struct drafting *drafting)
{
    tt_buffer_clear(&drafting->envelope);
    free(drafting->manifest.route);
    free(drafting->manifest.layers);
    free(drafting->id);
    free(drafting->creator_pem);
    free(drafting->builder_pem);
}

static enum tt_status hash_definition(struct seal *seal, struct drafting *drafting, struct tt_error *err)
{
    /* The hash needs only these members of a train. */
    struct tt_train shape = {.id = (char *)seal->options->train_id,
                             .creator_id = (char *)seal->options->creator_id,
                             .files = seal->files.names,
                             .file_count = seal->files.count};
    enum tt_status status = tt_random(drafting->session_id, sizeof drafting->session_id, err);
    memcpy(shape.session_id, drafting->session_id, sizeof shape.session_id);
    record_train(seal->options->audit, &shape, NULL);
    /* In this order: what is encrypted is compared with the list, and so covers the time in between. */
    if (status == TT_OK)
        status = content_list(seal->definition, TT_TRAIN_DEFINITION, NULL, &seal->listing, err);
    if (status == TT_OK)
        status = content_definition_hash(&shape, seal->definition, NULL, drafting->hash, err);
    return status;
}

static enum tt_status name_train(struct seal *seal, struct drafting *drafting, struct tt_error *err)
{
    char session[2 * 8 + 1];
    tt_hex_encode(drafting->session_id, 8, session);
    drafting->id = seal->options->train_id ? strdup(seal->options->train_id) : tt_text_format("train-%s", session);
    return drafting->id ? TT_OK : tt_error_memory(err);
}

/* --- the creator's manifest: docs/protocol.md, "Signed manifests" --- */

static enum tt_status list_route(struct seal *seal, struct tt_creator_manifest *manifest, struct tt_error *err)
{
    size_t count = seal->options->stop_count;
    enum tt_status status = TT_OK;
    manifest->route = calloc(count, sizeof *manifest->route);
    if (!manifest->route)
        return tt_error_memory(err);
    manifest->stop_count = count;
    for (size_t i = 0; status == TT_OK && i < count; i++) {
        EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
        const char *pem = seal->stop_keys[i];
        manifest->route[i].station = (char *)seal->options->stations[i];
        status = tt_public_key_parse(pem, strlen(pem), "a stop's public key", &key, err);
        if (status == TT_OK)
            status = tt_public_key_fingerprint(key, manifest->route[i].fingerprint, err);
    }
    return status;
}

static enum tt_status list_layers(struct seal *seal, struct tt_creator_manifest *manifest, struct tt_error *err)
{
    manifest->layer_count = tt_image_layer_count(seal->base);
    manifest->layers = calloc(manifest->layer_count + 1, sizeof *manifest->layers);
    if (!manifest->layers)
        return tt_error_memory(err);
    for (size_t i = 0; i < manifest->layer_count; i++)
        manifest->layers[i] = (char *)tt_image_layer_diff_id(seal->base, i);
    return TT_OK;
}

static enum tt_status sign_manifest(struct seal *seal, struct drafting *drafting, struct tt_private_key *creator,
                                    struct tt_error *err)
{
    struct tt_creator_manifest *manifest = &drafting->manifest;
    struct tt_buffer payload TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = list_route(seal, manifest, err);
    if (status == TT_OK)
        status = list_layers(seal, manifest, err);
    manifest->has_settings = true;
    if (status == TT_OK)
        status = tt_image_settings_digest(seal->base, seal->command, manifest->settings, err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(tt_private_key_public(creator), manifest->fingerprint, err);
    manifest->train = drafting->id;
    manifest->creator = (char *)seal->options->creator_id;
    manifest->base = (char *)seal->options->base;
    manifest->definition = seal->listing;
    memcpy(manifest->session_id, drafting->session_id, sizeof manifest->session_id);
    memcpy(manifest->hash, drafting->hash, sizeof manifest->hash);
    if (status == TT_OK)
        status = tt_creator_manifest_write(manifest, manifest_room(2 * TT_MANIFEST_ENTRY_BYTES, manifest->stop_count),
                                           &payload, err);
    if (status == TT_OK)
        status = manifest_sign(creator, &payload, &seal->report.token, &drafting->envelope, err);
    return status;
}

static enum tt_status sign(struct seal *seal, struct tt_private_key *key, const char *name, const uint8_t *message,
                           size_t length, uint8_t *signature, size_t *ret_length, struct tt_error *err)
{
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    tt_private_key_purpose(key, name);
    enum tt_status status = tt_private_key_sign_pkcs1(key, message, length, signature, ret_length, &padding_by, err);
    if (status == TT_OK)
        token_used(&seal->report.token, name, padding_by);
    return status;
}

static enum tt_status sign_build(struct seal *seal, struct drafting *drafting, struct tt_private_key *signer,
                                 struct tt_error *err)
{
    uint8_t built[TT_TRAIN_HASH_SIZE + TT_RSA_BYTES_MAX];
    memcpy(built, drafting->hash, sizeof drafting->hash);
    memcpy(built + sizeof drafting->hash, drafting->signature, drafting->plan.signature_length);
    enum tt_status status = tt_public_key_pem(tt_private_key_public(signer), &drafting->builder_pem, err);
    if (status == TT_OK)
        status = sign(seal, signer, "sign-build", built, sizeof drafting->hash + drafting->plan.signature_length,
                      drafting->build_signature, &drafting->plan.build_signature_length, err);
    return status;
}

static enum tt_status sign_build_with_own_key(struct seal *seal, struct drafting *drafting, struct tt_error *err)
{
    struct tt_private_key *builder TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct tt_token_use use = {0};
    enum tt_status status =
        token_open(&seal->options->builder, seal->options->audit, NULL, "the builder", &use, &builder, err);
    if (status == TT_OK)
        status = sign_build(seal, drafting, builder, err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "the builder's key");
}

static enum tt_status sign_with_creator(struct seal *seal, struct drafting *drafting, bool and_build,
                                        struct tt_error *err)
{
    struct tt_private_key *creator TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    enum tt_status status = token_open(&seal->options->creator, seal->options->audit, NULL, "the creator",
                                       &seal->report.token, &creator, err);
    if (status == TT_OK)
        status = tt_public_key_pem(tt_private_key_public(creator), &drafting->creator_pem, err);
    if (status == TT_OK)
        status = sign(seal, creator, "sign-definition", drafting->hash, sizeof drafting->hash, drafting->signature,
                      &drafting->plan.signature_length, err);
    if (status == TT_OK && and_build)
        status = sign_build(seal, drafting, creator, err);
    if (status == TT_OK)
        status = sign_manifest(seal, drafting, creator, err);
    return status;
}

/* One key is open at a time: two may lie in one token, and closing one would log out the other. */
static enum tt_status sign_all(struct seal *seal, struct drafting *drafting, struct tt_error *err)
{
    bool own_builder = seal->options->builder.open;
    enum tt_status status = sign_with_creator(seal, drafting, !own_builder, err);
    if (status == TT_OK && own_builder)
        status = sign_build_with_own_key(seal, drafting, err);
    return status;
}

static enum tt_status draft_configuration(struct seal *seal, struct drafting *drafting, struct tt_error *err)
{
    const struct tt_seal_options *options = seal->options;
    struct tt_train_plan *plan = &drafting->plan;
    plan->id = drafting->id;
    plan->creator_id = options->creator_id;
    plan->source_address = options->base;
    plan->creator_public_key = drafting->creator_pem;
    plan->build_public_key = drafting->builder_pem;
    plan->stations = options->stations;
    plan->station_public_keys = (const char *const *)seal->stop_keys;
    plan->stop_count = options->stop_count;
    plan->files = (const char *const *)seal->files.names;
    plan->file_count = seal->files.count;
    plan->session_id = drafting->session_id;
    plan->hash = drafting->hash;
    plan->signature = drafting->signature;
    plan->build_signature = drafting->build_signature;
    enum tt_status status = tt_train_new(plan, &seal->train, err);
    if (status == TT_OK)
        status = tt_train_add_manifest(seal->train, (const char *)drafting->envelope.data, err);
    if (status == TT_OK)
        status = train_keys_parse(seal->train, &seal->keys, err);
    if (status != TT_OK)
        return tt_error_context(err, "the new train");
    record_train(options->audit, seal->train, NULL);
    /* What goes out is checked as the first station will check it. */
    status = chain_verify(seal->train, &seal->keys, 0, NULL, NULL, err);
    if (status == TT_OK)
        status = manifest_verify(seal->train, &seal->keys, 0, NULL, &seal->manifests, err);
    return status;
}

static enum tt_status make_configuration(struct seal *seal, struct tt_error *err)
{
    struct drafting drafting TT_CLEANUP(drafting_clear) = {0};
    enum tt_status status = hash_definition(seal, &drafting, err);
    if (status == TT_OK)
        status = name_train(seal, &drafting, err);
    if (status == TT_OK)
        status = sign_all(seal, &drafting, err);
    if (status == TT_OK)
        status = draft_configuration(seal, &drafting, err);
    return status;
}

/* An editor that saves while the train is sealed would make one that no station takes. */
static enum tt_status check_unchanged(struct seal *seal, struct content_listing *listing, struct tt_error *err)
{
    struct tt_manifest_list found TT_CLEANUP(tt_manifest_list_clear) = {0};
    enum tt_status status = content_listing_end(listing, &found, err);
    if (status == TT_OK && manifest_check_definition(&seal->manifests, &found, NULL) != TT_OK)
        status = tt_error_set(err, TT_USAGE, "files in %s changed while the train was being sealed; run again",
                              seal->options->definition);
    return status;
}

static enum tt_status encrypt_definition(struct seal *seal, struct tt_image_change *change, struct tt_error *err)
{
    struct tt_secret *symmetric TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_file_cipher *cipher TT_CLEANUP(tt_file_cipher_free_cleanup) = NULL;
    struct content_listing *listing TT_CLEANUP(content_listing_free_cleanup) = NULL;
    struct tt_entry results = {
        .path = (char *)TT_TRAIN_RESULTS, .type = TT_ENTRY_FOLDER, .mode = 0755, .mtime_seconds = (int64_t)time(NULL)};
    enum tt_status status = symmetric_key_new(&symmetric, err);
    if (status == TT_OK)
        status = tt_file_cipher_new(symmetric, &cipher, err);
    if (status == TT_OK)
        status = content_listing_new(TT_TRAIN_DEFINITION, &listing, err);
    struct content_transfer transfer = {
        .folder = TT_TRAIN_DEFINITION, .cipher = cipher, .listing = listing, .change = change};
    if (status == TT_OK)
        status = tt_image_change_replace(change, &results, err);
    if (status == TT_OK)
        status = content_encrypt_files(&transfer, seal->definition, NULL, err);
    if (status == TT_OK)
        status = check_unchanged(seal, listing, err);
    seal->report.definition = transfer.done;
    if (status == TT_OK)
        status = symmetric_key_wrap_for_all(symmetric, &seal->keys, seal->train, err);
    return status;
}

static enum tt_status make_visible(struct seal *seal, struct tt_image_change *change, struct tt_error *err)
{
    struct tt_image_settings settings = {.command = seal->command, .created_by = "traintoken seal"};
    const char *digest = NULL;
    enum tt_status status = tt_image_change_seal(change, &settings, &digest, err);
    if (status == TT_OK && !(seal->report.digest = strdup(digest)))
        status = tt_error_memory(err);
    if (status == TT_OK)
        status = tt_image_reference_sibling(seal->options->image, "base", &seal->report.base, err);
    if (status == TT_OK)
        status = record_decision(seal->options->audit, digest, err);
    if (status == TT_OK)
        status = tt_image_change_commit(change, seal->options->image, "base", NULL, err);
    if (status == TT_OK)
        record_done(seal->options->audit);
    return status;
}

enum tt_status tt_seal(const struct tt_seal_options *options, struct tt_seal_report *ret_report, struct tt_error *err)
{
    struct seal seal TT_CLEANUP(seal_clear) = {.options = options};
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    record_command(options->audit, "seal", options->image, NULL);
    enum tt_status status = open_inputs(&seal, err);
    if (status == TT_OK)
        status = make_configuration(&seal, err);
    if (status == TT_OK)
        status = tt_image_change_new_in(seal.base, options->image, &change, err);
    if (status == TT_OK)
        status = encrypt_definition(&seal, change, err);
    if (status == TT_OK)
        status = content_add(change, TT_TRAIN_CONFIG_PATH, seal.train->text.data, seal.train->text.length, err);
    if (status == TT_OK)
        status = make_visible(&seal, change, err);
    if (status != TT_OK)
        return record_failure(options->audit, status, err);
    seal.report.train = TT_TAKE(seal.train);
    *ret_report = seal.report;
    seal.report = (struct tt_seal_report){0};
    return TT_OK;
}

void tt_seal_report_clear(struct tt_seal_report *report)
{
    tt_train_free(report->train);
    free(report->base);
    free(report->digest);
    *report = (struct tt_seal_report){0};
}
