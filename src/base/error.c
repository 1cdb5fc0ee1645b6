#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/text.h"

static void format_message(struct tt_error *err, enum tt_status status, const char *format, va_list arguments)
    TT_PRINTF(3, 0);
static void format_message(struct tt_error *err, enum tt_status status, const char *format, va_list arguments)
{
    char raw[TT_ERROR_MESSAGE_SIZE];
    vsnprintf(raw, sizeof raw, format, arguments);
    tt_text_printable(raw, err->message, sizeof err->message);
    err->status = status;
    err->detail[0] = '\0';
}

enum tt_status tt_error_set(struct tt_error *err, enum tt_status status, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        format_message(err, status, format, arguments);
        va_end(arguments);
    }
    return status;
}

enum tt_status tt_error_errno(struct tt_error *err, enum tt_status status, const char *format, ...)
{
    int number = errno;
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        format_message(err, status, format, arguments);
        va_end(arguments);
        const char *name = strerrorname_np(number);
        tt_error_detail(err, "%s: %s", name ? name : "errno", strerrordesc_np(number) ? strerrordesc_np(number) : "?");
    }
    return status;
}

enum tt_status tt_error_memory(struct tt_error *err)
{
    return tt_error_set(err, TT_INTERNAL, "out of memory");
}

void tt_error_detail(struct tt_error *err, const char *format, ...)
{
    if (!err)
        return;
    char raw[TT_ERROR_DETAIL_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    tt_text_printable(raw, err->detail, sizeof err->detail);
}

enum tt_status tt_error_context(struct tt_error *err, const char *format, ...)
{
    if (!err)
        return TT_INTERNAL;
    char context[TT_ERROR_MESSAGE_SIZE / 2];
    char safe[TT_ERROR_MESSAGE_SIZE / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    tt_text_printable(context, safe, sizeof safe);

    char old[TT_ERROR_MESSAGE_SIZE];
    memcpy(old, err->message, sizeof old);
    int written = snprintf(err->message, sizeof err->message, "%s: ", safe);
    size_t used = written < 0 ? 0 : (size_t)written;
    tt_text_printable(old, err->message + used, sizeof err->message - used); /* what is cut off is whole characters */
    return err->status;
}

const char *tt_status_name(enum tt_status status)
{
    static const char *const names[] = {
        [TT_OK] = "ok",
        [TT_INTERNAL] = "internal",
        [TT_USAGE] = "usage",
        [TT_MALFORMED] = "malformed",
        [TT_TAMPERED] = "tampered",
        [TT_UNTRUSTED] = "untrusted",
        [TT_TOKEN] = "token",
        [TT_PIN] = "pin",
        [TT_STORE] = "store",
        [TT_WRONG_STOP] = "wrong-stop",
        [TT_TRAIN_FAILED] = "train-failed",
    };
    size_t count = sizeof names / sizeof names[0];
    return (size_t)status < count && names[status] ? names[status] : "internal";
}
