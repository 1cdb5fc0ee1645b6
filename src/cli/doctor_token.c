#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cli/doctor.h"
#include "cli/provision_command.h"
#include "pkcs11/ckr.h"
#include "pkcs11/module.h"
#include "provisioning/key_export.h"

/* What is known so far. Starts zeroed but for the loader. */
struct examined {
    const struct doctor_options *options;
    struct tt_secret *environment; /* the PIN of PRIVATE_KEY_PASSWORD */
    struct tt_pkcs11_uri *uri;     /* NULL: none that can be used */
    struct doctor_loader loader;
    struct tt_cryptoki *cryptoki;
    struct tt_token token;
    char *label; /* the token's; NULL: it was not found */
    struct tt_session *session;
    struct tt_secret *pin;     /* that the token took */
    struct provision recorded; /* for the audit trail: its audit is its own, the rest is of the above */
};

static void leave_module(struct examined *examined)
{
    tt_session_free(TT_TAKE(examined->session));
    tt_cryptoki_free(TT_TAKE(examined->cryptoki));
}

static void examined_clear(struct examined *examined)
{
    leave_module(examined);
    doctor_loader_clear(&examined->loader);
    tt_secret_free(examined->pin);
    tt_secret_free(examined->environment);
    tt_audit_free(examined->recorded.audit);
    tt_uri_free(examined->uri);
    free(examined->label);
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* The key's name. */

static void look_at_uri(struct doctor *doctor, struct examined *examined)
{
    const char *named = examined->options->key.key;
    const char *text = named ? named : setting("PRIVATE_KEY_PATH");
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_TOKEN, "key-uri");
    if (!text) {
        doctor_wrong(doctor, TT_USAGE,
                     "no key is named; set PRIVATE_KEY_PATH to its pkcs11: URI, or give that with --key (traintoken "
                     "token list and key list show URIs, traintoken key generate makes a key)");
        return;
    }
    enum tt_status status = tt_uri_parse(text, &examined->uri, &failure);
    tt_pkcs11_uri_hide_pin((char *)text); /* others can read argv and the environment while we run */
    if (status != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return;
    }
    char *shown TT_CLEANUP(tt_free_cleanup) = tt_uri_text(examined->uri);
    if (tt_uri_pin_is_misplaced(examined->uri))
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "the URI has its PIN in the path; RFC 7512 wants '?pin-value=' there, and a pin-source is safer");
    else if (tt_uri_pin_value(examined->uri) && !tt_uri_pin_source(examined->uri))
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "the URI has the PIN in it, which shows up wherever the URI does; put it into a file that only this "
                   "user may read, and name that by '?pin-source=file:/PATH'");
    else
        doctor_say(doctor, TT_VERDICT_OK, "%s", shown ? shown : "it can be used");
}

/* The module. */

static bool describe_module(struct doctor *doctor, const struct examined *examined)
{
    const struct tt_cryptoki *cryptoki = examined->cryptoki;
    char number[32];
    CK_INFO info = {0};
    CK_RV outcome = cryptoki->functions->C_GetInfo(&info);
    if (outcome != CKR_OK) {
        doctor_wrong(doctor, TT_TOKEN, "%s does not say what it is (%s); see its maker's notes", cryptoki->path,
                     tt_ckr_name(outcome, number));
        return false;
    }
    if (examined->uri && tt_uri_names_library(examined->uri) && !tt_uri_matches_library(examined->uri, &info)) {
        doctor_wrong(doctor, TT_TOKEN,
                     "%s is not the library that the URI names; correct library-manufacturer, library-description "
                     "or library-version there, or name another --module",
                     cryptoki->path);
        return false;
    }
    char *maker TT_CLEANUP(tt_free_cleanup) = tt_token_text(info.manufacturerID, sizeof info.manufacturerID);
    char *what TT_CLEANUP(tt_free_cleanup) = tt_token_text(info.libraryDescription, sizeof info.libraryDescription);
    doctor_say(doctor, TT_VERDICT_OK, "%s: %s, %s, version %d.%d", cryptoki->path, what ? what : "", maker ? maker : "",
               info.libraryVersion.major, info.libraryVersion.minor);
    return true;
}

