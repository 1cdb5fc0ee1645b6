#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

size_t tt_text_utf8_sequence(const unsigned char *text, size_t length)
{
    if (length == 0)
        return 0;
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    size_t need = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || length < need)
        return 0;
    unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if (text[i] < 0x80 || text[i] > 0xBF)
            return 0;
    return need;
}

bool tt_text_is_utf8(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    while (length > 0) {
        size_t step = tt_text_utf8_sequence(bytes, length);
        if (step == 0)
            return false;
        bytes += step;
        length -= step;
    }
    return true;
}

/* What breaks lines, turns the direction of writing, or shows nothing at all: the text would read as something else.
 * `step` bytes are one character; UTF-8 has the order of the characters. */
static bool misleads(const unsigned char *in, size_t step)
{
    static const struct {
        const char *first, *last;
    } ranges[] = {{"\u00ad", "\u00ad"}, {"\u061c", "\u061c"}, {"\u180e", "\u180e"}, {"\u200b", "\u200f"},
                  {"\u2028", "\u202e"}, {"\u2060", "\u2069"}, {"\ufeff", "\ufeff"}, {"\U000e0000", "\U000e007f"}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (step == strlen(ranges[i].first) && memcmp(in, ranges[i].first, step) >= 0 &&
            memcmp(in, ranges[i].last, step) <= 0)
            return true;
    return false;
}

void tt_text_printable(const char *text, char *out, size_t size)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t left = strlen(text);
    size_t used = 0;
    while (left > 0) {
        size_t step = tt_text_utf8_sequence(in, left);
        bool control =
            step == 0 || in[0] < 0x20 || in[0] == 0x7F || (in[0] == 0xC2 && in[1] < 0xA0) || misleads(in, step);
        size_t taken = step == 0 ? 1 : step;
        size_t need = control ? 4 * taken : taken;
        if (used + need + 1 > size)
            break;
        for (size_t i = 0; i < taken; i++) {
            if (control)
                used += (size_t)snprintf(out + used, size - used, "\\x%02x", in[i]);
            else
                out[used++] = (char)in[i];
        }
        in += taken;
        left -= taken;
    }
    if (size > 0)
        out[used] = '\0';
}

char *tt_text_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        text = NULL;
    va_end(arguments);
    return text;
}
