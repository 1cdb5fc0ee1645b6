#include "pkcs11/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "pkcs11/prompt.h"

/* One byte more than a PIN, for the NUL that Cryptoki's callers and UI need. */
static enum tt_status new_pin(struct tt_secret **ret_pin, struct tt_error *err)
{
    return tt_secret_new(TT_PIN_LIMIT + 1, ret_pin, err);
}

static enum tt_status too_long(const char *what, enum tt_status status, struct tt_error *err)
{
    return tt_error_set(err, status, "the PIN from %s is longer than %d bytes", what, (int)TT_PIN_LIMIT);
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    int lower = digit | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

enum tt_status tt_pin_decode(const char *text, size_t length, struct tt_secret **ret_pin, struct tt_error *err)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = new_pin(&pin, err);
    if (status != TT_OK)
        return status;
    for (size_t i = 0; i < length; i++) {
        int byte = (unsigned char)text[i];
        if (byte == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
            byte = high < 0 || low < 0 ? 0 : 16 * high + low;
            i += 2;
        } else if (byte <= ' ' || byte == 0x7F) {
            byte = 0;
        }
        if (byte == 0)
            return tt_error_set(err, TT_USAGE,
                                "the pin-value in the key's URI is not percent-encoded text without "
                                "NUL");
        if (pin->length == TT_PIN_LIMIT)
            return too_long("the key's URI", TT_USAGE, err);
        pin->data[pin->length++] = (uint8_t)byte;
    }
    if (pin->length == 0)
        return tt_error_set(err, TT_USAGE, "the pin-value in the key's URI is empty");
    *ret_pin = TT_TAKE(pin);
    return TT_OK;
}

bool tt_pin_equal(const struct tt_secret *one, const struct tt_secret *other)
{
    return one && other && one->length == other->length && CRYPTO_memcmp(one->data, other->data, one->length) == 0;
}

enum tt_status tt_pin_take_environment(struct tt_secret **ret_pin, struct tt_error *err)
{
    return tt_pin_take_variable("PRIVATE_KEY_PASSWORD", ret_pin, err);
}

enum tt_status tt_pin_take_variable(const char *name, struct tt_secret **ret_pin, struct tt_error *err)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    char *value = getenv(name);
    if (!value || value[0] == '\0') {
        *ret_pin = NULL;
        return TT_OK;
    }
    enum tt_status status = new_pin(&pin, err);
    if (status != TT_OK)
        return status;
    size_t length = strlen(value);
    bool fits = length <= TT_PIN_LIMIT;
    if (fits) {
        memcpy(pin->data, value, length);
        pin->length = length;
    }
    tt_wipe(value, length); /* the string itself, which /proc and a core would show after unsetenv */
    unsetenv(name);
    if (!fits)
        return too_long(name, TT_PIN, err);
    *ret_pin = TT_TAKE(pin);
    return TT_OK;
}

/* Reads one line (a CR at its end is dropped) into a new secret, byte by byte: what follows stays unread. */
static enum tt_status read_line(int descriptor, const char *what, struct tt_secret **ret_pin, struct tt_error *err)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = new_pin(&pin, err);
    if (status != TT_OK)
        return status;
    for (;;) {
        uint8_t *place = pin->data + pin->length; /* the last one, beyond the limit, tells a PIN that is too long */
        ssize_t count = read(descriptor, place, 1);
        if (count < 0 && errno == EINTR) {
            status = tt_interrupt_check(err);
            if (status != TT_OK)
                return status;
            continue;
        }
        if (count < 0)
            return tt_error_errno(err, TT_PIN, "cannot read the PIN from %s", what);
        if (count == 0 || *place == '\n')
            break;
        if (*place == '\0')
            return tt_error_set(err, TT_PIN, "the PIN from %s has a NUL in it", what);
        if (pin->length == TT_PIN_LIMIT)
            return too_long(what, TT_PIN, err);
        pin->length++;
    }
    pin->data[pin->length] = '\0';
    if (pin->length > 0 && pin->data[pin->length - 1] == '\r')
        pin->data[--pin->length] = '\0';
    if (pin->length == 0)
        return tt_error_set(err, TT_PIN, "the PIN from %s is empty", what);
    *ret_pin = TT_TAKE(pin);
    return TT_OK;
}

/* Opened with O_NONBLOCK, so that a pipe without a writer does not hang but is empty; read without, so that one with a
 * slow writer (a shell's <(command)) is waited for. */
static enum tt_status read_file(const char *path, const char *what, struct tt_secret **ret_pin, struct tt_error *err)
{
    int descriptor TT_CLEANUP(tt_close_cleanup) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat facts;
    if (descriptor < 0 || fstat(descriptor, &facts) != 0)
        return tt_error_errno(err, TT_PIN, "cannot open %s (%s) for the PIN", path, what);
    if (S_ISDIR(facts.st_mode))
        return tt_error_set(err, TT_PIN, "%s (%s) is a folder, not a file with the PIN", path, what);
    if (fcntl(descriptor, F_SETFL, 0) != 0)
        return tt_error_errno(err, TT_PIN, "cannot read %s (%s)", path, what);
    if (S_ISREG(facts.st_mode) && (facts.st_mode & (S_IROTH | S_IWOTH)) != 0)
        tt_log(TT_LOG_WARNING, "everyone on this machine can read or change the PIN in %s; chmod it to 0600", path);
    return read_line(descriptor, path, ret_pin, err);
}

