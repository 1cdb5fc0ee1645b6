#include "trust/trust.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "trust/trust_inside.h"

#define MACHINE_FOLDER "/etc/traintoken/trust"

const char *tt_trust_role_name(enum tt_trust_role role)
{
    return role == TT_TRUST_CREATOR ? "creator" : "station";
}

/* Where even that cannot be told, it is there. */
static bool machine_has_store(void)
{
    struct stat facts;
    return geteuid() == 0 || lstat(MACHINE_FOLDER, &facts) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

enum tt_status tt_trust_default_folder(char **ret_folder, struct tt_error *err)
{
    const char *named = getenv("TRAINTOKEN_TRUST");
    const char *config_home = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    char *folder = NULL;
    bool has_home = (config_home && *config_home == '/') || (home && *home == '/');
    if (named && *named)
        folder = strdup(named);
    else if (machine_has_store() || !has_home)
        folder = strdup(MACHINE_FOLDER);
    else if (config_home && *config_home == '/')
        folder = tt_text_format("%s/traintoken/trust", config_home);
    else
        folder = tt_text_format("%s/.config/traintoken/trust", home);
    if (!folder)
        return tt_error_memory(err);
    *ret_folder = folder;
    return TT_OK;
}

const char *tt_trust_folder(const struct tt_trust *trust)
{
    return trust->folder;
}

size_t tt_trust_count(const struct tt_trust *trust)
{
    return trust->count;
}

const struct tt_trust_entry *tt_trust_entry(const struct tt_trust *trust, size_t index)
{
    return &trust->items[index].entry;
}

static bool is_of(const struct tt_trust_entry *entry, enum tt_trust_role role, const char *id)
{
    return entry->kind == TT_TRUST_KEY && entry->role == role && strcmp(entry->id, id) == 0;
}

/* TT_OK when `now` is in the entry's time. */
static enum tt_status check_time(const struct tt_trust_entry *entry, time_t now, struct tt_error *err)
{
    char text[TT_TRUST_TIME_SIZE];
    if (now < entry->from)
        return tt_error_set(err, TT_UNTRUSTED, "the time of this key begins at %s only (%s)",
                            tt_trust_time_text(entry->from, text), entry->path);
    if (now >= entry->until)
        return tt_error_set(err, TT_UNTRUSTED, "the time of this key ended at %s (%s)",
                            tt_trust_time_text(entry->until, text), entry->path);
    return TT_OK;
}

/* The keys that lie in the folder of the id. What is said there of this very key is the last word; *ret_known: other
 * keys of the id are there. */
static enum tt_status check_keys(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                 const EVP_PKEY *key, time_t now, const char **ret_known, bool *ret_decided,
                                 struct tt_error *err)
{
    for (size_t i = 0; i < trust->count; i++) {
        const struct tt_trust_entry *entry = &trust->items[i].entry;
        if (!is_of(entry, role, id))
            continue;
        *ret_known = entry->fingerprint;
        *ret_decided = tt_public_key_equal(entry->key, key);
        if (*ret_decided)
            return check_time(entry, now, err);
    }
    return TT_OK;
}

/* Certificates for this key that name the id and role: one that holds is enough. */
static enum tt_status check_certificates(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                         const EVP_PKEY *key, time_t now, bool *ret_decided, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; i < trust->count; i++) {
        const struct trust_item *item = &trust->items[i];
        if (item->entry.kind != TT_TRUST_CERTIFICATE || !tt_public_key_equal(item->entry.key, key) ||
            !trust_certificate_names(item->certificate, role, id))
            continue;
        *ret_decided = true;
        status = check_time(&item->entry, now, err);
        if (status == TT_OK)
            status = trust_chain_check(trust, item, now, err);
        if (status == TT_OK)
            return TT_OK;
    }
    return status;
}

enum tt_status tt_trust_check(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                              const EVP_PKEY *key, time_t now, struct tt_error *err)
{
    const char *known = NULL;
    bool decided = false;
    if (!trust)
        return tt_error_set(err, TT_UNTRUSTED, "nothing is known of it");
    enum tt_status status = check_keys(trust, role, id, key, now, &known, &decided, err);
    if (!decided)
        status = check_certificates(trust, role, id, key, now, &decided, err);
    if (decided)
        return status;
    if (known)
        return tt_error_set(err, TT_UNTRUSTED, "ANOTHER key is known of it: %s", known);
    return tt_error_set(err, TT_UNTRUSTED, "nothing is known of it in %s%s", tt_trust_folder(trust),
                        trust->is_there ? "" : ", which is not there");
}
