#include <string.h>

#include "base/text.h"
#include "cli/provision_command.h"
#include "provisioning/token_init.h"
#include "provisioning/token_list.h"
#include "provisioning/token_pin.h"

/* Flags that matter, of the user's PIN in the order of what is worst. */

static const char *pin_state(CK_FLAGS flags)
{
    return !(flags & CKF_LOGIN_REQUIRED)         ? "not-needed"
           : !(flags & CKF_USER_PIN_INITIALIZED) ? "not-set"
           : flags & CKF_USER_PIN_LOCKED         ? "locked"
           : flags & CKF_USER_PIN_FINAL_TRY      ? "final-try"
           : flags & CKF_USER_PIN_COUNT_LOW      ? "count-low"
           : flags & CKF_USER_PIN_TO_BE_CHANGED  ? "to-be-changed"
                                                 : "set";
}

static const char *officer_pin_state(CK_FLAGS flags)
{
    return flags & CKF_SO_PIN_LOCKED          ? "locked"
           : flags & CKF_SO_PIN_FINAL_TRY     ? "final-try"
           : flags & CKF_SO_PIN_COUNT_LOW     ? "count-low"
           : flags & CKF_SO_PIN_TO_BE_CHANGED ? "to-be-changed"
                                              : "set";
}

/* "count-low" and so on for people. */
static const char *pin_words(const char *state)
{
    static const char *const words[][2] = {{"not-needed", "NO PIN NEEDED"},
                                           {"not-set", "no PIN set yet"},
                                           {"locked", "PIN LOCKED"},
                                           {"final-try", "PIN: 1 TRY LEFT"},
                                           {"count-low", "PIN: few tries left"},
                                           {"to-be-changed", "PIN TO BE CHANGED (traintoken token set-pin)"},
                                           {"set", "PIN set"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i][0], state) == 0)
            return words[i][1];
    return state;
}

/* The URI to paste: of a token without a name yet, by its slot. */
static char *uri_of(const struct tt_token *token)
{
    if (token->info.flags & CKF_TOKEN_INITIALIZED)
        return tt_token_uri(token, NULL, NULL, NULL, 0);
    return tt_text_format("pkcs11:slot-id=%lu", token->slot);
}

