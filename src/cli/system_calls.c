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
    SCMP_SYS(fspick),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(setns),
    SCMP_SYS(swapon),
    SCMP_SYS(swapoff),
    SCMP_SYS(reboot),
    SCMP_SYS(sethostname),
    SCMP_SYS(setdomainname),
    SCMP_SYS(settimeofday),
    SCMP_SYS(clock_settime),
    SCMP_SYS(clock_settime64),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(clock_adjtime64),
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

/* What changes a file without opening it, and what starts a program. */
static const int REFUSED_TO_READERS[] = {
    SCMP_SYS(truncate),
    SCMP_SYS(truncate64),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(chown),
    SCMP_SYS(chown32),
    SCMP_SYS(lchown),
    SCMP_SYS(lchown32),
    SCMP_SYS(fchown),
    SCMP_SYS(fchown32),
    SCMP_SYS(fchownat),
    SCMP_SYS(setxattr),
    SCMP_SYS(lsetxattr),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(removexattr),
    SCMP_SYS(lremovexattr),
    SCMP_SYS(fremovexattr),
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(io_uring_setup) /* whose calls are not seen */,
    452 /* fchmodat2 */,
    463 /* setxattrat */,
    466 /* removexattrat: too new for libseccomp, on all machines these */,
};

static void refuse(const int *calls, size_t count)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return;
#if defined(__x86_64__) /* a program for 32 bits that a module or a helper starts would be killed as it starts */
    (void)seccomp_arch_add(filter, SCMP_ARCH_X86);
#elif defined(__aarch64__)
    (void)seccomp_arch_add(filter, SCMP_ARCH_ARM);
#endif
    for (size_t i = 0; i < count; i++)
        (void)seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0); /* one that this kernel lacks is refused */
    (void)seccomp_load(filter);
    seccomp_release(filter);
}

void system_calls_refuse(void)
{
    refuse(REFUSED, sizeof REFUSED / sizeof REFUSED[0]);
}

void system_calls_read_only(void)
{
    refuse(REFUSED_TO_READERS, sizeof REFUSED_TO_READERS / sizeof REFUSED_TO_READERS[0]);
}
