#include <string.h>

#include "train/train.h"
#include "train/train_rules.h"

enum { PATH_LIMIT = 1023 };

bool train_text_has_control(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        if (*at < 0x20 || *at == 0x7F || (at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0))
            return true;
    return false;
}

bool tt_train_path_is_safe(const char *path)
{
    if (path[0] == '.' && path[1] == '/')
        path += 2;
    if (strlen(path) > PATH_LIMIT || train_text_has_control(path))
        return false;
    for (const char *at = path;; at++) {
        size_t length = strcspn(at, "/");
        if (length == 0 || (length == 1 && at[0] == '.') || (length == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        at += length;
        if (*at == '\0')
            return true;
    }
}
