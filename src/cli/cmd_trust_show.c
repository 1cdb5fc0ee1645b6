#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cli/trust_command.h"

/* --- words --- */

enum tt_status trust_subject_parse(const char *word, struct trust_subject *ret_subject, struct tt_error *err)
{
    static const struct {
        const char *word;
        struct trust_subject subject;
    } known[] = {{"creator", {TT_TRUST_KEY, TT_TRUST_CREATOR}},
                 {"station", {TT_TRUST_KEY, TT_TRUST_STATION}},
                 {"authority", {.kind = TT_TRUST_AUTHORITY}},
                 {"certificate", {.kind = TT_TRUST_CERTIFICATE}}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].word, word) == 0) {
            *ret_subject = known[i].subject;
            return TT_OK;
        }
    return tt_error_set(err, TT_USAGE, "whose? 'creator', 'station', 'authority' or 'certificate', not '%.64s'", word);
}

char *trust_entry_name(const struct tt_trust_entry *entry)
{
    if (entry->kind == TT_TRUST_KEY)
        return tt_text_format("%s '%s'", tt_trust_role_name(entry->role), entry->id);
    return tt_text_format("%s", entry->kind == TT_TRUST_AUTHORITY ? "authority" : "certificate");
}

const char *trust_entry_time(const struct tt_trust_entry *entry, char text[160])
{
    char from[TT_TRUST_TIME_SIZE];
    char until[TT_TRUST_TIME_SIZE];
    time_t now = time(NULL);
    tt_trust_time_text(entry->from, from);
    tt_trust_time_text(entry->until, until);
    snprintf(text, 160, "%s%s%s%s%s", *from ? ", from " : "", from, *until ? ", until " : "", until,
             now < entry->from     ? " (NOT YET)"
             : now >= entry->until ? " (OVER)"
                                   : "");
    return text;
}

cJSON *trust_entry_json(const struct tt_trust_entry *entry)
{
    static const char *const kinds[] = {"key", "authority", "certificate"};
    char time_text[TT_TRUST_TIME_SIZE];
    time_t now = time(NULL);
    cJSON *object = cJSON_CreateObject();
    bool is_key = entry->kind == TT_TRUST_KEY;
    cJSON_AddStringToObject(object, "kind", kinds[entry->kind]);
    output_add_text(object, "role", is_key ? tt_trust_role_name(entry->role) : NULL);
    output_add_text(object, "id", entry->id);
    output_add_text(object, "fingerprint", entry->fingerprint);
    output_add_number(object, "bits", tt_public_key_bits(entry->key));
    output_add_text(object, "subject", entry->subject);
    tt_trust_time_text(entry->from, time_text);
    output_add_text(object, "valid_from", *time_text ? time_text : NULL);
    tt_trust_time_text(entry->until, time_text);
    output_add_text(object, "valid_until", *time_text ? time_text : NULL);
    cJSON_AddBoolToObject(object, "valid_now", entry->from <= now && now < entry->until);
    output_add_text(object, "file", entry->path);
    return object;
}

static void print_entry(const struct output *output, const struct tt_trust_entry *entry)
{
    char text[160];
    char *name TT_CLEANUP(tt_free_cleanup) = trust_entry_name(entry);
    output_line(output, "%s  %s%s%s%s", name ? name : "?", entry->fingerprint, trust_entry_time(entry, text),
                entry->subject ? "  " : "", entry->subject ? entry->subject : "");
}

static enum tt_status open_store(struct trust_choice *choice, struct tt_error *err)
{
    const char *folder = NULL;
    enum tt_status status = trust_choice_folder(choice, &folder, err);
    return status == TT_OK ? tt_trust_open(folder, &choice->store, err) : status;
}

/* --- list --- */

static enum tt_status run_list(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"trust list", "", "Shows every key of the trust store.", 0};
    struct trust_choice choice TT_CLEANUP(trust_choice_clear) = {0};
    const struct cli_option options[] = {TRUST_FOLDER_ROW(choice), {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, NULL, &help, err);
    if (status == TT_OK && !help)
        status = open_store(&choice, err);
    if (status != TT_OK || help)
        return status;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "store", tt_trust_folder(choice.store));
    cJSON *entries = cJSON_AddArrayToObject(object, "entries");
    for (size_t i = 0; i < tt_trust_count(choice.store); i++) {
        print_entry(output, tt_trust_entry(choice.store, i));
        cJSON_AddItemToArray(entries, trust_entry_json(tt_trust_entry(choice.store, i)));
    }
    if (tt_trust_count(choice.store) == 0)
        output_line(output, "%s trusts nobody", tt_trust_folder(choice.store));
    output_result(output, usage.command, object);
    return TT_OK;
}

/* --- show --- */

static enum tt_status show_entry(const struct output *output, const struct tt_trust *store, size_t index,
                                 cJSON *entries, struct tt_error *err)
{
    const struct tt_trust_entry *entry = tt_trust_entry(store, index);
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_trust_text(store, index, &text, err);
    if (status != TT_OK)
        return status;
    cJSON *object = trust_entry_json(entry);
    output_add_text(object, "text", (const char *)text.data);
    cJSON_AddItemToArray(entries, object);
    print_entry(output, entry);
    output_line(output, "%s/%s", tt_trust_folder(store), entry->path);
    if (!output->json && !output->quiet) /* lines, not one */
        puts((const char *)text.data);
    return TT_OK;
}

