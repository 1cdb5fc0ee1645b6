/* Where libraries say what is worth saying: a sink that the program sets. Without one, nothing is said. */
#ifndef TT_BASE_LOG_H
#define TT_BASE_LOG_H

#include <stdint.h>

#include "base/cleanup.h"

enum tt_log_level { TT_LOG_WARNING, TT_LOG_INFO, TT_LOG_DEBUG };

/* Receives one message without a newline, control characters already made printable. Called from any thread. */
typedef void (*tt_log_sink)(void *user, enum tt_log_level level, const char *message);

/* Receives the bytes of the main work done so far; total 0 means not known. Called from one thread. */
typedef void (*tt_progress_sink)(void *user, const char *what, uint64_t done, uint64_t total);

/* Both are set once, before the first thread. NULL switches off. */
void tt_log_set_sink(tt_log_sink sink, void *user);
void tt_progress_set_sink(tt_progress_sink sink, void *user);

/* Never anything of a train's content, and never a secret. */
void tt_log(enum tt_log_level level, const char *format, ...) TT_PRINTF(2, 3);
void tt_progress(const char *what, uint64_t done, uint64_t total);

#endif
