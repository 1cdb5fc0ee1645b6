/* Finding the container engine. */
#include <string.h>
#include <unistd.h>

#include "image/docker_endpoint.h"
#include "private_home.h"
#include "suite.h"

static struct tt_error err;

static void check_found(const char *name, bool tls, bool tls_verify, unsigned patience)
{
    struct tt_docker_endpoint endpoint TT_CLEANUP(tt_docker_endpoint_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(tt_docker_endpoint_find(&endpoint, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(endpoint.name, name);
    CU_ASSERT_EQUAL(endpoint.tls, tls);
    CU_ASSERT_EQUAL(endpoint.tls_verify, tls_verify);
    CU_ASSERT_EQUAL(endpoint.patience_seconds, patience);
    if (endpoint.socket)
        CU_ASSERT_STRING_EQUAL(endpoint.socket, name + 7);
    if (endpoint.host)
        CU_ASSERT_STRING_EQUAL(endpoint.host, name + 6);
}

static void check_failure(enum tt_status status, const char *says)
{
    struct tt_docker_endpoint endpoint TT_CLEANUP(tt_docker_endpoint_clear) = {0};
    CU_ASSERT_EQUAL(tt_docker_endpoint_find(&endpoint, &err), status);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, says));
    CU_ASSERT_PTR_NULL(endpoint.name);
}

static void the_environment_comes_first(void)
{
    private_home_enter();
    private_home_write(".docker/config.json", "{\"currentContext\":\"nowhere\"}", 0600);
    setenv("DOCKER_HOST", "unix:///some/socket", 1);
    check_found("unix:///some/socket", false, false, 60);
    setenv("DOCKER_CLIENT_TIMEOUT", "7", 1);
    check_found("unix:///some/socket", false, false, 7);
    setenv("DOCKER_HOST", "tcp://engine.example:99", 1);
    check_found("tcp://engine.example:99", false, false, 7);
    setenv("DOCKER_HOST", "tcp://127.0.0.1", 1);
    check_found("tcp://127.0.0.1:2375", false, false, 7);
    setenv("DOCKER_HOST", "tcp://[::1]/", 1);
    setenv("DOCKER_TLS_VERIFY", "1", 1);
    check_found("tcp://[::1]:2376", true, true, 7);
    setenv("DOCKER_HOST", "tcp://[::1]:5", 1);
    unsetenv("DOCKER_TLS_VERIFY");
    setenv("DOCKER_TLS", "1", 1);
    check_found("tcp://[::1]:5", true, false, 7);
    private_home_leave();
}

static void what_cannot_be_followed_is_said(void)
{
    static const char *const bad[] = {"ssh://user@host", "npipe:////./pipe/docker_engine",
                                      "fd://",           "unix://relative",
                                      "http://host",     "tcp://",
                                      "tcp://host/path", "tcp://user@host",
                                      "tcp://:1",        "/var/run/docker.sock"};
    private_home_enter();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("DOCKER_HOST", bad[i], 1);
        check_failure(TT_USAGE, bad[i]);
    }
    setenv("DOCKER_HOST", "ssh://user@host", 1);
    check_failure(TT_USAGE, "ssh -N -L");
    setenv("DOCKER_HOST", "unix:///some/socket", 1);
    setenv("DOCKER_CLIENT_TIMEOUT", "soon", 1);
    check_failure(TT_USAGE, "DOCKER_CLIENT_TIMEOUT");
    setenv("DOCKER_CLIENT_TIMEOUT", "0", 1);
    check_failure(TT_USAGE, "DOCKER_CLIENT_TIMEOUT");
    private_home_leave();
}

