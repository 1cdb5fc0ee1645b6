#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/secret.h"
#include "cli/doctor.h"

enum { GO = 'g', PATIENCE_MILLISECONDS = 2000, TICK_MILLISECONDS = 20 };

struct answer {
    enum tt_status status;
    char loader[80];
    char message[TT_ERROR_MESSAGE_SIZE];
    char detail[TT_ERROR_DETAIL_SIZE];
};

/* The child. */

static bool is_told_to_go(int order)
{
    for (;;) {
        char byte = 0;
        ssize_t count = read(order, &byte, 1);
        if (count < 0 && errno == EINTR && !tt_interrupt_signal())
            continue;
        return count == 1 && byte == GO;
    }
}

static enum tt_status open_key(const struct tt_pkcs11_options *options, char loader[80], struct tt_error *err)
{
    struct tt_pkcs11_source *source TT_CLEANUP(tt_pkcs11_source_free_cleanup) = NULL;
    struct tt_private_key *key TT_CLEANUP(tt_private_key_free_cleanup) = NULL;
    enum tt_status status = tt_pkcs11_source_new(options, &source, err);
    if (status != TT_OK)
        return status;
    struct tt_key_source opener = tt_pkcs11_key_source(source);
    status = opener.open(opener.user, NULL, &key, err);
    if (status == TT_OK)
        snprintf(loader, 80, "%s", tt_pkcs11_source_facts(source)->loader);
    return status;
}

static void serve(const struct tt_pkcs11_options *options, int answer)
{
    struct answer said = {0};
    struct tt_error failure = TT_ERROR_INIT;
    if (!is_told_to_go(options->pin_fd))
        return;
    said.status = open_key(options, said.loader, &failure);
    memcpy(said.message, failure.message, sizeof said.message);
    memcpy(said.detail, failure.detail, sizeof said.detail);
    ssize_t written = write(answer, &said, sizeof said); /* whole: it fits a pipe's buffer */
    (void)written;
}

static const char *chosen_loader(const struct key_options *options)
{
    const char *variable = getenv("TRAINTOKEN_KEY_LOADER");
    return options->loader ? options->loader : variable && *variable ? variable : "auto";
}

enum tt_status doctor_loader_prepare(const char *uri, const char *module, const struct key_options *options,
                                     struct doctor_loader *loader, struct tt_error *err)
{
    int order[2];
    int answer[2];
    if (pipe2(order, O_CLOEXEC) != 0)
        return tt_error_errno(err, TT_INTERNAL, "cannot make a pipe");
    if (pipe2(answer, O_CLOEXEC) != 0) {
        tt_error_errno(err, TT_INTERNAL, "cannot make a pipe");
        close(order[0]);
        close(order[1]);
        return TT_INTERNAL;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(order[1]);
        close(answer[0]);
        tt_log_set_sink(NULL, NULL); /* this process has warned of it all by then */
        unsetenv("CREDENTIALS_DIRECTORY");
        const struct tt_pkcs11_options how = {.uri = uri,
                                              .module = module,
                                              .loader = chosen_loader(options),
                                              .pin_fd = order[0],
                                              .last_pin_try = options->last_pin_try};
        serve(&how, answer[1]);
        _exit(0);
    }
    int number = errno;
    close(order[0]);
    close(answer[1]);
    *loader = (struct doctor_loader){.child = child > 0 ? child : 0, .order = order[1], .answer = answer[0]};
    errno = number;
    return child > 0 ? TT_OK : tt_error_errno(err, TT_INTERNAL, "cannot start a process");
}

/* The parent. */

static bool write_all(int descriptor, const void *data, size_t length)
{
    return tt_file_write_all(descriptor, data, length, "the pipe", NULL) == TT_OK;
}

static bool read_answer(int descriptor, struct answer *ret_answer)
{
    char *place = (char *)ret_answer;
    size_t used = 0;
    while (used < sizeof *ret_answer) {
        ssize_t count = read(descriptor, place + used, sizeof *ret_answer - used);
        if (count < 0 && errno == EINTR && !tt_interrupt_signal())
            continue;
        if (count <= 0)
            return false;
        used += (size_t)count;
    }
    return true;
}

static void say_who_opened(struct doctor *doctor, const char *wanted, const struct answer *answer)
{
    if (answer->status == TT_OK && strcmp(wanted, "auto") == 0) {
        doctor_say(doctor, TT_VERDICT_OK, "auto picks %s, which opened the key", answer->loader);
        return;
    }
    if (answer->status == TT_OK) {
        doctor_say(doctor, TT_VERDICT_OK, "%s opened the key", answer->loader);
        return;
    }
    struct tt_error failure = TT_ERROR_INIT;
    tt_error_set(&failure, answer->status, "%s", answer->message);
    tt_error_detail(&failure, "%s", answer->detail);
    doctor_fail(doctor, &failure,
                "the module itself serves this key, but not by this way: choose another --key-loader (auto, libp11, "
                "provider, engine)");
}

void doctor_loader_try(struct doctor *doctor, struct doctor_loader *loader, const struct key_options *options,
                       const struct tt_secret *pin)
{
    static const char go = GO;
    struct answer answer = {0};
    doctor_begin(doctor, DOCTOR_TOKEN, "loader");
    /* The child reads a line. It is never given half a PIN, which would be a wrong one. */
    if (pin && (memchr(pin->data, '\n', pin->length) || memchr(pin->data, '\r', pin->length))) {
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "not tried, for the PIN has an end of line in it; traintoken key export --login does");
        return;
    }
    /* It may have come to its end before it wanted the PIN; its answer tells. */
    if (write_all(loader->order, &go, 1) && pin && write_all(loader->order, pin->data, pin->length))
        (void)write_all(loader->order, "\n", 1);
    close(loader->order);
    loader->order = -1;
    if (!read_answer(loader->answer, &answer)) {
        doctor_wrong(
            doctor, TT_TOKEN,
            "the process that opens the key by '%s' ended before it was done: a library or the module crashes; "
            "choose another --key-loader (auto, libp11, provider, engine)",
            chosen_loader(options));
        return;
    }
    answer.loader[sizeof answer.loader - 1] = '\0';
    answer.message[sizeof answer.message - 1] = '\0';
    answer.detail[sizeof answer.detail - 1] = '\0';
    say_who_opened(doctor, chosen_loader(options), &answer);
}

void doctor_loader_clear(struct doctor_loader *loader)
{
    if (loader->order >= 0)
        close(loader->order);
    if (loader->answer >= 0)
        close(loader->answer);
    bool is_gone = loader->child == 0;
    for (int waited = 0; !is_gone && waited <= PATIENCE_MILLISECONDS; waited += TICK_MILLISECONDS) {
        pid_t ended = waitpid(loader->child, NULL, WNOHANG);
        is_gone = ended == loader->child || (ended < 0 && errno != EINTR);
        if (!is_gone)
            nanosleep(&(struct timespec){.tv_nsec = TICK_MILLISECONDS * 1000000}, NULL);
    }
    if (!is_gone) { /* it hangs in the module */
        kill(loader->child, SIGKILL);
        while (waitpid(loader->child, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    *loader = (struct doctor_loader)DOCTOR_LOADER_INIT;
}
