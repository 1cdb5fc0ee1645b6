#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "pkcs11/pin.h"
#include "pkcs11/prompt.h"
#include "suite.h"

/* The PINs here are throw-away. */

static char folder[] = "/tmp/tt-pin-XXXXXX";
static int warnings;

static void count_warnings(void *user, enum tt_log_level level, const char *message)
{
    (void)user, (void)message;
    warnings += level == TT_LOG_WARNING;
}

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const void *data, size_t length, mode_t mode)
{
    int file = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CU_ASSERT_FATAL(file >= 0 && write(file, data, length) == (ssize_t)length && fchmod(file, mode) == 0);
    close(file);
}

static int pipe_with(const void *data, size_t length)
{
    int ends[2];
    CU_ASSERT_FATAL(pipe(ends) == 0 && write(ends[1], data, length) == (ssize_t)length);
    close(ends[1]);
    return ends[0];
}

/* Asserts the PIN that the sources give. */
static void gives(const struct tt_pin_sources *sources, const char *expected)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_pin_get(sources, &pin, &err), TT_OK);
    if (!pin) {
        printf("\n  %s (%s)\n", err.message, err.detail);
        return;
    }
    CU_ASSERT_STRING_EQUAL((const char *)pin->data, expected);
    CU_ASSERT_EQUAL(pin->length, strlen(expected));
}

static void fails(const struct tt_pin_sources *sources, enum tt_status expected, const char *expected_in_message)
{
    struct tt_secret *pin = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_pin_get(sources, &pin, &err), expected);
    CU_ASSERT_PTR_NULL(pin);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, expected_in_message));
    if (!strstr(err.message, expected_in_message))
        printf("\n  %s\n", err.message);
}

static void the_first_source_wins(void)
{
    struct tt_secret *value TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_secret *environment TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    put("source", "source-pin\n", 11, 0600);
    put("traintoken-pin", "credential-pin", 14, 0600);
    CU_ASSERT_EQUAL_FATAL(tt_pin_decode("value%2Dpin", 11, &value, NULL), TT_OK);
    setenv("PRIVATE_KEY_PASSWORD", "environment-pin", 1);
    CU_ASSERT_EQUAL_FATAL(tt_pin_take_environment(&environment, NULL), TT_OK);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    struct tt_pin_sources sources = {.environment = environment, .token = "t"};
    sources.descriptor = pipe_with("descriptor-pin\n", 15);
    sources.value = value;
    sources.source = in_folder("source");
    gives(&sources, "source-pin");
    sources.source = NULL;
    gives(&sources, "value-pin");
    sources.value = NULL;
    gives(&sources, "environment-pin");
    sources.environment = NULL;
    gives(&sources, "credential-pin");
    setenv("CREDENTIALS_DIRECTORY", "/nowhere", 1);
    gives(&sources, "descriptor-pin");
    close(sources.descriptor);
    sources.descriptor = -1;
    unsetenv("CREDENTIALS_DIRECTORY");
    fails(&sources, TT_PIN, "no PIN for token 't'");
}

static void the_environment_is_cleaned(void)
{
    struct tt_secret *pin TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    static char variable[] = "PRIVATE_KEY_PASSWORD=taken-away";
    putenv(variable);
    CU_ASSERT_EQUAL_FATAL(tt_pin_take_environment(&pin, NULL), TT_OK);
    CU_ASSERT_STRING_EQUAL((const char *)pin->data, "taken-away");
    CU_ASSERT_PTR_NULL(getenv("PRIVATE_KEY_PASSWORD"));
    CU_ASSERT_STRING_EQUAL(variable, "PRIVATE_KEY_PASSWORD=");
    CU_ASSERT_EQUAL(variable[sizeof variable - 2], '\0');
    struct tt_secret *none = NULL;
    CU_ASSERT_EQUAL(tt_pin_take_environment(&none, NULL), TT_OK);
    CU_ASSERT_PTR_NULL(none);
    setenv("PRIVATE_KEY_PASSWORD", "", 1);
    CU_ASSERT_EQUAL(tt_pin_take_environment(&none, NULL), TT_OK);
    CU_ASSERT_PTR_NULL(none);
    char long_pin[257] = "";
    memset(long_pin, 'x', 256);
    setenv("PRIVATE_KEY_PASSWORD", long_pin, 1);
    CU_ASSERT_EQUAL(tt_pin_take_environment(&none, NULL), TT_PIN);
    CU_ASSERT_PTR_NULL(getenv("PRIVATE_KEY_PASSWORD"));
}

