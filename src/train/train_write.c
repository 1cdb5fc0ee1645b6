#include <string.h>

#include "base/hex.h"
#include "base/text.h"
#include "train/train.h"
#include "train/train_rules.h"
#include "json/json.h"
#include "json/json_writer.h"

/* --- changing a configuration --- */

static enum tt_status copy_bytes(const uint8_t *data, size_t length, struct tt_bytes *ret_bytes, struct tt_error *err)
{
    if (length < TRAIN_SIGNATURE_LEAST || length > TT_TRAIN_SIGNATURE_LIMIT)
        return tt_error_set(err, TT_INTERNAL, "a signature or wrapped key of %zu bytes; %d to %d are allowed", length,
                            TRAIN_SIGNATURE_LEAST, TT_TRAIN_SIGNATURE_LIMIT);
    uint8_t *copy = malloc(length);
    if (!copy)
        return tt_error_memory(err);
    memcpy(copy, data, length);
    *ret_bytes = (struct tt_bytes){copy, length};
    return TT_OK;
}

static void replace_bytes(struct tt_bytes *old, struct tt_bytes fresh)
{
    free(old->data);
    *old = fresh;
}

static enum tt_status put_text(struct tt_buffer *text, const struct tt_json_step *steps, size_t step_count,
                               const char *json, struct tt_error *err)
{
    enum tt_status status = json ? tt_json_put(text, steps, step_count, json, err) : tt_error_memory(err);
    return status == TT_OK ? TT_OK : tt_error_context(err, "changing " TRAIN_CONFIG_NAME);
}

static enum tt_status put_hex(struct tt_buffer *text, const struct tt_json_step *steps, size_t step_count,
                              const uint8_t *data, size_t length, struct tt_error *err)
{
    char *hex TT_CLEANUP(tt_free_cleanup) = tt_hex_new(data, length);
    char *json TT_CLEANUP(tt_free_cleanup) = hex ? tt_text_format("\"%s\"", hex) : NULL;
    return put_text(text, steps, step_count, json, err);
}

enum tt_status tt_train_set_result(struct tt_train *train, const uint8_t *result_hash, const uint8_t *signature,
                                   size_t signature_length, struct tt_error *err)
{
    const struct tt_json_step hash_step = {.member = "result_hash"};
    const struct tt_json_step signature_step = {.member = "result_signature"};
    struct tt_bytes copy = {0};
    enum tt_status status = copy_bytes(signature, signature_length, &copy, err);
    if (status != TT_OK)
        return status;
    /* Two members change: on a copy, so that it is both or none. */
    struct tt_buffer text = TT_BUFFER_INIT(train->text.limit);
    status = tt_buffer_append(&text, train->text.data, train->text.length, err);
    if (status == TT_OK)
        status = put_hex(&text, &hash_step, 1, result_hash, TT_TRAIN_HASH_SIZE, err);
    if (status == TT_OK)
        status = put_hex(&text, &signature_step, 1, signature, signature_length, err);
    if (status != TT_OK) {
        free(copy.data);
        tt_buffer_clear(&text);
        return status;
    }
    tt_buffer_clear(&train->text);
    train->text = text;
    memcpy(train->result_hash, result_hash, TT_TRAIN_HASH_SIZE);
    train->has_result_hash = true;
    replace_bytes(&train->result_signature, copy);
    return TT_OK;
}