/* RFC 8089: file:/path, file:///path or file://localhost/path. p11-kit took the percent-encoding of the pkcs11: URI
 * away; the one of the file: URI inside is ours to undo. */
static enum tt_status source_path(const char *source, char path[PATH_MAX], struct tt_error *err)
{
    bool is_uri = strncasecmp(source, "file:", 5) == 0;
    const char *rest = is_uri ? source + 5 : source;
    if (is_uri && strncmp(rest, "//", 2) == 0) {
        rest += 2;
        if (strncasecmp(rest, "localhost/", 10) == 0)
            rest += 9;
    }
    if (source[0] == '|' || rest[0] == '\0' || (is_uri && rest[0] != '/') || strlen(rest) >= PATH_MAX)
        return tt_error_set(err, TT_USAGE,
                            "the pin-source in the key's URI must be a path or a file: URI of this "
                            "machine");
    size_t used = 0;
    for (; *rest; rest++) {
        int high = is_uri && *rest == '%' ? hex_digit(rest[1]) : -1;
        int low = high >= 0 ? hex_digit(rest[2]) : -1;
        if (is_uri && *rest == '%' && (low < 0 || 16 * high + low == 0))
            return tt_error_set(err, TT_USAGE, "the pin-source in the key's URI is not well percent-encoded");
        path[used++] = low >= 0 ? (char)(16 * high + low) : *rest;
        rest += low >= 0 ? 2 : 0;
    }
    path[used] = '\0';
    return TT_OK;
}

static enum tt_status from_source(const char *source, struct tt_secret **ret_pin, struct tt_error *err)
{
    char path[PATH_MAX];
    enum tt_status status = source_path(source, path, err);
    if (status != TT_OK)
        return status;
    return read_file(path, "pin-source of the key's URI", ret_pin, err);
}

/* The path of the service manager's credential, empty when there is none. */
static void credential_path(const char *name, char path[PATH_MAX])
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    path[0] = '\0';
    if (!folder || folder[0] != '/')
        return;
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= PATH_MAX || access(path, F_OK) != 0)
        path[0] = '\0';
}

static enum tt_status copy(const struct tt_secret *from, struct tt_secret **ret_pin, struct tt_error *err)
{
    enum tt_status status = new_pin(ret_pin, err);
    if (status != TT_OK)
        return status;
    memcpy((*ret_pin)->data, from->data, from->length);
    (*ret_pin)->length = from->length;
    return TT_OK;
}

/* Asks, a new one twice. */
static enum tt_status ask(const struct tt_pin_sources *sources, const char *name, struct tt_secret **ret_pin,
                          struct tt_error *err)
{
    char question[320];
    struct tt_secret *first TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *second TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    snprintf(question, sizeof question, "%s of %s'%s': ", name, sources->name ? "" : "token ", sources->token);
    enum tt_status status = tt_prompt(question, TT_PIN_LIMIT, &first, err);
    if (status == TT_OK && sources->is_new) {
        snprintf(question, sizeof question, "%s of %s'%s', again: ", name, sources->name ? "" : "token ",
                 sources->token);
        status = tt_prompt(question, TT_PIN_LIMIT, &second, err);
        if (status == TT_OK && !tt_pin_equal(first, second))
            status = tt_error_set(err, TT_PIN, "the two answers differ; nothing was changed");
    }
    if (status == TT_OK)
        *ret_pin = TT_TAKE(first);
    return status;
}

enum tt_status tt_pin_get(const struct tt_pin_sources *sources, struct tt_secret **ret_pin, struct tt_error *err)
{
    const char *name = sources->name ? sources->name : "PIN";
    const char *credential = sources->credential ? sources->credential : "traintoken-pin";
    if (sources->source)
        return from_source(sources->source, ret_pin, err);
    if (sources->value)
        return copy(sources->value, ret_pin, err);
    if (sources->environment)
        return copy(sources->environment, ret_pin, err);
    char path[PATH_MAX];
    credential_path(credential, path);
    if (path[0] != '\0') {
        char what[96];
        snprintf(what, sizeof what, "credential %s", credential);
        return read_file(path, what, ret_pin, err);
    }
    if (sources->descriptor >= 0) {
        char what[64];
        snprintf(what, sizeof what, "file descriptor %d", sources->descriptor);
        return read_line(sources->descriptor, what, ret_pin, err);
    }
    if (sources->may_prompt && tt_prompt_is_possible())
        return ask(sources, name, ret_pin, err);
    if (sources->name)
        return tt_error_set(err, TT_PIN,
                            "no %s for '%s', and no terminal to ask on: give it by %s, the credential %s, or %s", name,
                            sources->token, sources->variable, credential, sources->option);
    return tt_error_set(err, TT_PIN,
                        "no PIN for token '%s', and no terminal to ask on: give it by a pin-source in the key's URI, "
                        "PRIVATE_KEY_PASSWORD, the credential traintoken-pin, or --pin-fd",
                        sources->token);
}
