#include "fuzz_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void demand(int good)
{
    if (!good)
        abort();
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
    (void)facts, (void)kind, (void)place;
    return remove(path);
}

static void remove_all(void)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
    if (!folder[0]) {
        strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz-XXXXXX" : "/tmp/fuzz-XXXXXX");
        demand(mkdtemp(folder) != NULL);
        atexit(remove_all);
    }
    return folder;
}

char *fuzz_path(const char *name)
{
    char *path = NULL;
    demand(asprintf(&path, "%s/%s", fuzz_folder(), name) > 0);
    for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

void fuzz_write(const char *name, const void *data, size_t size)
{
    char *path = fuzz_path(name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    demand(file >= 0 && write(file, data, size) == (ssize_t)size && close(file) == 0);
    free(path);
}

void fuzz_empty(const char *name)
{
    char *path = fuzz_path(name);
    mkdir(path, 0700);
    DIR *listing = opendir(path);
    demand(listing != NULL);
    for (struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_type == DT_REG)
            unlinkat(dirfd(listing), entry->d_name, 0);
    closedir(listing);
    free(path);
}
