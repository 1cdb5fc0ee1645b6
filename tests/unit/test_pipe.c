/* The bounded pipe, and base64. */
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/pipe.h"
#include "suite.h"

enum { CAPACITY = 1000, TOTAL = 3000000 };

static struct tt_pipe *new_pipe(void)
{
    struct tt_pipe *pipe = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_pipe_new(CAPACITY, &pipe, &err), TT_OK);
    return pipe;
}

static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position * 31 + position / 251);
}

static void *write_all(void *argument)
{
    struct tt_pipe *pipe = argument;
    uint8_t piece[1777];
    size_t position = 0;
    while (position < TOTAL) {
        size_t length = 1 + position * 7 % sizeof piece;
        length = length < TOTAL - position ? length : TOTAL - position;
        for (size_t i = 0; i < length; i++)
            piece[i] = byte_at(position + i);
        if (!tt_pipe_write(pipe, piece, length))
            return NULL;
        position += length;
    }
    tt_pipe_end(pipe);
    return NULL;
}

static void bytes_pass_in_order(void)
{
    struct tt_pipe *pipe = new_pipe();
    pthread_t writer;
    uint8_t piece[1313];
    size_t position = 0;
    size_t wrong = 0;
    size_t length = 0;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, write_all, pipe), 0);
    while (tt_pipe_read(pipe, piece, 1 + position % sizeof piece, -1, &length) == TT_PIPE_DATA) {
        for (size_t i = 0; i < length; i++)
            wrong += piece[i] != byte_at(position + i);
        position += length;
    }
    pthread_join(writer, NULL);
    CU_ASSERT_EQUAL(position, TOTAL);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, sizeof piece, -1, &length), TT_PIPE_ENDED);
    tt_pipe_free(pipe);
}

static void an_empty_pipe_is_waited_for_a_while(void)
{
    struct tt_pipe *pipe = new_pipe();
    uint8_t piece[10];
    size_t length = 1;
    CU_ASSERT_FALSE(tt_pipe_is_readable(pipe));
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, sizeof piece, 0, &length), TT_PIPE_EMPTY);
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, sizeof piece, 30, &length), TT_PIPE_EMPTY);
    CU_ASSERT_EQUAL(length, 0);
    CU_ASSERT_TRUE(tt_pipe_write(pipe, "abc", 3));
    CU_ASSERT_TRUE(tt_pipe_is_readable(pipe));
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, 2, 30, &length), TT_PIPE_DATA);
    CU_ASSERT_EQUAL(length, 2);
    tt_pipe_end(pipe);
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, 2, 30, &length), TT_PIPE_DATA);
    CU_ASSERT_EQUAL(length, 1);
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, 2, 30, &length), TT_PIPE_ENDED);
    tt_pipe_free(pipe);
}

static void *break_soon(void *argument)
{
    usleep(50000);
    tt_pipe_break(argument);
    return NULL;
}

static void breaking_wakes_both_sides(void)
{
    uint8_t piece[2 * CAPACITY] = {0};
    size_t length = 1;
    pthread_t thread;
    struct tt_pipe *pipe = new_pipe();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, break_soon, pipe), 0);
    CU_ASSERT_FALSE(tt_pipe_write(pipe, piece, sizeof piece));
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, 1, -1, &length), TT_PIPE_BROKEN); /* whatever is in it */
    CU_ASSERT_EQUAL(length, 0);
    tt_pipe_free(pipe);

    pipe = new_pipe();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, break_soon, pipe), 0);
    CU_ASSERT_EQUAL(tt_pipe_read(pipe, piece, 1, -1, &length), TT_PIPE_BROKEN);
    pthread_join(thread, NULL);
    CU_ASSERT_FALSE(tt_pipe_write(pipe, "a", 1));
    tt_pipe_free(pipe);
}

static void check_base64(const char *text, bool good, const char *plain)
{
    uint8_t data[64];
    size_t length = 0;
    CU_ASSERT_EQUAL(tt_base64_decode(text, strlen(text), data, &length), good);
    if (good) {
        CU_ASSERT_EQUAL(length, strlen(plain));
        CU_ASSERT_EQUAL(memcmp(data, plain, strlen(plain)), 0);
    }
}

static void base64_forms(void)
{
    char text[32];
    check_base64("", true, "");
    check_base64("Zg==", true, "f");
    check_base64("Zg", true, "f");
    check_base64("Zm8=", true, "fo");
    check_base64("Zm9v", true, "foo");
    check_base64("Zm9vYmFy", true, "foobar");
    check_base64("PDw8Pj4+", true, "<<<>>>");
    check_base64("/w==", true, "\xff");
    check_base64("Zm9v=", false, "");
    check_base64("Zg=", false, "");
    check_base64("Zm9vY", false, "");
    check_base64("Zm 9v", false, "");
    check_base64("Pz8_", false, "");
    check_base64("=", false, "");
    check_base64("Zg==Zg==", false, "");
    CU_ASSERT_EQUAL(tt_base64_url_encode((const uint8_t *)"<<<>>>f", 7, text), 12);
    CU_ASSERT_STRING_EQUAL(text, "PDw8Pj4-Zg==");
    CU_ASSERT_EQUAL(tt_base64_url_encode((const uint8_t *)"\xff", 1, text), 4);
    CU_ASSERT_STRING_EQUAL(text, "_w==");
    CU_ASSERT_EQUAL(tt_base64_url_encode((const uint8_t *)"", 0, text), 0);
    CU_ASSERT_STRING_EQUAL(text, "");
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"bytes pass in order", bytes_pass_in_order},
        {"an empty pipe is waited for a while", an_empty_pipe_is_waited_for_a_while},
        {"breaking wakes both sides", breaking_wakes_both_sides},
        {"base64 forms", base64_forms},
    };
    return SUITE_RUN("pipe", tests);
}
