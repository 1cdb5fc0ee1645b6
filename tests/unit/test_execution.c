/* What "run" reads: the engine's stream of a train's output, and the values of options. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/run_options.h"
#include "cli/train_output.h"
#include "image/docker_output.h"
#include "suite.h"

/* --- frames --- */

struct taken {
    struct tt_buffer out;
    struct tt_buffer err;
};

static void take(void *user, int stream, const void *data, size_t length)
{
    struct taken *taken = user;
    CU_ASSERT_TRUE(stream == 1 || stream == 2);
    CU_ASSERT_TRUE(length > 0);
    CU_ASSERT_EQUAL(tt_buffer_append(stream == 1 ? &taken->out : &taken->err, data, length, NULL), TT_OK);
}

static void taken_clear(struct taken *taken)
{
    tt_buffer_clear(&taken->out);
    tt_buffer_clear(&taken->err);
}

static bool holds(const struct tt_buffer *buffer, const char *text)
{
    return buffer->length == strlen(text) &&
           memcmp(buffer->data ? (const char *)buffer->data : "", text, strlen(text)) == 0;
}

static void frames_in_pieces_of_any_size(void)
{
    static const char stream[] = "\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\5error\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\1!";
    for (size_t piece = 1; piece < sizeof stream; piece++) {
        struct taken taken TT_CLEANUP(taken_clear) = {0};
        struct tt_docker_output output = {.output = take, .user = &taken};
        for (size_t at = 0; at < sizeof stream - 1; at += piece) {
            size_t run = sizeof stream - 1 - at < piece ? sizeof stream - 1 - at : piece;
            CU_ASSERT_EQUAL(tt_docker_output_take(&output, stream + at, run, NULL), TT_OK);
        }
        CU_ASSERT_TRUE(tt_docker_output_is_whole(&output));
        CU_ASSERT_TRUE(holds(&taken.out, "out\n!"));
        CU_ASSERT_TRUE(holds(&taken.err, "error"));
    }
}

static void a_frame_of_four_gigabytes_needs_no_memory(void)
{
    struct taken taken TT_CLEANUP(taken_clear) = {0};
    struct tt_docker_output output = {.output = take, .user = &taken};
    CU_ASSERT_EQUAL(tt_docker_output_take(&output, "\2\0\0\0\xff\xff\xff\xffxyz", 11, NULL), TT_OK);
    CU_ASSERT_TRUE(holds(&taken.err, "xyz"));
    CU_ASSERT_FALSE(tt_docker_output_is_whole(&output));
    CU_ASSERT_EQUAL(output.left, UINT32_MAX - 3);
}

static void what_is_no_frame_is_refused(void)
{
    static const char *const bad[] = {"\4\0\0\0\0\0\0\1x", "\1\1\0\0\0\0\0\1x", "\1\0\0\1\0\0\0\1x", "plain text"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct taken taken TT_CLEANUP(taken_clear) = {0};
        struct tt_docker_output output = {.output = take, .user = &taken};
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(tt_docker_output_take(&output, bad[i], 9, &err), TT_STORE);
        CU_ASSERT_EQUAL(taken.out.length + taken.err.length, 0);
        CU_ASSERT_TRUE(err.message[0] != '\0');
    }
}

static void a_cut_frame_is_seen(void)
{
    struct tt_docker_output output = {0};
    CU_ASSERT_TRUE(tt_docker_output_is_whole(&output));
    CU_ASSERT_EQUAL(tt_docker_output_take(&output, "\1\0\0", 3, NULL), TT_OK);
    CU_ASSERT_FALSE(tt_docker_output_is_whole(&output));
    CU_ASSERT_EQUAL(tt_docker_output_take(&output, "\0\0\0\0\2a", 6, NULL), TT_OK);
    CU_ASSERT_FALSE(tt_docker_output_is_whole(&output));
    CU_ASSERT_EQUAL(tt_docker_output_take(&output, "b", 1, NULL), TT_OK);
    CU_ASSERT_TRUE(tt_docker_output_is_whole(&output));
}

static void engines_words_and_echo_have_a_stream(void)
{
    struct taken taken TT_CLEANUP(taken_clear) = {0};
    struct tt_docker_output output = {.output = take, .user = &taken};
    CU_ASSERT_EQUAL(tt_docker_output_take(&output, "\3\0\0\0\0\0\0\1e\0\0\0\0\0\0\0\1i", 18, NULL), TT_OK);
    CU_ASSERT_TRUE(holds(&taken.out, "i"));
    CU_ASSERT_TRUE(holds(&taken.err, "e"));
}

/* --- output for a terminal --- */