/* The child for the loader is made just before this process has the module. */
static bool look_at_module(struct doctor *doctor, struct examined *examined)
{
    const struct key_options *key = &examined->options->key;
    const char *wanted = key->module ? key->module : setting("TRAINTOKEN_MODULE");
    char *path TT_CLEANUP(tt_free_cleanup) = NULL;
    char *uri TT_CLEANUP(tt_free_cleanup) = examined->uri ? tt_uri_text(examined->uri) : NULL;
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_TOKEN, "module");
    enum tt_status status = tt_module_path(wanted, examined->uri, &path, &failure);
    if (status == TT_OK && uri)
        status = doctor_loader_prepare(uri, path, key, &examined->loader, &failure);
    if (status == TT_OK)
        status = tt_cryptoki_load(path, NULL, &examined->cryptoki, &failure);
    if (status == TT_OK)
        return describe_module(doctor, examined);
    doctor_fail(doctor, &failure,
                "install the token's software, or name its module with --module or TRAINTOKEN_MODULE");
    return false;
}

/* The token. */

static void count_tokens(struct doctor *doctor, struct examined *examined)
{
    struct tt_token *tokens TT_CLEANUP(tt_free_cleanup) = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    size_t count = 0;
    size_t initialized = 0;
    if (tt_tokens_list(examined->cryptoki, &tokens, &count, &failure) != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return;
    }
    for (size_t i = 0; i < count; i++)
        initialized += (tokens[i].info.flags & CKF_TOKEN_INITIALIZED) != 0;
    doctor_say(doctor, TT_VERDICT_WARNING,
               "the module shows %zu initialized token%s, and none was named; see traintoken token list", initialized,
               initialized == 1 ? "" : "s");
}

static bool look_at_token(struct doctor *doctor, struct examined *examined)
{
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_TOKEN, "token");
    if (!examined->uri) {
        count_tokens(doctor, examined);
        return false;
    }
    enum tt_status status = tt_token_find(examined->cryptoki, examined->uri, true, &examined->token, &failure);
    if (status == TT_OK && !(examined->label = tt_token_label(&examined->token)))
        status = tt_error_memory(&failure);
    if (status != TT_OK) {
        doctor_fail(doctor, &failure, "traintoken token list shows those of every module");
        return false;
    }
    const CK_TOKEN_INFO *info = &examined->token.info;
    char *maker TT_CLEANUP(tt_free_cleanup) = tt_token_text(info->manufacturerID, sizeof info->manufacturerID);
    char *model TT_CLEANUP(tt_free_cleanup) = tt_token_text(info->model, sizeof info->model);
    char *serial TT_CLEANUP(tt_free_cleanup) = tt_token_text(info->serialNumber, sizeof info->serialNumber);
    doctor_say(doctor, TT_VERDICT_OK, "'%s', serial number %s, %s %s, firmware %d.%d", examined->label,
               serial ? serial : "", maker ? maker : "", model ? model : "", info->firmwareVersion.major,
               info->firmwareVersion.minor);
    doctor_begin(doctor, DOCTOR_TOKEN, "login");
    if (info->flags & CKF_LOGIN_REQUIRED)
        doctor_say(doctor, TT_VERDICT_OK, "the token wants a login");
    else
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "token '%s' needs no PIN: whoever reaches it can use its keys; give it one with its own tools",
                   examined->label);
    return true;
}

/* The PIN. */

/* Whether it may be tried: as the token sees it, before anything is tried. */
static bool look_at_pin_state(struct doctor *doctor, const struct examined *examined)
{
    CK_FLAGS flags = examined->token.info.flags;
    bool insists = examined->options->key.last_pin_try;
    doctor_begin(doctor, DOCTOR_TOKEN, "pin-state");
    if (flags & CKF_USER_PIN_LOCKED) {
        doctor_wrong(doctor, TT_PIN,
                     "the PIN of token '%s' is locked; the security officer can unlock it (traintoken token set-pin "
                     "--unlock)",
                     examined->label);
        return false;
    }
    if (!(flags & CKF_USER_PIN_INITIALIZED)) {
        doctor_wrong(doctor, TT_PIN,
                     "token '%s' has no user PIN yet; the security officer gives it one (traintoken token set-pin "
                     "--unlock)",
                     examined->label);
        return false;
    }
    if (flags & CKF_USER_PIN_FINAL_TRY)
        doctor_wrong(doctor, TT_PIN,
                     "token '%s' has 1 PIN try left, which no run would risk; find out which PIN is right, then use it "
                     "once with --last-pin-try",
                     examined->label);
    else if (flags & CKF_USER_PIN_COUNT_LOW)
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "a wrong PIN was tried on token '%s', so few tries are left; find out where it came from. The right "
                   "one mends it: traintoken doctor --last-pin-try, or any run",
                   examined->label);
    else if (flags & CKF_USER_PIN_TO_BE_CHANGED)
        doctor_say(doctor, TT_VERDICT_WARNING, "token '%s' wants its PIN to be changed: traintoken token set-pin",
                   examined->label);
    else
        doctor_say(doctor, TT_VERDICT_OK, "the token tells of no wrong PIN");
    return insists || !(flags & (CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW));
}

