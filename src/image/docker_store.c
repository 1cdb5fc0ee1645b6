#include <string.h>

#include "image/docker.h"
#include "json/json.h"

const char *docker_text(const cJSON *object, const char *member)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, member);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static bool take_id(const char *text, char id[DOCKER_ID_TEXT])
{
    static const char algorithm[] = "sha256:";
    if (strncmp(text, algorithm, sizeof algorithm - 1) == 0)
        text += sizeof algorithm - 1;
    if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
        return false;
    snprintf(id, DOCKER_ID_TEXT, "%s%s", algorithm, text);
    return true;
}

enum tt_status docker_id(const cJSON *facts, const char *member, char id[DOCKER_ID_TEXT], struct tt_error *err)
{
    const char *text = docker_text(facts, member);
    return take_id(text, id) ? TT_OK : tt_error_set(err, TT_STORE, "the container engine calls an image '%.80s'", text);
}

enum tt_status docker_inspect_image(struct tt_docker_engine *engine, const char *name, cJSON **ret_facts,
                                    struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    int code = 0;
    enum tt_status status = tt_docker_path(&path, err, "/images/%p/json", name);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data};
    cJSON *facts = NULL;
    status = tt_docker_call(engine, &request, &facts, &code, err);
    if (status != TT_OK && code != 404)
        return status;
    *ret_facts = facts;
    return TT_OK;
}

void docker_image_hold(struct docker_image *image)
{
    atomic_fetch_add(&image->holders, 1);
}

void docker_image_release(struct docker_image *image)
{
    if (!image || atomic_fetch_sub(&image->holders, 1) != 1)
        return;
    tt_docker_container_remove(image->engine, image->reader);
    tt_docker_container_remove(image->engine, image->ran);
    tt_docker_free(image->engine);
    cJSON_Delete(image->config);
    free(image->folder);
    pthread_mutex_destroy(&image->lock);
    free(image);
}

static enum tt_status take_layers(const cJSON *facts, struct tt_image *image, struct tt_error *err)
{
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(facts, "RootFS"), "Layers");
    int count = cJSON_GetArraySize(layers);
    if (count > DOCKER_LAYER_LIMIT)
        return tt_error_set(err, TT_MALFORMED, "the image has %d layers; at most %d are allowed", count,
                            DOCKER_LAYER_LIMIT);
    image->layers = calloc((size_t)count + 1, sizeof *image->layers);
    if (!image->layers)
        return tt_error_memory(err);
    const cJSON *layer = NULL;
    cJSON_ArrayForEach(layer, layers)
    {
        char id[DOCKER_ID_TEXT];
        if (!cJSON_IsString(layer) || !take_id(layer->valuestring, id))
            return tt_error_set(err, TT_STORE, "the container engine names no digest of a layer");
        if (!(image->layers[image->layer_count].digest = strdup(id)))
            return tt_error_memory(err);
        image->layer_count++;
    }
    return TT_OK;
}

/* In the form of an OCI image's configuration, as far as anybody asks for it. */
static enum tt_status take_configuration(const cJSON *facts, struct docker_image *own, struct tt_image *image,
                                         struct tt_error *err)
{
    const cJSON *config = cJSON_GetObjectItemCaseSensitive(facts, "Config");
    own->config = cJSON_IsObject(config) ? cJSON_Duplicate(config, true) : cJSON_CreateObject();
    cJSON *root TT_CLEANUP(tt_json_cleanup) = cJSON_CreateObject();
    if (!own->config || !root || !cJSON_AddStringToObject(root, "architecture", docker_text(facts, "Architecture")) ||
        !cJSON_AddStringToObject(root, "os", docker_text(facts, "Os")) ||
        !cJSON_AddItemReferenceToObject(root, "config", own->config))
        return tt_error_memory(err);
    char *text = cJSON_PrintUnformatted(root);
    if (!text)
        return tt_error_memory(err);
    enum tt_status status = tt_buffer_append(&image->configuration, text, strlen(text), err);
    cJSON_free(text);
    return status;
}