static void descriptors_give_one_line(void)
{
    char long_pin[300];
    memset(long_pin, 'y', sizeof long_pin);
    struct tt_pin_sources sources = {.token = "t"};
    sources.descriptor = pipe_with("one\r\ntwo\nthree", 14);
    gives(&sources, "one");
    gives(&sources, "two");
    gives(&sources, "three");
    fails(&sources, TT_PIN, "is empty");
    close(sources.descriptor);
    sources.descriptor = pipe_with("a\0b\n", 4);
    fails(&sources, TT_PIN, "NUL");
    close(sources.descriptor);
    sources.descriptor = pipe_with(long_pin, 256);
    fails(&sources, TT_PIN, "longer than 255");
    close(sources.descriptor);
    long_pin[255] = '\n';
    sources.descriptor = pipe_with(long_pin, 256);
    long_pin[255] = '\0';
    gives(&sources, long_pin);
    close(sources.descriptor);
    sources.descriptor = 999;
    fails(&sources, TT_PIN, "file descriptor 999");
}

static void pin_sources_are_paths_or_file_uris(void)
{
    char source[300];
    struct tt_pin_sources sources = {.descriptor = -1, .token = "t", .source = source};
    put("a b", "1234", 4, 0600);
    snprintf(source, sizeof source, "%s", in_folder("a b"));
    gives(&sources, "1234");
    snprintf(source, sizeof source, "file:%s", in_folder("a%20b"));
    gives(&sources, "1234");
    snprintf(source, sizeof source, "FILE://%s", in_folder("a%20b"));
    gives(&sources, "1234");
    snprintf(source, sizeof source, "file://localhost%s", in_folder("a%20b"));
    gives(&sources, "1234");
    snprintf(source, sizeof source, "file://elsewhere%s", in_folder("a%20b"));
    fails(&sources, TT_USAGE, "pin-source");
    snprintf(source, sizeof source, "file:%s", in_folder("a%2"));
    fails(&sources, TT_USAGE, "percent-encoded");
    snprintf(source, sizeof source, "|/bin/cat pin");
    fails(&sources, TT_USAGE, "pin-source");
    snprintf(source, sizeof source, "%s", in_folder("none"));
    fails(&sources, TT_PIN, "cannot open");
    snprintf(source, sizeof source, "%s", folder);
    fails(&sources, TT_PIN, "folder");
    CU_ASSERT_EQUAL(mkfifo(in_folder("pipe"), 0600), 0);
    snprintf(source, sizeof source, "%s", in_folder("pipe"));
    fails(&sources, TT_PIN, "is empty");
}

static void a_readable_pin_file_is_warned_of(void)
{
    char source[300];
    struct tt_pin_sources sources = {.descriptor = -1, .token = "t", .source = source};
    put("open", "1234", 4, 0644);
    snprintf(source, sizeof source, "%s", in_folder("open"));
    warnings = 0;
    gives(&sources, "1234");
    CU_ASSERT_EQUAL(warnings, 1);
    put("open", "1234", 4, 0640);
    gives(&sources, "1234");
    CU_ASSERT_EQUAL(warnings, 1);
}

/* The prompt, in a child that has a terminal of its own. Its exit status is the tt_status; 100 when the PIN differs
 * from "typed-pin". */
static pid_t child_that_asks(int *ret_terminal)
{
    pid_t child = forkpty(ret_terminal, NULL, NULL, NULL);
    CU_ASSERT_FATAL(child >= 0);
    if (child > 0)
        return child;
    struct tt_secret *pin = NULL;
    struct tt_pin_sources sources = {.descriptor = -1, .may_prompt = true, .token = "my\033token"};
    enum tt_status status = tt_pin_get(&sources, &pin, NULL);
    bool same = pin && strcmp((const char *)pin->data, "typed-pin") == 0;
    tt_secret_free(pin);
    _exit(status == TT_OK && !same ? 100 : (int)status);
}

/* Reads the terminal until `until` shows; the text so far is put into `seen`. */
static bool read_until(int terminal, const char *until, char *seen, size_t size)
{
    size_t used = strlen(seen);
    while (!strstr(seen, until) && used + 1 < size) {
        ssize_t count = read(terminal, seen + used, size - used - 1);
        if (count <= 0)
            return false;
        used += (size_t)count;
        seen[used] = '\0';
    }
    return true;
}

static bool echoes(int terminal)
{
    struct termios state;
    return tcgetattr(terminal, &state) == 0 && (state.c_lflag & ECHO) != 0;
}

