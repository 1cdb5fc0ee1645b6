/* What the process gives up before it looks at anything from outside (docs/threat-model.md, "The process"). */
#ifndef TT_CLI_HARDEN_H
#define TT_CLI_HARDEN_H

#include <sys/resource.h>

#include "base/error.h"

/* At the start of main, before there are threads. No core, no ptrace by others of this user, no new privileges, system
 * calls that no station needs refused, nothing that others may write to, stray descriptors closed, standard ones open.
 * `argv` says which descriptors are meant for us (--pin-fd 3, /dev/fd/5). TT_USAGE when the program was made
 * set-user-ID or set-group-ID, or has capabilities; what the kernel lacks is left out. */
TT_MUST_USE enum tt_status harden_process(int argc, char *const *argv, struct tt_error *err);

/* For commands that only read: from here on nothing can be written, made, removed or executed, but for temporary files.
 * A kernel without Landlock leaves it at that. */
void harden_read_only(void);

/* The limit on core files, in bytes, that there was before. */
rlim_t harden_core_limit(void);

#endif
