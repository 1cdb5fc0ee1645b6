#include "pkcs11/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/text.h"

/* Signals that end or stop the process: each has to find the terminal as it was. */
static const int watched[] = {SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};
enum { WATCHED = sizeof watched / sizeof watched[0] };

static volatile sig_atomic_t arrived[WATCHED];

static void note(int number)
{
    for (size_t i = 0; i < WATCHED; i++)
        if (watched[i] == number)
            arrived[i] = 1;
}

static bool any_arrived(void)
{
    for (size_t i = 0; i < WATCHED; i++)
        if (arrived[i])
            return true;
    return false;
}

static int open_terminal(void)
{
    return open("/dev/tty", O_RDWR | O_CLOEXEC);
}

bool tt_prompt_is_possible(void)
{
    int terminal TT_CLEANUP(tt_close_cleanup) = open_terminal();
    return terminal >= 0;
}

/* What ends the reading of a line. */
enum outcome { LINE, END, SIGNAL, LONG, NUL, FAILED };

/* Watched signals come while waiting in ppoll only, so that none slips in between the look and the wait. */
static enum outcome read_answer(int terminal, const sigset_t *open_mask, struct tt_secret *answer)
{
    enum outcome problem = LINE;
    answer->length = 0;
    for (;;) {
        struct pollfd ready = {.fd = terminal, .events = POLLIN};
        int outcome = ppoll(&ready, 1, NULL, open_mask);
        if (any_arrived())
            return SIGNAL;
        if (outcome < 0 && errno == EINTR)
            continue;
        uint8_t *place = answer->data + answer->length; /* the last byte is never part of the answer */
        ssize_t count = read(terminal, place, 1);
        if (any_arrived()) /* SIGTTIN */
            return SIGNAL;
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return FAILED;
        if (count == 0)
            return problem == LINE && answer->length == 0 ? END : problem;
        if (*place == '\n' || *place == '\r') {
            *place = '\0';
            return problem;
        }
        if (*place == '\0')
            problem = NUL;
        else if (answer->length + 1 == answer->capacity)
            problem = LONG; /* the rest of the line is read, so that the shell does not get it as a command */
        else
            answer->length++;
    }
}

static void say(int terminal, const char *text)
{
    if (write(terminal, text, strlen(text)) < 0)
        return; /* an invisible question; the answer is read all the same */
}

static enum outcome ask_quietly(int terminal, const char *question, const sigset_t *open_mask, struct tt_secret *answer)
{
    struct termios before;
    if (tcgetattr(terminal, &before) != 0)
        return FAILED;
    struct termios quiet = before;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    while (tcsetattr(terminal, TCSAFLUSH, &quiet) != 0)
        if (errno != EINTR || any_arrived())
            return any_arrived() ? SIGNAL : FAILED;
    say(terminal, question);
    enum outcome outcome = read_answer(terminal, open_mask, answer);
    say(terminal, "\n");
    while (tcsetattr(terminal, TCSAFLUSH, &before) != 0)
        if (errno != EINTR || arrived[WATCHED - 1]) /* SIGTTOU: in the background now, the terminal is another's */
            break;
    return outcome;
}

static enum outcome ask(int terminal, const char *question, struct tt_secret *answer)
{
    struct sigaction before[WATCHED];
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = note; /* no SA_RESTART: read has to return */
    sigset_t closed;
    sigset_t open_mask;
    sigemptyset(&closed);
    for (size_t i = 0; i < WATCHED; i++) {
        arrived[i] = 0;
        sigaction(watched[i], &action, &before[i]);
        if (watched[i] != SIGTTIN && watched[i] != SIGTTOU) /* these two are answers to our own calls */
            sigaddset(&closed, watched[i]);
    }
    sigprocmask(SIG_BLOCK, &closed, &open_mask);
    enum outcome outcome = ask_quietly(terminal, question, &open_mask, answer);
    sigprocmask(SIG_SETMASK, &open_mask, NULL);
    for (size_t i = 0; i < WATCHED; i++)
        sigaction(watched[i], &before[i], NULL);
    for (size_t i = 0; i < WATCHED; i++)
        if (arrived[i])
            kill(getpid(), watched[i]); /* now it has the effect it would have had */
    return outcome;
}

static bool only_stopped(void)
{
    for (size_t i = 0; i < WATCHED; i++)
        if (arrived[i] && watched[i] != SIGTSTP && watched[i] != SIGTTIN && watched[i] != SIGTTOU)
            return false;
    return true;
}

enum tt_status tt_prompt(const char *question, size_t limit, struct tt_secret **ret_answer, struct tt_error *err)
{
    int terminal TT_CLEANUP(tt_close_cleanup) = open_terminal();
    if (terminal < 0)
        return tt_error_errno(err, TT_PIN, "there is no terminal to ask on");
    struct tt_secret *answer TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    enum tt_status status = tt_secret_new(limit + 1, &answer, err);
    if (status != TT_OK)
        return status;
    char printable[512];
    tt_text_printable(question, printable, sizeof printable); /* a token's label is not ours */
    enum outcome outcome;
    do
        outcome = ask(terminal, printable, answer);
    while (outcome == SIGNAL && only_stopped());
    if (outcome == SIGNAL)
        return tt_error_set(err, TT_INTERNAL, "interrupted while asking for the PIN; nothing was changed");
    if (outcome == LONG || outcome == NUL)
        return tt_error_set(err, TT_PIN, "the PIN typed %s", outcome == NUL ? "has a NUL in it" : "is too long");
    if (outcome == FAILED)
        return tt_error_set(err, TT_PIN, "cannot ask for the PIN on the terminal");
    if (outcome == END || answer->length == 0)
        return tt_error_set(err, TT_PIN, "no PIN was typed");
    *ret_answer = TT_TAKE(answer);
    return TT_OK;
}
