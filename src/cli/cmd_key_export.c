#include <string.h>

#include "cli/provision_command.h"
#include "crypto/public_key.h"
#include "protocol/record.h"
#include "protocol/token_use.h"
#include "provisioning/key_export.h"
#include "provisioning/subject.h"

struct export_options {
    const char *format_name;
    enum tt_export_format format;
    const char *subject;
    int days;
    const char *loader;
    const char *file;
    bool force;
    bool login;
    struct audit_options audit;
    struct provision_options provision;
};

struct exported {
    struct tt_buffer text;
    char fingerprint[TT_FINGERPRINT_SIZE];
    unsigned bits;
    const char *padding; /* of the signature; NULL where nothing was signed */
    bool has_logged_in;
};

static void exported_clear(struct exported *exported)
{
    tt_buffer_clear(&exported->text);
}

static enum tt_status describe(const EVP_PKEY *key, struct exported *exported, struct tt_error *err)
{
    exported->bits = tt_public_key_bits(key);
    return tt_public_key_fingerprint(key, exported->fingerprint, err);
}

/* Without a login where the token shows the public half. */
static enum tt_status export_public(const struct export_options *options, const char *uri, struct exported *exported,
                                    struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_key_object object TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_key_probe probe = {0};
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = options->login ? provision_record(&token, &options->audit, NULL, "key export", err) : TT_OK;
    if (status != TT_OK)
        return status;
    status = provision_load(&options->provision, uri, &token, err);
    if (status == TT_OK)
        status = provision_find(&token, err);
    if (status == TT_OK)
        status = tt_session_open(token.cryptoki, &token.token, false, &token.session, err);
    if (status == TT_OK && !options->login)
        status = tt_export_find(token.session, token.uri, &key, err);
    if (status == TT_OK && !key) {
        tt_session_free(TT_TAKE(token.session));
        exported->has_logged_in = true;
        status = provision_login(&options->provision, false, &token, err);
        if (status == TT_OK)
            status = tt_key_find(token.session, token.uri, &object, err);
        if (status == TT_OK && !object.public_half)
            status = tt_error_set(err, TT_TOKEN, "the token shows no public half of an RSA key there");
        if (status == TT_OK && options->login)
            status = tt_key_probe(token.session, &object, token.pin, &probe, err);
        if (status == TT_OK && options->login && probe.unwrap.way == TT_PROBE_NO && probe.sign.way == TT_PROBE_NO)
            status = tt_error_set(err, TT_TOKEN,
                                  "the private key does nothing that its public half confirms; traintoken key check "
                                  "says more");
        key = TT_TAKE(object.public_half);
    }
    status = provision_end(&token, status, err);
    if (status == TT_OK)
        status = describe(key, exported, err);
    if (status == TT_OK)
        status = tt_export_public(key, options->format, &exported->text, err);
    return status;
}

/* Signing goes the way that the station's own signatures go. */
static enum tt_status export_signed(const struct export_options *options, const char *uri, const X509_NAME *subject,
                                    struct exported *exported, struct tt_error *err)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_pkcs11_source *source TT_CLEANUP(tt_pkcs11_source_free_cleanup) = NULL;
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    struct key_options from = {.key = uri,
                               .module = options->provision.module,
                               .loader = options->loader,
                               .pin_fd = options->provision.pin_fd,
                               .last_pin_try = options->provision.last_pin_try};
    enum tt_padding_by padding_by = TT_PADDING_UNKNOWN;
    struct tt_token_use use = {0};
    enum tt_status status = command_key_source(&from, &source, err);
    if (status == TT_OK)
        status = audit_open(&options->audit, NULL, &audit, err);
    if (status != TT_OK)
        return status;
    struct tt_key_source opener = tt_pkcs11_key_source(source);
    record_command(audit, "key export", NULL, NULL);
    status = token_open(&opener, audit, NULL, "its owner", &use, &key, err);
    if (status == TT_OK)
        tt_private_key_purpose(key, options->format_name);
    if (status == TT_OK)
        status = describe(tt_private_key_public(key), exported, err);
    if (status == TT_OK && options->format == TT_EXPORT_REQUEST)
        status = tt_export_request(key, subject, &exported->text, &padding_by, err);
    else if (status == TT_OK)
        status = tt_export_certificate(key, subject, (unsigned)options->days, &exported->text, &padding_by, err);
    status = status == TT_OK ? record_decision(audit, NULL, err) : record_failure(audit, status, err);
    exported->padding = output_padding_name(padding_by);
    exported->has_logged_in = true;
    return status;
}

static bool is_text(const struct export_options *options)
{
    return options->format != TT_EXPORT_DER;
}

