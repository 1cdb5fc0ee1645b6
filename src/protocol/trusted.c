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

/* A command for a line of the log. One that is too long for it is cut, and not shown. */
struct command {
    char text[LINE_LIMIT];
    size_t length; /* with what was cut */
};

static void put_byte(struct command *command, char byte)
{
    if (command->length < sizeof command->text - 1)
        command->text[command->length] = byte;
    command->length++;
}

static void put_text(struct command *command, const char *text)
{
    for (; *text; text++)
        put_byte(command, *text);
}

/* A word as a shell reads it back. It may come from a train: nothing in it is a shell's to interpret. */
static void put_word(struct command *command, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%_+=:,./-";
    bool is_plain = *word && strspn(word, plain) == strlen(word);
    put_text(command, is_plain ? " " : " '");
    for (; *word; word++)
        if (*word == '\'')
            put_text(command, "'\\''");
        else
            put_byte(command, *word);
    put_text(command, is_plain ? "" : "'");
}

/* "traintoken trust add --from IMAGE station 7" */
static void write_command(const struct checking *checking, enum tt_trust_role role, const char *id,
                          struct command *command)
{
    put_text(command, "traintoken trust add");
    if (checking->options->folder) {
        put_text(command, " --trust");
        put_word(command, checking->options->folder);
    }
    put_text(command, " --from");
    put_word(command, checking->source);
    put_text(command, *id == '-' ? " -- " : " ");
    put_text(command, tt_trust_role_name(role));
    if (role == TT_TRUST_STATION)
        put_word(command, id);
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
static bool is_shown(const struct command *command, size_t rest)
{
    char shown[LINE_LIMIT];
    tt_text_printable(command->text, shown, sizeof shown);
    return command->length + rest < LINE_LIMIT && strcmp(command->text, shown) == 0;
}

static void refuse(const struct checking *checking, enum tt_trust_role role, const char *id, const char *fingerprint,
                   const char *reason)
{
    struct command command = {0};
    write_command(checking, role, id, &command);
    size_t rest = 4 * strlen(id) + strlen(reason) + TT_FINGERPRINT_SIZE + 100;
    tt_log(TT_LOG_WARNING, "%s '%s' is not trusted with the key %s: %s; if the key is theirs: %s",
           tt_trust_role_name(role), id, fingerprint, reason,
           is_shown(&command, rest) ? command.text
                                    : "traintoken trust add (the names are no names for a command line)");
}

static enum tt_status check_key(struct checking *checking, enum tt_trust_role role, const char *id, const EVP_PKEY *key)
{
    struct tt_error reason = TT_ERROR_INIT;
    char fingerprint[TT_FINGERPRINT_SIZE];
    checking->count++;
    enum tt_status status = tt_trust_check(checking->options->store, role, id, key, checking->now, &reason);
    if (status == TT_OK)
        return TT_OK;
    if (status != TT_UNTRUSTED) /* nothing was found out: also where all is believed, that is a failure */
        return tt_error_set(checking->err, status, "%s", reason.message);
    status = tt_public_key_fingerprint(key, fingerprint, checking->err);
    if (status == TT_OK)
        status = name_key(checking, role, id);
    if (status == TT_OK && !checking->options->train_keys) {
        refuse(checking, role, id, fingerprint, reason.message);
        return TT_OK;
    }
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
