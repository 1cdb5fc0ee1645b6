#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cli/trust_command.h"
#include "cli/trust_source.h"

/* --- add --- */

struct add {
    struct trust_choice choice;
    struct trust_source source;
    const char *from_time;
    const char *until_time;
    bool yes;
    struct trust_subject subject;
    const char *id; /* NULL: what the train says */
};

static enum tt_status parse_time(const char *option, const char *text, int64_t *time, struct tt_error *err)
{
    if (!text || tt_trust_time_parse(text, time))
        return TT_OK;
    return tt_error_set(err, TT_USAGE, "--%s takes a time (UTC) as in 2026-12-31T12:00:00Z or 2026-12-31, not '%.64s'",
                        option, text);
}

/* WHO [ID] [FILE], by what else was said. */
static enum tt_status take_words(struct add *add, const char *const *words, struct tt_error *err)
{
    bool elsewhere =
        add->source.from || add->source.token || add->source.registry.vault || add->source.registry.central;
    enum tt_status status = trust_subject_parse(words[0], &add->subject, err);
    if (status != TT_OK)
        return status;
    bool has_id = add->subject.kind == TT_TRUST_KEY;
    bool train_tells = add->source.from && add->subject.role == TT_TRUST_CREATOR;
    if (!has_id && elsewhere)
        return tt_error_set(err, TT_USAGE, "a certificate comes from a FILE");
    add->id = has_id ? words[1] : NULL;
    add->source.file = has_id ? words[2] : words[1];
    if (!has_id && words[2])
        return tt_error_set(err, TT_USAGE, "'%.64s' is one argument too many: %s FILE", words[2], words[0]);
    if (has_id && !add->id && !train_tells)
        return tt_error_set(err, TT_USAGE, "the id of the %s is missing; see traintoken trust add --help", words[0]);
    return trust_source_check(&add->source, err);
}

static enum tt_status confirm(const struct add *add, const struct trust_found *found,
                              const struct tt_trust_added *added, struct tt_error *err)
{
    char *name TT_CLEANUP(tt_free_cleanup) = trust_entry_name(&added->entry);
    if (add->yes || !found->is_word)
        return TT_OK;
    /* The fingerprint first: names may be long, and a long question is cut. */
    char *question TT_CLEANUP(tt_free_cleanup) =
        name ? tt_text_format("The key %s%s is that of %s, as it comes %s. Compare it with what its owner tells you by "
                              "another way. Type yes to trust it",
                              added->entry.fingerprint, added->others ? " (OTHER keys of it are trusted already)" : "",
                              name, found->remark)
             : NULL;
    return question ? provision_confirm(question, "yes", "--yes", err) : tt_error_memory(err);
}

static void print_added(const struct output *output, const char *folder, const struct trust_found *found,
                        const struct tt_trust_added *added)
{
    char text[160];
    char *name TT_CLEANUP(tt_free_cleanup) = trust_entry_name(&added->entry);
    output_line(output, "%s %s: %s%s", name ? name : "?", added->was_there ? "was trusted already" : "is trusted now",
                added->entry.fingerprint, trust_entry_time(&added->entry, text));
    if (added->others > 0 && added->entry.kind == TT_TRUST_KEY)
        output_line(output, "  besides %zu other key%s of it; traintoken trust remove ends that", added->others,
                    added->others == 1 ? "" : "s");
    output_line(output, "  in %s/%s", folder, added->entry.path);
    cJSON *object = trust_entry_json(&added->entry);
    output_add_text(object, "store", folder);
    output_add_text(object, "source", found->remark);
    cJSON_AddBoolToObject(object, "was_there", added->was_there);
    output_add_number(object, "others", added->others);
    output_result(output, "trust add", object);
}

static enum tt_status preview(const char *folder, const struct tt_trust_addition *addition,
                              struct tt_trust_added *added, struct tt_error *err)
{
    struct tt_trust *store TT_CLEANUP(tt_trust_free_cleanup) = NULL;
    enum tt_status status = tt_trust_open(folder, &store, err);
    if (status == TT_OK)
        status = tt_trust_preview(store, addition, added, err);
    if (status == TT_OK && added->entry.until <= time(NULL))
        status = tt_error_set(err, TT_USAGE, "the time of this key is over: nobody would be trusted by it");
    return status;
}

