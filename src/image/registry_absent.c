/* Stands in as long as there is no registry.c; whatever that defines takes this one's place. */
#include "image/registry.h"

#define STAND_IN __attribute__((weak))

static enum tt_status absent(const char *reference, struct tt_error *err)
{
    return tt_error_set(err, TT_USAGE, "%s cannot be moved: registries are not known here", reference);
}

STAND_IN enum tt_status tt_registry_login_find(const char *reference, struct tt_registry_login **ret_login,
                                               struct tt_error *err)
{
    *ret_login = NULL;
    return absent(reference, err);
}

STAND_IN void tt_registry_login_free(struct tt_registry_login *login)
{
    (void)login;
}

STAND_IN enum tt_status tt_image_pull(const char *reference, const char *platform,
                                      const struct tt_registry_login *login, struct tt_error *err)
{
    (void)platform;
    (void)login;
    return absent(reference, err);
}

STAND_IN enum tt_status tt_image_push(const char *reference, const struct tt_registry_login *login,
                                      struct tt_error *err)
{
    (void)login;
    return absent(reference, err);
}
