/* Base64 (RFC 4648). No copies are made, so that secrets stay where the caller has them. */
#ifndef TT_BASE_BASE64_H
#define TT_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes text[0..length), padded or not, of the common alphabet, into at most length / 4 * 3 + 2 bytes. False for
 * anything else. */
bool tt_base64_decode(const char *text, size_t length, uint8_t *data, size_t *ret_length);

/* Writes the padded form of the alphabet for URLs and a NUL that the returned length does not count:
 * (length + 2) / 3 * 4 + 1 bytes. */
size_t tt_base64_url_encode(const uint8_t *data, size_t length, char *text);

#endif
