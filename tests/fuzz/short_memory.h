/* What a parser does when memory runs out in the middle of an input. */
#ifndef TT_TESTS_FUZZ_SHORT_MEMORY_H
#define TT_TESTS_FUZZ_SHORT_MEMORY_H

#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"

/* Reads the input with nothing but the parsers: what it returns must be a failure, with a message, when memory ran out.
 */
typedef enum tt_status (*short_memory_reader)(const uint8_t *data, size_t size, struct tt_error *err);

/* Reads the input again and again, each time with another allocation failing. Which of them, the input decides: a
 * corpus does the same every time. */
void short_memory_try(const uint8_t *data, size_t size, short_memory_reader read);

#endif
