#include <string.h>
#include <strings.h>

#include "cli/doctor.h"
#include "image/credentials.h"
#include "image/docker_engine.h"
#include "image/reference.h"

static void look_at_login(struct doctor *doctor, const struct tt_registry_place *place,
                          struct tt_credentials *ret_credentials)
{
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_IMAGES, "registry-login");
    if (tt_credentials_find(place, ret_credentials, &failure) != TT_OK)
        doctor_fail(doctor, &failure, NULL);
    else if (ret_credentials->origin)
        doctor_say(doctor, TT_VERDICT_OK, "the login for %s is from %s", place->host, ret_credentials->origin);
    else
        doctor_say(doctor, TT_VERDICT_WARNING, "there is no login for %s; if it wants one, run: docker login %s",
                   place->host, place->host);
}

/* Engines word a registry's refusal in their own ways, and not always with its status. */
static bool is_denied(int code, const char *words)
{
    return code == 401 || code == 403 || strcasestr(words, "unauthorized") || strcasestr(words, "denied") ||
           strcasestr(words, "no basic auth");
}

static bool is_absent(int code, const char *words)
{
    return code == 404 || strcasestr(words, "manifest unknown") || strcasestr(words, "name unknown");
}

/* Podman's service, that has no such path. */
static bool has_no_question(int code, const char *words)
{
    return code == 404 &&
           (strcasecmp(words, "Not Found") == 0 || strcasestr(words, "not supported") || strcasestr(words, "page not"));
}

static void judge(struct doctor *doctor, const char *host, const char *name, int code, const struct tt_error *refusal)
{
    const char *words = refusal->message;
    char advice[512];
    if (has_no_question(code, words)) {
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "this container engine does not ask registries for an answer only; traintoken pull tries %s", host);
    } else if (code == 429 || strcasestr(words, "toomanyrequests")) {
        doctor_fail_as(doctor, TT_VERDICT_WARNING, refusal, "the registry answers, and limits requests: try later");
    } else if (is_denied(code, words)) {
        snprintf(advice, sizeof advice,
                 "%.255s does not let this station in: log in (again) with 'docker login %.128s'", host, host);
        doctor_fail(doctor, refusal, advice);
    } else if (is_absent(code, words)) {
        doctor_say(doctor, TT_VERDICT_WARNING, "%s answers the container engine, and has no %s; check the image's name",
                   host, name);
    } else {
        doctor_fail(doctor, refusal, "check the registry's name and the way from the container engine to it");
    }
}

/* It is the engine that pulls and pushes, so it is the engine that has to reach the registry. */
static void ask_engine(struct doctor *doctor, struct tt_docker_engine *engine, const struct tt_registry_place *place,
                       const struct tt_credentials *credentials, const char *name)
{
    static const struct tt_registry_place nowhere = {.key = (char *)""};
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_error failure = TT_ERROR_INIT;
    int code = 0;
    enum tt_status status =
        tt_credentials_header(credentials, credentials->origin ? place : &nowhere, &header, &failure);
    if (status == TT_OK)
        status = tt_docker_path(&path, &failure, "/distribution/%p/json", name);
    if (status != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return;
    }
    const char *const headers[] = {(const char *)header->data, NULL};
    const struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data, .headers = headers};
    if (tt_docker_call(engine, &request, NULL, &code, &failure) == TT_OK)
        doctor_say(doctor, TT_VERDICT_OK, "%s answers the container engine, and has %s", place->host, name);
    else
        judge(doctor, place->host, name, code, &failure);
}

void doctor_registry(struct doctor *doctor, const char *image, struct tt_docker_engine *engine)
{
    struct tt_reference reference TT_CLEANUP(tt_reference_clear) = {0};
    struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
    struct tt_credentials credentials TT_CLEANUP(tt_credentials_clear) = {0};
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    if (!image || tt_reference_parse(image, &reference, NULL) != TT_OK || reference.kind != TT_REFERENCE_DOCKER ||
        tt_registry_place_of(reference.place, &place, NULL) != TT_OK ||
        strncmp(reference.place, place.host, strlen(place.host)) != 0 || reference.place[strlen(place.host)] != '/' ||
        tt_reference_engine_name(&reference, &name, NULL) != TT_OK)
        return; /* it names no registry */
    look_at_login(doctor, &place, &credentials);
    doctor_begin(doctor, DOCTOR_IMAGES, "registry");
    if (engine)
        ask_engine(doctor, engine, &place, &credentials, name);
    else
        doctor_say(doctor, TT_VERDICT_WARNING, "%s can be looked at once the container engine can be reached",
                   place.host);
}
