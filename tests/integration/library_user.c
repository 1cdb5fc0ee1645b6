/* A program of somebody else's: knows the installed headers and library alone. Built and run by library_test.sh. */
#include <stdio.h>
#include <string.h>

#include "pkcs11/station_key.h"
#include "protocol/protocol.h"

static void ignore(void *user, const char *name, bool passed, const char *says)
{
    (void)user, (void)name, (void)passed, (void)says;
}

/* Whether looking at an image that is not there ends as it should. */
static bool is_not_there(const char *image)
{
    struct tt_verify_options options = {0};
    struct tt_verify_report report;
    struct tt_error err = {0};
    enum tt_status status = tt_verify(image, &options, ignore, NULL, &report, &err);
    if (status != TT_STORE)
        printf("%s: %d %s\n", image, (int)status, err.message);
    return status == TT_STORE && strlen(err.message) > 0;
}

int main(void)
{
    struct tt_error err = {0};
    bool is_uri = tt_pkcs11_uri_check("pkcs11:token=station;object=key", &err) == TT_OK;
    return is_uri && is_not_there("oci:nowhere") && is_not_there("docker-daemon:nowhere:latest") ? 0 : 1;
}