static enum tt_status new_state(struct tt_image *image, struct docker_image **ret_own, struct tt_error *err)
{
    struct docker_image *own = calloc(1, sizeof *own);
    if (!own)
        return tt_error_memory(err);
    atomic_init(&own->holders, 1);
    pthread_mutex_init(&own->lock, NULL);
    image->state = own;
    *ret_own = own;
    return TT_OK;
}

static enum tt_status find(struct docker_image *own, const char *name, cJSON **ret_facts, struct tt_error *err)
{
    enum tt_status status = tt_docker_connect(&own->engine, err);
    if (status == TT_OK)
        status = docker_inspect_image(own->engine, name, ret_facts, err);
    if (status == TT_OK && !*ret_facts)
        return tt_error_set(err, TT_STORE,
                            "%s is not in the container engine (%s); 'traintoken pull %s' fetches it from its registry",
                            name, tt_docker_name(own->engine), name);
    return status;
}

static enum tt_status fill(const char *name, struct tt_image *image, cJSON **ret_facts, struct tt_error *err)
{
    struct docker_image *own = NULL;
    enum tt_status status = new_state(image, &own, err);
    if (status == TT_OK)
        status = find(own, name, ret_facts, err);
    if (status == TT_OK)
        status = docker_id(*ret_facts, "Id", own->id, err);
    if (status == TT_OK && !(image->digest = strdup(own->id)))
        status = tt_error_memory(err);
    if (status == TT_OK)
        status = take_layers(*ret_facts, image, err);
    return status == TT_OK ? take_configuration(*ret_facts, own, image, err) : status;
}

enum tt_status docker_image_fill(const char *name, char *ran, struct tt_image *image, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = fill(name, image, &facts, err);
    if (status == TT_OK)
        ((struct docker_image *)image->state)->ran = ran;
    return status;
}

/* An engine keeps one platform of an image under a name. */
static enum tt_status check_platform(const cJSON *facts, const char *name, const char *wanted, struct tt_error *err)
{
    char with_variant[512];
    char found[256];
    snprintf(found, sizeof found, "%s/%s", docker_text(facts, "Os"), docker_text(facts, "Architecture"));
    snprintf(with_variant, sizeof with_variant, "%s/%s", found, docker_text(facts, "Variant"));
    if (!wanted || strcmp(wanted, found) == 0 || strcmp(wanted, with_variant) == 0)
        return TT_OK;
    return tt_error_set(err, TT_STORE,
                        "%s is there for %s, not for %s; 'traintoken pull --platform %s %s' fetches the other one",
                        name, found, wanted, wanted, name);
}

static enum tt_status open_image(const struct tt_reference *reference, const struct tt_image_options *options,
                                 struct tt_image *image, struct tt_error *err)
{
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    enum tt_status status = tt_reference_engine_name(reference, &name, err);
    if (status == TT_OK)
        status = fill(name, image, &facts, err);
    return status == TT_OK ? check_platform(facts, name, options->platform, err) : status;
}

static void close_image(void *state)
{
    docker_image_release(state);
}

/* Blobs are the engine's business: it checked the layers as it took them, and shows none. */
const struct tt_image_store tt_docker_store = {.open = open_image,
                                               .close = close_image,
                                               .visit_layers = docker_visit_layers,
                                               .files = docker_files,
                                               .stream = docker_stream,
                                               .execute = tt_docker_execute,
                                               .change_new = docker_change_new,
                                               .change_free = docker_change_free,
                                               .change_replace = docker_change_replace,
                                               .change_add = docker_change_add,
                                               .change_data = docker_change_data,
                                               .change_seal = docker_change_seal,
                                               .change_open = docker_change_open,
                                               .change_commit = docker_change_commit,
                                               .sweep = docker_sweep,
                                               .clean = docker_clean};