/* Where a run would take it from, in the order of tt_pin_get; in new memory. NULL: from nowhere, or out of memory. */
static char *pin_origin(const struct examined *examined)
{
    const char *credentials = setting("CREDENTIALS_DIRECTORY");
    char *file TT_CLEANUP(tt_free_cleanup) =
        credentials && credentials[0] == '/' ? tt_text_format("%s/traintoken-pin", credentials) : NULL;
    if (tt_uri_pin_source(examined->uri))
        return tt_text_format("the pin-source of the key's URI, %s", tt_uri_pin_source(examined->uri));
    if (tt_uri_pin_value(examined->uri))
        return strdup("the pin-value of the key's URI");
    if (examined->environment)
        return strdup("PRIVATE_KEY_PASSWORD");
    if (file && access(file, F_OK) == 0)
        return tt_text_format("the credential %s", file);
    if (examined->options->key.pin_fd >= 0)
        return tt_text_format("descriptor %d", examined->options->key.pin_fd);
    return NULL;
}

/* That the key will be tried is written down first. NULL when it is, else why not. */
static const char *record(struct doctor *doctor, struct examined *examined)
{
    struct tt_error failure = TT_ERROR_INIT;
    struct provision *recorded = &examined->recorded;
    enum tt_status status =
        provision_record(recorded, &examined->options->audit, examined->options->state, "doctor", &failure);
    recorded->token = examined->token;
    recorded->label = examined->label;
    recorded->session = examined->session;
    if (status == TT_OK)
        status = provision_begin(recorded, &failure);
    doctor_begin(doctor, DOCTOR_MACHINE, "audit-trail");
    if (status == TT_OK)
        doctor_say(doctor, TT_VERDICT_OK, "it can be written");
    else
        doctor_fail(doctor, &failure, NULL);
    doctor_begin(doctor, DOCTOR_TOKEN, "pin");
    if (status != TT_OK)
        return "its use could not be recorded in the audit trail";
    provision_watch(recorded);
    return NULL;
}

/* Logs in, once, where that risks nothing. NULL when it is logged in, else why not. */
static const char *log_in(struct doctor *doctor, struct examined *examined)
{
    CK_FLAGS flags = examined->token.info.flags;
    const struct tt_pin_sources sources = {.value = tt_uri_pin_value(examined->uri),
                                           .source = tt_uri_pin_source(examined->uri),
                                           .environment = examined->environment,
                                           .descriptor = examined->options->key.pin_fd};
    struct tt_error failure = TT_ERROR_INIT;
    if (!(flags & CKF_LOGIN_REQUIRED))
        return record(doctor, examined);
    bool may_try = look_at_pin_state(doctor, examined);
    doctor_begin(doctor, DOCTOR_TOKEN, "pin");
    if (flags & CKF_PROTECTED_AUTHENTICATION_PATH) {
        doctor_say(doctor, TT_VERDICT_OK, "it is entered at the token itself");
        return "the PIN is entered at the token; run: traintoken key check";
    }
    char *origin TT_CLEANUP(tt_free_cleanup) = pin_origin(examined);
    if (!origin) {
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "none is given, so that a run would ask on the terminal; a service gets it by a pin-source in the "
                   "key's URI, PRIVATE_KEY_PASSWORD, the credential traintoken-pin, or --pin-fd");
        return "the key check needs the PIN; give it, or run: traintoken key check";
    }
    if (!may_try) {
        doctor_say(doctor, TT_VERDICT_WARNING, "it would come from %s; it was not tried, for it might be the wrong one",
                   origin);
        return "no PIN try was spent on the key check";
    }
    const char *unrecorded = record(doctor, examined);
    if (unrecorded)
        return unrecorded;
    if (tt_session_login(examined->session, CKU_USER, &sources, examined->options->key.last_pin_try, &examined->pin,
                         &failure) != TT_OK) {
        char *from TT_CLEANUP(tt_free_cleanup) = tt_text_format("it came from %s: correct it there", origin);
        doctor_fail(doctor, &failure, from);
        return "the token did not take the PIN";
    }
    doctor_say(doctor, TT_VERDICT_OK, "the token takes the one from %s", origin);
    return NULL;
}

