#include "base/hex.h"

#include <stdlib.h>

void tt_hex_encode(const uint8_t *data, size_t length, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 0x0F];
    }
    text[2 * length] = '\0';
}

char *tt_hex_new(const uint8_t *data, size_t length)
{
    if (length > (SIZE_MAX - 1) / 2)
        return NULL;
    char *text = malloc(2 * length + 1);
    if (text)
        tt_hex_encode(data, length, text);
    return text;
}

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

bool tt_hex_decode(const char *text, size_t text_length, uint8_t *data, size_t length)
{
    if (text_length % 2 != 0 || text_length / 2 != length)
        return false;
    for (size_t i = 0; i < length; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        data[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
