#include <string.h>

#include "image/docker.h"
#include "image/registry.h"
#include "json/json.h"

static const char OUTCOME[] = " traintoken post-run";

static bool is_outcome(const cJSON *facts)
{
    const char *comment = docker_text(facts, "Comment");
    size_t length = strlen(comment);
    size_t mark = sizeof OUTCOME - 1;
    return tt_docker_owner_is_ours(comment) && length > mark && strcmp(comment + length - mark, OUTCOME) == 0;
}

/* An engine notes the digest that an image has in a registry when it is pulled from there or pushed to it. */
static bool is_in_a_registry(const cJSON *facts)
{
    return cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(facts, "RepoDigests")) > 0;
}

/* What the engine has under a name (NULL: nothing), and what that was made of. */
static enum tt_status inspect(const char *reference, cJSON **ret_facts, struct docker_chain *chain,
                              struct tt_error *err)
{
    struct tt_reference parsed TT_CLEANUP(tt_reference_clear) = {0};
    struct tt_docker_engine *engine TT_CLEANUP(tt_docker_free_cleanup) = NULL;
    char *name TT_CLEANUP(tt_free_cleanup) = NULL;
    char id[DOCKER_ID_TEXT];
    enum tt_status status = tt_reference_parse(reference, &parsed, err);
    if (status == TT_OK)
        status = tt_reference_engine_name(&parsed, &name, err);
    if (status == TT_OK)
        status = tt_docker_connect(&engine, err);
    if (status == TT_OK)
        status = docker_inspect_image(engine, name, ret_facts, err);
    if (status == TT_OK && *ret_facts)
        status = docker_id(*ret_facts, "Id", id, err);
    return status == TT_OK && *ret_facts ? docker_find_chain(engine, id, chain, err) : status;
}

enum tt_status tt_image_check_sent(const char *reference, struct tt_error *err)
{
    cJSON *facts TT_CLEANUP(tt_json_cleanup) = NULL;
    struct docker_chain chain = {0};
    enum tt_status status = inspect(reference, &facts, &chain, err);
    if (status != TT_OK || !facts)
        return status;
    if (chain.is_plaintext && chain.count > 1)
        return tt_error_set(err, TT_WRONG_STOP,
                            "%s holds what a train has done after pre-run, and a pull would put an older state in its "
                            "place: post-run comes first, and who removes it gives it up",
                            reference);
    if (!is_outcome(facts) || is_in_a_registry(facts))
        return TT_OK;
    return tt_error_set(err, TT_WRONG_STOP,
                        "%s is the outcome of a stop and was not pushed yet: a pull would put an older state in its "
                        "place; 'traintoken push %s' sends it on, and who removes it gives it up",
                        reference, reference);
}
