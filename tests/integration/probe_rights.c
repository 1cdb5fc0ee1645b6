/* Preloaded by tests/cli/test_hardening.py: when the program asks for a socket, says which things it may still do. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, int outcome)
{
    dprintf(STDERR_FILENO, "probe %s %s\n", what, outcome >= 0 ? "may" : "may not");
}

static int execute(void)
{
    pid_t child = fork();
    if (child == 0) {
        const char *program = getenv("TT_PROBE_PROGRAM");
        execl(program ? program : "/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status == 0 ? 0 : -1;
}

int socket(int domain, int type, int protocol)
{
    static int asked;
    const char *path = getenv("TT_PROBE_FILE");
    if (path && !asked++) {
        int descriptor = open(path, O_WRONLY | O_CREAT, 0666);
        say("write", descriptor);
        if (descriptor >= 0)
            close(descriptor);
        say("truncate", truncate(getenv("TT_PROBE_OTHER"), 0));
        say("chmod", chmod(getenv("TT_PROBE_OTHER"), 0666));
        say("read", open("/etc/passwd", O_RDONLY));
        say("execute", execute());
        say("mount", (int)syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) == 0 || errno != EPERM ? 0 : -1);
        say("trace", (int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    }
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    return real(domain, type, protocol);
}
