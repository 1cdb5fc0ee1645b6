/* Lower-case hexadecimal, the protocol's form for byte strings (docs/protocol.md, "train_config.json"). */
#ifndef TT_BASE_HEX_H
#define TT_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes 2 * length digits and a terminating NUL: text needs 2 * length + 1 bytes. */
void tt_hex_encode(const uint8_t *data, size_t length, char *text);

/* As tt_hex_encode, into new memory that the caller frees; NULL when out of memory. */
char *tt_hex_new(const uint8_t *data, size_t length);

/* Decodes exactly 2 * length digits of text[0..text_length). False when the length or a character is wrong;
 * upper case is wrong too, as no writer of the format makes it. */
bool tt_hex_decode(const char *text, size_t text_length, uint8_t *data, size_t length);

#endif
