#include "cli/provision_command.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/public_key.h"
#include "pkcs11/ckr.h"
#include "protocol/record.h"
#include "provisioning/key_facts.h"

enum { PATIENCE = 200 /* milliseconds */ };

void provision_close(struct provision *provision)
{
    tt_secret_free(provision->pin);
    tt_session_free(provision->session);
    tt_cryptoki_free(provision->cryptoki);
    tt_uri_free(provision->uri);
    free(provision->label);
    tt_audit_free(provision->audit);
    *provision = (struct provision){0};
}

static enum tt_status check_library(const struct provision *provision, struct tt_error *err)
{
    CK_INFO info = {0};
    if (!provision->uri || !tt_uri_names_library(provision->uri))
        return TT_OK;
    CK_RV outcome = provision->cryptoki->functions->C_GetInfo(&info);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "the PKCS#11 module %s does not say what it is", provision->cryptoki->path);
    if (!tt_uri_matches_library(provision->uri, &info))
        return tt_error_set(err, TT_TOKEN, "the module %s is not the library that the URI names",
                            provision->cryptoki->path);
    return TT_OK;
}

enum tt_status provision_load(const struct provision_options *options, const char *uri, struct provision *provision,
                              struct tt_error *err)
{
    const char *variable = getenv("TRAINTOKEN_MODULE");
    const char *module = options->module ? options->module : variable && *variable ? variable : NULL;
    enum tt_status status = uri ? tt_uri_parse(uri, &provision->uri, err) : TT_OK;
    if (uri)
        tt_pkcs11_uri_hide_pin((char *)uri); /* others can read argv while we run */
    provision->asked = uri;
    if (status == TT_OK && provision->uri && tt_uri_pin_is_misplaced(provision->uri))
        tt_log(TT_LOG_WARNING, "the URI has its PIN in the path; RFC 7512 wants '?pin-value=' there, and a "
                               "pin-source is safer");
    if (status == TT_OK)
        status = tt_cryptoki_load(module, provision->uri, &provision->cryptoki, err);
    if (status == TT_OK)
        status = check_library(provision, err);
    return status;
}

enum tt_status provision_find(struct provision *provision, struct tt_error *err)
{
    enum tt_status status = tt_token_find(provision->cryptoki, provision->uri, true, &provision->token, err);
    if (status == TT_OK && !(provision->label = tt_token_label(&provision->token)))
        status = tt_error_memory(err);
    return status;
}

/* The trail. */

enum tt_status provision_record(struct provision *provision, const struct audit_options *options, const char *state,
                                const char *command, struct tt_error *err)
{
    enum tt_status status = audit_open(options, state, &provision->audit, err);
    if (status == TT_OK)
        record_command(provision->audit, command, NULL, NULL);
    return status;
}

static void tell_place(void *user, struct tt_key_place *ret_place)
{
    *ret_place = *(const struct tt_key_place *)user;
}

enum tt_status provision_begin(const struct provision *provision, struct tt_error *err)
{
    const CK_TOKEN_INFO *info = &provision->token.info;
    char *asked TT_CLEANUP(tt_free_cleanup) = provision->asked ? strdup(provision->asked) : NULL;
    char *serial TT_CLEANUP(tt_free_cleanup) = tt_token_text(info->serialNumber, sizeof info->serialNumber);
    if (!provision->audit)
        return TT_OK;
    if (!serial || (provision->asked && !asked))
        return tt_error_memory(err);
    if (asked)
        asked[strcspn(asked, "?")] = '\0';
    struct tt_key_place place = {.uri = asked, .token = provision->label, .serial = serial};
    const struct tt_key_source source = {.place = tell_place, .user = &place};
    return record_begin(provision->audit, &source, err);
}