static void certificates_are_found(void)
{
    struct tt_docker_endpoint endpoint = {0};
    private_home_enter();
    setenv("DOCKER_HOST", "tcp://engine.example", 1);
    setenv("DOCKER_TLS_VERIFY", "1", 1);
    private_home_write(".docker/ca.pem", "", 0600);
    CU_ASSERT_EQUAL(tt_docker_endpoint_find(&endpoint, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(endpoint.ca_file, private_home_path(".docker/ca.pem"));
    CU_ASSERT_PTR_NULL(endpoint.certificate_file);
    tt_docker_endpoint_clear(&endpoint);

    private_home_write("certificates/cert.pem", "", 0600);
    setenv("DOCKER_CERT_PATH", private_home_path("certificates"), 1);
    check_failure(TT_STORE, "only one");
    private_home_write("certificates/key.pem", "", 0600);
    CU_ASSERT_EQUAL(tt_docker_endpoint_find(&endpoint, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(endpoint.certificate_file, private_home_path("certificates/cert.pem"));
    CU_ASSERT_STRING_EQUAL(endpoint.key_file, private_home_path("certificates/key.pem"));
    CU_ASSERT_PTR_NULL(endpoint.ca_file);
    tt_docker_endpoint_clear(&endpoint);
    private_home_leave();
}

/* The folder of the context "station" is called by the name's SHA-256. */
#define STATION "9b4ef3e5b7b4d1759cb8f880e34dbd5ea8c3fcd79ce33b89d7357bf64fcbfc91"

static void check_contexts_in(const char *folder)
{
    char config[128];
    char meta[256];
    char certificate[256];
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(meta, sizeof meta, "%s/contexts/meta/" STATION "/meta.json", folder);
    snprintf(certificate, sizeof certificate, "%s/contexts/tls/" STATION "/docker/ca.pem", folder);
    private_home_write(config, "{\"auths\":{},\"currentContext\":\"station\"}", 0600);
    check_failure(TT_STORE, "no docker context 'station'");
    private_home_write(meta, "{\"Name\":\"station\",\"Endpoints\":{\"docker\":{\"Host\":\"unix:///a/b\"}}}", 0600);
    check_found("unix:///a/b", false, false, 60);
    private_home_write(certificate, "", 0600);
    private_home_write(meta, "{\"Endpoints\":{\"docker\":{\"Host\":\"tcp://h\",\"SkipTLSVerify\":false}}}", 0600);
    check_found("tcp://h:2376", true, true, 60);
    private_home_write(meta, "{\"Endpoints\":{\"docker\":{\"Host\":\"tcp://h:1\",\"SkipTLSVerify\":true}}}", 0600);
    check_found("tcp://h:1", true, false, 60);
    private_home_write(meta, "{\"Endpoints\":{\"docker\":{\"Host\":\"ssh://h\"}}}", 0600);
    check_failure(TT_USAGE, "docker's context 'station' names 'ssh://h'");
    private_home_write(meta, "{\"Endpoints\":{\"kubernetes\":{}}}", 0600);
    check_failure(TT_STORE, "names no container engine");
    private_home_write(meta, "{", 0600);
    check_failure(TT_STORE, "is not JSON");
    setenv("DOCKER_CONTEXT", "other", 1);
    check_failure(TT_STORE, "no docker context 'other'");
    unsetenv("DOCKER_CONTEXT");
    private_home_write(config, "[]", 0600);
    check_failure(TT_STORE, "not a JSON object");
}

static void contexts_are_followed(void)
{
    private_home_enter();
    check_contexts_in(".docker");
    setenv("DOCKER_CONFIG", private_home_path("elsewhere"), 1);
    check_contexts_in("elsewhere");
    setenv("DOCKER_CONTEXT", "station", 1); /* as a part of a path it would be harmless too */
    private_home_write("elsewhere/config.json", "{}", 0600);
    private_home_write("elsewhere/contexts/meta/" STATION "/meta.json",
                       "{\"Endpoints\":{\"docker\":{\"Host\":\"unix:///x\"}}}", 0600);
    check_found("unix:///x", false, false, 60);
    private_home_leave();
}

static void the_usual_sockets_come_last(void)
{
    private_home_enter();
    if (access("/var/run/docker.sock", F_OK) == 0 || access("/run/podman/podman.sock", F_OK) == 0) {
        private_home_leave(); /* this machine has an engine */
        return;
    }
    check_failure(TT_STORE, "no container engine was found");
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "/var/run/docker.sock"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "DOCKER_HOST"));
    setenv("XDG_RUNTIME_DIR", private_home(), 1);
    setenv("DOCKER_CONTEXT", "default", 1);
    private_home_write("podman/podman.sock", "", 0600);
    char name[128];
    snprintf(name, sizeof name, "unix://%s", private_home_path("podman/podman.sock"));
    check_found(name, false, false, 60);
    private_home_leave();
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"the environment comes first", the_environment_comes_first},
        {"what cannot be followed is said", what_cannot_be_followed_is_said},
        {"certificates are found", certificates_are_found},
        {"contexts are followed", contexts_are_followed},
        {"the usual sockets come last", the_usual_sockets_come_last},
    };
    return SUITE_RUN("docker endpoint", tests);
}
