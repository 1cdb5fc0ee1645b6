#include "base/base64.h"

#include <string.h>

static int value_of(char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

bool tt_base64_decode(const char *text, size_t length, uint8_t *data, size_t *ret_length)
{
    size_t padding = 0;
    while (padding < 2 && length > 0 && text[length - 1] == '=') {
        length--;
        padding++;
    }
    if (length % 4 == 1 || (padding > 0 && (length + padding) % 4 != 0))
        return false;
    uint32_t bits = 0;
    unsigned count = 0;
    size_t out = 0;
    for (size_t i = 0; i < length; i++) {
        int value = value_of(text[i]);
        if (value < 0)
            return false;
        bits = (bits << 6 | (uint32_t)value) & 0xffffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            data[out++] = (uint8_t)(bits >> count);
        }
    }
    *ret_length = out;
    return true;
}

size_t tt_base64_url_encode(const uint8_t *data, size_t length, char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t out = 0;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)data[i] << 16;
        bits |= left > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= left > 2 ? data[i + 2] : 0;
        text[out++] = digits[bits >> 18];
        text[out++] = digits[bits >> 12 & 63];
        text[out++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        text[out++] = left > 2 ? digits[bits & 63] : '=';
    }
    text[out] = '\0';
    return out;
}