static enum tt_status add_found(struct output *output, struct add *add, const struct trust_found *found,
                                struct tt_error *err)
{
    struct tt_trust_added added TT_CLEANUP(tt_trust_added_clear) = {0};
    char now[TT_TRUST_TIME_SIZE];
    const char *folder = NULL;
    char *remark TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("%s; added %s", found->remark, tt_trust_time_text((int64_t)time(NULL), now));
    struct tt_trust_addition addition = {.kind = add->subject.kind,
                                         .role = add->subject.role,
                                         .id = found->id,
                                         .text = found->text.data,
                                         .length = found->text.length,
                                         .key = found->key,
                                         .from = TT_TRUST_ALWAYS,
                                         .until = TT_TRUST_FOR_EVER,
                                         .remark = remark,
                                         .what = add->source.file ? add->source.file : "the key"};
    enum tt_status status = remark ? trust_choice_folder(&add->choice, &folder, err) : tt_error_memory(err);
    if (status == TT_OK)
        status = parse_time("valid-from", add->from_time, &addition.from, err);
    if (status == TT_OK)
        status = parse_time("valid-until", add->until_time, &addition.until, err);
    if (status == TT_OK)
        status = preview(folder, &addition, &added, err);
    if (status == TT_OK)
        status = confirm(add, found, &added, err);
    if (status == TT_OK)
        status = tt_trust_add(folder, &addition, 1, err);
    if (status == TT_OK)
        print_added(output, folder, found, &added);
    return status;
}

static enum tt_status add_one(struct output *output, struct add *add, const char *const *words, struct tt_error *err)
{
    struct trust_found found TT_CLEANUP(trust_found_clear) = {0};
    enum tt_status status = take_words(add, words, err);
    if (status == TT_OK)
        status = trust_source_read(&add->source, add->subject.role, add->id, &found, err);
    if (status == TT_OK)
        status = add_found(output, add, &found, err);
    trust_choice_clear(&add->choice);
    return status;
}

static enum tt_status run_add(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "trust add", "creator|station|authority|certificate [ID] [FILE]",
        "Trusts a key to be that of a creator or a station: a public key or certificate (PEM) in FILE, the one in a "
        "token,\n"
        "the one that a train or a registry names, which is asked about. Or an authority, and certificates of its.",
        1};
    struct add add = {.source = {.provision = PROVISION_OPTIONS_INIT}};
    const struct cli_option options[] = {
        TRUST_FOLDER_ROW(add.choice),
        {"from", 0, CLI_TEXT, &add.source.from, "IMAGE",
         "the key that this train names; its fingerprint is asked about"},
        {"token", 0, CLI_TEXT, &add.source.token, "URI", "the key in a token"},
        REGISTRY_OPTION_ROWS(add.source.registry),
        {"valid-from", 0, CLI_TEXT, &add.from_time, "TIME", "trust it from then on only (2026-12-31T12:00:00Z)"},
        {"valid-until", 0, CLI_TEXT, &add.until_time, "TIME", "trust it before then only"},
        {"yes", 0, CLI_FLAG, &add.yes, NULL, "do not ask"},
        PROVISION_OPTION_ROWS(add.source.provision),
        {0}};
    const struct cli_option *common = command_common_options(output, &add.source.platform);
    const char *words[3] = {NULL, NULL, NULL};
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, words, &help, err);
    return status == TT_OK && !help ? add_one(output, &add, words, err) : status;
}

/* --- remove --- */

struct removing {
    struct trust_subject subject;
    const char *id;          /* of a key */
    const char *fingerprint; /* NULL: every one of the id */
};

static bool is_meant(const struct removing *removing, const struct tt_trust_entry *entry)
{
    if (entry->kind != removing->subject.kind)
        return false;
    if (entry->kind == TT_TRUST_KEY && (entry->role != removing->subject.role || strcmp(entry->id, removing->id) != 0))
        return false;
    return !removing->fingerprint || strcmp(entry->fingerprint, removing->fingerprint) == 0;
}