enum tt_status tt_train_set_stop_signature(struct tt_train *train, size_t index, const uint8_t *digest,
                                           const uint8_t *signature, size_t signature_length, struct tt_error *err)
{
    if (index >= train->stop_count)
        return tt_error_set(err, TT_INTERNAL, "the train has no stop %zu", index);
    const struct tt_json_step steps[] = {
        {.member = "route"}, {.element = train->route_element[index]}, {.member = "signature"}};
    struct tt_bytes copy = {0};
    enum tt_status status = copy_bytes(signature, signature_length, &copy, err);
    if (status != TT_OK)
        return status;
    char *digest_hex TT_CLEANUP(tt_free_cleanup) = tt_hex_new(digest, TT_TRAIN_HASH_SIZE);
    char *hex TT_CLEANUP(tt_free_cleanup) = tt_hex_new(signature, signature_length);
    char *json TT_CLEANUP(tt_free_cleanup) =
        digest_hex && hex ? tt_text_format("{\"digest\":\"%s\",\"signature\":\"%s\"}", digest_hex, hex) : NULL;
    status = put_text(&train->text, steps, 3, json, err);
    if (status != TT_OK) {
        free(copy.data);
        return status;
    }
    memcpy(train->stops[index].digest, digest, TT_TRAIN_HASH_SIZE);
    train->stops[index].is_signed = true;
    replace_bytes(&train->stops[index].signature, copy);
    return TT_OK;
}

/* One member of wrapped key in both the text and the model. */
static enum tt_status set_key(struct tt_train *train, const struct tt_json_step *steps, size_t step_count,
                              struct tt_bytes *key, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct tt_bytes copy = {0};
    enum tt_status status = copy_bytes(data, length, &copy, err);
    if (status != TT_OK)
        return status;
    status = put_hex(&train->text, steps, step_count, data, length, err);
    if (status != TT_OK) {
        free(copy.data);
        return status;
    }
    replace_bytes(key, copy);
    return TT_OK;
}

enum tt_status tt_train_set_stop_key(struct tt_train *train, size_t index, const uint8_t *encrypted_key, size_t length,
                                     struct tt_error *err)
{
    if (index >= train->stop_count)
        return tt_error_set(err, TT_INTERNAL, "the train has no stop %zu", index);
    const struct tt_json_step steps[] = {
        {.member = "route"}, {.element = train->route_element[index]}, {.member = "encrypted_key"}};
    return set_key(train, steps, 3, &train->stops[index].encrypted_key, encrypted_key, length, err);
}

enum tt_status tt_train_set_creator_key(struct tt_train *train, const uint8_t *encrypted_key, size_t length,
                                        struct tt_error *err)
{
    const struct tt_json_step steps[] = {{.member = "creator"}, {.member = "encrypted_key"}};
    return set_key(train, steps, 2, &train->creator_encrypted_key, encrypted_key, length, err);
}

/* The array's elements as one text, with one more. */
static enum tt_status join_manifests(const struct tt_train *train, const char *envelope, struct tt_buffer *array,
                                     struct tt_error *err)
{
    enum tt_status status = tt_buffer_append(array, "[", 1, err);
    for (size_t i = 0; status == TT_OK && i < train->manifest_count; i++)
        status = tt_buffer_printf(array, err, "%s,", train->manifests[i]);
    return status == TT_OK ? tt_buffer_printf(array, err, "%s]", envelope) : status;
}

static enum tt_status put_manifests(struct tt_train *train, const char *array, struct tt_error *err)
{
    const struct tt_json_step steps[] = {{.member = "traintoken"}, {.member = "manifests"}};
    if (train->has_manifests)
        return put_text(&train->text, steps, 2, array, err);
    char *object TT_CLEANUP(tt_free_cleanup) = tt_text_format("{\"manifests\":%s}", array);
    return put_text(&train->text, steps, 1, object, err);
}

enum tt_status tt_train_add_manifest(struct tt_train *train, const char *envelope, struct tt_error *err)
{
    struct tt_buffer array TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(TT_TRAIN_CONFIG_LIMIT);
    char *copy TT_CLEANUP(tt_free_cleanup) = strdup(envelope);
    char **longer = copy ? realloc(train->manifests, (train->manifest_count + 1) * sizeof *longer) : NULL;
    if (!longer)
        return tt_error_memory(err);
    train->manifests = longer;
    enum tt_status status = join_manifests(train, envelope, &array, err);
    if (status == TT_OK)
        status = put_manifests(train, (const char *)array.data, err);
    if (status != TT_OK)
        return status;
    train->manifests[train->manifest_count++] = TT_TAKE(copy);
    train->has_manifests = true;
    return TT_OK;
}

