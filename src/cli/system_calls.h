/* System calls that neither this program nor a PKCS#11 module needs. */
#ifndef TT_CLI_SYSTEM_CALLS_H
#define TT_CLI_SYSTEM_CALLS_H

/* Makes them fail with EPERM, for this process and those that it starts. Nothing happens where the kernel has no
 * seccomp filters. */
void system_calls_refuse(void);
/* The same of system calls that change files or start programs; what is opened for writing is not told apart. */
void system_calls_read_only(void);

#endif
