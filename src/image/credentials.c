#include "image/credentials.h"

#include <string.h>

#include "base/base64.h"
#include "base/text.h"
#include "image/docker_config.h"
#include "json/json.h"

enum { HOST_LIMIT = 300, ANSWER_VALUES = 100 };

static const char DOCKER_HUB[] = "docker.io";
static const char DOCKER_HUB_KEY[] = "https://index.docker.io/v1/";

void tt_credentials_clear(struct tt_credentials *credentials)
{
    free(credentials->username);
    free(credentials->origin);
    tt_secret_free(credentials->password);
    tt_secret_free(credentials->identity_token);
    *credentials = (struct tt_credentials){0};
}

/* Places. */

void tt_registry_place_clear(struct tt_registry_place *place)
{
    free(place->host);
    free(place->path);
    free(place->key);
    *place = (struct tt_registry_place){0};
}

enum tt_status tt_registry_place_of(const char *name, struct tt_registry_place *ret_place, struct tt_error *err)
{
    struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
    size_t length = strcspn(name, "/");
    char *first TT_CLEANUP(tt_free_cleanup) = strndup(name, length);
    if (!first)
        return tt_error_memory(err);
    bool has_host = name[length] && (strpbrk(first, ".:") || strcmp(first, "localhost") == 0);
    bool is_hub = !has_host || strcmp(first, DOCKER_HUB) == 0 || strcmp(first, "index.docker.io") == 0;
    const char *path = has_host ? name + length + 1 : name;
    place.host = strdup(is_hub ? DOCKER_HUB : first);
    place.key = strdup(is_hub ? DOCKER_HUB_KEY : first);
    place.path = is_hub && !strchr(path, '/') ? tt_text_format("library/%s", path) : strdup(path);
    if (!place.host || !place.key || !place.path)
        return tt_error_memory(err);
    *ret_place = place;
    place = (struct tt_registry_place){0};
    return TT_OK;
}

/* Entries. */

static enum tt_status new_secret(const void *data, size_t length, struct tt_secret **ret_secret, struct tt_error *err)
{
    enum tt_status status = tt_secret_new(length + 1, ret_secret, err);
    if (status != TT_OK)
        return status;
    memcpy((*ret_secret)->data, data, length);
    (*ret_secret)->length = length;
    return TT_OK;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text && *text ? text : NULL;
}

static enum tt_status set_password(struct tt_credentials *credentials, const char *username, size_t username_length,
                                   const char *password, size_t password_length, struct tt_error *err)
{
    credentials->username = strndup(username, username_length);
    if (!credentials->username)
        return tt_error_memory(err);
    return new_secret(password, password_length, &credentials->password, err);
}

/* base64 of "user:password". */
static enum tt_status take_auth(const char *auth, const char *file, struct tt_credentials *credentials,
                                struct tt_error *err)
{
    struct tt_secret *plain TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(strlen(auth) + 1, &plain, err);
    if (status != TT_OK)
        return status;
    bool good = tt_base64_decode(auth, strlen(auth), plain->data, &plain->length);
    const char *text = (const char *)plain->data;
    const char *colon = good ? memchr(text, ':', plain->length) : NULL;
    if (!colon)
        return tt_error_set(err, TT_STORE, "%s holds a login that is not the base64 of USER:PASSWORD", file);
    size_t length = plain->length - (size_t)(colon + 1 - text);
    while (length > 0 && colon[length] == '\0') /* docker pads */
        length--;
    return set_password(credentials, text, (size_t)(colon - text), colon + 1, length, err);
}

static enum tt_status take_entry(const cJSON *entry, const char *file, struct tt_credentials *credentials,
                                 struct tt_error *err)
{
    const char *auth = text_of(entry, "auth");
    const char *token = text_of(entry, "identitytoken");
    const char *username = text_of(entry, "username");
    const char *password = text_of(entry, "password");
    enum tt_status status = TT_OK;
    if (token)
        status = new_secret(token, strlen(token), &credentials->identity_token, err);
    else if (auth)
        status = take_auth(auth, file, credentials, err);
    else if (username && password)
        status = set_password(credentials, username, strlen(username), password, strlen(password), err);
    else
        return TT_OK;
    if (status == TT_OK && !(credentials->origin = strdup(file)))
        status = tt_error_memory(err);
    return status;
}

