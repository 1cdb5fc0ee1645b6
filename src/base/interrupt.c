#include "base/interrupt.h"

#include <signal.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t caught;

static void remember(int number)
{
    caught = number;
}

void tt_interrupt_catch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = remember;
    action.sa_flags = (int)SA_RESETHAND; /* the second signal has its default effect */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* A terminal that goes away: the shell may send one, and the kernel another. nohup ignores it. */
    struct sigaction before;
    action.sa_flags = 0;
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

int tt_interrupt_signal(void)
{
    return caught;
}

enum tt_status tt_interrupt_check(struct tt_error *err)
{
    if (!caught)
        return TT_OK;
    return tt_error_set(err, TT_INTERNAL, "interrupted by %s; nothing was changed", strsignal(caught));
}

enum tt_status tt_interrupt_pause(unsigned seconds, struct tt_error *err)
{
    const struct timespec tick = {.tv_nsec = 200000000};
    enum tt_status status = TT_OK;
    for (unsigned ticks = 5 * seconds; ticks > 0 && status == TT_OK; ticks--) {
        nanosleep(&tick, NULL);
        status = tt_interrupt_check(err);
    }
    return status;
}
