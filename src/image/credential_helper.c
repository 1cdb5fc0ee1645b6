#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/text.h"
#include "image/credentials.h"

enum { ANSWER_LIMIT = 64 * 1024, PATIENCE_SECONDS = 30, TICK_MILLISECONDS = 100, NAME_LIMIT = 100 };

extern char **environ;

struct helper {
    const char *program;
    pid_t process;
    int answer;
    struct timespec start;
};

static bool is_helper_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t length = strlen(name);
    return length > 0 && length <= NAME_LIMIT && strspn(name, allowed) == length;
}

/* What unlocks the station's token, and what speaks for it at the central service, is no helper's business. VAULT_TOKEN
 * may be: there are helpers that ask Vault. */
static bool is_withheld(const char *variable)
{
    static const char *const names[] = {"PRIVATE_KEY_", "TRAINTOKEN_",
                                        "CREDENTIALS_DIRECTORY=", "CENTRAL_TOKEN=", "ROBOT_SECRET="};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static char **helper_environment(void)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char **list = calloc(count + 1, sizeof *list);
    size_t kept = 0;
    for (size_t i = 0; list && i < count; i++)
        if (!is_withheld(environ[i]))
            list[kept++] = environ[i];
    return list;
}

/* posix_spawn's number, or 0. */
static int spawn(struct helper *helper, int question, int answer)
{
    char *const arguments[] = {(char *)helper->program, (char *)"get", NULL};
    char **environment TT_CLEANUP(tt_free_cleanup) = helper_environment();
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigset_t none;
    if (!environment)
        return ENOMEM;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGTERM);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, question, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, answer, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    int number = posix_spawnp(&helper->process, helper->program, &files, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return number;
}

/* The question lies in its pipe before the program starts: it may well end without reading it. */
static enum tt_status start(struct helper *helper, const char *question, struct tt_error *err)
{
    int in[2];
    int out[2];
    if (pipe2(in, O_CLOEXEC) != 0)
        return tt_error_errno(err, TT_INTERNAL, "there is no pipe to %s", helper->program);
    int in_read TT_CLEANUP(tt_close_cleanup) = in[0];
    int in_write TT_CLEANUP(tt_close_cleanup) = in[1];
    if (fcntl(in_write, F_SETFL, O_NONBLOCK) != 0 ||
        write(in_write, question, strlen(question)) != (ssize_t)strlen(question) || pipe2(out, O_CLOEXEC) != 0)
        return tt_error_errno(err, TT_INTERNAL, "there is no pipe to %s", helper->program);
    int out_write TT_CLEANUP(tt_close_cleanup) = out[1];
    helper->answer = out[0];
    clock_gettime(CLOCK_MONOTONIC, &helper->start);
    int number = spawn(helper, in_read, out_write);
    if (number == 0)
        return TT_OK;
    helper->process = 0;
    errno = number;
    return tt_error_errno(err, TT_STORE,
                          "the credential helper %s, which the configuration of docker or podman names, cannot be run; "
                          "install it, or take it out of the configuration",
                          helper->program);
}

static enum tt_status check_time(const struct helper *helper, struct tt_error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec - helper->start.tv_sec > PATIENCE_SECONDS)
        return tt_error_set(err, TT_STORE, "the credential helper %s did not answer within %d seconds", helper->program,
                            PATIENCE_SECONDS);
    return tt_interrupt_check(err);
}

static enum tt_status read_answer(const struct helper *helper, struct tt_secret *answer, struct tt_error *err)
{
    for (;;) {
        struct pollfd wait = {.fd = helper->answer, .events = POLLIN};
        enum tt_status status = check_time(helper, err);
        if (status != TT_OK)
            return status;
        if (poll(&wait, 1, TICK_MILLISECONDS) <= 0)
            continue;
        ssize_t count = read(helper->answer, answer->data + answer->length, answer->capacity - answer->length);
        if (count == 0)
            return TT_OK;
        if (count > 0)
            answer->length += (size_t)count;
        if (answer->length == answer->capacity)
            return tt_error_set(err, TT_STORE, "the credential helper %s answers more than %d bytes", helper->program,
                                ANSWER_LIMIT);
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            return tt_error_errno(err, TT_STORE, "the answer of the credential helper %s cannot be read",
                                  helper->program);
    }
}

static enum tt_status wait_for_end(struct helper *helper, int *ret_outcome, struct tt_error *err)
{
    const struct timespec tick = {.tv_nsec = 5000000};
    for (;;) {
        pid_t ended = waitpid(helper->process, ret_outcome, WNOHANG);
        if (ended == helper->process || (ended < 0 && errno != EINTR)) {
            helper->process = 0;
            return ended < 0 ? tt_error_errno(err, TT_INTERNAL, "%s got lost", helper->program) : TT_OK;
        }
        enum tt_status status = check_time(helper, err);
        if (status != TT_OK)
            return status;
        nanosleep(&tick, NULL);
    }
}

static void stop(struct helper *helper)
{
    if (helper->answer >= 0)
        close(helper->answer);
    if (helper->process <= 0)
        return;
    kill(helper->process, SIGKILL);
    while (waitpid(helper->process, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* That nothing is kept is said in words, on standard output, with a failing status. */
static bool says_that_nothing_is_kept(const struct tt_secret *answer)
{
    return strcasestr((const char *)answer->data, "credentials not found");
}

static enum tt_status ask(const char *program, const struct tt_registry_place *place,
                          struct tt_credentials *ret_credentials, struct tt_error *err)
{
    struct helper helper TT_CLEANUP(stop) = {.program = program, .answer = -1};
    struct tt_secret *answer TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    int outcome = 0;
    enum tt_status status = tt_secret_new(ANSWER_LIMIT + 1, &answer, err);
    if (status == TT_OK)
        status = start(&helper, place->key, err);
    if (status == TT_OK)
        status = read_answer(&helper, answer, err);
    if (status == TT_OK)
        status = wait_for_end(&helper, &outcome, err);
    if (status != TT_OK)
        return status;
    answer->data[answer->length] = '\0'; /* less than the capacity */
    if (WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0)
        return tt_credentials_answer(answer, program, ret_credentials, err);
    if (says_that_nothing_is_kept(answer))
        return TT_OK;
    tt_error_set(err, TT_STORE, "the credential helper %s failed for %s; 'echo %s | %s get' shows why", program,
                 place->host, place->key, program);
    if (WIFEXITED(outcome))
        tt_error_detail(err, "exit status %d", WEXITSTATUS(outcome));
    else
        tt_error_detail(err, "signal %d", WTERMSIG(outcome));
    return TT_STORE;
}

enum tt_status tt_credentials_ask(const char *name, const struct tt_registry_place *place,
                                  struct tt_credentials *ret_credentials, struct tt_error *err)
{
    if (!is_helper_name(name))
        return tt_error_set(
            err, TT_STORE, "'%s', which the configuration of docker or podman names, is not a credential helper", name);
    char *program TT_CLEANUP(tt_free_cleanup) = tt_text_format("docker-credential-%s", name);
    return program ? ask(program, place, ret_credentials, err) : tt_error_memory(err);
}