/* A key without scheme and trailing slash, and with docker's own registry by its short name; its length in *length. */
static const char *plain_key(const char *key, size_t *length)
{
    if (strncmp(key, "https://", 8) == 0)
        key += 8;
    else if (strncmp(key, "http://", 7) == 0)
        key += 7;
    *length = strlen(key);
    while (*length > 0 && key[*length - 1] == '/')
        (*length)--;
    static const char *const hubs[] = {"index.docker.io/v1", "index.docker.io"};
    for (size_t i = 0; i < sizeof hubs / sizeof hubs[0]; i++) {
        if (*length == strlen(hubs[i]) && memcmp(key, hubs[i], *length) == 0) {
            *length = strlen(DOCKER_HUB);
            return DOCKER_HUB;
        }
    }
    return key;
}

/* How much of "HOST/PATH" the key covers: 0 for not even the host. */
static size_t fit(const char *key, bool by_path, const struct tt_registry_place *place, const char *whole)
{
    size_t length = 0;
    const char *plain = plain_key(key, &length);
    size_t host = strlen(place->host);
    if (!by_path) { /* docker looks at the host of an address only */
        const char *slash = memchr(plain, '/', length);
        length = slash ? (size_t)(slash - plain) : length;
        return length == host && memcmp(plain, place->host, host) == 0 ? host : 0;
    }
    if (length < host || length > strlen(whole) || memcmp(plain, whole, length) != 0)
        return 0;
    return whole[length] == '\0' || whole[length] == '/' ? length : 0;
}

/* An entry by its exact name comes before one that merely fits; of those, the longest. */
static const cJSON *find_entry(const cJSON *auths, bool by_path, const struct tt_registry_place *place,
                               const char *whole)
{
    const cJSON *best = by_path ? NULL : cJSON_GetObjectItemCaseSensitive(auths, place->key);
    size_t best_fit = 0;
    const cJSON *entry = NULL;
    if (best)
        return best;
    cJSON_ArrayForEach(entry, auths)
    {
        size_t length = entry->string ? fit(entry->string, by_path, place, whole) : 0;
        if (length > best_fit) {
            best_fit = length;
            best = entry;
        }
    }
    return best;
}

static const char *helper_of(const cJSON *root, const struct tt_registry_place *place)
{
    const cJSON *helpers = cJSON_GetObjectItemCaseSensitive(root, "credHelpers");
    const char *named = text_of(helpers, place->key);
    if (!named)
        named = text_of(helpers, place->host);
    return named ? named : text_of(root, "credsStore");
}

enum tt_status tt_credentials_of(const cJSON *root, const char *file, bool by_path,
                                 const struct tt_registry_place *place, struct tt_credentials *ret_credentials,
                                 struct tt_error *err)
{
    struct tt_credentials credentials TT_CLEANUP(tt_credentials_clear) = {0};
    const char *helper = helper_of(root, place);
    enum tt_status status = helper ? tt_credentials_ask(helper, place, &credentials, err) : TT_OK;
    if (status == TT_OK && !credentials.origin) {
        const cJSON *auths = cJSON_GetObjectItemCaseSensitive(root, "auths");
        char *whole TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", place->host, place->path);
        if (!whole)
            return tt_error_memory(err);
        const cJSON *entry = cJSON_IsObject(auths) ? find_entry(auths, by_path, place, whole) : NULL;
        status = entry ? take_entry(entry, file, &credentials, err) : TT_OK;
    }
    if (status != TT_OK)
        return status;
    *ret_credentials = credentials;
    credentials = (struct tt_credentials){0};
    return TT_OK;
}

enum tt_status tt_credentials_answer(const struct tt_secret *answer, const char *program,
                                     struct tt_credentials *ret_credentials, struct tt_error *err)
{
    struct tt_credentials credentials TT_CLEANUP(tt_credentials_clear) = {0};
    cJSON *root TT_CLEANUP(tt_docker_config_free_cleanup) = NULL;
    const char *text = (const char *)answer->data;
    /* The parser's words might quote the secret. */
    enum tt_status status = tt_json_parse(text, answer->length, ANSWER_VALUES, program, &root, NULL);
    const char *username = status == TT_OK ? text_of(root, "Username") : NULL;
    const char *secret = status == TT_OK ? text_of(root, "Secret") : NULL;
    if (!username || !secret)
        return tt_error_set(err, TT_STORE, "what the credential helper %s answers is not a login", program);
    if (strcmp(username, "<token>") == 0)
        status = new_secret(secret, strlen(secret), &credentials.identity_token, err);
    else
        status = set_password(&credentials, username, strlen(username), secret, strlen(secret), err);
    if (status == TT_OK && !(credentials.origin = tt_text_format("the credential helper %s", program)))
        status = tt_error_memory(err);
    if (status != TT_OK)
        return status;
    *ret_credentials = credentials;
    credentials = (struct tt_credentials){0};
    return TT_OK;
}

