#include "cli/trust_options.h"

#include <string.h>
#include <strings.h>

void trust_choice_clear(struct trust_choice *choice)
{
    tt_trust_free(choice->store);
    free(choice->default_folder);
    *choice = (struct trust_choice){0};
}

/* What is neither yes nor no is refused: a guess would be about whom to believe. */
static enum tt_status take_environment(const char *name, bool *flag, struct tt_error *err)
{
    static const char *const yes[] = {"1", "yes", "true", "on"};
    static const char *const no[] = {"", "0", "no", "false", "off"};
    const char *value = getenv(name);
    for (size_t i = 0; value && i < sizeof yes / sizeof yes[0]; i++)
        if (strcasecmp(value, yes[i]) == 0) {
            *flag = true;
            return TT_OK;
        }
    for (size_t i = 0; value && i < sizeof no / sizeof no[0]; i++)
        if (strcasecmp(value, no[i]) == 0)
            return TT_OK;
    return value ? tt_error_set(err, TT_USAGE, "%s is 1 or 0, not '%.64s'", name, value) : TT_OK;
}

enum tt_status trust_choice_folder(struct trust_choice *choice, const char **ret_folder, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    if (!choice->folder && !choice->default_folder)
        status = tt_trust_default_folder(&choice->default_folder, err);
    if (status == TT_OK)
        *ret_folder = choice->folder ? choice->folder : choice->default_folder;
    return status;
}

enum tt_status trust_choice_open(struct trust_choice *choice, struct tt_trust_options *ret_options,
                                 struct tt_error *err)
{
    const char *folder = NULL;
    const char *variable = getenv("TRAINTOKEN_TRUST");
    enum tt_status status = take_environment("TRAINTOKEN_TRUST_TRAIN_KEYS", &choice->train_keys, err);
    if (status == TT_OK)
        status = trust_choice_folder(choice, &folder, err);
    if (status == TT_OK)
        status = tt_trust_open(folder, &choice->store, err);
    if (status != TT_OK)
        return status;
    bool is_named = choice->folder || (variable && *variable);
    *ret_options = (struct tt_trust_options){.store = choice->store,
                                             .folder = is_named ? folder : NULL,
                                             .train_keys = choice->train_keys,
                                             .require_manifest = choice->require_manifest};
    return TT_OK;
}
