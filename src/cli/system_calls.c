#include "cli/system_calls.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>

/* A module may need files, sockets, threads and programs of its own, so that a list of what is allowed cannot be
 * drawn up for all of them. These are for looking into other processes, for changing the kernel or the machine. */
static const int REFUSED[] = {
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(setns),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(adjtimex),
    SCMP_SYS(acct),
    SCMP_SYS(quotactl),
    SCMP_SYS(iopl),
    SCMP_SYS(ioperm),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(fanotify_init),
    SCMP_SYS(syslog),
    SCMP_SYS(vhangup),
};

void system_calls_refuse(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++)
        (void)seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), REFUSED[i],
                               0); /* one that this kernel lacks is refused */
    (void)seccomp_load(filter);
    seccomp_release(filter);
}
