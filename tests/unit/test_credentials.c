/* Logins: docker's and podman's files, helper programs, and the header that goes to the engine. */
#include <string.h>

#include "base/base64.h"
#include "image/credentials.h"
#include "image/registry.h"
#include "private_home.h"
#include "suite.h"
#include "json/json.h"

static struct tt_error err;

/* base64 of "me:secret1", "me:secret2", "me:secret3". */
#define AUTH_1 "bWU6c2VjcmV0MQ=="
#define AUTH_2 "bWU6c2VjcmV0Mg=="
#define AUTH_3 "bWU6c2VjcmV0Mw=="

static enum tt_status find(const char *name, struct tt_credentials *credentials)
{
    struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
    memset(&err, 0, sizeof err);
    CU_ASSERT_EQUAL_FATAL(tt_registry_place_of(name, &place, &err), TT_OK);
    return tt_credentials_find(&place, credentials, &err);
}

/* The header's JSON for an image's registry. */
static void check_header(const char *name, const char *expected)
{
    struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
    struct tt_credentials credentials TT_CLEANUP(tt_credentials_clear) = {0};
    struct tt_secret *header TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    static const char start[] = "X-Registry-Auth: ";
    char plain[512] = "";
    size_t length = 0;
    CU_ASSERT_EQUAL_FATAL(find(name, &credentials), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_registry_place_of(name, &place, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_credentials_header(&credentials, &place, &header, &err), TT_OK);
    CU_ASSERT_EQUAL(memcmp(header->data, start, sizeof start - 1), 0);
    char *value = (char *)header->data + sizeof start - 1;
    for (char *digit = value; *digit; digit++) /* to the common alphabet */
        *digit = *digit == '-' ? '+' : *digit == '_' ? '/' : *digit;
    CU_ASSERT_TRUE(tt_base64_decode(value, strlen(value), (uint8_t *)plain, &length));
    CU_ASSERT_STRING_EQUAL(plain, expected);
}

static void check_failure(const char *name, const char *says)
{
    struct tt_credentials credentials TT_CLEANUP(tt_credentials_clear) = {0};
    CU_ASSERT_EQUAL(find(name, &credentials), TT_STORE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, says));
    CU_ASSERT_PTR_NULL(strstr(err.message, "secret"));
    CU_ASSERT_PTR_NULL(strstr(err.detail, "secret"));
    CU_ASSERT_PTR_NULL(credentials.origin);
}

