#include "base/log.h"

#include <stdarg.h>

#include "base/text.h"

static tt_log_sink log_sink;
static void *log_user;
static tt_progress_sink progress_sink;
static void *progress_user;

void tt_log_set_sink(tt_log_sink sink, void *user)
{
    log_sink = sink;
    log_user = user;
}

void tt_progress_set_sink(tt_progress_sink sink, void *user)
{
    progress_sink = sink;
    progress_user = user;
}

void tt_log(enum tt_log_level level, const char *format, ...)
{
    if (!log_sink)
        return;
    char raw[1024];
    char safe[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    tt_text_printable(raw, safe, sizeof safe);
    log_sink(log_user, level, safe);
}

void tt_progress(const char *what, uint64_t done, uint64_t total)
{
    if (progress_sink)
        progress_sink(progress_user, what, done, total);
}
