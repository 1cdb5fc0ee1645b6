#include "pkcs11/candidates.h"

#include <string.h>

#include "base/log.h"

void tt_candidates_clear(struct tt_candidates *list)
{
    tt_buffer_clear(&list->all);
    tt_buffer_clear(&list->line);
}

enum tt_status tt_candidates_add(struct tt_candidates *list, const PKCS11_TOKEN *token, const PKCS11_KEY *key,
                                 struct tt_error *err)
{
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_uri_format(token, key, false);
    if (!uri)
        return tt_error_memory(err);
    list->count++;
    (void)!tt_buffer_printf(&list->line, NULL, "%s'%s'", list->line.length ? " " : "", uri); /* full is fine */
    return tt_buffer_printf(&list->all, err, "'%s'\n", uri);
}

const char *tt_candidates_text(struct tt_candidates *list)
{
    if (list->count == 0)
        return "none";
    if (list->all.length == list->line.length + 1)
        return (const char *)list->line.data;
    char *rest = (char *)list->all.data;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line[0] != '\0')
            tt_log(TT_LOG_WARNING, "candidate: %s", line);
    return "see the candidates above";
}

enum tt_status tt_candidates_refuse_keys(const char *token, const struct tt_pkcs11_uri *uri,
                                         struct tt_candidates *matching, struct tt_candidates *all,
                                         struct tt_error *err)
{
    char *asked TT_CLEANUP(tt_free_cleanup) = tt_uri_text(uri);
    if (!asked)
        return tt_error_memory(err);
    if (matching->count == 0)
        return tt_error_set(err, TT_TOKEN, "no private key in token '%s' matches %s; keys there are: %s", token, asked,
                            tt_candidates_text(all));
    return tt_error_set(err, TT_TOKEN, "%zu private keys match %s; name one of them: %s", matching->count, asked,
                        tt_candidates_text(matching));
}