static void print_json(const struct output *output, const struct export_options *options,
                       const struct exported *exported)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "format", options->format_name);
    output_add_text(object, "file", options->file);
    output_add_text(object, "fingerprint", exported->fingerprint);
    output_add_number(object, "bits", exported->bits);
    cJSON_AddBoolToObject(object, "login", exported->has_logged_in);
    if (exported->padding)
        output_add_text(object, "padding", exported->padding);
    if (is_text(options))
        output_add_text(object, "content", (const char *)exported->text.data);
    else
        output_add_hex(object, "content_hex", exported->text.data, exported->text.length);
    output_result(output, "key export", object);
}

static enum tt_status print(const struct output *output, const struct export_options *options,
                            const struct exported *exported, struct tt_error *err)
{
    if (options->file) {
        enum tt_status status = provision_write(options->file, options->force, &exported->text, err);
        if (status != TT_OK)
            return status;
        output_line(output, "wrote %s (%s)", options->file, exported->fingerprint);
    } else if (!output->json) {
        bool ends = !is_text(options) || exported->text.data[exported->text.length - 1] == '\n';
        fwrite(exported->text.data, 1, exported->text.length, stdout);
        if (!ends)
            putchar('\n');
    }
    print_json(output, options, exported);
    return TT_OK;
}

static enum tt_status check_options(const struct output *output, struct export_options *options, struct tt_error *err)
{
    enum tt_status status = tt_export_format_parse(options->format_name, &options->format, err);
    if (status != TT_OK)
        return status;
    bool is_signed = options->format == TT_EXPORT_REQUEST || options->format == TT_EXPORT_CERTIFICATE;
    if (is_signed && !options->subject)
        return tt_error_set(err, TT_USAGE, "a %s needs a subject: give it with --subject, as in /CN=alpha/O=Hospital",
                            options->format_name);
    if (!is_signed && options->subject)
        return tt_error_set(err, TT_USAGE, "--subject is for the formats request and certificate");
    if (!is_signed && options->loader)
        return tt_error_set(err, TT_USAGE, "--key-loader is for the formats request and certificate");
    if (options->format != TT_EXPORT_CERTIFICATE && options->days != 0)
        return tt_error_set(err, TT_USAGE, "--days is for the format certificate");
    options->days = options->days ? options->days : TT_EXPORT_DAYS;
    if (options->days > TT_EXPORT_DAYS_LIMIT)
        return tt_error_set(err, TT_USAGE, "--days takes 1 to %d", (int)TT_EXPORT_DAYS_LIMIT);
    if (options->force && !options->file)
        return tt_error_set(err, TT_USAGE, "--force is for -o");
    if (options->format == TT_EXPORT_DER && !options->file && !output->json && isatty(STDOUT_FILENO))
        return tt_error_set(err, TT_USAGE, "DER is nothing for a terminal; name a file with -o");
    return TT_OK;
}

static enum tt_status run(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "key export", "URI",
        "Gives the public half of a key away: as PEM, DER, the hexadecimal of train configurations, or fingerprint.\n"
        "That needs no login where the token shows it. Or the key signs a request for a certificate, or a certificate.",
        1};
    struct export_options options = {.format_name = "pem", .provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"format", 0, CLI_TEXT, &options.format_name, "FORMAT",
         "pem (default), der, hex, fingerprint, request or certificate"},
        {"subject", 0, CLI_TEXT, &options.subject, "DN", "whose key it is, as in /CN=alpha/O=Hospital"},
        {"days", 0, CLI_NUMBER, &options.days, "N", "how long the certificate is valid (default 365)"},
        {"key-loader", 0, CLI_TEXT, &options.loader, "LOADER",
         "for these two: auto, libp11, provider[:NAME] or engine[:ID] (TRAINTOKEN_KEY_LOADER)"},
        {"login", 0, CLI_FLAG, &options.login, NULL, "log in, and try whether the private half belongs to it"},
        {"output", 'o', CLI_TEXT, &options.file, "FILE", "write to a file that is not there yet"},
        {"force", 0, CLI_FLAG, &options.force, NULL, "replace the file"},
        PROVISION_OPTION_ROWS(options.provision),
        AUDIT_OPTION_ROWS(options.audit),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    struct exported exported TT_CLEANUP(exported_clear) = {0};
    X509_NAME *subject TT_CLEANUP(tt_subject_cleanup) = NULL;
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    status = check_options(output, &options, err);
    if (status == TT_OK && options.subject)
        status = tt_subject_parse(options.subject, &subject, err);
    if (status == TT_OK && subject)
        status = export_signed(&options, uri, subject, &exported, err);
    else if (status == TT_OK)
        status = export_public(&options, uri, &exported, err);
    if (status == TT_OK)
        status = print(output, &options, &exported, err);
    return status;
}

const struct command command_key_export = {"key export", "give the public half of a key away", run};