/* What ended the child: its exit status, or 256 + signal. */
static int outcome(pid_t child)
{
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void the_prompt_reads_without_echo(void)
{
    int terminal;
    char seen[512] = "";
    pid_t child = child_that_asks(&terminal);
    CU_ASSERT_TRUE(read_until(terminal, "PIN of token 'my\\x1btoken': ", seen, sizeof seen));
    CU_ASSERT_FALSE(echoes(terminal));
    CU_ASSERT_EQUAL(write(terminal, "typed-pin\n", 10), 10);
    read_until(terminal, "\n", seen, sizeof seen); /* or until the child has gone */
    CU_ASSERT_EQUAL(outcome(child), TT_OK);
    CU_ASSERT_TRUE(echoes(terminal));
    CU_ASSERT_PTR_NULL(strstr(seen, "typed-pin"));
    close(terminal);
}

static void an_empty_answer_is_no_pin(void)
{
    int terminal;
    char seen[512] = "";
    pid_t child = child_that_asks(&terminal);
    read_until(terminal, ": ", seen, sizeof seen);
    CU_ASSERT_EQUAL(write(terminal, "\n", 1), 1);
    CU_ASSERT_EQUAL(outcome(child), TT_PIN);
    close(terminal);
}

static void a_long_answer_is_refused(void)
{
    int terminal;
    char seen[512] = "";
    char answer[300];
    memset(answer, 'z', sizeof answer);
    answer[299] = '\n';
    pid_t child = child_that_asks(&terminal);
    read_until(terminal, ": ", seen, sizeof seen);
    CU_ASSERT_EQUAL(write(terminal, answer, sizeof answer), (ssize_t)sizeof answer);
    CU_ASSERT_EQUAL(outcome(child), TT_PIN);
    close(terminal);
}

static void a_signal_finds_the_terminal_restored(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        int terminal;
        char seen[512] = "";
        pid_t child = child_that_asks(&terminal);
        read_until(terminal, ": ", seen, sizeof seen);
        CU_ASSERT_FALSE(echoes(terminal));
        kill(child, signals[i]);
        CU_ASSERT_EQUAL(outcome(child), 256 + signals[i]);
        CU_ASSERT_TRUE(echoes(terminal));
        close(terminal);
    }
}

static void a_stopped_prompt_asks_again(void)
{
    int terminal;
    char seen[512] = "";
    pid_t child = child_that_asks(&terminal);
    read_until(terminal, ": ", seen, sizeof seen);
    kill(child, SIGTSTP);
    /* The kernel does not stop a session leader whose parent is elsewhere: it goes on at once, and asks again. */
    seen[0] = '\0';
    CU_ASSERT_TRUE(read_until(terminal, "PIN of", seen, sizeof seen));
    CU_ASSERT_TRUE(read_until(terminal, ": ", seen, sizeof seen));
    CU_ASSERT_FALSE(echoes(terminal));
    CU_ASSERT_EQUAL(write(terminal, "typed-pin\n", 10), 10);
    CU_ASSERT_EQUAL(outcome(child), TT_OK);
    close(terminal);
}

static void without_a_terminal_nothing_is_asked(void)
{
    pid_t child = fork();
    CU_ASSERT_FATAL(child >= 0);
    if (child == 0) {
        setsid();
        struct tt_secret *pin = NULL;
        struct tt_pin_sources sources = {.descriptor = -1, .may_prompt = true, .token = "t"};
        _exit((int)tt_pin_get(&sources, &pin, NULL));
    }
    CU_ASSERT_EQUAL(outcome(child), TT_PIN);
}

static void remove_folder(void)
{
    static const char *const names[] = {"source", "traintoken-pin", "a b", "pipe", "open"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(in_folder(names[i]));
    rmdir(folder);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"the first source wins", the_first_source_wins},
        {"the environment is cleaned", the_environment_is_cleaned},
        {"descriptors give one line", descriptors_give_one_line},
        {"PIN sources are paths or file URIs", pin_sources_are_paths_or_file_uris},
        {"a readable PIN file is warned of", a_readable_pin_file_is_warned_of},
        {"the prompt reads without echo", the_prompt_reads_without_echo},
        {"an empty answer is no PIN", an_empty_answer_is_no_pin},
        {"a long answer is refused", a_long_answer_is_refused},
        {"a signal finds the terminal restored", a_signal_finds_the_terminal_restored},
        {"a stopped prompt asks again", a_stopped_prompt_asks_again},
        {"without a terminal nothing is asked", without_a_terminal_nothing_is_asked},
    };
    if (!mkdtemp(folder))
        return 1;
    tt_log_set_sink(count_warnings, NULL);
    int failed = SUITE_RUN("pin", tests);
    remove_folder();
    return failed;
}
