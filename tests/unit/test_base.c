#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/lane.h"
#include "base/secret.h"
#include "base/text.h"
#include "suite.h"

static void hex_round_trip(void)
{
    uint8_t data[3] = {0x00, 0xAB, 0xFF};
    char text[7];
    tt_hex_encode(data, sizeof data, text);
    CU_ASSERT_STRING_EQUAL(text, "00abff");
    uint8_t back[3];
    CU_ASSERT_TRUE(tt_hex_decode(text, 6, back, 3));
    CU_ASSERT_EQUAL(memcmp(data, back, 3), 0);
    CU_ASSERT_FALSE(tt_hex_decode("00abf", 5, back, 3));
    CU_ASSERT_FALSE(tt_hex_decode("00ABFF", 6, back, 3));
    CU_ASSERT_FALSE(tt_hex_decode("00abfg", 6, back, 3));
    CU_ASSERT_FALSE(tt_hex_decode("00abff", 6, back, 2));
}

static void hostile_text_is_printable(void)
{
    char out[64];
    tt_text_printable("a\x1b[2J\xff\xc2\x9b"
                      "\xc3\xbc",
                      out, sizeof out);
    CU_ASSERT_STRING_EQUAL(out, "a\\x1b[2J\\xff\\xc2\\x9b\xc3\xbc");
    tt_text_printable("no\u202eyes\u2066\u2029\u2026\u201c\u2070", out, sizeof out); /* the last three are harmless */
    CU_ASSERT_STRING_EQUAL(out, "no\\xe2\\x80\\xaeyes\\xe2\\x81\\xa6\\xe2\\x80\\xa9\u2026\u201c\u2070");
    tt_text_printable("\x01\x01\x01", out, 6);
    CU_ASSERT_STRING_EQUAL(out, "\\x01");
    tt_text_printable("17\u200b 1\ufeff7 \U000e0041\u00ac", out, sizeof out); /* looks like 17 */
    CU_ASSERT_STRING_EQUAL(out, "17\\xe2\\x80\\x8b 1\\xef\\xbb\\xbf7 \\xf3\\xa0\\x81\\x81\u00ac");
}

static void utf8_forms(void)
{
    CU_ASSERT_TRUE(tt_text_is_utf8("\xf0\x9f\x9a\x82", 4));
    CU_ASSERT_FALSE(tt_text_is_utf8("\xc0\xaf", 2));         /* overlong */
    CU_ASSERT_FALSE(tt_text_is_utf8("\xed\xa0\x80", 3));     /* surrogate */
    CU_ASSERT_FALSE(tt_text_is_utf8("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
    CU_ASSERT_FALSE(tt_text_is_utf8("\xe2\x82", 2));         /* cut */
}

static void errors_carry_context(void)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_error_set(&err, TT_TAMPERED, "file %s", "x\n"), TT_TAMPERED);
    CU_ASSERT_EQUAL(tt_error_context(&err, "train %d", 7), TT_TAMPERED);
    CU_ASSERT_STRING_EQUAL(err.message, "train 7: file x\\x0a");
    CU_ASSERT_STRING_EQUAL(tt_status_name(err.status), "tampered");
}

static void what_context_cuts_off_is_whole_characters(void)
{
    for (int start = 0; start < 3; start++) {
        struct tt_error err = TT_ERROR_INIT;
        char text[TT_ERROR_MESSAGE_SIZE];
        size_t length = (size_t)start;
        memset(text, 'x', sizeof text);
        for (; length + 3 < sizeof text; length += 3)
            memcpy(text + length, "\xe2\x82\xac", 3);
        text[length] = '\0';
        tt_error_set(&err, TT_STORE, "%s", text);
        CU_ASSERT_EQUAL(tt_error_context(&err, "train %d", 7), TT_STORE);
        CU_ASSERT_TRUE(strlen(err.message) > sizeof err.message - 4);
        CU_ASSERT_TRUE(tt_text_is_utf8(err.message, strlen(err.message)));
    }
}

static void buffers_keep_their_limit(void)
{
    struct tt_buffer buffer = TT_BUFFER_INIT(4);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_buffer_append(&buffer, "abc", 3, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_buffer_append(&buffer, "de", 2, &err), TT_MALFORMED);
    CU_ASSERT_EQUAL(buffer.length, 3);
    CU_ASSERT_EQUAL(buffer.data[3], 0);
    tt_buffer_clear(&buffer);
}

static void secrets_hold_their_capacity(void)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_secret_new(32, &secret, &err), TT_OK);
    CU_ASSERT_EQUAL(secret->capacity, 32);
    CU_ASSERT_EQUAL(secret->length, 0);
    memset(secret->data, 7, secret->capacity);
    tt_secret_free(NULL);
}

struct sum {
    uint64_t total;
    uint64_t bytes;
    uint64_t fail_after;
};

static enum tt_status add_up(void *user, const uint8_t *data, size_t length, struct tt_error *err)
{
    struct sum *sum = user;
    for (size_t i = 0; i < length; i++)
        sum->total += data[i];
    sum->bytes += length;
    if (sum->fail_after && sum->bytes > sum->fail_after)
        return tt_error_set(err, TT_STORE, "full");
    return TT_OK;
}

static void lanes_pass_all_bytes_in_order(void)
{
    struct sum sum = {0};
    struct tt_lane *lane = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_lane_start(1000, add_up, &sum, &lane, &err), TT_OK);
    uint8_t chunk[777];
    uint64_t expected = 0;
    for (size_t i = 0; i < sizeof chunk; i++)
        chunk[i] = (uint8_t)i;
    for (int round = 0; round < 1000; round++) {
        CU_ASSERT_EQUAL(tt_lane_write(lane, chunk, sizeof chunk, &err), TT_OK);
        for (size_t i = 0; i < sizeof chunk; i++)
            expected += chunk[i];
    }
    CU_ASSERT_EQUAL(tt_lane_drain(lane, &err), TT_OK);
    CU_ASSERT_EQUAL(sum.bytes, 777000);
    CU_ASSERT_EQUAL(tt_lane_finish(lane, &err), TT_OK);
    CU_ASSERT_EQUAL(sum.total, expected);
}

static void a_failing_lane_stops_its_producer(void)
{
    struct sum sum = {.fail_after = 5000};
    struct tt_lane *lane = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_lane_start(1000, add_up, &sum, &lane, &err), TT_OK);
    uint8_t chunk[500] = {0};
    enum tt_status status = TT_OK;
    for (int round = 0; round < 1000 && status == TT_OK; round++)
        status = tt_lane_write(lane, chunk, sizeof chunk, &err);
    CU_ASSERT_EQUAL(status, TT_STORE);
    CU_ASSERT_STRING_EQUAL(err.message, "full");
    CU_ASSERT_EQUAL(tt_lane_finish(lane, &err), TT_STORE);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"hex round trip", hex_round_trip},
        {"hostile text is printable", hostile_text_is_printable},
        {"UTF-8 forms", utf8_forms},
        {"errors carry context", errors_carry_context},
        {"what context cuts off is whole characters", what_context_cuts_off_is_whole_characters},
        {"buffers keep their limit", buffers_keep_their_limit},
        {"secrets hold their capacity", secrets_hold_their_capacity},
        {"lanes pass all bytes in order", lanes_pass_all_bytes_in_order},
        {"a failing lane stops its producer", a_failing_lane_stops_its_producer},
    };
    return SUITE_RUN("base", tests);
}
