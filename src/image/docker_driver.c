#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "image/docker.h"
#include "json/json.h"

/* One of the pairs of texts in which an engine tells of its storage. */
static bool says(const cJSON *status, const char *name, const char *value)
{
    const cJSON *pair = NULL;
    cJSON_ArrayForEach(pair, status)
    {
        const char *key = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 0));
        const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));
        if (key && text && strcmp(key, name) == 0 && strcmp(text, value) == 0)
            return true;
    }
    return false;
}

/* Such a store does not tell what an image was made of: what was committed in between is not found after a stop. */
static void warn_of_forgotten_parents(const cJSON *driver)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (says(driver, "driver-type", "io.containerd.snapshotter.v1") && !atomic_flag_test_and_set(&told))
        tt_log(
            TT_LOG_WARNING,
            "this container engine keeps images in containerd's store, which forgets what they were made of: where a "
            "train was committed more than once while it ran, decrypted images without a name may stay behind "
            "('docker image prune' removes them); 'traintoken run' makes none");
}

enum tt_status docker_commit_compares(struct tt_docker_engine *engine, bool *ret_compares, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_docker_request request = {.method = "GET", .path = "/info", .patient = true};
    int code = 0;
    enum tt_status status = tt_docker_call(engine, &request, &facts, &code, err);
    if (status != TT_OK && code < 400)
        return status;
    /* What stands before an engine's socket may not let this question pass: then the worse is taken to be true. */
    const cJSON *driver = cJSON_GetObjectItemCaseSensitive(facts, "DriverStatus");
    warn_of_forgotten_parents(driver);
    *ret_compares = !says(driver, "Native Overlay Diff", "true");
    return TT_OK;
}
