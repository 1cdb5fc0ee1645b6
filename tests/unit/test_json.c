#include <string.h>

#include "base/text.h"
#include "suite.h"
#include "json/json.h"

enum { VALUES = 1000 };

static enum tt_status parse(const char *text, size_t length, struct tt_error *err)
{
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    return tt_json_parse(text, length, VALUES, "doc.json", &root, err);
}

static void expect(const char *text, size_t length, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = parse(text, length, &err);
    bool as_expected = words ? status == TT_MALFORMED && strstr(err.message, words) : status == TT_OK;
    if (!as_expected)
        printf("\n    %.60s: status %d, '%s' instead of '%s'", text, status, err.message, words ? words : "ok");
    CU_ASSERT_TRUE(as_expected);
    CU_ASSERT_TRUE(status == TT_OK || strncmp(err.message, "doc.json, line ", 15) == 0);
}

static void good_documents_pass(void)
{
    static const char *const documents[] = {
        "{}",
        " [ ] ",
        "null",
        "\"\"",
        "-0.5e+10",
        "\t\r\n{\"a\":[1,2,{\"b\":null}],\"c\":true,\"d\":false}\n",
        "\"\\u00e9\\ud83d\\ude82\\n\\\"\\\\\\/\\b\\f\\r\\t\"",
        "{\"a\":1,\"A\":2,\"\":3,\"a \":4}",
        "[{\"a\":1},{\"a\":1}]",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":2}",
        "\"\x7f\"",
        "[1e5,1E-5,0,-1,10.25]",
        "123456789012345678901234567890123456789012345678901234567890123" /* 63 digits */};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        expect(documents[i], strlen(documents[i]), NULL);
}

static void bad_documents_are_refused(void)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "line 1, column 1: the document ends where a value should be"},
        {"\n\n  ", "line 3, column 3: the document ends where a value should be"},
        {"{", "ends where a member's name should be"},
        {"{\"a\"", "ends where ':' should be"},
        {"{\"a\":1,}", "'}' where a member's name should be"},
        {"{a:1}", "'a' where a member's name should be"},
        {"{\"a\":1 \"b\":2}", "'\"' where ',' or '}' should be"},
        {"[1,]", "']' where a value should be"},
        {"[1 2]", "'2' where ',' or ']' should be"},
        {"[1}", "'}' where ',' or ']' should be"},
        {"[", "ends where a value should be"},
        {"tru", "'t' where a value should be"},
        {"True", "'T' where a value should be"},
        {"NaN", "'N' where a value should be"},
        {"'a'", "''' where a value should be"},
        {"// x\n1", "'/' where a value should be"},
        {"{} {}", "'{' where the end of the document should be"},
        {"1\v", "byte 0x0b where the end of the document should be"},
        {"01", "a number with a leading zero"},
        {"-01", "a number with a leading zero"},
        {"-", "ends where a digit should be"},
        {"+1", "'+' where a value should be"},
        {".5", "'.' where a value should be"},
        {"1.", "ends where a digit should be"},
        {"1e", "ends where a digit should be"},
        {"[1e+]", "']' where a digit should be"},
        {"0x10", "'x' where the end of the document should be"},
        {"1234567890123456789012345678901234567890123456789012345678901234", "a number of more than 63 characters"},
        {"\"abc", "ends within a string"},
        {"\"abc\\", "ends within a string"},
        {"\"a\nb\"", "a control character (0x0a) in a string"},
        {"\"\\x41\"", "an escape in a string that JSON does not know"},
        {"\"\\u12g4\"", "\\u without four hexadecimal digits"},
        {"\"\\u12", "\\u without four hexadecimal digits"},
        {"\"\\u0000\"", "a NUL character in a string"},
        {"{\"a\\u0000b\":1}", "a NUL character in a string"},
        {"\"\\ud800\"", "half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", "half of a surrogate pair"},
        {"\"\\ude82\\ud83d\"", "half of a surrogate pair"},
        {"\"\xc0\xaf\"", "text that is not UTF-8"},
        {"\"\xed\xa0\x80\"", "text that is not UTF-8"},
        {"\"\xff\"", "text that is not UTF-8"},
        {"\"\xe2\x82\"", "text that is not UTF-8"},
        {"\xef\xbb\xbf{}", "a byte order mark before the document"},
        {"{\"a\":1,\"a\":2}", "line 1, column 8: the member \"a\" appears twice"},
        {"{\"a\":1,\n \"\\u0061\":2}", "line 2, column 2: the member \"\\u0061\" appears twice"},
        {"{\"\xc3\xa9\":1,\"\\u00E9\":2}", "appears twice"},
        {"{\"\xf0\x9f\x9a\x82\":1,\"b\":3,\"\\ud83d\\ude82\":2}", "appears twice"},
        {"{\"\\/\":1,\"b\":{\"c\":1,\"d\":2},\"/\":2}", "appears twice"},
        {"[{\"b\":{\"c\":1,\"c\":2}}]", "the member \"c\" appears twice"},
        {"[\"\xc3\xbc\", x]", "line 1, column 7: 'x' where"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(cases[i].text, strlen(cases[i].text), cases[i].words);
    expect("[1]\0", 4, "byte 0x00 where the end of the document should be");
    expect("\0", 1, "byte 0x00 where a value should be");
    expect("\"\0\"", 3, "a control character (0x00) in a string");
}