static cJSON *token_json(const struct tt_token *token)
{
    CK_FLAGS flags = token->info.flags;
    bool is_initialized = flags & CKF_TOKEN_INITIALIZED;
    cJSON *object = cJSON_CreateObject();
    char *uri TT_CLEANUP(tt_free_cleanup) = uri_of(token);
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(token);
    char *serial TT_CLEANUP(tt_free_cleanup) = tt_token_text(token->info.serialNumber, sizeof token->info.serialNumber);
    char *manufacturer TT_CLEANUP(tt_free_cleanup) =
        tt_token_text(token->info.manufacturerID, sizeof token->info.manufacturerID);
    char *model TT_CLEANUP(tt_free_cleanup) = tt_token_text(token->info.model, sizeof token->info.model);
    output_add_text(object, "uri", uri);
    output_add_number(object, "slot", token->slot);
    output_add_text(object, "label", is_initialized ? label : NULL);
    output_add_text(object, "serial", serial);
    output_add_text(object, "manufacturer", manufacturer);
    output_add_text(object, "model", model);
    cJSON_AddBoolToObject(object, "initialized", is_initialized);
    cJSON_AddBoolToObject(object, "login_required", (flags & CKF_LOGIN_REQUIRED) != 0);
    output_add_text(object, "pin", is_initialized ? pin_state(flags) : NULL);
    output_add_text(object, "officer_pin", is_initialized ? officer_pin_state(flags) : NULL);
    cJSON_AddBoolToObject(object, "keypad", (flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0);
    cJSON_AddBoolToObject(object, "write_protected", (flags & CKF_WRITE_PROTECTED) != 0);
    return object;
}

/* Listing. */

struct listing {
    struct output *output;
    cJSON *tokens;
};

static const char *officer_words(const char *state)
{
    return strcmp(state, "set") == 0             ? ""
           : strcmp(state, "to-be-changed") == 0 ? ", the security officer's has to be changed (set-pin --so)"
                                                 : ", the security officer's has been tried wrongly";
}

static void print_seen(void *user, const struct tt_token *token, const char *name, const char *path)
{
    struct listing *listing = user;
    CK_FLAGS flags = token->info.flags;
    char *uri TT_CLEANUP(tt_free_cleanup) = uri_of(token);
    char *manufacturer TT_CLEANUP(tt_free_cleanup) =
        tt_token_text(token->info.manufacturerID, sizeof token->info.manufacturerID);
    char *model TT_CLEANUP(tt_free_cleanup) = tt_token_text(token->info.model, sizeof token->info.model);
    cJSON *object = token_json(token);
    output_add_text(object, "module", path);
    output_add_text(object, "module_name", name);
    cJSON_AddItemToArray(listing->tokens, object);
    output_line(listing->output, "%s", uri ? uri : "?");
    if (flags & CKF_TOKEN_INITIALIZED)
        output_line(listing->output, "    %s%s%s%s", pin_words(pin_state(flags)),
                    officer_words(officer_pin_state(flags)),
                    flags & CKF_PROTECTED_AUTHENTICATION_PATH ? ", keypad" : "",
                    flags & CKF_WRITE_PROTECTED ? ", write-protected" : "");
    else
        output_line(listing->output, "    not initialized: traintoken token init");
    output_line(listing->output, "    %s, %s; module %s", manufacturer && *manufacturer ? manufacturer : "?",
                model && *model ? model : "?", path ? path : "?");
}

static enum tt_status list(struct output *output, const struct cli_list *modules, struct tt_error *err)
{
    cJSON *tokens TT_CLEANUP(cli_json_cleanup) = cJSON_CreateArray();
    struct listing listing = {output, tokens};
    const char *variable = getenv("TRAINTOKEN_MODULE");
    size_t searched = modules->count;
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < modules->count; i++)
        status = tt_tokens_of_module(modules->values[i], print_seen, &listing, err);
    if (modules->count == 0 && variable && *variable) {
        searched = 1;
        status = tt_tokens_of_module(variable, print_seen, &listing, err);
    } else if (modules->count == 0) {
        status = tt_tokens_everywhere(print_seen, &listing, &searched, err);
    }
    if (status != TT_OK)
        return status;
    if (cJSON_GetArraySize(tokens) == 0)
        output_line(output, "no token in %zu module%s", searched, searched == 1 ? "" : "s");
    cJSON *object = cJSON_CreateObject();
    output_add_number(object, "modules", searched);
    cJSON_AddItemToObject(object, "tokens", TT_TAKE(tokens));
    output_result(output, "token list", object);
    return TT_OK;
}

static enum tt_status run_list(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "token list", "", "Lists the tokens of every module that p11-kit knows, as URIs ready to paste. Needs no PIN.",
        0};
    struct cli_list modules = {0};
    const struct cli_option own[] = {{"module", 0, CLI_LIST, &modules, "PATH",
                                      "look in this PKCS#11 module only (TRAINTOKEN_MODULE); may be repeated"},
                                     {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, NULL, &help, err);
    if (status == TT_OK && !help)
        status = list(output, &modules, err);
    free(modules.values);
    return status;
}

const struct command command_token_list = {"token list", "list the tokens of all modules", run_list};

/* PINs. */

struct pin_wish {
    const char *name;
    const char *variable;
    const char *credential;
    const char *option;
    int descriptor;
    bool is_new;
};

/* The environment is emptied of it in any case. */
static enum tt_status get_pin(const struct pin_wish *wish, const char *token, bool keypad, struct tt_secret **ret_pin,
                              struct tt_error *err)
{
    struct tt_secret *environment TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_pin_take_variable(wish->variable, &environment, err);
    if (status != TT_OK || keypad)
        return status;
    const struct tt_pin_sources sources = {.environment = environment,
                                           .descriptor = wish->descriptor,
                                           .may_prompt = true,
                                           .token = token,
                                           .name = wish->name,
                                           .variable = wish->variable,
                                           .credential = wish->credential,
                                           .option = wish->option,
                                           .is_new = wish->is_new};
    return tt_pin_get(&sources, ret_pin, err);
}

/* Initializing. */

struct init_options {
    const char *label;
    int officer_pin_fd;
    bool erase;
    bool yes;
    struct provision_options provision;
};