/* Files. */

static enum tt_status look_in(char *file, bool by_path, bool must_exist, const struct tt_registry_place *place,
                              struct tt_credentials *ret_credentials, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_docker_config_free_cleanup) = NULL;
    char *path TT_CLEANUP(tt_free_cleanup) = file;
    if (!path)
        return tt_error_memory(err);
    enum tt_status status = tt_docker_config_read(path, &root, err);
    if (status == TT_OK && !root && must_exist)
        return tt_error_set(err, TT_STORE, "REGISTRY_AUTH_FILE names %s, which is not there", path);
    if (status != TT_OK || !root)
        return status;
    return tt_credentials_of(root, path, by_path, place, ret_credentials, err);
}

enum tt_status tt_credentials_find(const struct tt_registry_place *place, struct tt_credentials *ret_credentials,
                                   struct tt_error *err)
{
    const char *named = getenv("REGISTRY_AUTH_FILE");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const char *home = getenv("HOME");
    char *folder TT_CLEANUP(tt_free_cleanup) = tt_docker_config_folder();
    enum tt_status status = TT_OK;
    *ret_credentials = (struct tt_credentials){0};
    if (named && *named)
        return look_in(strdup(named), true, true, place, ret_credentials, err);
    if (folder)
        status = look_in(tt_text_format("%s/config.json", folder), false, false, place, ret_credentials, err);
    if (status == TT_OK && !ret_credentials->origin && runtime && *runtime)
        status = look_in(tt_text_format("%s/containers/auth.json", runtime), true, false, place, ret_credentials, err);
    if (status == TT_OK && !ret_credentials->origin && home && *home)
        status =
            look_in(tt_text_format("%s/.config/containers/auth.json", home), true, false, place, ret_credentials, err);
    return status;
}

/* The header. */

static void put(struct tt_secret *out, const char *text)
{
    size_t length = strlen(text);
    memcpy(out->data + out->length, text, length);
    out->length += length;
}

/* As a JSON string; at most six bytes for one. */
static void put_json(struct tt_secret *out, const char *name, const void *data, size_t length)
{
    const unsigned char *bytes = data;
    put(out, out->length > 1 ? ",\"" : "\"");
    put(out, name);
    put(out, "\":\"");
    for (size_t i = 0; i < length; i++) {
        char escaped[8];
        if (bytes[i] < 0x20 || bytes[i] == '"' || bytes[i] == '\\' || bytes[i] == 0x7f)
            snprintf(escaped, sizeof escaped, "\\u%04x", bytes[i]);
        else
            snprintf(escaped, sizeof escaped, "%c", bytes[i]);
        put(out, escaped);
        tt_wipe(escaped, sizeof escaped);
    }
    put(out, "\"");
}

static size_t length_of(const struct tt_secret *secret)
{
    return secret ? secret->length : 0;
}

enum tt_status tt_credentials_header(const struct tt_credentials *credentials, const struct tt_registry_place *place,
                                     struct tt_secret **ret_header, struct tt_error *err)
{
    static const char name[] = "X-Registry-Auth: ";
    struct tt_secret *json TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    size_t username = credentials->username ? strlen(credentials->username) : 0;
    size_t most = 6 * (username + length_of(credentials->password) + length_of(credentials->identity_token) +
                       strlen(place->key)) +
                  200;
    enum tt_status status = tt_secret_new(most, &json, err);
    if (status == TT_OK)
        status = tt_secret_new(sizeof name + (most + 2) / 3 * 4, &header, err);
    if (status != TT_OK)
        return status;
    put(json, "{");
    if (credentials->identity_token)
        put_json(json, "identitytoken", credentials->identity_token->data, credentials->identity_token->length);
    else if (credentials->password) {
        put_json(json, "username", credentials->username, username);
        put_json(json, "password", credentials->password->data, credentials->password->length);
    }
    if (credentials->origin)
        put_json(json, "serveraddress", place->key, strlen(place->key));
    put(json, "}");
    put(header, name);
    header->length += tt_base64_url_encode(json->data, json->length, (char *)header->data + header->length);
    *ret_header = TT_TAKE(header);
    return TT_OK;
}