static enum tt_status remove_meant(struct output *output, const struct removing *removing, const struct tt_trust *store,
                                   const char *folder, cJSON *removed, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < tt_trust_count(store); i++) {
        const struct tt_trust_entry *entry = tt_trust_entry(store, i);
        if (!is_meant(removing, entry))
            continue;
        char *name TT_CLEANUP(tt_free_cleanup) = trust_entry_name(entry);
        status = tt_trust_remove(folder, entry, err);
        if (status != TT_OK)
            return status;
        output_line(output, "%s is not trusted any more: %s", name ? name : "?", entry->fingerprint);
        cJSON_AddItemToArray(removed, trust_entry_json(entry));
    }
    if (status == TT_OK && cJSON_GetArraySize(removed) == 0)
        return tt_error_set(err, TT_USAGE, "there is nothing like that in %s; traintoken trust list shows what is",
                            tt_trust_folder(store));
    return status;
}

static enum tt_status take_removing(const char *const *words, struct removing *removing, struct tt_error *err)
{
    enum tt_status status = trust_subject_parse(words[0], &removing->subject, err);
    if (status != TT_OK)
        return status;
    bool has_id = removing->subject.kind == TT_TRUST_KEY;
    removing->id = has_id ? words[1] : NULL;
    removing->fingerprint = has_id ? words[2] : words[1];
    if (!words[1] || (!has_id && words[2]))
        return tt_error_set(err, TT_USAGE,
                            "what exactly? 'creator ID', 'station ID', perhaps with a fingerprint, or "
                            "'authority FINGERPRINT', 'certificate FINGERPRINT'");
    if (removing->fingerprint && strncmp(removing->fingerprint, "SHA256:", 7) != 0)
        return tt_error_set(err, TT_USAGE, "a fingerprint is written as 'trust list' shows it, SHA256:...");
    return TT_OK;
}

static enum tt_status run_remove(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "trust remove", "creator|station|authority|certificate ID|FINGERPRINT [FINGERPRINT]",
        "Ends trust in one key of a creator or a station, in all of its keys where no fingerprint is given, or in an\n"
        "authority or certificate.",
        2};
    struct trust_choice choice TT_CLEANUP(trust_choice_clear) = {0};
    const struct cli_option options[] = {TRUST_FOLDER_ROW(choice), {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *words[3] = {NULL, NULL, NULL};
    const char *folder = NULL;
    struct removing removing;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, words, &help, err);
    if (status != TT_OK || help)
        return status;
    cJSON *removed TT_CLEANUP(cli_json_cleanup) = cJSON_CreateArray();
    status = take_removing(words, &removing, err);
    if (status == TT_OK)
        status = trust_choice_folder(&choice, &folder, err);
    if (status == TT_OK)
        status = tt_trust_open(folder, &choice.store, err);
    if (status == TT_OK)
        status = remove_meant(output, &removing, choice.store, folder, removed, err);
    if (status != TT_OK)
        return status;
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "store", folder);
    cJSON_AddItemToObject(object, "removed", TT_TAKE(removed));
    output_result(output, usage.command, object);
    return TT_OK;
}

/* --- import --- */

struct import {
    struct trust_choice choice;
    bool yes;
    struct tt_trust *other;
    struct tt_trust_addition *additions;
    struct tt_buffer *texts;
    char *remark;
    size_t count;
    size_t news;
};

static void import_clear(struct import *import)
{
    for (size_t i = 0; import->texts && i < import->count; i++)
        tt_buffer_clear(&import->texts[i]);
    free(import->texts);
    free(import->additions);
    free(import->remark);
    tt_trust_free(import->other);
    trust_choice_clear(&import->choice);
}

