#include <string.h>

#include "base/text.h"
#include "cli/doctor.h"
#include "image/docker_endpoint.h"
#include "image/docker_engine.h"
#include "image/reference.h"

/* The engine's clock, as its answers have it (RFC 9110, 5.6.7). A connection of its own, for the one header. */
static void ask_for_clock(struct doctor *doctor, const struct tt_docker_endpoint *found)
{
    const struct tt_http_endpoint endpoint = {.socket = found->socket,
                                              .host = found->host,
                                              .tls = found->tls,
                                              .tls_verify = found->tls_verify,
                                              .ca_file = found->ca_file,
                                              .certificate_file = found->certificate_file,
                                              .key_file = found->key_file,
                                              .name = found->name,
                                              .patience_seconds = found->patience_seconds};
    const struct tt_http_request request = {.method = "GET", .path = "/_ping"};
    struct tt_http *http TT_CLEANUP(tt_http_free_cleanup) = NULL;
    struct tt_http_reply reply TT_CLEANUP(tt_http_reply_clear) = {0};
    struct tm parts = {0};
    if (tt_http_new(&endpoint, &http, NULL) != TT_OK || tt_http_call(http, &request, &reply, NULL) != TT_OK ||
        !reply.date)
        return;
    const char *end = strptime(reply.date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    if (!end || *end)
        return;
    doctor->other_clock = timegm(&parts);
    doctor->has_other_clock = true;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text && *text ? text : NULL;
}

/* "Docker Engine - Community 20.10.24": what calls itself so, and its version. */
static void introduce(struct doctor *doctor, struct tt_docker_engine *engine)
{
    const struct tt_docker_request request = {.method = "GET", .path = "/version"};
    struct tt_error failure = TT_ERROR_INIT;
    cJSON *facts TT_CLEANUP(cli_json_cleanup) = NULL;
    if (tt_docker_call(engine, &request, &facts, NULL, &failure) != TT_OK) {
        doctor_fail(doctor, &failure, "the container engine's log may tell more");
        return;
    }
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(facts, "Components"), 0);
    const char *name = text_of(first, "Name"); /* Docker's is "Engine", Podman's "Podman Engine" */
    const char *version = text_of(facts, "Version");
    const char *api = text_of(facts, "ApiVersion");
    doctor_say(doctor, TT_VERDICT_OK, "%s: %s%.100s %.100s, API %.20s", tt_docker_name(engine),
               name && strcmp(name, "Engine") == 0 ? "Docker " : "", name ? name : "container engine",
               version ? version : "of an unknown version", api ? api : "unknown");
}

static void look_at_engine(struct doctor *doctor, struct tt_docker_engine **ret_engine)
{
    struct tt_docker_endpoint endpoint TT_CLEANUP(tt_docker_endpoint_clear) = {0};
    struct tt_docker_engine *engine = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_IMAGES, "engine");
    if (tt_docker_endpoint_find(&endpoint, &failure) != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return;
    }
    if (tt_docker_connect(&engine, &failure) != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return;
    }
    introduce(doctor, engine);
    ask_for_clock(doctor, &endpoint);
    *ret_engine = engine;
}

/* A train that is not there yet is no fault of the station's. */
static void look_at_image(struct doctor *doctor, const char *reference, bool in_engine)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_IMAGES, "image");
    enum tt_status status = tt_image_open(reference, NULL, &image, &failure);
    if (status == TT_OK)
        doctor_say(doctor, TT_VERDICT_OK, "%s is there, with %zu layers: %s", reference, tt_image_layer_count(image),
                   tt_image_digest(image));
    else
        doctor_fail_as(doctor, status == TT_STORE && in_engine ? TT_VERDICT_WARNING : TT_VERDICT_WRONG, &failure,
                       in_engine ? NULL : "see whether the folder is whole, and may be read");
}

struct leftovers {
    size_t count;
    char first[512];
};

static void count_leftover(void *user, const char *what, const char *name, const char *says)
{
    struct leftovers *leftovers = user;
    if (leftovers->count++ == 0)
        snprintf(leftovers->first, sizeof leftovers->first, "%s %s: %s", what, name, says);
}

static void look_at_leftovers(struct doctor *doctor, const char *reference)
{
    struct leftovers leftovers = {0};
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_IMAGES, "leftovers");
    if (tt_image_clean(reference, true, count_leftover, &leftovers, &failure) != TT_OK)
        doctor_fail(doctor, &failure, NULL);
    else if (leftovers.count > 0)
        doctor_say(doctor, TT_VERDICT_WARNING, "killed runs left %zu, the first being %s; run: traintoken clean%s%s",
                   leftovers.count, leftovers.first, reference ? " " : "", reference ? reference : "");
    else
        doctor_say(doctor, TT_VERDICT_OK, "no killed run left anything");
}

void doctor_images(struct doctor *doctor, const char *image, struct tt_docker_engine **ret_engine)
{
    struct tt_reference reference TT_CLEANUP(tt_reference_clear) = {0};
    if (image && tt_reference_parse(image, &reference, NULL) == TT_OK && reference.kind == TT_REFERENCE_OCI) {
        look_at_image(doctor, image, false);
        look_at_leftovers(doctor, image);
        return;
    }
    look_at_engine(doctor, ret_engine);
    if (!*ret_engine)
        return;
    if (image)
        look_at_image(doctor, image, true);
    look_at_leftovers(doctor, NULL);
}