static enum tt_status key_was_used(void *user, const struct tt_key_object *key, const struct tt_key_event *event,
                                   struct tt_error *err)
{
    const struct provision *provision = user;
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(provision->session, key);
    char *serial TT_CLEANUP(tt_free_cleanup) =
        tt_token_text(provision->token.info.serialNumber, sizeof provision->token.info.serialNumber);
    char fingerprint[TT_FINGERPRINT_SIZE] = "";
    if (!uri || !serial)
        return tt_error_memory(err);
    enum tt_status status = tt_public_key_fingerprint(key->public_half, fingerprint, err);
    if (status != TT_OK)
        return status;
    const struct tt_audit_fact facts[] = {
        {.name = "key", .kind = TT_AUDIT_TEXT, .text = uri},
        {.name = "token", .kind = TT_AUDIT_TEXT, .text = provision->label},
        {.name = "token_serial", .kind = TT_AUDIT_TEXT, .text = serial},
        {.name = "fingerprint", .kind = TT_AUDIT_TEXT, .text = fingerprint},
    };
    tt_audit_context(provision->audit, facts, sizeof facts / sizeof facts[0]);
    return record_use(provision->audit, event, err);
}

void provision_watch(struct provision *provision)
{
    if (provision->audit)
        provision->session->witness = (struct tt_session_witness){.used = key_was_used, .user = provision};
}

enum tt_status provision_end(struct provision *provision, enum tt_status status, struct tt_error *err)
{
    if (status == TT_OK)
        return record_decision(provision->audit, NULL, err);
    return record_failure(provision->audit, status, err);
}

enum tt_status provision_login(const struct provision_options *options, bool writable, struct provision *provision,
                               struct tt_error *err)
{
    struct tt_secret *environment TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_pin_take_environment(&environment, err);
    struct tt_pin_sources sources = {.value = provision->uri ? tt_uri_pin_value(provision->uri) : NULL,
                                     .source = provision->uri ? tt_uri_pin_source(provision->uri) : NULL,
                                     .environment = environment,
                                     .descriptor = options->pin_fd,
                                     .may_prompt = true};
    if (status == TT_OK && writable && (provision->token.info.flags & CKF_WRITE_PROTECTED))
        return tt_error_set(err, TT_TOKEN, "token '%s' is write-protected", provision->label);
    if (status == TT_OK)
        status = provision_begin(provision, err);
    if (status == TT_OK)
        status = tt_session_open(provision->cryptoki, &provision->token, writable, &provision->session, err);
    if (status == TT_OK)
        provision_watch(provision);
    if (status == TT_OK)
        status = tt_session_login(provision->session, CKU_USER, &sources, options->last_pin_try, &provision->pin, err);
    return status;
}

enum tt_status provision_open(const struct provision_options *options, const char *uri, bool writable,
                              struct provision *provision, struct tt_error *err)
{
    enum tt_status status = provision_load(options, uri, provision, err);
    if (status == TT_OK)
        status = provision_find(provision, err);
    if (status == TT_OK)
        status = provision_login(options, writable, provision, err);
    return status;
}

/* Words. */

const char *provision_flag_name(enum tt_attribute flag)
{
    return flag == TT_ATTRIBUTE_UNKNOWN ? "not shown" : flag == TT_ATTRIBUTE_TRUE ? "yes" : "no";
}

cJSON *provision_key_json(const struct tt_session *session, const struct tt_key_object *key)
{
    return tt_key_facts(session, key);
}

cJSON *provision_probe_json(const struct tt_key_probe *probe)
{
    return tt_probe_facts(probe);
}

/* Answers and arguments. */

