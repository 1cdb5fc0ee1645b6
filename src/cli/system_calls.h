/* System calls that neither this program nor a PKCS#11 module needs. */
#ifndef TT_CLI_SYSTEM_CALLS_H
#define TT_CLI_SYSTEM_CALLS_H

/* Makes them fail with EPERM, for this process and those that it starts. Nothing happens where the kernel has no
 * seccomp filters. */
void system_calls_refuse(void);

#endif