/* --- a new configuration --- */

static void put_key(struct tt_json_writer *writer, const char *lead, const char *pem)
{
    tt_json_write_hex(writer, lead, pem, strlen(pem));
}

static void put_stop(struct tt_json_writer *writer, const struct tt_train_plan *plan, size_t index)
{
    char number[48];
    snprintf(number, sizeof number, ",\n      \"index\": %zu", index);
    tt_json_write(writer, index > 0 ? ",\n    {" : "\n    {");
    tt_json_write_text(writer, "\n      \"station\": ", plan->stations[index]);
    put_key(writer, ",\n      \"rsa_public_key\": ", plan->station_public_keys[index]);
    tt_json_write(writer, ",\n      \"eco_system\": \"tue\"");
    tt_json_write(writer, number);
    tt_json_write(writer, ",\n      \"encrypted_key\": null,\n      \"signature\": null\n    }");
}

static void put_head(struct tt_json_writer *writer, const struct tt_train_plan *plan)
{
    tt_json_write_text(writer, "{\n  \"@id\": ", plan->id);
    tt_json_write(writer, ",\n  \"@context\": null,\n  \"build\": {");
    tt_json_write_hex(writer, "\n    \"signature\": ", plan->build_signature, plan->build_signature_length);
    put_key(writer, ",\n    \"rsa_public_key\": ", plan->build_public_key);
    tt_json_write(writer, "\n  },\n  \"creator\": {");
    tt_json_write_text(writer, "\n    \"id\": ", plan->creator_id);
    put_key(writer, ",\n    \"rsa_public_key\": ", plan->creator_public_key);
    tt_json_write(writer, ",\n    \"paillier_public_key\": null,\n    \"encrypted_key\": null\n  },\n  \"source\": {");
    tt_json_write_text(writer, "\n    \"type\": \"docker_repository\",\n    \"address\": ", plan->source_address);
    tt_json_write_text(writer, ",\n    \"tag\": ", plan->source_tag);
    tt_json_write(writer, ",\n    \"branch\": null\n  }");
    /* The reference needs a proposal; a train from here belongs to none but itself. */
    tt_json_write_text(writer, ",\n  \"proposal_id\": ", plan->id);
    tt_json_write_hex(writer, ",\n  \"session_id\": ", plan->session_id, TT_TRAIN_SESSION_ID_SIZE);
}

static void put_rest(struct tt_json_writer *writer, const struct tt_train_plan *plan)
{
    tt_json_write(writer, ",\n  \"file_list\": [");
    for (size_t i = 0; i < plan->file_count; i++)
        tt_json_write_text(writer, i > 0 ? ",\n    " : "\n    ", plan->files[i]);
    tt_json_write(writer, plan->file_count > 0 ? "\n  ]" : "]");
    tt_json_write_hex(writer, ",\n  \"hash\": ", plan->hash, TT_TRAIN_HASH_SIZE);
    tt_json_write_hex(writer, ",\n  \"signature\": ", plan->signature, plan->signature_length);
    tt_json_write(writer, ",\n  \"route\": [");
    for (size_t i = 0; i < plan->stop_count; i++)
        put_stop(writer, plan, i);
    tt_json_write(writer, "\n  ],\n  \"result_hash\": null,\n  \"result_signature\": null\n}\n");
}

enum tt_status tt_train_new(const struct tt_train_plan *plan, struct tt_train **ret_train, struct tt_error *err)
{
    struct tt_json_writer writer = {.text = TT_BUFFER_INIT(TT_TRAIN_CONFIG_LIMIT), .err = err};
    put_head(&writer, plan);
    put_rest(&writer, plan);
    enum tt_status status = writer.status;
    if (status == TT_OK)
        status = tt_train_parse(writer.text.data, writer.text.length, ret_train, err);
    tt_buffer_clear(&writer.text);
    return status == TT_OK ? TT_OK : tt_error_context(err, "the new train's configuration");
}
