#include "private_home.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[64];

void private_home_enter(void)
{
    static const char *const names[] = {
        "DOCKER_HOST",   "DOCKER_TLS",      "DOCKER_TLS_VERIFY",     "DOCKER_CERT_PATH",  "DOCKER_CONTEXT",
        "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "DOCKER_CLIENT_TIMEOUT", "REGISTRY_AUTH_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    snprintf(home, sizeof home, "/tmp/tt-home-XXXXXX");
    if (!mkdtemp(home))
        abort();
    setenv("HOME", home, 1);
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *place)
{
    (void)about, (void)type, (void)place;
    return remove(path);
}

void private_home_leave(void)
{
    nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *private_home(void)
{
    return home;
}

const char *private_home_path(const char *path)
{
    static char texts[4][512];
    static unsigned next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%s/%s", home, path);
    return text;
}

void private_home_write(const char *path, const char *text, unsigned mode)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s", private_home_path(path));
    for (char *slash = strchr(whole + strlen(home) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0 || chmod(whole, mode) != 0)
        abort();
}