static void check_shown(const char *text, size_t length, const char *shown, size_t left)
{
    char out[256];
    size_t cut = 99;
    size_t used = train_output_printable((const unsigned char *)text, length, out, &cut);
    CU_ASSERT_EQUAL(used, strlen(shown));
    CU_ASSERT_EQUAL(memcmp(out, shown, used), 0);
    CU_ASSERT_EQUAL(cut, left);
}

static void a_terminal_is_safe_from_the_train(void)
{
    check_shown("a\tb\r\n", 5, "a\tb\r\n", 0);
    check_shown("\x1b[2J\x07\x7f\0", 7, "\\x1b[2J\\x07\\x7f\\x00", 0);
    check_shown("\xc2\x9b", 2, "\\xc2\\x9b", 0); /* a control character of two bytes */
    check_shown("\xc3\xbc\xf0\x9f\x9a\x82", 6, "\xc3\xbc\xf0\x9f\x9a\x82", 0);
    check_shown("\xff\x9b\xc0\xaf", 4, "\\xff\\x9b\\xc0\\xaf", 0); /* no UTF-8 */
    check_shown("x\xf0\x9f\x9a", 4, "x", 3);                       /* the rest may come */
    check_shown("\xc3", 1, "", 1);
    check_shown("\xf0zzz", 4, "\\xf0zzz", 0);
}

static void a_log_keeps_what_was_until_something_new_comes(void)
{
    char path[] = "/tmp/traintoken-test-log-XXXXXX";
    struct stat facts;
    close(mkstemp(path));
    chmod(path, 0644);
    for (int round = 0; round < 3; round++) {
        struct train_output output = TRAIN_OUTPUT_INIT;
        CU_ASSERT_EQUAL(train_output_open(&output, path, NULL), TT_OK);
        CU_ASSERT_EQUAL(stat(path, &facts), 0);
        CU_ASSERT_EQUAL(facts.st_mode & 07777, 0600);
        CU_ASSERT_EQUAL(facts.st_size, round == 0 ? 0 : 3);
        if (round == 2)
            train_output_end(&output);
        else
            train_output_take(&output, 1, "a\x1b\n", 3);
        train_output_clear(&output);
    }
    CU_ASSERT_EQUAL(stat(path, &facts), 0);
    CU_ASSERT_EQUAL(facts.st_size, 0);
    unlink(path);
}

static void a_log_that_cannot_be_is_told_at_once(void)
{
    struct train_output output = TRAIN_OUTPUT_INIT;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(train_output_open(&output, "/nonexistent/log", &err), TT_USAGE);
    train_output_clear(&output);
    CU_ASSERT_EQUAL(train_output_open(&output, "/dev/null", &err), TT_USAGE);
    train_output_clear(&output);
    CU_ASSERT_EQUAL(train_output_open(&output, "/tmp", &err), TT_USAGE);
    train_output_clear(&output);
}

/* --- numbers --- */

static void sizes(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"1048576", 1 << 20},
                {"512m", UINT64_C(512) << 20},
                {"2g", UINT64_C(2) << 30},
                {"2G", UINT64_C(2) << 30},
                {"10mb", UINT64_C(10) << 20},
                {"10MiB", UINT64_C(10) << 20},
                {"5b", 5},
                {"3k", 3072},
                {"1t", UINT64_C(1) << 40},
                {"9223372036854775807", INT64_MAX}};
    static const char *const bad[] = {"",
                                      "m",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 m",
                                      "1.5g",
                                      "0",
                                      "0g",
                                      "1x",
                                      "1mm",
                                      "1bb",
                                      "1bib",
                                      "9223372036854775808",
                                      "18446744073709551617",
                                      "8388608t",
                                      "99999999999999999g",
                                      "1e9",
                                      "0x10",
                                      "m1",
                                      "1m ",
                                      "1\x80",
                                      "1@",
                                      "1`"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t bytes = 0;
        CU_ASSERT_EQUAL(run_parse_size("memory", good[i].text, &bytes, NULL), TT_OK);
        CU_ASSERT_EQUAL(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t bytes = 77;
        CU_ASSERT_EQUAL(run_parse_size("memory", bad[i], &bytes, NULL), TT_USAGE);
        CU_ASSERT_EQUAL(bytes, 77);
    }
}

static void processors(void)
{
    static const struct {
        const char *text;
        uint64_t billionths;
    } good[] = {
        {"2", 2000000000}, {"1.5", 1500000000}, {"0.01", 10000000}, {"0.000000001", 1}, {"3.250000000", 3250000000}};
    static const char *const bad[] = {"",
                                      ".",
                                      ".5",
                                      "1.",
                                      "0",
                                      "0.0",
                                      "-1",
                                      "1,5",
                                      "1.0000000001",
                                      "1.2.3",
                                      "1e3",
                                      "2147483648",
                                      "99999999999999999999",
                                      "nan",
                                      "1.5 "};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t billionths = 0;
        CU_ASSERT_EQUAL(run_parse_cpus("cpus", good[i].text, &billionths, NULL), TT_OK);
        CU_ASSERT_EQUAL(billionths, good[i].billionths);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t billionths = 0;
        CU_ASSERT_EQUAL(run_parse_cpus("cpus", bad[i], &billionths, NULL), TT_USAGE);
    }
}