static void depth_has_a_limit(void)
{
    static char text[10000];
    memset(text, '[', sizeof text);
    expect(text, sizeof text, "nested deeper than 64 levels");
    memset(text + TT_JSON_DEPTH_LIMIT, ']', TT_JSON_DEPTH_LIMIT);
    expect(text, (size_t)2 * TT_JSON_DEPTH_LIMIT, NULL);
}

static void values_have_a_limit(void)
{
    size_t length = 4 * 1024 * 1024;
    char *text TT_CLEANUP(tt_free_cleanup) = malloc(length);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t i = 0; i < length; i++)
        text[i] = i == 0 ? '[' : i == length - 1 ? ']' : i % 2 ? '0' : ',';
    expect(text, length, "more than 1000 values");
    text[2 * VALUES - 2] = ']'; /* the array itself and 999 zeros in it */
    expect(text, (size_t)2 * VALUES - 1, NULL);
    text[2 * VALUES - 2] = ',';
    text[2 * VALUES] = ']';
    expect(text, (size_t)2 * VALUES + 1, "more than 1000 values");
}

/* Names that differ in their last bytes only, the twin of the first one last: sorted, not compared pair by pair. */
static void many_names_are_no_burden(void)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_error err = TT_ERROR_INIT;
    for (int i = 0; i < 90000; i++)
        CU_ASSERT_EQUAL_FATAL(
            tt_buffer_printf(&text, &err, "%c\"aaaaaaaaaaaaaaaaaaaaaaaa%d\":0", i ? ',' : '{', i % 89999), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&text, "}", 1, &err), TT_OK);
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    CU_ASSERT_EQUAL(tt_json_parse((const char *)text.data, text.length, 100000, "doc", &root, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the member \"aaaaaaaaaaaaaaaaaaaaaaaa0\" appears twice"));
}

static void integers_are_exact(void)
{
    static const char text[] = "[7,-5,9007199254740993,7.0,7e0,-0,99999999999999999999,\"7\",0]";
    static const struct {
        bool is;
        int64_t value;
    } expected[] = {{true, 7},  {true, -5}, {true, INT64_C(9007199254740993)},
                    {false, 0}, {false, 0}, {false, 0},
                    {false, 0}, {false, 0}, {true, 0}};
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_json_parse(text, sizeof text - 1, VALUES, "doc", &root, &err), TT_OK);
    size_t i = 0;
    for (const cJSON *item = root->child; item; item = item->next, i++) {
        int64_t value = 0;
        CU_ASSERT_EQUAL(tt_json_integer(item, INT64_MIN, INT64_MAX, &value), expected[i].is);
        CU_ASSERT_EQUAL(value, expected[i].value);
        CU_ASSERT_FALSE(tt_json_integer(item, 100, 200, &value));
    }
    CU_ASSERT_EQUAL(i, 9);
    CU_ASSERT_FALSE(tt_json_integer(NULL, 0, 1, &(int64_t){0}));
}

/* `path`: members and element numbers, "route.0.signature". */
static enum tt_status put(struct tt_buffer *text, const char *path, const char *json, struct tt_error *err)
{
    char parts[8][64];
    struct tt_json_step steps[8];
    size_t count = 0;
    for (const char *at = path; *at; count++) {
        size_t length = strcspn(at, ".");
        memcpy(parts[count], at, length);
        parts[count][length] = '\0';
        bool number = parts[count][strspn(parts[count], "0123456789")] == '\0';
        steps[count] = (struct tt_json_step){.member = number ? NULL : parts[count],
                                             .element = number ? strtoul(parts[count], NULL, 10) : 0};
        at += length + (at[length] == '.');
    }
    return tt_json_put(text, steps, count, json, err);
}