static enum tt_status confirm_erasing(const struct tt_token *token, bool yes, struct tt_error *err)
{
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(token);
    char *uri TT_CLEANUP(tt_free_cleanup) = tt_token_uri(token, NULL, NULL, NULL, 0);
    char *question TT_CLEANUP(tt_free_cleanup) = tt_text_format(
        "Every key on the token '%s' will be gone for good. Type its label to erase it", uri ? uri : "?");
    if (!label || !question)
        return tt_error_memory(err);
    return yes ? TT_OK : provision_confirm(question, label, "--yes", err);
}

static enum tt_status initialize(struct output *output, const struct init_options *options, const char *uri,
                                 struct tt_error *err)
{
    struct provision place TT_CLEANUP(provision_close) = {0};
    struct tt_secret *officer TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *user TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_token made;
    if (!options->label)
        return tt_error_set(err, TT_USAGE, "the new token needs a name: give it with --label");
    enum tt_status status = provision_label(options->label, TT_TOKEN_LABEL_LIMIT, err);
    if (status == TT_OK)
        status = provision_load(&options->provision, uri, &place, err);
    if (status == TT_OK)
        status = tt_token_init_choose(place.cryptoki, place.uri, options->label, options->erase, &place.token, err);
    bool again = status == TT_OK && (place.token.info.flags & CKF_TOKEN_INITIALIZED);
    bool keypad = place.token.info.flags & CKF_PROTECTED_AUTHENTICATION_PATH;
    if (again)
        status = confirm_erasing(&place.token, options->yes, err);
    const struct pin_wish officer_wish = {"security officer's PIN", "TRAINTOKEN_SO_PIN",
                                          "traintoken-so-pin",      "--so-pin-fd",
                                          options->officer_pin_fd,  !again};
    const struct pin_wish user_wish = {"new PIN",  "PRIVATE_KEY_PASSWORD",    "traintoken-pin",
                                       "--pin-fd", options->provision.pin_fd, true};
    if (status == TT_OK)
        status = get_pin(&officer_wish, options->label, keypad, &officer, err);
    if (status == TT_OK)
        status = get_pin(&user_wish, options->label, keypad, &user, err);
    if (status == TT_OK && tt_pin_equal(officer, user))
        status = tt_error_set(err, TT_PIN,
                              "the security officer's PIN and the user's are the same; nothing was changed: who uses "
                              "the token must not be able to reset it");
    if (status == TT_OK)
        status = tt_token_init(place.cryptoki, &place.token, options->label, officer, user,
                               options->provision.last_pin_try, &made, err);
    if (status != TT_OK)
        return status;
    char *name TT_CLEANUP(tt_free_cleanup) = uri_of(&made);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddItemToObject(object, "token", token_json(&made));
    cJSON_AddBoolToObject(object, "erased", again);
    output_line(output, "initialized the token '%s'%s", name ? name : "?", again ? ", which was erased" : "");
    output_result(output, "token init", object);
    return TT_OK;
}

static enum tt_status run_init(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "token init", "[URI]",
        "Makes a token: gives it a label, a PIN for its security officer and one for its user. URI names an empty "
        "slot\n"
        "(pkcs11:slot-id=N) or token (serial=...); without it, the only one that waits for being initialized.",
        0};
    struct init_options options = {.officer_pin_fd = -1, .provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"label", 0, CLI_TEXT, &options.label, "LABEL", "name of the token, up to 32 bytes"},
        {"so-pin-fd", 0, CLI_NUMBER, &options.officer_pin_fd, "N",
         "read the security officer's PIN from this descriptor (TRAINTOKEN_SO_PIN)"},
        {"pin-fd", 0, CLI_NUMBER, &options.provision.pin_fd, "N",
         "read the user's PIN from this descriptor (PRIVATE_KEY_PASSWORD)"},
        {"erase", 0, CLI_FLAG, &options.erase, NULL, "also a token that is initialized, whose keys are lost; asks"},
        {"yes", 0, CLI_FLAG, &options.yes, NULL, "do not ask"},
        {"last-pin-try", 0, CLI_FLAG, &options.provision.last_pin_try, NULL,
         "erase even when a wrong PIN would lock the token"},
        PROVISION_MODULE_ROW(options.provision),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return initialize(output, &options, uri, err);
}

const struct command command_token_init = {"token init", "make a token", run_init};

/* Changing PINs. */

