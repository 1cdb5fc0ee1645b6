#include "cli/output.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "base/text.h"

/* The progress line: drawn at most ten times a second, on a terminal only. */
static struct {
    bool shown;
    char what[32];
    struct timespec start;
    struct timespec drawn;
    uint64_t first;
} progress;

static double seconds_since(const struct timespec *then)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

void output_end_progress(void)
{
    if (progress.shown)
        fprintf(stderr, "\r\033[K");
    progress.shown = false;
}

static void draw_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    if (strcmp(progress.what, what) != 0 || done < progress.first) {
        snprintf(progress.what, sizeof progress.what, "%s", what);
        clock_gettime(CLOCK_MONOTONIC, &progress.start);
        progress.drawn = progress.start;
        progress.first = done;
        return;
    }
    if (seconds_since(&progress.drawn) < 0.1)
        return;
    clock_gettime(CLOCK_MONOTONIC, &progress.drawn);
    double elapsed = seconds_since(&progress.start);
    char bytes[24];
    char all[24];
    char rate[24];
    int width = total ? (int)(24 * (done < total ? done : total) / total) : 0;
    fprintf(stderr, "\r\033[K%s [%.*s%.*s] %s of %s, %s/s", what, width, "########################", 24 - width,
            "........................", output_bytes(done, bytes), output_bytes(total, all),
            output_bytes(elapsed > 0 ? (uint64_t)((double)(done - progress.first) / elapsed) : 0, rate));
    fflush(stderr);
    progress.shown = true;
}

static void print_log(void *user, enum tt_log_level level, const char *message)
{
    const struct output *output = user;
    if (level == TT_LOG_INFO && output->verbose < 1)
        return;
    if (level == TT_LOG_DEBUG && output->verbose < 2)
        return;
    output_end_progress();
    fprintf(stderr, "traintoken: %s%s\n", level == TT_LOG_WARNING ? "warning: " : "", message);
}

void output_start(struct output *output)
{
    tt_log_set_sink(print_log, output);
    if (isatty(STDERR_FILENO) && !output->quiet)
        tt_progress_set_sink(draw_progress, output);
}

void output_line(const struct output *output, const char *format, ...)
{
    if (output->json || output->quiet)
        return;
    char raw[2048];
    char safe[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    tt_text_printable(raw, safe, sizeof safe);
    output_end_progress();
    puts(safe);
}

bool output_is_coloured(void)
{
    const char *no_colour = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
}

static void print_json(cJSON *object)
{
    char *text = cJSON_Print(object);
    if (text)
        puts(text);
    cJSON_free(text);
    cJSON_Delete(object);
}

/* Takes over `from`, which may be NULL. */
static void move_members(cJSON *from, cJSON *to)
{
    while (from && from->child) {
        cJSON *member = cJSON_DetachItemViaPointer(from, from->child);
        char *name = member->string ? strdup(member->string) : NULL;
        cJSON_AddItemToObject(to, name ? name : "", member);
        free(name);
    }
    cJSON_Delete(from);
}

void output_result(const struct output *output, const char *command, cJSON *object)
{
    output_end_progress();
    if (!output->json) {
        cJSON_Delete(object);
        return;
    }
    cJSON *whole = cJSON_CreateObject();
    cJSON_AddStringToObject(whole, "status", tt_status_name(TT_OK));
    cJSON_AddNumberToObject(whole, "code", TT_OK);
    cJSON_AddStringToObject(whole, "command", command);
    move_members(object, whole);
    print_json(whole);
}

int output_failure(struct output *output, const char *command, const struct tt_error *err)
{
    enum tt_status status = err->status == TT_OK ? TT_INTERNAL : err->status;
    output_end_progress();
    fflush(stdout);
    fprintf(stderr, "traintoken: %s\n", err->message[0] ? err->message : "failed without a reason");
    if (err->detail[0])
        fprintf(stderr, "  (%s)\n", err->detail);
    if (output->json) {
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "status", tt_status_name(status));
        cJSON_AddNumberToObject(object, "code", status);
        output_add_text(object, "command", command);
        cJSON_AddStringToObject(object, "message", err->message);
        cJSON_AddStringToObject(object, "detail", err->detail);
        move_members(TT_TAKE(output->facts), object);
        print_json(object);
    }
    cJSON_Delete(TT_TAKE(output->facts));
    return (int)status;
}

void output_add_text(cJSON *object, const char *name, const char *text)
{
    if (!text) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    if (tt_text_is_utf8(text, strlen(text))) {
        cJSON_AddStringToObject(object, name, text);
        return;
    }
    size_t size = 4 * strlen(text) + 1;
    char *safe = malloc(size);
    if (safe)
        tt_text_printable(text, safe, size);
    cJSON_AddStringToObject(object, name, safe ? safe : "");
    free(safe);
}

void output_add_hex(cJSON *object, const char *name, const uint8_t *data, size_t length)
{
    char *text = tt_hex_new(data, length);
    output_add_text(object, name, text);
    free(text);
}

void output_add_number(cJSON *object, const char *name, uint64_t number)
{
    cJSON_AddNumberToObject(object, name, (double)number);
}

const char *output_padding_name(enum tt_padding_by padding_by)
{
    switch (padding_by) {
    case TT_PADDING_NATIVE:
        return "native";
    case TT_PADDING_RAW:
        return "raw";
    case TT_PADDING_UNKNOWN:
        break;
    }
    return "unknown";
}

void output_add_token_use(cJSON *object, const struct tt_token_use *use)
{
    cJSON *list = cJSON_AddArrayToObject(object, "token_operations");
    for (size_t i = 0; i < use->count; i++) {
        cJSON *operation = cJSON_CreateObject();
        cJSON_AddStringToObject(operation, "operation", use->operations[i].name);
        cJSON_AddStringToObject(operation, "padding", output_padding_name(use->operations[i].padding_by));
        cJSON_AddItemToArray(list, operation);
    }
}

const char *output_bytes(uint64_t bytes, char *text)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 24, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}