static enum tt_status show(struct output *output, struct trust_choice *choice, const char *const *words,
                           struct tt_error *err)
{
    struct trust_subject subject;
    cJSON *entries TT_CLEANUP(cli_json_cleanup) = cJSON_CreateArray();
    enum tt_status status = trust_subject_parse(words[0], &subject, err);
    if (status == TT_OK && subject.kind != TT_TRUST_KEY)
        status =
            tt_error_set(err, TT_USAGE, "'creator ID' and 'station ID' can be shown; traintoken trust list has all");
    if (status == TT_OK)
        status = open_store(choice, err);
    for (size_t i = 0; status == TT_OK && i < tt_trust_count(choice->store); i++) {
        const struct tt_trust_entry *entry = tt_trust_entry(choice->store, i);
        if (entry->kind == TT_TRUST_KEY && entry->role == subject.role && strcmp(entry->id, words[1]) == 0)
            status = show_entry(output, choice->store, i, entries, err);
    }
    if (status == TT_OK && cJSON_GetArraySize(entries) == 0)
        status = tt_error_set(err, TT_UNTRUSTED, "nothing is known of %s '%s' in %s", words[0], words[1],
                              tt_trust_folder(choice->store));
    if (status != TT_OK)
        return status;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "store", tt_trust_folder(choice->store));
    cJSON_AddItemToObject(object, "entries", TT_TAKE(entries));
    output_result(output, "trust show", object);
    return TT_OK;
}

static enum tt_status run_show(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"trust show", "creator|station ID",
                                           "Shows the keys that are trusted to be those of one creator or station.", 2};
    struct trust_choice choice TT_CLEANUP(trust_choice_clear) = {0};
    const struct cli_option options[] = {TRUST_FOLDER_ROW(choice), {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *words[2] = {NULL, NULL};
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, words, &help, err);
    return status == TT_OK && !help ? show(output, &choice, words, err) : status;
}

/* --- check --- */

static void check_key(const struct output *output, const struct tt_trust *store, const struct tt_named_key *key,
                      const char *station, cJSON *list)
{
    char fingerprint[TT_FINGERPRINT_SIZE] = "";
    struct tt_error reason = TT_ERROR_INIT;
    bool is_own = station && key->role == TT_TRUST_STATION && strcmp(station, key->id) == 0;
    bool trusted = tt_trust_check(store, key->role, key->id, key->key, time(NULL), &reason) == TT_OK;
    if (tt_public_key_fingerprint(key->key, fingerprint, NULL) != TT_OK)
        fingerprint[0] = '\0';
    const char *result = trusted ? "ok" : is_own ? "needs-key" : "untrusted";
    const char *says = trusted ? "" : is_own ? "our own: the token tells" : reason.message;
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "role", tt_trust_role_name(key->role));
    output_add_text(object, "id", key->id);
    output_add_text(object, "fingerprint", fingerprint);
    cJSON_AddStringToObject(object, "result", result);
    output_add_text(object, "says", says);
    cJSON_AddItemToArray(list, object);
    output_line(output, "  %-9s  %s '%s'  %s%s%s", result, tt_trust_role_name(key->role), key->id, fingerprint,
                *says ? "  " : "", says);
}

static enum tt_status check(struct output *output, struct trust_choice *choice, const char *image, const char *platform,
                            const char *station, struct tt_error *err)
{
    struct tt_named_keys keys TT_CLEANUP(tt_named_keys_clear) = {0};
    struct tt_trust_options trust = {0};
    enum tt_status status = trust_choice_open(choice, &trust, err);
    if (status == TT_OK)
        status = tt_named_keys(image, platform, &keys, err);
    if (status != TT_OK)
        return status;
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < keys.count; i++)
        check_key(output, choice->store, &keys.items[i], station, list);
    trust.train_keys = false; /* the store is what is asked about */
    status = tt_named_keys_check(&keys, station, &trust, image, err);
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "image", image);
    output_add_text(object, "store", tt_trust_folder(choice->store));
    cJSON_AddItemToObject(object, "keys", list);
    if (status == TT_OK)
        output_result(output, "trust check", object);
    else
        output->facts = object;
    return status;
}

static enum tt_status run_check(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {"trust check", "IMAGE",
                                           "Says whether each key that a train names is trusted, and how to add those "
                                           "that are not. IMAGE may also be a tar\n"
                                           "as 'results' takes it.",
                                           1};
    struct trust_choice choice TT_CLEANUP(trust_choice_clear) = {0};
    const char *platform = NULL;
    const char *station = getenv("STATION_ID");
    const struct cli_option options[] = {
        TRUST_FOLDER_ROW(choice),
        {"station", 0, CLI_TEXT, &station, "ID", "our id, whose key only our token can confirm (STATION_ID)"},
        {0}};
    const struct cli_option *common = command_common_options(output, &platform);
    const char *image = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, &image, &help, err);
    return status == TT_OK && !help ? check(output, &choice, image, platform, station, err) : status;
}

const struct command command_trust_list = {"trust list", "show whose keys are trusted", run_list};
const struct command command_trust_show = {"trust show", "show the trusted keys of one", run_show};
const struct command command_trust_check = {"trust check", "say whether a train's keys are trusted", run_check};
