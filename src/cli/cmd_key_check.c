#include "cli/provision_command.h"
#include "provisioning/key_check.h"

struct check_options {
    const char *policy;
    struct audit_options audit;
    struct provision_options provision;
};

static cJSON *list_json(const struct tt_findings *findings)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < findings->count; i++) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "name", findings->items[i].name);
        cJSON_AddStringToObject(one, "verdict", tt_verdict_name(findings->items[i].verdict));
        output_add_text(one, "says", findings->items[i].says);
        cJSON_AddItemToArray(list, one);
    }
    return list;
}

static cJSON *facts(const struct check_options *options, const struct provision *token, const struct tt_key_object *key,
                    const struct tt_findings *findings)
{
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "policy", options->policy);
    cJSON_AddItemToObject(object, "checks", list_json(findings));
    cJSON_AddItemToObject(object, "key", provision_key_json(token->session, key));
    if (findings->is_probed)
        cJSON_AddItemToObject(object, "probe", provision_probe_json(&findings->probe));
    else
        cJSON_AddNullToObject(object, "probe");
    return object;
}

static enum tt_status judge(struct output *output, const struct check_options *options, const struct provision *token,
                            const struct tt_key_object *key, const struct tt_findings *findings, struct tt_error *err)
{
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_key_uri(token->session, key);
    size_t warnings = 0;
    output_line(output, "%s", uri ? uri : "the key");
    for (size_t i = 0; i < findings->count; i++) {
        const struct tt_finding *finding = &findings->items[i];
        warnings += finding->verdict == TT_VERDICT_WARNING;
        output_line(output, "  %-7s  %-19s  %s", tt_verdict_name(finding->verdict), finding->name, finding->says);
    }
    if (findings->wrong == 0) {
        output_line(output, "it can serve a station%s", warnings ? ", with the warnings above" : "");
        output_result(output, "key check", facts(options, token, key, findings));
        return TT_OK;
    }
    output->facts = facts(options, token, key, findings);
    const struct tt_finding *first = findings->items;
    while (first->verdict != TT_VERDICT_WRONG)
        first++;
    return tt_error_set(err, TT_TOKEN, "the key %s: %zu of %zu checks failed, the first being '%s': %s",
                        options->policy ? "is not as the policy wants" : "cannot serve a station", findings->wrong,
                        findings->count, first->name, first->says);
}

static enum tt_status check(struct output *output, const struct check_options *options, const char *uri,
                            struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_key_policy policy = {0};
    struct tt_findings findings = {0};
    enum tt_status status = options->policy ? tt_policy_read(options->policy, &policy, err) : TT_OK;
    if (status == TT_OK)
        status = provision_record(&token, &options->audit, NULL, "key check", err);
    if (status != TT_OK)
        return status;
    status = provision_open(&options->provision, uri, false, &token, err);
    if (status == TT_OK)
        status = tt_key_find(token.session, token.uri, &key, err);
    if (status == TT_OK)
        status = tt_key_check(token.session, &key, token.pin, &policy, &findings, err);
    status = provision_end(&token, status, err);
    if (status == TT_OK)
        status = judge(output, options, &token, &key, &findings, err);
    return status;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key check", "URI",
        "Says whether a key can serve a station: how well the token guards it, what it may be used for, and, by "
        "really\n"
        "doing both, whether it can unwrap a train's key and sign. One verdict per line: ok, warning or wrong.",
        1};
    struct check_options options = {.provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"policy", 0, CLI_TEXT, &options.policy, "FILE", "wishes (JSON) that turn warnings into failures"},
        PROVISION_OPTION_ROWS(options.provision),
        AUDIT_OPTION_ROWS(options.audit),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return check(output, &options, uri, err);
}

const struct command command_key_check = {"key check", "say whether a key can serve a station", run};
