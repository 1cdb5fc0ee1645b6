/* Text from outside: checking UTF-8 and making it safe to print. */
#ifndef TT_BASE_TEXT_H
#define TT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Copies `text` into out[size] (always terminated, cut if too long) with control characters, invisible ones, and bytes
 * that are not UTF-8, written as \xNN: nothing that a train names can move a terminal's cursor, or look like another
 * name that differs in nothing one sees. */
void tt_text_printable(const char *text, char *out, size_t size);

/* Length in bytes (1 to 4) of the UTF-8 sequence at text[0..length), or 0 when it is not well formed
 * (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). */
size_t tt_text_utf8_sequence(const unsigned char *text, size_t length);

/* Whether all of text[0..length) is well-formed UTF-8. */
bool tt_text_is_utf8(const char *text, size_t length);

/* asprintf that returns NULL when out of memory. The caller frees. */
char *tt_text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
