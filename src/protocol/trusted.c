#include "protocol/trusted.h"

#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/text.h"
#include "protocol/record.h"

/* What a message of the log holds, less what goes in front of it. */
enum { LINE_LIMIT = 1000, NAMED_LIMIT = 400 };

struct checking {
    const struct tt_trust_options *options;
    const char *source;
    struct tt_audit *audit;
    time_t now;
    size_t count;           /* keys that were asked about */
    size_t missing;         /* those that are not trusted */
    struct tt_buffer named; /* whose they are, for one message */
    bool is_cut;            /* it does not name all of them */
    struct tt_error *err;
};

static void checking_clear(struct checking *checking)
{
    tt_buffer_clear(&checking->named);
}

/* A word as a shell reads it back. It may come from a train: nothing in it is a shell's to interpret. */
static enum tt_status append_word(struct tt_buffer *command, const char *word, struct tt_error *err)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%_+=:,./-";
    if (*word && strspn(word, plain) == strlen(word))
        return tt_buffer_printf(command, err, " %s", word);
    enum tt_status status = tt_buffer_printf(command, err, " '");
    for (; status == TT_OK && *word; word++)
        status = *word == '\'' ? tt_buffer_printf(command, err, "'\\''") : tt_buffer_append(command, word, 1, err);
    return status == TT_OK ? tt_buffer_printf(command, err, "'") : status;
}

/* "traintoken trust add --from IMAGE station 7" */
static enum tt_status write_command(const struct checking *checking, enum tt_trust_role role, const char *id,
                                    struct tt_buffer *command)
{
    struct tt_error *err = checking->err;
    enum tt_status status = tt_buffer_printf(command, err, "traintoken trust add");
    if (status == TT_OK && checking->options->folder)
        status = tt_buffer_printf(command, err, " --trust");
    if (status == TT_OK && checking->options->folder)
        status = append_word(command, checking->options->folder, err);
    if (status == TT_OK)
        status = tt_buffer_printf(command, err, " --from");
    if (status == TT_OK)
        status = append_word(command, checking->source, err);
    if (status == TT_OK)
        status = tt_buffer_printf(command, err, "%s %s", *id == '-' ? " --" : "", tt_trust_role_name(role));
    return status == TT_OK && role == TT_TRUST_STATION ? append_word(command, id, err) : status;
}

static enum tt_status name_key(struct checking *checking, enum tt_trust_role role, const char *id)
{
    checking->missing++;
    if (checking->is_cut)
        return TT_OK;
    checking->is_cut = checking->named.length > NAMED_LIMIT;
    if (checking->is_cut)
        return tt_buffer_printf(&checking->named, checking->err, ", ...");
    return tt_buffer_printf(&checking->named, checking->err, "%s%s '%s'", checking->missing > 1 ? ", " : "",
                            tt_trust_role_name(role), id);
}

/* Whether a line shows the command as it is: one that was cut, or whose names were written in another way, would be
 * another command. */
static bool is_shown(const struct tt_buffer *command, size_t rest)
{
    char shown[LINE_LIMIT];
    tt_text_printable((const char *)command->data, shown, sizeof shown);
    return command->length + rest < LINE_LIMIT && strcmp((const char *)command->data, shown) == 0;
}

static enum tt_status refuse(struct checking *checking, enum tt_trust_role role, const char *id,
                             const char *fingerprint, const char *reason)
{
    struct tt_buffer command TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = write_command(checking, role, id, &command);
    if (status != TT_OK)
        return status;
    size_t rest = 4 * strlen(id) + strlen(reason) + TT_FINGERPRINT_SIZE + 100;
    tt_log(TT_LOG_WARNING, "%s '%s' is not trusted with the key %s: %s; if the key is theirs: %s",
           tt_trust_role_name(role), id, fingerprint, reason,
           is_shown(&command, rest) ? (const char *)command.data
                                    : "traintoken trust add (the names are no names for a command line)");
    return TT_OK;
}

static enum tt_status check_key(struct checking *checking, enum tt_trust_role role, const char *id, const EVP_PKEY *key)
{
    struct tt_error reason = TT_ERROR_INIT;
    char fingerprint[TT_FINGERPRINT_SIZE];
    checking->count++;
    enum tt_status status = tt_trust_check(checking->options->store, role, id, key, checking->now, &reason);
    if (status == TT_OK)
        return TT_OK;
    if (status != TT_UNTRUSTED) {
        if (checking->err)
            *checking->err = reason;
        return status;
    }
    status = tt_public_key_fingerprint(key, fingerprint, checking->err);
    if (status == TT_OK)
        status = name_key(checking, role, id);
    if (status == TT_OK && !checking->options->train_keys)
        return refuse(checking, role, id, fingerprint, reason.message);
    if (status == TT_OK)
        status = record_trusted_by_train(checking->audit, tt_trust_role_name(role), id, fingerprint, checking->err);
    if (status == TT_OK)
        tt_log(TT_LOG_INFO, "%s '%s' is believed to have the key %s: %s", tt_trust_role_name(role), id, fingerprint,
               reason.message);
    return status;
}

static enum tt_status conclude(const struct checking *checking)
{
    const char *named = (const char *)checking->named.data;
    if (checking->missing == 0)
        return TT_OK;
    if (checking->options->train_keys) {
        tt_log(TT_LOG_WARNING,
               "%zu of %zu keys are BELIEVED only because the train names them (--trust-train-keys): whether they are "
               "those of %s was not checked",
               checking->missing, checking->count, named);
        return TT_OK;
    }
    return tt_error_set(checking->err, TT_UNTRUSTED,
                        "%zu of %zu keys that the train names are not trusted, those of %s: compare each fingerprint "
                        "with what its owner tells you, not with the train, and then run the command that adds it",
                        checking->missing, checking->count, named);
}

enum tt_status trusted_check(const struct tt_train *train, const struct train_keys *keys, size_t own,
                             const struct tt_trust_options *options, const char *source, struct tt_audit *audit,
                             struct tt_error *err)
{
    struct checking checking TT_CLEANUP(checking_clear) = {
        .options = options, .source = source, .audit = audit, .now = time(NULL), .err = err};
    enum tt_status status = TT_OK;
    if (own != TRUSTED_CREATOR)
        status = check_key(&checking, TT_TRUST_CREATOR, train->creator_id, keys->creator);
    for (size_t i = 0; status == TT_OK && i < train->stop_count; i++)
        if (i != own)
            status = check_key(&checking, TT_TRUST_STATION, train->stops[i].station, keys->stops[i]);
    return status == TT_OK ? conclude(&checking) : status;
}