static enum tt_status take_other(struct import *import, const char *from, struct tt_error *err)
{
    enum tt_status status = tt_trust_open(from, &import->other, err);
    if (status != TT_OK)
        return tt_error_context(err, "nothing is imported");
    size_t count = tt_trust_count(import->other);
    if (count == 0)
        return tt_error_set(err, TT_USAGE, "%s is no trust store, or an empty one", from);
    import->additions = calloc(count, sizeof *import->additions);
    import->texts = calloc(count, sizeof *import->texts);
    import->remark = tt_text_format("from the trust store %s", from);
    if (!import->additions || !import->texts || !import->remark)
        return tt_error_memory(err);
    import->count = count;
    for (size_t i = 0; status == TT_OK && i < count; i++) {
        const struct tt_trust_entry *entry = tt_trust_entry(import->other, i);
        status = tt_trust_text(import->other, i, &import->texts[i], err);
        import->additions[i] = (struct tt_trust_addition){.kind = entry->kind,
                                                          .role = entry->role,
                                                          .id = entry->id,
                                                          .text = import->texts[i].data,
                                                          .length = import->texts[i].length,
                                                          .from = TT_TRUST_ALWAYS,
                                                          .until = TT_TRUST_FOR_EVER,
                                                          .remark = import->remark,
                                                          .what = entry->path};
    }
    return status;
}

static enum tt_status compare(struct output *output, struct import *import, const char *folder, cJSON *list,
                              struct tt_error *err)
{
    enum tt_status status = tt_trust_open(folder, &import->choice.store, err);
    for (size_t i = 0; status == TT_OK && i < import->count; i++) {
        const struct tt_trust_entry *entry = tt_trust_entry(import->other, i);
        char text[160];
        bool known = false;
        for (size_t j = 0; j < tt_trust_count(import->choice.store); j++) {
            const struct tt_trust_entry *there = tt_trust_entry(import->choice.store, j);
            known = known || (there->kind == entry->kind && there->role == entry->role &&
                              strcmp(there->fingerprint, entry->fingerprint) == 0 &&
                              (!entry->id || strcmp(there->id, entry->id) == 0));
        }
        import->news += !known;
        char *name TT_CLEANUP(tt_free_cleanup) = trust_entry_name(entry);
        output_line(output, "  %s %s  %s%s", known ? "known" : "new  ", name ? name : "?", entry->fingerprint,
                    trust_entry_time(entry, text));
        cJSON *object = trust_entry_json(entry);
        cJSON_AddBoolToObject(object, "was_there", known);
        cJSON_AddItemToArray(list, object);
    }
    return status;
}

static enum tt_status import_all(struct output *output, struct import *import, const char *from, struct tt_error *err)
{
    cJSON *list TT_CLEANUP(cli_json_cleanup) = cJSON_CreateArray();
    const char *folder = NULL;
    char question[160];
    enum tt_status status = trust_choice_folder(&import->choice, &folder, err);
    if (status == TT_OK)
        status = take_other(import, from, err);
    if (status == TT_OK)
        status = compare(output, import, folder, list, err);
    snprintf(question, sizeof question, "%zu new of %zu keys and certificates. Type yes to trust them", import->news,
             import->count);
    fflush(stdout);
    if (status == TT_OK && !import->yes)
        status = provision_confirm(question, "yes", "--yes", err);
    if (status == TT_OK)
        status = tt_trust_add(folder, import->additions, import->count, err);
    if (status != TT_OK)
        return status;
    output_line(output, "%zu new of %zu keys and certificates are trusted now, in %s", import->news, import->count,
                folder);
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "store", folder);
    cJSON_AddItemToObject(object, "entries", TT_TAKE(list));
    output_result(output, "trust import", object);
    return TT_OK;
}

static enum tt_status run_import(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "trust import", "DIR",
        "Trusts whom another trust store trusts, beside those that are trusted already. Shows them, and asks.", 1};
    struct import import TT_CLEANUP(import_clear) = {0};
    const struct cli_option options[] = {
        TRUST_FOLDER_ROW(import.choice), {"yes", 0, CLI_FLAG, &import.yes, NULL, "do not ask"}, {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *from = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, options, common, &from, &help, err);
    return status == TT_OK && !help ? import_all(output, &import, from, err) : status;
}

const struct command command_trust_add = {"trust add", "trust a key to be that of a creator or station", run_add};
const struct command command_trust_remove = {"trust remove", "end trust in a key", run_remove};
const struct command command_trust_import = {"trust import", "trust whom another store trusts", run_import};
