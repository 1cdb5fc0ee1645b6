#include "cli/trust_source.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/text.h"
#include "provisioning/key_export.h"

enum { FILE_LIMIT = 65536 };

void trust_found_clear(struct trust_found *found)
{
    tt_buffer_clear(&found->text);
    EVP_PKEY_free(found->key);
    free(found->id);
    free(found->remark);
    *found = (struct trust_found){0};
}

enum tt_status trust_source_check(const struct trust_source *source, struct tt_error *err)
{
    const struct registry_options *registry = &source->registry;
    int count = !!source->file + !!source->from + !!source->token + !!registry->vault + !!registry->central;
    if (count != 1)
        return tt_error_set(err, TT_USAGE,
                            "where is the key? Give one of FILE, --from IMAGE, --token URI, --vault URL and --central "
                            "URL");
    bool is_registry = registry->vault || registry->central;
    if (!is_registry && (registry->vault_path || registry->vault_field || registry->vault_kv || registry->ca_file ||
                         registry->token_file || registry->robot_file))
        return tt_error_set(err, TT_USAGE,
                            "--vault-path, --vault-field, --vault-kv, --ca-file, --token-file and --robot-file are for "
                            "--vault or --central");
    return is_registry ? registry_options_check(registry, err) : TT_OK;
}

/* Keys are also handed around as the hexadecimal of their PEM, as in a train's configuration. */
static enum tt_status undo_hex(struct tt_buffer *text, struct tt_error *err)
{
    size_t length = text->length;
    while (length > 0 && isspace(text->data[length - 1]))
        length--;
    uint8_t *plain TT_CLEANUP(tt_free_cleanup) = malloc(length / 2 + 1);
    if (!plain)
        return tt_error_memory(err);
    if (length == 0 || length % 2 != 0 || !tt_hex_decode((const char *)text->data, length, plain, length / 2))
        return TT_OK;
    tt_buffer_clear(text);
    return tt_buffer_append(text, plain, length / 2, err);
}

static enum tt_status read_file(const char *path, struct trust_found *found, struct tt_error *err)
{
    enum tt_status status = tt_file_read(AT_FDCWD, path, FILE_LIMIT, &found->text, err);
    if (status == TT_OK)
        status = undo_hex(&found->text, err);
    if (status == TT_MALFORMED || status == TT_STORE)
        return tt_error_set(err, TT_USAGE, "%s cannot be read, is no regular file, or is too long for a key", path);
    if (status == TT_OK && !(found->remark = tt_text_format("from the file %s", path)))
        status = tt_error_memory(err);
    return status;
}

static const struct tt_named_key *find_key(const struct tt_named_keys *keys, enum tt_trust_role role, const char *id)
{
    for (size_t i = 0; i < keys->count; i++)
        if (keys->items[i].role == role && (!id || strcmp(keys->items[i].id, id) == 0))
            return &keys->items[i];
    return NULL;
}

static enum tt_status read_train(const struct trust_source *source, enum tt_trust_role role, const char *id,
                                 struct trust_found *found, struct tt_error *err)
{
    struct tt_named_keys keys TT_CLEANUP(tt_named_keys_clear) = {0};
    enum tt_status status = tt_named_keys(source->from, source->platform, &keys, err);
    if (status != TT_OK)
        return status;
    const struct tt_named_key *key = find_key(&keys, role, id);
    if (!key)
        return tt_error_set(err, TT_USAGE, "the train %s names no %s '%s'", source->from, tt_trust_role_name(role), id);
    if (EVP_PKEY_up_ref(key->key) != 1)
        return tt_error_memory(err);
    found->key = key->key;
    found->is_word = true;
    found->id = strdup(key->id);
    found->remark =
        tt_text_format("from the train %s, session %02x%02x%02x%02x", source->from, keys.train->session_id[0],
                       keys.train->session_id[1], keys.train->session_id[2], keys.train->session_id[3]);
    return found->id && found->remark ? TT_OK : tt_error_memory(err);
}

/* Without a login where the token shows the public half. */
static enum tt_status read_token(const struct trust_source *source, struct trust_found *found, struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object object TT_CLEANUP(tt_key_object_clear) = {0};
    enum tt_status status = provision_load(&source->provision, source->token, &token, err);
    if (status == TT_OK)
        status = provision_find(&token, err);
    if (status == TT_OK)
        status = tt_session_open(token.cryptoki, &token.token, false, &token.session, err);
    if (status == TT_OK)
        status = tt_export_find(token.session, token.uri, &found->key, err);
    if (status == TT_OK && !found->key) {
        tt_session_free(TT_TAKE(token.session));
        status = provision_login(&source->provision, false, &token, err);
        if (status == TT_OK)
            status = tt_key_find(token.session, token.uri, &object, err);
        found->key = TT_TAKE(object.public_half);
    }
    if (status == TT_OK && !found->key)
        status = tt_error_set(err, TT_TOKEN, "the token shows no public half of an RSA key there");
    if (status == TT_OK && !(found->remark = tt_text_format("from the token '%s'", token.label)))
        status = tt_error_memory(err);
    return status;
}

static enum tt_status read_registry(const struct trust_source *source, enum tt_trust_role role, const char *id,
                                    struct trust_found *found, struct tt_error *err)
{
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_enrol_place place = {.station = source->registry.vault_path ? NULL : id};
    if (role != TT_TRUST_STATION && !source->registry.vault_path)
        return tt_error_set(err, TT_USAGE,
                            "registries have stations' keys by id; where a creator's is, --vault-path and "
                            "--vault-field must say");
    enum tt_status status = registry_place(&source->registry, &place, &path, &header, err);
    if (status == TT_OK)
        status = tt_enrol_fetch(&place, &found->key, err);
    found->is_word = true;
    if (status == TT_OK && !(found->remark = tt_text_format("from %s", place.server.url)))
        status = tt_error_memory(err);
    return status;
}

enum tt_status trust_source_read(const struct trust_source *source, enum tt_trust_role role, const char *id,
                                 struct trust_found *ret_found, struct tt_error *err)
{
    struct trust_found found TT_CLEANUP(trust_found_clear) = {0};
    enum tt_status status;
    if (source->file)
        status = read_file(source->file, &found, err);
    else if (source->from)
        status = read_train(source, role, id, &found, err);
    else if (source->token)
        status = read_token(source, &found, err);
    else
        status = read_registry(source, role, id, &found, err);
    if (status == TT_OK && id && !found.id && !(found.id = strdup(id)))
        status = tt_error_memory(err);
    if (status != TT_OK)
        return status;
    *ret_found = found;
    found = (struct trust_found){0};
    return TT_OK;
}