static void values_change_in_place(void)
{
    static const struct {
        const char *before;
        const char *path;
        const char *json;
        const char *after; /* NULL: leads nowhere */
    } cases[] = {
        {"{\"a\":1}", "a", "22", "{\"a\":22}"},
        {" {\"a\" : [1e5 , 2.50]\n} ", "a.1", "{}", " {\"a\" : [1e5 , {}]\n} "},
        {"{\"a\":{\"b\":\"x\\\"}\"},\"c\":3}", "c", "null", "{\"a\":{\"b\":\"x\\\"}\"},\"c\":null}"},
        {"{\"a\":\"x\\\\\",\"b\":1}", "b", "\"y\"", "{\"a\":\"x\\\\\",\"b\":\"y\"}"},
        {"{\"\\u0061\":1}", "a", "2", "{\"\\u0061\":2}"},
        {"{\"a\\\\\":1,\"\\\"\\t\":1}", "\"\t", "2", "{\"a\\\\\":1,\"\\\"\\t\":2}"},
        {"{\"x\":{\"a\":1},\"a\":2}", "a", "3", "{\"x\":{\"a\":1},\"a\":3}"},
        {"{\"a\":[[],{},\"]\",5]}", "a.3", "6", "{\"a\":[[],{},\"]\",6]}"},
        {"{\"a\":1}", "b", "2", "{\"a\":1,\"b\":2}"},
        {"{\"a\": 1, \"b\": 2}", "c", "3", "{\"a\": 1, \"b\": 2, \"c\": 3}"},
        {"{\n  \"a\" : {\n    \"x\": 1\n  }\n}\n", "b", "[2]",
         "{\n  \"a\" : {\n    \"x\": 1\n  },\n  \"b\" : [2]\n}\n"},
        {"{\r\n\t\"a\":1 }", "b", "2", "{\r\n\t\"a\":1,\r\n\t\"b\":2 }"},
        {"{}", "a", "1", "{\"a\":1}"},
        {"[{ }]", "0.a", "1", "[{\"a\":1 }]"},
        {"[1,2]", "", "3", "3"},
        {"[1,2]", "1", "", "[1,]"},
        {"[1,2]", "2", "0", NULL},
        {"[]", "0", "0", NULL},
        {"{\"a\":1}", "a.b", "0", NULL},
        {"{\"a\":1}", "b.c", "0", NULL},
        {"{\"a\":1}", "0", "0", NULL},
        {"[1]", "a", "0", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&text, cases[i].before, strlen(cases[i].before), &err), TT_OK);
        enum tt_status status = put(&text, cases[i].path, cases[i].json, &err);
        const char *expected = cases[i].after ? cases[i].after : cases[i].before;
        CU_ASSERT_EQUAL(status, cases[i].after ? TT_OK : TT_MALFORMED);
        CU_ASSERT_EQUAL(text.length, strlen(expected));
        CU_ASSERT_STRING_EQUAL((const char *)text.data, expected);
    }
}

static void a_full_text_stays_as_it_was(void)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(10);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&text, "{\"a\":1}", 7, &err), TT_OK);
    CU_ASSERT_EQUAL(put(&text, "a", "12345", &err), TT_MALFORMED);
    CU_ASSERT_STRING_EQUAL((const char *)text.data, "{\"a\":1}");
    CU_ASSERT_EQUAL(put(&text, "a", "1234", &err), TT_OK);
    CU_ASSERT_STRING_EQUAL((const char *)text.data, "{\"a\":1234}");
}

static void quoting_comes_back(void)
{
    static const char value[] = "a\"b\\c\nd\te\x01\x7f \xc3\xa9 \xf0\x9f\x9a\x82/";
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_json_quote(&text, value, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL((const char *)text.data,
                           "\"a\\\"b\\\\c\\nd\\u0009e\\u0001\x7f \xc3\xa9 \xf0\x9f\x9a\x82/\"");
    cJSON *root TT_CLEANUP(tt_json_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_json_parse((const char *)text.data, text.length, 1, "doc", &root, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(root->valuestring, value);
    CU_ASSERT_EQUAL(tt_json_quote(&text, "\xff", &err), TT_MALFORMED);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"good documents pass", good_documents_pass},
        {"bad documents are refused", bad_documents_are_refused},
        {"depth has a limit", depth_has_a_limit},
        {"values have a limit", values_have_a_limit},
        {"many names are no burden", many_names_are_no_burden},
        {"integers are exact", integers_are_exact},
        {"values change in place", values_change_in_place},
        {"a full text stays as it was", a_full_text_stays_as_it_was},
        {"quoting comes back", quoting_comes_back},
    };
    return SUITE_RUN("json", tests);
}
