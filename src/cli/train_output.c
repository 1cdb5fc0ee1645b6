#include "cli/train_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/output.h"

enum { TICK_MILLISECONDS = 200 }; /* how often signals are looked at while nobody reads */

static enum tt_status open_file(struct train_output *output, struct tt_error *err)
{
    struct stat facts;
    output->descriptor =
        open(output->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, S_IRUSR | S_IWUSR);
    if (output->descriptor < 0 || fstat(output->descriptor, &facts) != 0)
        return tt_error_errno(err, TT_USAGE, "--log: %s cannot be written", output->path);
    if (!S_ISREG(facts.st_mode))
        return tt_error_set(err, TT_USAGE, "--log: %s is not a regular file", output->path);
    /* Who owns it, or has another name for it, would read along. */
    if (facts.st_uid != geteuid() || facts.st_nlink > 1)
        return tt_error_set(err, TT_USAGE, "--log: %s %s; name a file that is not there yet", output->path,
                            facts.st_nlink > 1 ? "has more than one name" : "belongs to another user");
    /* Those of a file that was there already may be others; what a train writes is between it and the station. */
    if ((facts.st_mode & 07777) != (S_IRUSR | S_IWUSR) && fchmod(output->descriptor, S_IRUSR | S_IWUSR) != 0)
        return tt_error_errno(err, TT_USAGE, "--log: %s cannot be kept from others", output->path);
    return TT_OK;
}

enum tt_status train_output_open(struct train_output *output, const char *path, struct tt_error *err)
{
    output->path = path;
    if (path)
        return open_file(output, err);
    output->is_terminal = isatty(STDERR_FILENO);
    return TT_OK;
}

void train_output_clear(struct train_output *output)
{
    if (output->descriptor >= 0)
        close(output->descriptor);
    *output = (struct train_output)TRAIN_OUTPUT_INIT;
}

/* Who reads standard error may have stopped reading, and a signal must be heeded all the same: no more is written at
 * once than a pipe that says it has room takes without waiting. */
static enum tt_status show(const uint8_t *bytes, size_t length, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    while (length > 0 && status == TT_OK) {
        struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
        size_t run = length < PIPE_BUF ? length : PIPE_BUF;
        status = tt_interrupt_check(err);
        if (status != TT_OK || poll(&room, 1, TICK_MILLISECONDS) <= 0)
            continue;
        status = tt_file_write_all(STDERR_FILENO, bytes, run, "the train's output", err);
        bytes += run;
        length -= run;
    }
    return status;
}

static void put(struct train_output *output, const void *data, size_t length)
{
    struct tt_error err = TT_ERROR_INIT;
    if (output->has_failed || (!output->path && output->is_silent))
        return;
    enum tt_status status = output->path ? tt_file_write_all(output->descriptor, data, length, output->path, &err)
                                         : show(data, length, &err);
    if (status == TT_OK)
        return;
    output->has_failed = true;
    if (tt_interrupt_check(NULL) == TT_OK)
        tt_log(TT_LOG_WARNING, "from here on the train's output is missing: %s", err.message);
}

static void begin(struct train_output *output)
{
    if (output->has_begun)
        return;
    output->has_begun = true;
    if (output->path && ftruncate(output->descriptor, 0) != 0)
        tt_log(TT_LOG_WARNING, "%s still holds the output of an earlier run", output->path);
}

size_t train_output_printable(const unsigned char *text, size_t length, char *out, size_t *ret_left)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    while (length > 0) {
        size_t step = tt_text_utf8_sequence(text, length);
        size_t whole = *text >= 0xF0 ? 4 : *text >= 0xE0 ? 3 : 2;
        if (step == 0 && *text >= 0xC2 && *text <= 0xF4 && length < whole)
            break;
        bool control = (*text < 0x20 && *text != '\n' && *text != '\t' && *text != '\r') || *text == 0x7F ||
                       (step == 2 && *text == 0xC2 && text[1] < 0xA0);
        size_t taken = step == 0 ? 1 : step;
        for (size_t i = 0; i < taken; i++) {
            if (step > 0 && !control) {
                out[used++] = (char)text[i];
                continue;
            }
            const char escape[] = {'\\', 'x', digits[text[i] >> 4], digits[text[i] & 15]};
            memcpy(out + used, escape, sizeof escape);
            used += sizeof escape;
        }
        text += taken;
        length -= taken;
    }
    *ret_left = length;
    return used;
}

static void put_printable(struct train_output *output, const unsigned char *text, size_t length)
{
    unsigned char whole[TRAIN_OUTPUT_KEPT + TRAIN_OUTPUT_CHUNK];
    char shown[4 * sizeof whole];
    size_t left = 0;
    memcpy(whole, output->cut, output->cut_length);
    memcpy(whole + output->cut_length, text, length);
    length += output->cut_length;
    size_t used = train_output_printable(whole, length, shown, &left);
    put(output, shown, used);
    memcpy(output->cut, whole + length - left, left);
    output->cut_length = left;
}

/* A character that will not be ended any more. */
static void put_cut(struct train_output *output)
{
    for (size_t i = 0; i < output->cut_length; i++) {
        char shown[5];
        snprintf(shown, sizeof shown, "\\x%02x", output->cut[i]);
        put(output, shown, 4);
    }
    output->cut_length = 0;
}

void train_output_take(void *user, int stream, const void *data, size_t length)
{
    struct train_output *output = user;
    const unsigned char *bytes = data;
    begin(output);
    if (!output->path)
        output_end_progress();
    if (!output->is_terminal) {
        put(output, data, length);
        return;
    }
    if (stream != output->cut_stream)
        put_cut(output);
    output->cut_stream = stream;
    while (length > 0) {
        size_t run = length < TRAIN_OUTPUT_CHUNK ? length : TRAIN_OUTPUT_CHUNK;
        put_printable(output, bytes, run);
        bytes += run;
        length -= run;
    }
}

void train_output_end(struct train_output *output)
{
    begin(output);
    put_cut(output);
}
