#include "image/docker_config.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "json/json.h"

enum { CONFIG_LIMIT = 4 * 1024 * 1024, VALUE_LIMIT = 100000 };

static char *home_folder(void)
{
    const char *home = getenv("HOME");
    char space[4096];
    struct passwd entry;
    struct passwd *found = NULL;
    if (home && *home)
        return strdup(home);
    if (getpwuid_r(getuid(), &entry, space, sizeof space, &found) != 0 || !found || !found->pw_dir)
        return NULL;
    return strdup(found->pw_dir);
}

char *tt_docker_config_folder(void)
{
    const char *named = getenv("DOCKER_CONFIG");
    if (named && *named)
        return strdup(named);
    char *home TT_CLEANUP(tt_free_cleanup) = home_folder();
    return home ? tt_text_format("%s/.docker", home) : NULL;
}

static enum tt_status read_secret(int file, const char *path, struct tt_secret **ret_text, struct tt_error *err)
{
    struct stat about;
    if (fstat(file, &about) != 0)
        return tt_error_errno(err, TT_STORE, "%s cannot be read", path);
    if (!S_ISREG(about.st_mode) || about.st_size > CONFIG_LIMIT)
        return tt_error_set(err, TT_STORE, "%s is not a configuration file, or is too large for one", path);
    size_t length = (size_t)about.st_size;
    enum tt_status status = tt_secret_new(length + 1, ret_text, err);
    if (status != TT_OK)
        return status;
    (*ret_text)->length = length;
    return tt_file_read_at(file, 0, (*ret_text)->data, length, path, err);
}

enum tt_status tt_docker_config_read(const char *path, cJSON **ret_root, struct tt_error *err)
{
    struct tt_secret *text TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    *ret_root = NULL;
    int file TT_CLEANUP(tt_close_cleanup) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 && (errno == ENOENT || errno == ENOTDIR))
        return TT_OK;
    if (file < 0)
        return tt_error_errno(err, TT_STORE, "%s cannot be read", path);
    enum tt_status status = read_secret(file, path, &text, err);
    if (status != TT_OK)
        return status;
    /* The parser's own words might quote the file. */
    if (tt_json_parse((const char *)text->data, text->length, VALUE_LIMIT, path, ret_root, NULL) != TT_OK ||
        !cJSON_IsObject(*ret_root)) {
        tt_docker_config_free(TT_TAKE(*ret_root));
        return tt_error_set(err, TT_STORE, "%s is not a JSON object, as docker and podman write it", path);
    }
    return TT_OK;
}

static void wipe_texts(cJSON *item)
{
    for (; item; item = item->next) {
        if (item->valuestring)
            tt_wipe(item->valuestring, strlen(item->valuestring));
        wipe_texts(item->child); /* as deep as the parser lets JSON be */
    }
}

void tt_docker_config_free(cJSON *root)
{
    wipe_texts(root);
    cJSON_Delete(root);
}
