#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/provision_command.h"
#include "provisioning/key_attest.h"
#include "provisioning/key_facts.h"

struct attest_options {
    struct cli_list notes;
    const char *file;
    bool force;
    const char *record; /* to be verified, instead of one made */
    const char *public_key;
    struct audit_options audit;
    struct provision_options provision;
};

/* What a record says, one line a fact: "token.serial", and the value. The text of the key itself is left out. */
static void print_facts(const struct output *output, const char *above, const cJSON *object)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, object)
    {
        char name[128];
        snprintf(name, sizeof name, "%s%s%s", above, above[0] ? "." : "", item->string ? item->string : "");
        if (item->child)
            print_facts(output, name, item);
        else if (item->valuestring && strcmp(name, "key.public_key") != 0) /* of a number its spelling */
            output_line(output, "  %-34s %s", name, item->valuestring);
        else if (cJSON_IsBool(item))
            output_line(output, "  %-34s %s", name, cJSON_IsTrue(item) ? "yes" : "no");
    }
}

/* Verifying. */

static enum tt_status verify(struct output *output, const struct attest_options *options, struct tt_error *err)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_attested attested TT_CLEANUP(tt_attested_clear) = {0};
    EVP_PKEY *expected TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = options->public_key ? command_public_key(options->public_key, &expected, err) : TT_OK;
    if (status == TT_OK)
        status = tt_file_read(AT_FDCWD, options->record, TT_ATTEST_LIMIT, &text, err);
    if (status == TT_OK)
        status = tt_attest_verify(text.data, text.length, options->record, expected, &attested, err);
    if (status != TT_OK)
        return status;
    const cJSON *predicate = cJSON_GetObjectItemCaseSensitive(attested.statement, "predicate");
    output_line(output, "the record holds: the key %s signed it%s", attested.fingerprint,
                expected ? ", which is the one it should be" : "");
    print_facts(output, "", predicate);
    if (!expected)
        output_line(output, "whose key that is, the record cannot tell: compare the fingerprint by another way");
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "file", options->record);
    output_add_text(object, "fingerprint", attested.fingerprint);
    output_add_number(object, "bits", tt_public_key_bits(attested.key));
    cJSON_AddBoolToObject(object, "expected_key", expected != NULL);
    cJSON_AddItemToObject(object, "statement", TT_TAKE(attested.statement));
    output_result(output, "key attest", object);
    return TT_OK;
}

/* Making one. */

static enum tt_status take_notes(const struct cli_list *list, cJSON **ret_notes, struct tt_error *err)
{
    cJSON *notes TT_CLEANUP(cli_json_cleanup) = cJSON_CreateObject();
    enum tt_status status = notes ? TT_OK : tt_error_memory(err);
    for (size_t i = 0; status == TT_OK && i < list->count; i++)
        status = tt_attest_note(notes, list->values[i], err);
    if (status == TT_OK)
        *ret_notes = TT_TAKE(notes);
    return status;
}

static enum tt_status print(const struct output *output, const struct attest_options *options,
                            const struct provision *token, const struct tt_key_object *key,
                            const struct tt_key_probe *probe, const struct tt_buffer *record, struct tt_error *err)
{
    cJSON *envelope TT_CLEANUP(cli_json_cleanup) = cJSON_Parse((const char *)record->data);
    char fingerprint[TT_FINGERPRINT_SIZE];
    enum tt_status status = tt_public_key_fingerprint(key->public_half, fingerprint, err);
    if (status == TT_OK && options->file)
        status = provision_write(options->file, options->force, record, err);
    if (status != TT_OK)
        return status;
    if (options->file)
        output_line(output, "wrote %s: signed by %s", options->file, fingerprint);
    else if (!output->json)
        fwrite(record->data, 1, record->length, stdout);
    if (!tt_key_probe_is_good(probe))
        tt_log(TT_LOG_WARNING, "the record says that this key cannot serve a station; traintoken key check says why");
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "file", options->file);
    output_add_text(object, "fingerprint", fingerprint);
    cJSON_AddItemToObject(object, "key", provision_key_json(token->session, key));
    cJSON_AddItemToObject(object, "probe", provision_probe_json(probe));
    cJSON_AddItemToObject(object, "envelope", TT_TAKE(envelope));
    output_result(output, "key attest", object);
    return TT_OK;
}

static enum tt_status make(struct output *output, const struct attest_options *options, const char *uri,
                           struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_key_probe probe = {0};
    struct tt_buffer record TT_CLEANUP(tt_buffer_clear) = {0};
    cJSON *notes TT_CLEANUP(cli_json_cleanup) = NULL;
    enum tt_status status = take_notes(&options->notes, &notes, err);
    if (status == TT_OK && options->file && !options->force && access(options->file, F_OK) == 0)
        status = tt_error_set(err, TT_USAGE, "%s is there already; --force replaces it", options->file);
    if (status == TT_OK)
        status = provision_record(&token, &options->audit, NULL, "key attest", err);
    if (status != TT_OK)
        return status;
    status = provision_open(&options->provision, uri, false, &token, err);
    if (status == TT_OK)
        status = tt_key_find(token.session, token.uri, &key, err);
    if (status == TT_OK)
        status = tt_attest_make(token.session, &key, token.pin, notes, &record, &probe, err);
    if (status == TT_OK)
        status = tt_buffer_append(&record, "\n", 1, err);
    status = provision_end(&token, status, err);
    if (status == TT_OK)
        status = print(output, options, &token, &key, &probe, &record, err);
    return status;
}

static enum tt_status check_options(const struct attest_options *options, const char *uri, struct tt_error *err)
{
    if (options->record && uri)
        return tt_error_set(err, TT_USAGE, "--verify looks at a record only; it takes no URI");
    if (options->record && (options->notes.count > 0 || options->file || options->force))
        return tt_error_set(err, TT_USAGE, "--note, -o and --force are for making a record, not for --verify");
    if (!options->record && options->public_key)
        return tt_error_set(err, TT_USAGE, "--public-key is for --verify");
    if (!options->record && !uri)
        return tt_error_set(err, TT_USAGE, "which key? Give its URI, or a record with --verify");
    if (options->force && !options->file)
        return tt_error_set(err, TT_USAGE, "--force is for -o");
    return TT_OK;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key attest", "[URI]",
        "Makes a record of a key that the key itself signs: what it is, on which token, with which attributes, seen\n"
        "through which module and versions. Or, with --verify, checks such a record; that needs no token.",
        0};
    struct attest_options options = {.provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"note", 0, CLI_LIST, &options.notes, "NAME=VALUE", "what else the record is to say; may be repeated"},
        {"output", 'o', CLI_TEXT, &options.file, "FILE", "write to a file that is not there yet"},
        {"force", 0, CLI_FLAG, &options.force, NULL, "replace the file"},
        {"verify", 0, CLI_TEXT, &options.record, "FILE", "check this record and show what it says"},
        {"public-key", 0, CLI_TEXT, &options.public_key, "FILE", "the key (PEM) that the record has to be about"},
        PROVISION_OPTION_ROWS(options.provision),
        AUDIT_OPTION_ROWS(options.audit),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status == TT_OK && !help)
        status = check_options(&options, uri, err);
    if (status == TT_OK && !help)
        status = options.record ? verify(output, &options, err) : make(output, &options, uri, err);
    free(options.notes.values);
    return status;
}

const struct command command_key_attest = {"key attest", "make or check a signed record of a key", run};