static void check_place(const char *name, const char *host, const char *path, const char *key)
{
    struct tt_registry_place place TT_CLEANUP(tt_registry_place_clear) = {0};
    CU_ASSERT_EQUAL(tt_registry_place_of(name, &place, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(place.host, host);
    CU_ASSERT_STRING_EQUAL(place.path, path);
    CU_ASSERT_STRING_EQUAL(place.key, key);
}

static void names_tell_the_registry(void)
{
    static const char hub[] = "https://index.docker.io/v1/";
    check_place("debian", "docker.io", "library/debian", hub);
    check_place("me/train", "docker.io", "me/train", hub);
    check_place("docker.io/me/train", "docker.io", "me/train", hub);
    check_place("localhost/train", "localhost", "train", "localhost");
    check_place("reg.example:5000/a/b", "reg.example:5000", "a/b", "reg.example:5000");
}

static void nothing_kept_is_no_failure(void)
{
    private_home_enter();
    check_header("reg.example/train", "{}");
    private_home_write(".docker/config.json", "{\"auths\":{\"reg.example\":{}}}", 0600);
    check_header("reg.example/train", "{}");
    private_home_leave();
}

static void dockers_file_is_read(void)
{
    private_home_enter();
    private_home_write(".docker/config.json",
                       "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"" AUTH_1 "\"},"
                       "\"https://reg.example:5000/v2/\":{\"auth\":\"" AUTH_2 "\"},"
                       "\"other.example\":{\"username\":\"m\\\"e\",\"password\":\"se\\\\cret\\u0001\"},"
                       "\"azure.example\":{\"auth\":\"" AUTH_3 "\",\"identitytoken\":\"tok\"},"
                       "\"bad.example\":{\"auth\":\"c2VjcmV0\"},"
                       "\"worse.example\":{\"auth\":\"!secret!\"}}}",
                       0600);
    check_header("debian",
                 "{\"username\":\"me\",\"password\":\"secret1\",\"serveraddress\":\"https://index.docker.io/v1/\"}");
    check_header("reg.example:5000/a/b",
                 "{\"username\":\"me\",\"password\":\"secret2\",\"serveraddress\":\"reg.example:5000\"}");
    check_header("reg.example/a", "{}");
    check_header("other.example/a", "{\"username\":\"m\\u0022e\",\"password\":\"se\\u005ccret\\u0001\","
                                    "\"serveraddress\":\"other.example\"}");
    check_header("azure.example/a", "{\"identitytoken\":\"tok\",\"serveraddress\":\"azure.example\"}");
    check_failure("bad.example/a", "not the base64");
    check_failure("worse.example/a", ".docker/config.json");
    private_home_write(".docker/config.json", "{\"auths\": secret", 0600);
    check_failure("debian", "not a JSON object");
    private_home_leave();
}

static void the_most_specific_entry_of_podmans_file_counts(void)
{
    private_home_enter();
    private_home_write(".docker/config.json", "{\"auths\":{\"reg.example\":{\"auth\":\"" AUTH_3 "\"}}}", 0600);
    setenv("REGISTRY_AUTH_FILE", private_home_path("auth.json"), 1);
    check_failure("reg.example/a", "which is not there");
    private_home_write("auth.json",
                       "{\"auths\":{\"reg.example/team/train\":{\"auth\":\"" AUTH_1 "\"},"
                       "\"reg.example/team\":{\"auth\":\"" AUTH_2 "\"},\"docker.io\":{\"auth\":\"" AUTH_3 "\"}}}",
                       0600);
    check_header("reg.example/team/train",
                 "{\"username\":\"me\",\"password\":\"secret1\",\"serveraddress\":\"reg.example\"}");
    check_header("reg.example/team/trains",
                 "{\"username\":\"me\",\"password\":\"secret2\",\"serveraddress\":\"reg.example\"}");
    check_header("reg.example/teams/train", "{}");
    check_header("reg.example:5000/team/train", "{}");
    check_header("debian",
                 "{\"username\":\"me\",\"password\":\"secret3\",\"serveraddress\":\"https://index.docker.io/v1/\"}");
    unsetenv("REGISTRY_AUTH_FILE");
    setenv("XDG_RUNTIME_DIR", private_home(), 1);
    private_home_write("containers/auth.json", "{\"auths\":{\"pod.example\":{\"auth\":\"" AUTH_1 "\"}}}", 0600);
    check_header("pod.example/a", "{\"username\":\"me\",\"password\":\"secret1\",\"serveraddress\":\"pod.example\"}");
    check_header("reg.example/a", "{\"username\":\"me\",\"password\":\"secret3\",\"serveraddress\":\"reg.example\"}");
    private_home_leave();
}

/* Helpers. */

static void write_helper(const char *name, const char *body)
{
    char path[128];
    char text[2048];
    snprintf(path, sizeof path, "bin/docker-credential-%s", name);
    snprintf(text, sizeof text, "#!/bin/sh\n%s\n", body);
    private_home_write(path, text, 0700);
}

static void enter_with_helper(const char *body)
{
    char path[512];
    private_home_enter();
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", private_home_path("bin"));
    setenv("PATH", path, 1);
    write_helper("test", body);
    private_home_write(
        ".docker/config.json",
        "{\"auths\":{\"reg.example\":{\"auth\":\"" AUTH_3 "\"}},\"credHelpers\":{\"reg.example\":\"test\"}}", 0600);
}

static void helpers_are_asked(void)
{
    enter_with_helper(
        "test \"$1\" = get || exit 1\nread host || true\necho \"secret noise\" >&2\n"
        "echo \"{\\\"ServerURL\\\":\\\"$host\\\",\\\"Username\\\":\\\"me\\\",\\\"Secret\\\":\\\"for-$host\\\"}\"");
    check_header("reg.example/a",
                 "{\"username\":\"me\",\"password\":\"for-reg.example\",\"serveraddress\":\"reg.example\"}");
    check_header("debian", "{}");
    private_home_write(".docker/config.json", "{\"credsStore\":\"test\"}", 0600);
    check_header("debian", "{\"username\":\"me\",\"password\":\"for-https://index.docker.io/v1/\","
                           "\"serveraddress\":\"https://index.docker.io/v1/\"}");
    write_helper("test", "echo '{\"Username\":\"<token>\",\"Secret\":\"tok\"}'");
    check_header("debian", "{\"identitytoken\":\"tok\",\"serveraddress\":\"https://index.docker.io/v1/\"}");
    private_home_leave();
}

static void a_helper_may_have_nothing(void)
{
    enter_with_helper("echo 'credentials not found in native keychain'; exit 1");
    check_header("reg.example/a", "{\"username\":\"me\",\"password\":\"secret3\",\"serveraddress\":\"reg.example\"}");
    private_home_write(".docker/config.json", "{\"credsStore\":\"test\"}", 0600);
    check_header("reg.example/a", "{}");
    private_home_leave();
}

static void broken_helpers_are_failures(void)
{
    enter_with_helper("echo 'the secret is broken'; exit 3");
    check_failure("reg.example/a", "docker-credential-test failed for reg.example");
    CU_ASSERT_STRING_EQUAL(err.detail, "exit status 3");
    write_helper("test", "kill -9 $$");
    check_failure("reg.example/a", "docker-credential-test failed");
    CU_ASSERT_STRING_EQUAL(err.detail, "signal 9");
    write_helper("test", "echo secret");
    check_failure("reg.example/a", "is not a login");
    write_helper("test", "echo '{\"Username\":\"secret\"}'");
    check_failure("reg.example/a", "is not a login");
    write_helper("test", "exec yes secret");
    check_failure("reg.example/a", "more than 65536 bytes");
    private_home_write(".docker/config.json", "{\"credsStore\":\"absent\"}", 0600);
    check_failure("reg.example/a", "docker-credential-absent");
    private_home_write(".docker/config.json", "{\"credsStore\":\"../bin/x\"}", 0600);
    check_failure("reg.example/a", "is not a credential helper");
    private_home_leave();
}

static void helpers_know_nothing_of_the_token(void)
{
    enter_with_helper("test -z "
                      "\"$PRIVATE_KEY_PASSWORD$PRIVATE_KEY_PATH$CREDENTIALS_DIRECTORY$TRAINTOKEN_STATE$ROBOT_SECRET$"
                      "CENTRAL_TOKEN\" || exit 9\n"
                      "test \"$HELPERS_OWN\" = 1 || exit 8\ntest ! -e /proc/self/fd/17 || exit 7\n"
                      "echo '{\"Username\":\"me\",\"Secret\":\"s\"}'");
    setenv("PRIVATE_KEY_PASSWORD", "123456", 1);
    setenv("PRIVATE_KEY_PATH", "pkcs11:token=x?pin-value=123456", 1);
    setenv("CREDENTIALS_DIRECTORY", "/x", 1);
    setenv("TRAINTOKEN_STATE", "/x", 1);
    setenv("ROBOT_SECRET", "throw-away", 1);
    setenv("CENTRAL_TOKEN", "throw-away", 1);
    setenv("HELPERS_OWN", "1", 1);
    CU_ASSERT_EQUAL(dup2(0, 17), 17);
    check_header("reg.example/a", "{\"username\":\"me\",\"password\":\"s\",\"serveraddress\":\"reg.example\"}");
    close(17);
    unsetenv("PRIVATE_KEY_PASSWORD");
    unsetenv("PRIVATE_KEY_PATH");
    unsetenv("CREDENTIALS_DIRECTORY");
    unsetenv("TRAINTOKEN_STATE");
    unsetenv("ROBOT_SECRET");
    unsetenv("CENTRAL_TOKEN");
    private_home_leave();
}

static void only_registries_have_logins(void)
{
    struct tt_registry_login *login = NULL;
    private_home_enter();
    CU_ASSERT_EQUAL(tt_registry_login_find("oci:folder:tag", &login, &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "skopeo copy"));
    CU_ASSERT_EQUAL(tt_registry_login_find("NOT A NAME", &login, &err), TT_USAGE);
    CU_ASSERT_EQUAL(tt_registry_login_find("reg.example/a:1", &login, &err), TT_OK);
    tt_registry_login_free(login);
    private_home_leave();
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"names tell the registry", names_tell_the_registry},
        {"nothing kept is no failure", nothing_kept_is_no_failure},
        {"docker's file is read", dockers_file_is_read},
        {"the most specific entry of podman's file counts", the_most_specific_entry_of_podmans_file_counts},
        {"helpers are asked", helpers_are_asked},
        {"a helper may have nothing", a_helper_may_have_nothing},
        {"broken helpers are failures", broken_helpers_are_failures},
        {"helpers know nothing of the token", helpers_know_nothing_of_the_token},
        {"only registries have logins", only_registries_have_logins},
    };
    return SUITE_RUN("credentials", tests);
}