/* The key. */

/* What everybody sees of it. */
static void look_without_login(struct doctor *doctor, struct examined *examined, const char *why)
{
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    char fingerprint[TT_FINGERPRINT_SIZE];
    if (tt_export_find(examined->session, examined->uri, &key, &failure) != TT_OK)
        doctor_fail(doctor, &failure, NULL);
    else if (key && tt_public_key_fingerprint(key, fingerprint, NULL) == TT_OK)
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "its public half is there (%u bits, %s), and the private half was not "
                   "tried: %s",
                   tt_public_key_bits(key), fingerprint, why);
    else
        doctor_say(doctor, TT_VERDICT_WARNING, "it was not looked for, as the token shows it after a login only: %s",
                   why);
}

static bool check_key(struct doctor *doctor, struct examined *examined)
{
    struct tt_key_object key TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_findings findings = {0};
    struct tt_error failure = TT_ERROR_INIT;
    char name[sizeof doctor->name];
    enum tt_status status = tt_key_find(examined->session, examined->uri, &key, &failure);
    if (status == TT_OK)
        status = tt_key_check(examined->session, &key, examined->pin, &examined->options->policy, &findings, &failure);
    status = provision_end(&examined->recorded, status, &failure);
    if (status != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return false;
    }
    for (size_t i = 0; i < findings.count; i++) {
        const struct tt_finding *finding = &findings.items[i];
        bool is_key = strcmp(finding->name, "key") == 0;
        snprintf(name, sizeof name, "%s%s", is_key ? "" : "key-", finding->name);
        doctor_begin(doctor, DOCTOR_TOKEN, name);
        if (finding->verdict == TT_VERDICT_WRONG)
            doctor_wrong(doctor, TT_TOKEN, "%s", finding->says);
        else
            doctor_say(doctor, finding->verdict, "%s", finding->says);
    }
    return findings.is_probed;
}

/* Gives whether the key was tried. */
static bool look_at_key(struct doctor *doctor, struct examined *examined)
{
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_TOKEN, "key");
    if (tt_session_open(examined->cryptoki, &examined->token, false, &examined->session, &failure) != TT_OK) {
        doctor_fail(doctor, &failure, "see whether another program holds the token");
        return false;
    }
    const char *why_not = log_in(doctor, examined);
    doctor_begin(doctor, DOCTOR_TOKEN, "key");
    if (!why_not)
        return check_key(doctor, examined);
    look_without_login(doctor, examined, why_not);
    return false;
}

void doctor_token(struct doctor *doctor, const struct doctor_options *options)
{
    struct examined examined TT_CLEANUP(examined_clear) = {.options = options, .loader = DOCTOR_LOADER_INIT};
    struct tt_error failure = TT_ERROR_INIT;
    doctor_begin(doctor, DOCTOR_TOKEN, "pin");
    if (tt_pin_take_environment(&examined.environment, &failure) != TT_OK)
        doctor_fail(doctor, &failure, "correct it there");
    look_at_uri(doctor, &examined);
    if (!look_at_module(doctor, &examined) || !look_at_token(doctor, &examined))
        return;
    bool was_tried = look_at_key(doctor, &examined);
    leave_module(&examined); /* for a token that serves one process at a time */
    doctor_begin(doctor, DOCTOR_TOKEN, "loader");
    if (was_tried)
        doctor_loader_try(doctor, &examined.loader, &options->key, examined.pin);
    else
        doctor_say(doctor, TT_VERDICT_WARNING, "which one opens the key shows only when the key can be tried");
}