struct pin_options {
    bool officer;
    bool unlock;
    int new_pin_fd;
    struct provision_options provision;
};

static enum tt_status login(const struct pin_options *options, struct provision *token, struct tt_error *err)
{
    if (!options->officer && !options->unlock)
        return provision_login(&options->provision, true, token, err);
    struct tt_secret *environment TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_pin_take_variable("TRAINTOKEN_SO_PIN", &environment, err);
    const struct tt_pin_sources sources = {.environment = environment,
                                           .descriptor = options->provision.pin_fd,
                                           .may_prompt = true,
                                           .name = "security officer's PIN",
                                           .variable = "TRAINTOKEN_SO_PIN",
                                           .credential = "traintoken-so-pin",
                                           .option = "--pin-fd"};
    if (status == TT_OK)
        status = tt_session_open(token->cryptoki, &token->token, true, &token->session, err);
    if (status == TT_OK)
        status = tt_session_login(token->session, CKU_SO, &sources, options->provision.last_pin_try, &token->pin, err);
    return status;
}

static enum tt_status set_pin(struct output *output, const struct pin_options *options, const char *uri,
                              struct tt_error *err)
{
    struct provision token TT_CLEANUP(provision_close) = {0};
    struct tt_secret *new_pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    const char *whose = options->officer ? "security officer" : "user";
    if (options->officer && options->unlock)
        return tt_error_set(err, TT_USAGE,
                            "--so changes the security officer's own PIN, --unlock gives the user a new "
                            "one: choose one of them");
    const struct pin_wish wish = {options->officer ? "new security officer's PIN" : "new PIN",
                                  "TRAINTOKEN_NEW_PIN",
                                  "traintoken-new-pin",
                                  "--new-pin-fd",
                                  options->new_pin_fd,
                                  true};
    enum tt_status status = provision_load(&options->provision, uri, &token, err);
    if (status == TT_OK)
        status = provision_find(&token, err);
    if (status == TT_OK)
        status = login(options, &token, err);
    bool keypad = token.token.info.flags & CKF_PROTECTED_AUTHENTICATION_PATH;
    if (status == TT_OK)
        status = get_pin(&wish, token.label, keypad, &new_pin, err);
    if (status == TT_OK)
        status = options->unlock ? tt_token_unlock(token.session, new_pin, err)
                                 : tt_token_set_pin(token.session, token.pin, new_pin, err);
    if (status != TT_OK)
        return status;
    char *name TT_CLEANUP(tt_free_cleanup) = uri_of(&token.token);
    cJSON *object = cJSON_CreateObject();
    output_add_text(object, "token", name);
    output_add_text(object, "pin_of", options->officer ? "officer" : "user");
    output_line(output, "the %s of token '%s' has a new PIN", whose, token.label);
    output_result(output, "token set-pin", object);
    return TT_OK;
}

static enum tt_status run_set_pin(struct output *output, int argc, char **argv, struct tt_error *err)
{
    static const struct cli_usage usage = {
        "token set-pin", "URI",
        "Changes a token's PIN: the user's, with --so the security officer's. With --unlock the security officer "
        "gives\n"
        "the user a new one, where it is locked or forgotten. A new PIN is asked for twice.",
        1};
    struct pin_options options = {.new_pin_fd = -1, .provision = PROVISION_OPTIONS_INIT};
    const struct cli_option own[] = {
        {"so", 0, CLI_FLAG, &options.officer, NULL, "change the security officer's PIN (TRAINTOKEN_SO_PIN)"},
        {"unlock", 0, CLI_FLAG, &options.unlock, NULL, "as the security officer, give the user a new PIN"},
        {"new-pin-fd", 0, CLI_NUMBER, &options.new_pin_fd, "N",
         "read the new PIN from this descriptor (TRAINTOKEN_NEW_PIN)"},
        PROVISION_OPTION_ROWS(options.provision),
        {0}};
    const struct cli_option *common = command_common_options(output, NULL);
    const char *uri = NULL;
    bool help = false;
    enum tt_status status = cli_parse(argc, argv, &usage, own, common, &uri, &help, err);
    if (status != TT_OK || help)
        return status;
    return set_pin(output, &options, uri, err);
}

const struct command command_token_set_pin = {"token set-pin", "change a token's PIN", run_set_pin};