enum tt_status provision_confirm(const char *question, const char *wanted, const char *option, struct tt_error *err)
{
    char text[1024];
    char answer[512];
    size_t used = 0;
    int terminal TT_CLEANUP(tt_close_cleanup) = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (terminal < 0)
        return tt_error_set(err, TT_USAGE, "there is no terminal to ask on whether this is meant; say so with %s",
                            option);
    tt_text_printable(question, text, sizeof text);
    dprintf(terminal, "%s: ", text);
    for (;;) {
        char byte = 0;
        /* Short waits: a signal that comes just before one is seen after it. */
        struct pollfd ready = {.fd = terminal, .events = POLLIN};
        int outcome = poll(&ready, 1, PATIENCE);
        if (tt_interrupt_check(err) != TT_OK)
            return TT_INTERNAL;
        if (outcome == 0 || (outcome < 0 && errno == EINTR))
            continue;
        ssize_t count = read(terminal, &byte, 1);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0 || byte == '\n')
            break;
        if (used + 1 < sizeof answer)
            answer[used++] = byte;
    }
    answer[used] = '\0';
    if (strcmp(answer, wanted) != 0)
        return tt_error_set(err, TT_USAGE, "the answer was another one; nothing was changed");
    return TT_OK;
}

enum tt_status provision_id(const char *text, unsigned char **ret_id, size_t *ret_length, struct tt_error *err)
{
    size_t length = strlen(text);
    char lower[2 * TT_ID_LIMIT + 1];
    uint8_t id[TT_ID_LIMIT];
    for (size_t i = 0; i < length && i < sizeof lower; i++)
        lower[i] = (char)tolower((unsigned char)text[i]);
    if (length == 0 || length >= sizeof lower || length % 2 != 0 || !tt_hex_decode(lower, length, id, length / 2))
        return tt_error_set(err, TT_USAGE, "--id takes 1 to %d bytes in hexadecimal, as in 01 or a1b2c3, not '%.64s'",
                            (int)TT_ID_LIMIT, text);
    unsigned char *copy = malloc(length / 2);
    if (!copy)
        return tt_error_memory(err);
    memcpy(copy, id, length / 2);
    *ret_id = copy;
    *ret_length = length / 2;
    return TT_OK;
}

enum tt_status provision_label(const char *text, size_t limit, struct tt_error *err)
{
    size_t length = strlen(text);
    bool is_text = length > 0 && tt_text_is_utf8(text, length);
    for (size_t i = 0; i < length; i++)
        is_text = is_text && (unsigned char)text[i] >= ' ' && text[i] != 0x7F;
    if (!is_text || length > limit)
        return tt_error_set(err, TT_USAGE, "--label takes 1 to %zu bytes of UTF-8 text without control characters",
                            limit);
    return TT_OK;
}

/* Files. */

enum tt_status provision_write(const char *path, bool force, const struct tt_buffer *text, struct tt_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char *folder_name TT_CLEANUP(tt_free_cleanup) = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    char *fresh TT_CLEANUP(tt_free_cleanup) = tt_text_format(".%.200s.new-%ld", name, (long)getpid());
    if (!folder_name || !fresh)
        return tt_error_memory(err);
    int folder TT_CLEANUP(tt_close_cleanup) = open(folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return tt_error_errno(err, TT_STORE, "the folder %s cannot be opened", folder_name);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return tt_error_set(err, TT_USAGE, "%s is a folder, not a file to write", path);
    /* A new file would take the place of a device, too: of /dev/null, for everybody. */
    struct stat facts;
    if (force && fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(facts.st_mode) &&
        !S_ISLNK(facts.st_mode))
        return tt_error_set(err, TT_USAGE, "%s is no regular file, and is not replaced; name another one", path);
    if (force)
        return tt_file_replace(folder, name, text->data, text->length, 0644, err);
    enum tt_status status = tt_file_replace(folder, fresh, text->data, text->length, 0644, err);
    if (status != TT_OK)
        return status;
    bool done = renameat2(folder, fresh, folder, name, RENAME_NOREPLACE) == 0 ||
                (errno == EINVAL && linkat(folder, fresh, folder, name, 0) == 0);
    if (!done && errno == EEXIST)
        status = tt_error_set(err, TT_USAGE, "%s is there already; --force replaces it", path);
    else if (!done)
        status = tt_error_errno(err, TT_STORE, "%s cannot be written", path);
    unlinkat(folder, fresh, 0);
    return status;
}
