#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "archive/file_stream.h"
#include "suite.h"

/* A store that sends what a test tells it to. The content of each file counts up. */
struct script {
    const struct tt_entry *entries;
    size_t count;
    size_t next;
    uint64_t position;
    bool *freed;
};

static enum tt_status script_next(void *store, const struct tt_entry **ret_entry, struct tt_error *err)
{
    struct script *script = store;
    (void)err;
    *ret_entry = script->next < script->count ? &script->entries[script->next++] : NULL;
    script->position = 0;
    return TT_OK;
}

static enum tt_status script_read(void *store, void *data, size_t length, struct tt_error *err)
{
    struct script *script = store;
    (void)err;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)data)[i] = (uint8_t)script->position++;
    return TT_OK;
}

static void script_free(void *store)
{
    struct script *script = store;
    *script->freed = true;
    free(script);
}

static struct tt_file_stream *play(const struct tt_entry *entries, size_t count, bool *freed)
{
    static const struct tt_file_stream_ways ways = {.next = script_next, .read = script_read, .free = script_free};
    struct tt_error err = TT_ERROR_INIT;
    struct tt_file_stream *stream = NULL;
    struct script *script = calloc(1, sizeof *script);
    CU_ASSERT_PTR_NOT_NULL_FATAL(script);
    *freed = false;
    *script = (struct script){.entries = entries, .count = count, .freed = freed};
    CU_ASSERT_EQUAL_FATAL(tt_file_stream_new(&ways, script, &stream, &err), TT_OK);
    return stream;
}

static enum tt_status drain(struct tt_file_stream *stream, size_t *ret_count)
{
    struct tt_error err = TT_ERROR_INIT;
    const struct tt_entry *entry = NULL;
    *ret_count = 0;
    for (;;) {
        enum tt_status status = tt_file_stream_next(stream, &entry, &err);
        if (status != TT_OK || !entry)
            return status;
        ++*ret_count;
    }
}

static const struct tt_entry good[] = {{.path = (char *)"r", .type = TT_ENTRY_FOLDER},
                                       {.path = (char *)"r/a", .type = TT_ENTRY_FILE, .size = 300},
                                       {.path = (char *)"r/b", .type = TT_ENTRY_FOLDER},
                                       {.path = (char *)"r/b/c", .type = TT_ENTRY_FILE, .size = 5},
                                       {.path = (char *)"r/b.c", .type = TT_ENTRY_FILE}};
enum { GOOD = sizeof good / sizeof good[0] };

static void files_come_by_once(void)
{
    struct tt_error err = TT_ERROR_INIT;
    bool freed = false;
    struct tt_file_stream *stream = play(good, GOOD, &freed);
    const struct tt_entry *entry = NULL;
    uint8_t data[300];
    CU_ASSERT_EQUAL(tt_file_stream_next(stream, &entry, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_file_stream_read(stream, data, 1, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_file_stream_next(stream, &entry, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(entry->path, "r/a");
    CU_ASSERT_EQUAL(tt_file_stream_read(stream, data, 299, &err), TT_OK);
    CU_ASSERT_EQUAL(data[298], 298 % 256);
    CU_ASSERT_EQUAL(tt_file_stream_read(stream, data, 2, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_file_stream_read(stream, data, 1, &err), TT_OK);
    CU_ASSERT_EQUAL(data[0], 299 % 256);
    size_t rest = 0;
    CU_ASSERT_EQUAL(drain(stream, &rest), TT_OK);
    CU_ASSERT_EQUAL(rest, 3);
    tt_file_stream_free(stream);
    CU_ASSERT_TRUE(freed);
}

static void what_came_by_is_listed(void)
{
    struct tt_error err = TT_ERROR_INIT;
    bool freed = false;
    size_t count = 0;
    uint8_t byte = 0;
    struct tt_file_set *listing = NULL;
    struct tt_file_stream *stream = play(good, GOOD, &freed);
    CU_ASSERT_EQUAL(drain(stream, &count), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_file_stream_listing(stream, &listing, &err), TT_OK);
    tt_file_stream_free(stream);
    CU_ASSERT_EQUAL(tt_file_set_count(listing), GOOD);
    CU_ASSERT_EQUAL(tt_file_set_bytes(listing), 305);
    CU_ASSERT_EQUAL(tt_file_set_find(listing, "r/b/c"), 3);
    CU_ASSERT_EQUAL(tt_file_set_read(listing, 1, 0, &byte, 1, &err), TT_INTERNAL);
    tt_file_set_free(listing);
}

static void expect_refused(const struct tt_entry *entries, size_t count)
{
    bool freed = false;
    size_t passed = 0;
    struct tt_file_stream *stream = play(entries, count, &freed);
    CU_ASSERT_EQUAL(drain(stream, &passed), TT_STORE);
    CU_ASSERT_EQUAL(passed, count - 1);
    tt_file_stream_free(stream);
    CU_ASSERT_TRUE(freed);
}

static void another_order_is_refused(void)
{
    const struct tt_entry swapped[] = {good[0], good[2], good[1]};
    const struct tt_entry twice[] = {good[0], good[1], good[1]};
    const struct tt_entry by_text[] = {good[0], good[2], good[4], good[3]};
    const struct tt_entry below_file[] = {good[0], good[1], {.path = (char *)"r/a/x", .type = TT_ENTRY_FILE}};
    const struct tt_entry below_link[] = {{.path = (char *)"r", .type = TT_ENTRY_SYMLINK, .link_target = (char *)"/"},
                                          good[1]};
    expect_refused(swapped, 3);
    expect_refused(twice, 3);
    expect_refused(by_text, 4);
    expect_refused(below_file, 3);
    expect_refused(below_link, 2);
}

static void a_set_can_be_streamed(void)
{
    struct tt_error err = TT_ERROR_INIT;
    bool freed = false;
    size_t count = 0;
    struct tt_file_set *listing = NULL;
    struct tt_file_stream *stream = play(good, GOOD, &freed);
    CU_ASSERT_EQUAL(drain(stream, &count), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_file_stream_listing(stream, &listing, &err), TT_OK);
    tt_file_stream_free(stream);
    CU_ASSERT_EQUAL_FATAL(tt_file_stream_over(listing, &stream, &err), TT_OK);
    CU_ASSERT_EQUAL(drain(stream, &count), TT_OK);
    CU_ASSERT_EQUAL(count, GOOD);
    tt_file_stream_free(stream);
    CU_ASSERT_EQUAL_FATAL(tt_file_stream_of(listing, &stream, &err), TT_OK);
    CU_ASSERT_EQUAL(drain(stream, &count), TT_OK);
    CU_ASSERT_EQUAL(count, GOOD);
    tt_file_stream_free(stream);
}

int main(void)
{
    static const struct suite_test tests[] = {{"files come by once", files_come_by_once},
                                              {"what came by is listed", what_came_by_is_listed},
                                              {"another order is refused", another_order_is_refused},
                                              {"a set can be streamed", a_set_can_be_streamed}};
    return SUITE_RUN("file_stream", tests);
}
