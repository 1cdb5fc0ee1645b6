/* SIGINT, SIGTERM and SIGHUP as a flag that long work asks for between two chunks. */
#ifndef TT_BASE_INTERRUPT_H
#define TT_BASE_INTERRUPT_H

#include "base/error.h"

/* Catches SIGINT and SIGTERM (a second one ends the process at once), and SIGHUP unless it is ignored. Ignores SIGPIPE
 * and SIGXFSZ: a write that fails for a closed pipe or a limit on the size of files is an error like others, and is
 * cleaned up after. */
void tt_interrupt_catch(void);

/* The signal that came, or 0. */
int tt_interrupt_signal(void);

/* TT_OK, or TT_INTERNAL "interrupted" once a signal came. Cheap: call it per chunk. */
TT_MUST_USE enum tt_status tt_interrupt_check(struct tt_error *err);

/* Waits so long, or until a signal comes: then as tt_interrupt_check. */
TT_MUST_USE enum tt_status tt_interrupt_pause(unsigned seconds, struct tt_error *err);

#endif