static void durations(void)
{
    static const struct {
        const char *text;
        unsigned seconds;
    } good[] = {{"90", 90}, {"90s", 90}, {"15m", 900}, {"2h", 7200}, {"2147483647", 2147483647}};
    static const char *const bad[] = {"",    "s",     "0",    "0h",         "-1",         "1d",
                                      "1hh", "1h30m", "1.5h", "2147483648", "999999999h", "99999999999999999999",
                                      " 1",  "1 s",   "1S"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        unsigned seconds = 0;
        CU_ASSERT_EQUAL(run_parse_duration("timeout", good[i].text, &seconds, NULL), TT_OK);
        CU_ASSERT_EQUAL(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unsigned seconds = 0;
        CU_ASSERT_EQUAL(run_parse_duration("timeout", bad[i], &seconds, NULL), TT_USAGE);
    }
}

static void gpus(void)
{
    static const char *const bad[] = {"", "0", "-1", "none", "ALL", "all ", "1.5", "2147483648"};
    int count = 0;
    CU_ASSERT_EQUAL(run_parse_gpus("gpus", "all", &count, NULL), TT_OK);
    CU_ASSERT_EQUAL(count, -1);
    CU_ASSERT_EQUAL(run_parse_gpus("gpus", "2", &count, NULL), TT_OK);
    CU_ASSERT_EQUAL(count, 2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(run_parse_gpus("gpus", bad[i], &count, NULL), TT_USAGE);
}

/* --- volumes --- */

static void volumes(void)
{
    struct run_volumes volumes TT_CLEANUP(run_volumes_clear) = {0};
    char *folder TT_CLEANUP(tt_free_cleanup) = getcwd(NULL, 0);
    char expected[4096];
    CU_ASSERT_EQUAL(run_volumes_add(&volumes, "/data//set/./1/:/opt//train_data/", NULL), TT_OK);
    CU_ASSERT_EQUAL(run_volumes_add(&volumes, "data/../other:/data:rw", NULL), TT_OK);
    CU_ASSERT_EQUAL(run_volumes_add(&volumes, "/:/host:ro", NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(volumes.count, 3);
    CU_ASSERT_STRING_EQUAL(volumes.items[0].source, "/data/set/1");
    CU_ASSERT_STRING_EQUAL(volumes.items[0].target, "/opt/train_data");
    CU_ASSERT_FALSE(volumes.items[0].writable);
    snprintf(expected, sizeof expected, "%s/data/../other", folder); /* ".." may follow a link: the engine's to walk */
    CU_ASSERT_STRING_EQUAL(volumes.items[1].source, expected);
    CU_ASSERT_TRUE(volumes.items[1].writable);
    CU_ASSERT_STRING_EQUAL(volumes.items[2].source, "/");
    CU_ASSERT_EQUAL(run_volumes_add(&volumes, "/else:/data/", NULL), TT_USAGE); /* twice */
}

static void bad_volumes(void)
{
    static const char *const bad[] = {"", ":", "::", "/data", "/data:", ":/data", "/data:data", "/data:./data",
                                      "/a:/b:", "/a:/b:rx", "/a:/b:ro:rw", "/a:/b:/c", "/a:/", "/a://", "/a:/.",
                                      "/a:/x/../..", "/a:/..", "/a:/opt/../etc/..", "/a:/\xff",
                                      /* over the train's own files */
                                      "/a:/opt", "/a:/opt/pht_results", "/a:/opt/pht_results/x", "/a:/opt//pht_train/",
                                      "/a:/opt/./pht_train/x/y", "/a:/opt/train_config.json"};
    static const char *const good[] = {"/a:/opt/pht_results2", "/a:/opt/pht", "/a:/pht_results", "/a:/optional"};
    struct run_volumes volumes TT_CLEANUP(run_volumes_clear) = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(run_volumes_add(&volumes, bad[i], &err), TT_USAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--volume"));
    }
    CU_ASSERT_EQUAL(volumes.count, 0);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT_EQUAL(run_volumes_add(&volumes, good[i], NULL), TT_OK);
}

/* --- environment --- */

static const char *value_of(const struct run_environment *environment, const char *name)
{
    for (size_t i = 0; i < environment->count; i++)
        if (strncmp(environment->values[i], name, strlen(name)) == 0 && environment->values[i][strlen(name)] == '=')
            return environment->values[i] + strlen(name) + 1;
    return NULL;
}

static void environment_file(void)
{
    static const char text[] =
        "\xEF\xBB\xBF"
        "# remark\n\n  \t\nA=1\n  B=\"two words\" \r\nC=\nD=x=y\n#E=1\nTT_TEST_SET\nTT_TEST_UNSET\nA=2\nAA=3";
    struct run_environment environment TT_CLEANUP(run_environment_clear) = {0};
    setenv("TT_TEST_SET", "from here", 1);
    unsetenv("TT_TEST_UNSET");
    CU_ASSERT_EQUAL(run_environment_add_text(&environment, text, sizeof text - 1, "file", NULL), TT_OK);
    CU_ASSERT_EQUAL(environment.count, 6);
    CU_ASSERT_STRING_EQUAL(value_of(&environment, "A"), "2");
    CU_ASSERT_STRING_EQUAL(value_of(&environment, "B"), "\"two words\" ");
    CU_ASSERT_STRING_EQUAL(value_of(&environment, "C"), "");
    CU_ASSERT_STRING_EQUAL(value_of(&environment, "D"), "x=y");
    CU_ASSERT_STRING_EQUAL(value_of(&environment, "TT_TEST_SET"), "from here");
    CU_ASSERT_PTR_NULL(value_of(&environment, "TT_TEST_UNSET"));
    CU_ASSERT_STRING_EQUAL(value_of(&environment, "AA"), "3");
}

static void bad_environment_files(void)
{
    static const struct {
        const char *text;
        size_t length;
    } bad[] = {{"A=1\n=2\n", 7}, {"A B=1", 5},   {"A\tB", 3},    {"A=\xff", 3}, {"\xc3=1", 3},    {"A=1\0", 4},
               {"\0", 1},        {"A\x01=1", 4}, {"A\x7f=1", 4}, {"=", 1},      {"A=\xef\xbb", 4}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct run_environment environment TT_CLEANUP(run_environment_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL(run_environment_add_text(&environment, bad[i].text, bad[i].length, "file", &err), TT_USAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "line "));
    }
}

static void what_is_ours_does_not_reach_the_train(void)
{
    static const char *const names[] = {"PRIVATE_KEY_PASSWORD", "PRIVATE_KEY_PATH", "CREDENTIALS_DIRECTORY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct run_environment environment TT_CLEANUP(run_environment_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        char text[64];
        setenv(names[i], "throw-away-secret", 1);
        CU_ASSERT_EQUAL(run_environment_add(&environment, names[i], &err), TT_USAGE);
        snprintf(text, sizeof text, "%s=throw-away-secret", names[i]);
        CU_ASSERT_EQUAL(run_environment_add(&environment, text, &err), TT_USAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, names[i]));
        CU_ASSERT_PTR_NULL(strstr(err.message, "throw-away-secret"));
        CU_ASSERT_EQUAL(run_environment_add_text(&environment, text, strlen(text), "file", &err), TT_USAGE);
        CU_ASSERT_PTR_NULL(strstr(err.message, "throw-away-secret"));
        CU_ASSERT_EQUAL(environment.count, 0);
        unsetenv(names[i]);
    }
}

static void messages_show_no_values(void)
{
    struct run_environment environment TT_CLEANUP(run_environment_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(run_environment_add(&environment, "A B=secret", &err), TT_USAGE);
    CU_ASSERT_PTR_NULL(strstr(err.message, "secret"));
    CU_ASSERT_EQUAL(run_environment_add(&environment, "A=secret\xff", &err), TT_USAGE);
    CU_ASSERT_PTR_NULL(strstr(err.message, "secret"));
    CU_ASSERT_EQUAL(run_environment_add_file(&environment, "/nonexistent", &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--env-file"));
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"frames come in pieces of any size", frames_in_pieces_of_any_size},
        {"a frame of four gigabytes needs no memory", a_frame_of_four_gigabytes_needs_no_memory},
        {"what is no frame is refused", what_is_no_frame_is_refused},
        {"a cut frame is seen", a_cut_frame_is_seen},
        {"the engine's own words and echoed input have a stream", engines_words_and_echo_have_a_stream},
        {"a terminal is safe from the train", a_terminal_is_safe_from_the_train},
        {"a log keeps what was until something new comes", a_log_keeps_what_was_until_something_new_comes},
        {"a log that cannot be written is told at once", a_log_that_cannot_be_is_told_at_once},
        {"sizes", sizes},
        {"processors", processors},
        {"durations", durations},
        {"graphics processors", gpus},
        {"volumes", volumes},
        {"bad volumes", bad_volumes},
        {"environment files", environment_file},
        {"bad environment files", bad_environment_files},
        {"what is ours does not reach the train", what_is_ours_does_not_reach_the_train},
        {"messages show no values", messages_show_no_values},
    };
    return SUITE_RUN("execution", tests);
}
