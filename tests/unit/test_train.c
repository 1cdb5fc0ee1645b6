#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/hex.h"
#include "suite.h"
#include "train/train.h"
#include "json/json.h"

/* --- what the tests start from --- */

static const uint8_t bytes_of[2][TT_TRAIN_SIGNATURE_LIMIT] = {{0xA1, 0xA2}, {0xB1, 0xB2, 0xB3}};

/* Three stops, none signed. */
static struct tt_train *new_train(void)
{
    static const char *const stations[] = {"one", "two", "7"};
    static const char *const keys[] = {"KEY 1", "KEY 2", "KEY 3"};
    static const char *const files[] = {"main.py", "lib/deep/\xc3\xbc.py"};
    const struct tt_train_plan plan = {.id = "train \"x\"",
                                       .creator_id = "me",
                                       .source_address = "oci:base",
                                       .source_tag = "latest",
                                       .creator_public_key = "CREATOR KEY",
                                       .build_public_key = "BUILD KEY",
                                       .stations = stations,
                                       .station_public_keys = keys,
                                       .stop_count = 3,
                                       .files = files,
                                       .file_count = 2,
                                       .session_id = bytes_of[0],
                                       .hash = bytes_of[1],
                                       .signature = bytes_of[0],
                                       .signature_length = 256,
                                       .build_signature = bytes_of[1],
                                       .build_signature_length = 384};
    struct tt_train *train = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_train_new(&plan, &train, &err), TT_OK);
    return train;
}

/* train_config.json of an archive of the vectors: ustar, the configuration's path needs no prefix. */
static struct tt_buffer vector_config(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TT_VECTORS "/%s.opt.tar", name);
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_file_read(-1, path, SIZE_MAX / 4, &tar, &err), TT_OK);
    struct tt_buffer config = TT_BUFFER_INIT(0);
    for (size_t at = 0; at + 512 <= tar.length;) {
        const char *header = (const char *)tar.data + at;
        size_t size = strtoul(header + 124, NULL, 8);
        if (strncmp(header, TT_TRAIN_CONFIG_PATH, 100) == 0 && at + 512 + size <= tar.length) {
            CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&config, header + 512, size, &err), TT_OK);
            break;
        }
        at += 512 + (size + 511) / 512 * 512;
    }
    CU_ASSERT_TRUE_FATAL(config.length > 0);
    return config;
}

static struct tt_train *parse(const struct tt_buffer *text)
{
    struct tt_train *train = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_train_parse(text->data, text->length, &train, &err);
    if (status != TT_OK)
        printf("\n    %s", err.message);
    CU_ASSERT_EQUAL_FATAL(status, TT_OK);
    return train;
}

/* --- breaking rules --- */

/* Writes `count` bytes of hexadecimal as JSON. */
static void quote_hex(size_t count, struct tt_buffer *out)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(out, "\"", 1, &err), TT_OK);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL_FATAL(tt_buffer_append(out, "a7", 2, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(out, "\"", 1, &err), TT_OK);
}

/* `path`: members and element numbers, "route/0/signature" ('.' would not do: none of the names has a '/'). `json` may
 * be "#N" for N bytes of hexadecimal. */
static void change(struct tt_buffer *text, const char *path, const char *json)
{
    char parts[8][64];
    struct tt_json_step steps[8];
    size_t count = 0;
    for (const char *at = path; *at; count++) {
        size_t length = strcspn(at, "/");
        memcpy(parts[count], at, length);
        parts[count][length] = '\0';
        bool number = parts[count][strspn(parts[count], "0123456789")] == '\0';
        steps[count] = (struct tt_json_step){.member = number ? NULL : parts[count],
                                             .element = number ? strtoul(parts[count], NULL, 10) : 0};
        at += length + (at[length] == '/');
    }
    struct tt_buffer hex TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    if (json[0] == '#') {
        quote_hex(strtoul(json + 1, NULL, 10), &hex);
        json = (const char *)hex.data;
    }
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_json_put(text, steps, count, json, &err), TT_OK);
}

/* Makes a member absent: under its new name nobody knows it. */
static void rename_member(struct tt_buffer *text, const char *member)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", member);
    char *found = strstr((char *)text->data, quoted);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    found[1] = '_';
}

struct broken {
    const char *path;
    const char *json;
    const char *words; /* after "train_config.json: "; NULL: is fine */
};

static void check_broken(const struct tt_buffer *text, const struct broken *broken)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = NULL;
    enum tt_status status = tt_train_parse(text->data, text->length, &train, &err);
    char expected[512];
    snprintf(expected, sizeof expected, "train_config.json: %s", broken->words ? broken->words : "");
    bool right = broken->words ? status == TT_MALFORMED && strcmp(err.message, expected) == 0 : status == TT_OK;
    if (!right)
        printf("\n    %s = %s: status %d, '%s' instead of '%s'", broken->path, broken->json, status, err.message,
               expected);
    CU_ASSERT_TRUE(right);
    CU_ASSERT_TRUE(status == TT_OK || !train);
}

static void check_all(const struct broken *cases, size_t count)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    for (size_t i = 0; i < count; i++) {
        struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        struct tt_error err = TT_ERROR_INIT;
        CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&text, train->text.data, train->text.length, &err), TT_OK);
        if (cases[i].json)
            change(&text, cases[i].path, cases[i].json);
        else
            rename_member(&text, cases[i].path);
        check_broken(&text, &cases[i]);
    }
}

#define CHECK_ALL(cases) check_all(cases, sizeof(cases) / sizeof(cases)[0])

static const char long_id[] =
    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"";

static void rules_of_the_head(void)
{
    static const struct broken cases[] = {
        {"@id", "null", NULL},
        {"@id", "7", "@id is not a string"},
        {"@context", "{\"a\":[1]}", NULL},
        {"@context", "\"x\"", "@context is not an object"},
        {"proposal_id", "17", NULL},
        {"proposal_id", "null", NULL},
        {"proposal_id", NULL, NULL},
        {"proposal_id", "true", "proposal_id is neither a string nor an integer"},
        {"session_id", NULL, "session_id is missing"},
        {"session_id", "null", "session_id is null, but must be there"},
        {"session_id", "1", "session_id is not a string"},
        {"session_id", "#63", "session_id has 63 bytes where 64 belong"},
        {"session_id", "#65", "session_id has 65 bytes where 64 belong"},
        {"session_id", "\"\"", "session_id has 0 bytes where 64 belong"},
        {"session_id", "\"AB\"", "session_id is not lower-case hexadecimal"},
        {"session_id", "\"abc\"", "session_id has an odd number of hexadecimal digits"},
        {"source", "null", NULL},
        {"source", NULL, NULL},
        {"source", "[]", "source is not an object"},
        {"source/type", "1", "source.type is not a string"},
        {"source/address", "{}", "source.address is not a string"},
        {"source/tag", "false", "source.tag is not a string"},
        {"source/branch", "1.5", "source.branch is not a string"},
        {"creator", NULL, "creator is missing"},
        {"creator", "\"me\"", "creator is not an object"},
        {"creator/id", "12", NULL},
        {"creator/id", "null", "creator.id is null, but must be there"},
        {"creator/id", "1.5", "creator.id is a number, but no integer within 2^53"},
        {"creator/id", "\"\"", "creator.id is empty"},
        {"creator/rsa_public_key", "\"zz\"", "creator.rsa_public_key is not lower-case hexadecimal"},
        {"creator/rsa_public_key", "\"\"", "creator.rsa_public_key has 0 bytes; 1 to 16384 are allowed"},
        {"creator/rsa_public_key", "#16385", "creator.rsa_public_key has 16385 bytes; 1 to 16384 are allowed"},
        {"creator/encrypted_key", "#256", NULL},
        {"creator/encrypted_key", "#255", "creator.encrypted_key has 255 bytes; 256 to 1024 are allowed"},
        {"creator/paillier_public_key", "123456789012345678901234567890", NULL},
        {"build", "null", "build is null, but must be there"},
        {"build/signature", "null", "build.signature is null, but must be there"},
        {"build/signature", "#1025", "build.signature has 1025 bytes; 256 to 1024 are allowed"},
        {"build/rsa_public_key", "5", "build.rsa_public_key is not a string"},
        {"hash", NULL, "hash is missing"},
        {"hash", "#32", "hash has 32 bytes where 64 belong"},
        {"signature", "null", "signature is null, but must be there"},
        {"signature", "#64", "signature has 64 bytes; 256 to 1024 are allowed"},
        {"result_hash", "#64", NULL},
        {"result_hash", "#20", "result_hash has 20 bytes where 64 belong"},
        {"result_hash", "0", "result_hash is not a string"},
        {"result_signature", "#512", NULL},
        {"result_signature", "[]", "result_signature is not a string"},
    };
    CHECK_ALL(cases);
}

static void rules_of_the_route(void)
{
    static const struct broken cases[] = {
        {"route", NULL, "route is missing"},
        {"route", "null", "route is null, but must be there"},
        {"route", "{}", "route is not an array"},
        {"route", "[]", "route has no stop"},
        {"route/1", "null", "route[1] is not an object"},
        {"route/1", "3", "route[1] is not an object"},
        {"route/2/index", "null", "route[2].index is null, but must be there"},
        {"route/2/index", "\"2\"", "route[2].index is not an integer"},
        {"route/2/index", "2.0", "route[2].index is not an integer"},
        {"route/2/index", "true", "route[2].index is not an integer"},
        {"route/2/index", "99999999999999999999", "route[2].index is not an integer"},
        {"route/2/index", "3", "route[2].index is 3; a route of 3 stops counts from 0 to 2"},
        {"route/0/index", "-1", "route[0].index is -1; a route of 3 stops counts from 0 to 2"},
        {"route/2/index", "1", "route[2].index is 1, as is that of route[1]"},
        {"route/0/station", "8", NULL},
        {"route/0/station", "null", "route[0].station is null, but must be there"},
        {"route/0/station", "7", "route[2].station is '7', as is that of route[0]"},
        {"route/0/station", "\"two\"", "route[1].station is 'two', as is that of route[0]"},
        {"route/0/station", "\"\"", "route[0].station is empty"},
        {"route/0/station", "[]", "route[0].station is neither a string nor an integer"},
        {"route/0/station", "9007199254740992", NULL},
        {"route/0/station", "9007199254740993", "route[0].station is a number, but no integer within 2^53"},
        {"route/0/station", "-0", "route[0].station is a number, but no integer within 2^53"},
        {"route/0/station", "\"a\\u0007\"", "route[0].station holds a control character"},
        {"route/0/station", "\"a\\u009b\"", "route[0].station holds a control character"},
        {"route/0/station", long_id, "route[0].station is longer than 128 bytes"},
        {"route/0/eco_system", "null", NULL},
        {"route/0/eco_system", "4", "route[0].eco_system is not a string"},
        {"route/1/rsa_public_key", "null", "route[1].rsa_public_key is null, but must be there"},
        {"route/1/rsa_public_key", "\"ABCD\"", "route[1].rsa_public_key is not lower-case hexadecimal"},
        {"route/2/encrypted_key", "#1024", NULL},
        {"route/2/encrypted_key", "\"0g\"", "route[2].encrypted_key is not lower-case hexadecimal"},
        {"route/2/encrypted_key", "\"\"", "route[2].encrypted_key has 0 bytes; 256 to 1024 are allowed"},
        {"route/2/encrypted_key", "{}", "route[2].encrypted_key is not a string"},
        {"route/0/signature", "\"ab\"", "route[0].signature is not an object"},
        {"route/0/signature", "{}", "route[0].signature.digest is missing"},
        {"route/0/signature", "{\"digest\":null}", "route[0].signature.digest is null, but must be there"},
        {"route/0/signature", "{\"digest\":\"ab\"}", "route[0].signature.digest has 1 bytes where 64 belong"},
    };
    CHECK_ALL(cases);
}

static void rules_of_the_file_list(void)
{
    static const struct broken cases[] = {
        {"file_list", NULL, "file_list is missing"},
        {"file_list", "null", "file_list is null, but must be there"},
        {"file_list", "\"main.py\"", "file_list is not an array"},
        {"file_list", "[]", NULL},
        {"file_list/0", "null", "file_list[0] is not a string"},
        {"file_list/1", "7", "file_list[1] is not a string"},
        {"file_list/1", "\"../x\"", "file_list[1] is no path below /opt/pht_train: '../x'"},
        {"file_list/1", "\"/etc/passwd\"", "file_list[1] is no path below /opt/pht_train: '/etc/passwd'"},
        {"file_list/1", "\"./main.py\"", "file_list names 'main.py' twice"},
        {"file_list/1", "\"main.py\"", "file_list names 'main.py' twice"},
        {"file_list/1", "\"./query.json\"", NULL},
    };
    CHECK_ALL(cases);
}

static void the_form_comes_first(void)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "train_config.json, line 1, column 1: the document ends where a value should be"},
        {"[]", "train_config.json is not a JSON object"},
        {"7", "train_config.json is not a JSON object"},
        {"{\"hash\":1,\"hash\":2}", "train_config.json, line 1, column 11: the member \"hash\" appears twice"},
        {"{}", "train_config.json: session_id is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_error err = TT_ERROR_INIT;
        struct tt_train *train = NULL;
        CU_ASSERT_EQUAL(tt_train_parse(cases[i].text, strlen(cases[i].text), &train, &err), TT_MALFORMED);
        CU_ASSERT_STRING_EQUAL(err.message, cases[i].words);
    }
    struct tt_error err = TT_ERROR_INIT;
    struct tt_train *train = NULL;
    CU_ASSERT_EQUAL(tt_train_parse("", (size_t)100 * 1024 * 1024, &train, &err), TT_MALFORMED);
    CU_ASSERT_STRING_EQUAL(err.message, "train_config.json has 104857600 bytes; at most 4194304 are allowed");
}

static void stops_have_a_limit(void)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    struct tt_buffer route TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_error err = TT_ERROR_INIT;
    for (int count = 1000; count <= 1001; count++) {
        tt_buffer_clear(&route);
        for (int i = 0; i < count; i++)
            CU_ASSERT_EQUAL_FATAL(tt_buffer_printf(&route, &err,
                                                   "%c{\"station\":%d,\"index\":%d,\"rsa_public_key\":\"00\"}",
                                                   i ? ',' : '[', i, count - 1 - i),
                                  TT_OK);
        CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&route, "]", 1, &err), TT_OK);
        change(&train->text, "route", (const char *)route.data);
        struct broken broken = {"route", "(long)",
                                count > 1000 ? "route has 1001 stops; at most 1000 are allowed" : NULL};
        check_broken(&train->text, &broken);
    }
}

static void paths_are_safe_or_not(void)
{
    static const char *const safe[] = {
        "a", "./a", "a/b.c", ".hidden", "a/..b/...", "-x", "\xc3\xbc/\xf0\x9f\x9a\x82", "a b", "a\\b", "~", "a:b"};
    static const char *const unsafe[] = {"",     ".",     "..",    "./",     "/",        "/a",     "a/",
                                         "a//b", "././a", "a/./b", "a/../b", "../a",     "./../a", "a/..",
                                         ".//a", "a\nb",  "a\x7f", "\x01",   "a\xc2\x85"};
    for (size_t i = 0; i < sizeof safe / sizeof *safe; i++)
        CU_ASSERT_TRUE(tt_train_path_is_safe(safe[i]));
    for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
        CU_ASSERT_FALSE(tt_train_path_is_safe(unsafe[i]));
    char path[1027] = "./";
    memset(path + 2, 'a', 1023);
    CU_ASSERT_TRUE(tt_train_path_is_safe(path));
    path[1025] = 'a';
    CU_ASSERT_FALSE(tt_train_path_is_safe(path));
}

/* --- the vectors --- */

static void vectors_are_read(void)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = vector_config("basic/stop2");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = parse(&text);
    CU_ASSERT_STRING_EQUAL(train->id, "train-basic");
    CU_ASSERT_STRING_EQUAL(train->proposal_id, "17");
    CU_ASSERT_STRING_EQUAL(train->source_type, "docker_repository");
    CU_ASSERT_STRING_EQUAL(train->source_address, "registry.example/master/python/base");
    CU_ASSERT_STRING_EQUAL(train->source_tag, "latest");
    CU_ASSERT_PTR_NULL(train->source_branch);
    CU_ASSERT_EQUAL(train->session_id[0], 0x44);
    CU_ASSERT_STRING_EQUAL(train->creator_id, "8c4a5f0e-0c3e-4a0b-9d63-4f3e1c0a2b11");
    CU_ASSERT_EQUAL(memcmp(train->creator_public_key.data, "-----BEGIN PUBLIC KEY-----", 26), 0);
    CU_ASSERT_EQUAL(train->creator_encrypted_key.length, 256);
    CU_ASSERT_EQUAL(train->build_signature.length, 256);
    CU_ASSERT_EQUAL(train->stop_count, 3);
    CU_ASSERT_STRING_EQUAL(train->stops[1].station, "station_2");
    CU_ASSERT_TRUE(train->stops[1].is_signed);
    CU_ASSERT_EQUAL(train->stops[1].digest[0], 0x7d);
    CU_ASSERT_FALSE(train->stops[2].is_signed);
    CU_ASSERT_EQUAL(train->file_count, 5);
    CU_ASSERT_STRING_EQUAL(train->files[0], "entrypoint.py");
    CU_ASSERT_TRUE(train->has_result_hash);
    CU_ASSERT_EQUAL(train->result_signature.length, 256);
}

static void every_vector_parses_and_has_its_position(void)
{
    static const struct {
        const char *name;
        size_t position;
    } cases[] = {{"basic/stop0", 0}, {"basic/stop0.executed", 0}, {"basic/stop1", 1}, {"basic/stop1.decrypted", 1},
                 {"basic/stop2", 2}, {"basic/stop3", 3},          {"wide/stop0", 0},  {"wide/stop1", 1},
                 {"wide/stop2", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = vector_config(cases[i].name);
        struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = parse(&text);
        struct tt_error err = TT_ERROR_INIT;
        size_t position = 99;
        CU_ASSERT_EQUAL(tt_route_position(train, &position, &err), TT_OK);
        CU_ASSERT_EQUAL(position, cases[i].position);
        CU_ASSERT_EQUAL(text.length, train->text.length);
        CU_ASSERT_EQUAL(memcmp(text.data, train->text.data, text.length), 0);
    }
}

static void a_shuffled_route_is_put_in_order(void)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = vector_config("wide/stop0");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = parse(&text);
    CU_ASSERT_STRING_EQUAL(train->creator_id, "12");
    CU_ASSERT_STRING_EQUAL(train->stops[0].station, "tuebingen");
    CU_ASSERT_EQUAL(train->stops[0].index, 0);
    CU_ASSERT_EQUAL(train->route_element[0], 1);
    CU_ASSERT_EQUAL(train->route_element[1], 0);
}

/* --- changes keep every other byte --- */

/* Replaces the only place of `from`. */
static void replace(struct tt_buffer *text, const char *from, const char *to)
{
    char *found = strstr((char *)text->data, from);
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    CU_ASSERT_PTR_NULL_FATAL(strstr(found + 1, from));
    struct tt_buffer fresh = TT_BUFFER_INIT(0);
    struct tt_error err = TT_ERROR_INIT;
    size_t before = (size_t)(found - (char *)text->data);
    size_t after = before + strlen(from);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&fresh, text->data, before, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&fresh, to, strlen(to), &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&fresh, text->data + after, text->length - after, &err), TT_OK);
    tt_buffer_clear(text);
    *text = fresh;
}

static void expect_text(const struct tt_train *train, const struct tt_buffer *expected)
{
    CU_ASSERT_EQUAL(train->text.length, expected->length);
    CU_ASSERT_STRING_EQUAL((const char *)train->text.data, (const char *)expected->data);
}

/* The model after changes is what its text says. */
static void expect_model_of_text(const struct tt_train *train)
{
    struct tt_train *again TT_CLEANUP(tt_train_free_cleanup) = parse(&train->text);
    for (size_t i = 0; i < train->stop_count; i++) {
        const struct tt_stop *one = &train->stops[i];
        const struct tt_stop *other = &again->stops[i];
        CU_ASSERT_STRING_EQUAL(one->station, other->station);
        CU_ASSERT_EQUAL_FATAL(one->encrypted_key.length, other->encrypted_key.length);
        CU_ASSERT_TRUE(!one->encrypted_key.data ||
                       memcmp(one->encrypted_key.data, other->encrypted_key.data, one->encrypted_key.length) == 0);
        CU_ASSERT_EQUAL(one->is_signed, other->is_signed);
        CU_ASSERT_EQUAL(memcmp(one->digest, other->digest, sizeof one->digest), 0);
        CU_ASSERT_EQUAL_FATAL(one->signature.length, other->signature.length);
    }
    CU_ASSERT_EQUAL(train->has_result_hash, again->has_result_hash);
    CU_ASSERT_EQUAL(memcmp(train->result_hash, again->result_hash, sizeof again->result_hash), 0);
    CU_ASSERT_EQUAL_FATAL(train->result_signature.length, again->result_signature.length);
    CU_ASSERT_EQUAL(memcmp(train->result_signature.data, again->result_signature.data, again->result_signature.length),
                    0);
    CU_ASSERT_EQUAL_FATAL(train->creator_encrypted_key.length, again->creator_encrypted_key.length);
    CU_ASSERT_EQUAL(memcmp(train->creator_encrypted_key.data, again->creator_encrypted_key.data,
                           again->creator_encrypted_key.length),
                    0);
}

static void set_all(struct tt_train *train, size_t index)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_train_set_result(train, bytes_of[0], bytes_of[1], 256, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_train_set_stop_signature(train, index, bytes_of[1], bytes_of[0], 384, &err), TT_OK);
    for (size_t i = 0; i < train->stop_count; i++)
        CU_ASSERT_EQUAL(tt_train_set_stop_key(train, i, bytes_of[i % 2], 256 + 128 * (i % 2), &err), TT_OK);
    CU_ASSERT_EQUAL(tt_train_set_creator_key(train, bytes_of[1], 512, &err), TT_OK);
}

/* The new values in the expected text come from here, not from the code under test. */
static char *hex_of(int which, size_t length)
{
    return tt_hex_new(bytes_of[which], length);
}

static void changes_keep_other_bytes_indented(void)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = vector_config("basic/stop0");
    /* What writers of other kinds could leave: unknown members, big numbers, odd white space and escapes. */
    replace(&text, "\"proposal_id\": 17", "\"proposal_id\"\t:\r\n 17 ,\"big\":123456789012345678901234567890e-5");
    replace(&text, "\"id\": \"train-basic\",\n",
            "\"id\": \"tr\\u0061in-basic\",\n \"x\" :[1.0,1e2, {\"route\":[]}],\n");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = parse(&text);
    struct tt_stop *stop = &train->stops[0];
    char *old_key TT_CLEANUP(tt_free_cleanup) = tt_hex_new(stop->encrypted_key.data, stop->encrypted_key.length);
    set_all(train, 0);

    char *a TT_CLEANUP(tt_free_cleanup) = hex_of(0, 256);
    char *b TT_CLEANUP(tt_free_cleanup) = hex_of(1, 384);
    char *hash_a TT_CLEANUP(tt_free_cleanup) = hex_of(0, 64);
    char *hash_b TT_CLEANUP(tt_free_cleanup) = hex_of(1, 64);
    char *signature_a TT_CLEANUP(tt_free_cleanup) = hex_of(0, 384);
    char *result_b TT_CLEANUP(tt_free_cleanup) = hex_of(1, 256);
    char *creator_b TT_CLEANUP(tt_free_cleanup) = hex_of(1, 512);
    char line[8192];
    snprintf(line, sizeof line, "%s\",\n      \"signature\": {\"digest\":\"%s\",\"signature\":\"%s\"}", a, hash_b,
             signature_a);
    char old_line[2048];
    snprintf(old_line, sizeof old_line, "%s\",\n      \"signature\": null", old_key);
    replace(&text, old_line, line);
    snprintf(line, sizeof line, "\"index\": 1,\n      \"encrypted_key\": \"%s\"", b);
    replace(&text, "\"index\": 1,\n      \"encrypted_key\": null", line);
    snprintf(line, sizeof line, "\"index\": 2,\n      \"encrypted_key\": \"%s\"", a);
    replace(&text, "\"index\": 2,\n      \"encrypted_key\": null", line);
    snprintf(line, sizeof line, "\"paillier_public_key\": null,\n    \"encrypted_key\": \"%s\"\n", creator_b);
    replace(&text, "\"paillier_public_key\": null\n", line);
    snprintf(line, sizeof line, "\n  ],\n  \"result_hash\": \"%s\",\n  \"result_signature\": \"%s\"\n}", hash_a,
             result_b);
    replace(&text, "\n  ]\n}", line);
    expect_text(train, &text);
    expect_model_of_text(train);
}

static void changes_keep_other_bytes_compact(void)
{
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = vector_config("wide/stop0");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = parse(&text);
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_train_set_stop_key(train, 1, bytes_of[0], 256, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_train_set_result(train, bytes_of[0], bytes_of[1], 256, &err), TT_OK);
    char *a TT_CLEANUP(tt_free_cleanup) = hex_of(0, 256);
    char *hash_a TT_CLEANUP(tt_free_cleanup) = hex_of(0, 64);
    char *result_b TT_CLEANUP(tt_free_cleanup) = hex_of(1, 256);
    char line[4096];
    snprintf(line, sizeof line, "\"index\":1,\"encrypted_key\":\"%s\"", a);
    replace(&text, "\"index\":1,\"encrypted_key\":null", line);
    snprintf(line, sizeof line, "\"signature\":null}],\"result_hash\":\"%s\",\"result_signature\":\"%s\"}", hash_a,
             result_b);
    replace(&text, "\"signature\":null}]}", line);
    expect_text(train, &text);
    set_all(train, 0);
    expect_model_of_text(train);
}

static void a_change_that_does_not_fit_changes_nothing(void)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    struct tt_error err = TT_ERROR_INIT;
    size_t length = train->text.length;
    train->text.limit = length + 200; /* room for the hash, none for the signature */
    CU_ASSERT_EQUAL(tt_train_set_result(train, bytes_of[0], bytes_of[1], 256, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "changing train_config.json: "));
    CU_ASSERT_EQUAL(tt_train_set_stop_key(train, 0, bytes_of[0], 256, &err), TT_MALFORMED);
    CU_ASSERT_EQUAL(tt_train_set_stop_signature(train, 0, bytes_of[0], bytes_of[0], 256, &err), TT_MALFORMED);
    CU_ASSERT_EQUAL(tt_train_set_creator_key(train, bytes_of[0], 256, &err), TT_MALFORMED);
    CU_ASSERT_EQUAL(train->text.length, length);
    CU_ASSERT_FALSE(train->has_result_hash);
    CU_ASSERT_PTR_NULL(train->result_signature.data);
    CU_ASSERT_PTR_NULL(train->stops[0].encrypted_key.data);
    CU_ASSERT_FALSE(train->stops[0].is_signed);
    train->text.limit = 0;
    CU_ASSERT_EQUAL(tt_train_set_stop_key(train, 3, bytes_of[0], 256, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_train_set_stop_key(train, 0, bytes_of[0], 255, &err), TT_INTERNAL);
}

/* --- a new train, and its route --- */

/* `before` and `after`: what stands at the end of the configuration. */
static void expect_added(const char *before, const char *after, size_t count)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    struct tt_train *with TT_CLEANUP(tt_train_free_cleanup) = NULL;
    struct tt_train *again TT_CLEANUP(tt_train_free_cleanup) = NULL;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    size_t end = train->text.length;
    while (train->text.data[end - 1] != '}')
        end--;
    CU_ASSERT_EQUAL(tt_buffer_append(&text, train->text.data, end - 1, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_buffer_printf(&text, &err, "%s}", before), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_train_parse(text.data, text.length, &with, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_train_add_manifest(with, "{\"b\":2}", &err), TT_OK);
    CU_ASSERT_EQUAL(with->manifest_count, count);
    CU_ASSERT_TRUE(with->has_manifests);
    CU_ASSERT_PTR_NOT_NULL(strstr((const char *)with->text.data, after));
    CU_ASSERT_EQUAL(memcmp(with->text.data, text.data, end - 2), 0);
    CU_ASSERT_EQUAL_FATAL(tt_train_parse(with->text.data, with->text.length, &again, &err), TT_OK);
    CU_ASSERT_EQUAL_FATAL(again->manifest_count, count);
    CU_ASSERT_STRING_EQUAL(again->manifests[count - 1], "{\"b\":2}");
}

static void manifests_are_added_in_their_place(void)
{
    expect_added("", "\"traintoken\": {\"manifests\":[{\"b\":2}]}", 1);
    expect_added(",\"traintoken\":null", "\"traintoken\":{\"manifests\":[{\"b\":2}]}", 1);
    expect_added(",\"traintoken\":{\"manifests\":[]}", "{\"manifests\":[{\"b\":2}]}", 1);
    expect_added(",\"traintoken\":{ \"x\" : 1.50, \"manifests\" : [ {\"a\" : [ 1 ] } ] , \"y\":{} }",
                 "{ \"x\" : 1.50, \"manifests\" : [{\"a\":[1]},{\"b\":2}] , \"y\":{} }", 2);
}

static void a_new_train_is_whole(void)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    CU_ASSERT_STRING_EQUAL(train->id, "train \"x\"");
    CU_ASSERT_STRING_EQUAL(train->proposal_id, "train \"x\"");
    CU_ASSERT_STRING_EQUAL(train->creator_id, "me");
    CU_ASSERT_STRING_EQUAL(train->source_address, "oci:base");
    CU_ASSERT_STRING_EQUAL(train->source_tag, "latest");
    CU_ASSERT_EQUAL(train->stop_count, 3);
    CU_ASSERT_STRING_EQUAL(train->stops[2].station, "7");
    CU_ASSERT_STRING_EQUAL(train->stops[2].eco_system, "tue");
    CU_ASSERT_EQUAL(memcmp(train->stops[2].rsa_public_key.data, "KEY 3", 5), 0);
    CU_ASSERT_EQUAL(memcmp(train->session_id, bytes_of[0], sizeof train->session_id), 0);
    CU_ASSERT_EQUAL(memcmp(train->hash, bytes_of[1], sizeof train->hash), 0);
    CU_ASSERT_EQUAL(train->build_signature.length, 384);
    CU_ASSERT_EQUAL(train->file_count, 2);
    CU_ASSERT_STRING_EQUAL(train->files[1], "lib/deep/\xc3\xbc.py");
    CU_ASSERT_FALSE(train->has_result_hash);
    static const char start[] = "{\n  \"@id\": \"train \\\"x\\\"\",\n  \"@context\": null,";
    CU_ASSERT_EQUAL(strncmp((const char *)train->text.data, start, sizeof start - 1), 0);
    set_all(train, 0);
    expect_model_of_text(train);
}

static void a_bad_plan_is_refused(void)
{
    static const char *const stations[] = {"same", "same"};
    static const char *const keys[] = {"K", "K"};
    const struct tt_train_plan plan = {.id = "x",
                                       .creator_id = "me",
                                       .source_address = "oci:base",
                                       .creator_public_key = "K",
                                       .build_public_key = "K",
                                       .stations = stations,
                                       .station_public_keys = keys,
                                       .stop_count = 2,
                                       .session_id = bytes_of[0],
                                       .hash = bytes_of[1],
                                       .signature = bytes_of[0],
                                       .signature_length = 256,
                                       .build_signature = bytes_of[1],
                                       .build_signature_length = 256};
    struct tt_train *train = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_train_new(&plan, &train, &err), TT_MALFORMED);
    CU_ASSERT_STRING_EQUAL(err.message, "the new train's configuration: train_config.json: route[1].station is 'same', "
                                        "as is that of route[0]");
}

static void stations_are_found_by_text(void)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    change(&train->text, "route/0/station", "42");
    struct tt_train *numeric TT_CLEANUP(tt_train_free_cleanup) = parse(&train->text);
    const struct tt_stop *stop = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_route_find(numeric, "42", &stop, &err), TT_OK);
    CU_ASSERT_EQUAL(stop->index, 0);
    CU_ASSERT_EQUAL(tt_route_find(numeric, "7", &stop, &err), TT_OK);
    CU_ASSERT_EQUAL(stop->index, 2);
    CU_ASSERT_EQUAL(tt_route_find(numeric, "042", &stop, &err), TT_WRONG_STOP);
    CU_ASSERT_STRING_EQUAL(err.message, "station '042' is not on the train's route, which is: '42', 'two', '7'");
}

static void expect_position(struct tt_train *train, const char *words)
{
    size_t position = 99;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_route_position(train, &position, &err), TT_TAMPERED);
    CU_ASSERT_STRING_EQUAL(err.message, words);
    CU_ASSERT_EQUAL(position, 99);
}

static void signatures_must_fit_together(void)
{
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = new_train();
    train->stops[1].is_signed = true;
    expect_position(train, "stop 1 ('two') is signed, but stop 0 ('one') before it is not");
    train->stops[0].is_signed = true;
    expect_position(train, "stop 1 ('two') is signed, but the train has no result_hash");
    train->has_result_hash = true;
    expect_position(train, "stop 1 ('two') is signed, but the train has no result_signature");
    train->stops[0].is_signed = false;
    train->stops[1].is_signed = false;
    expect_position(train, "the train has a result_hash, but no stop of it is signed");
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_train_set_result(train, bytes_of[0], bytes_of[1], 256, &err), TT_OK);
    train->has_result_hash = false;
    expect_position(train, "the train has a result_signature, but no stop of it is signed");
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"rules of the head", rules_of_the_head},
        {"rules of the route", rules_of_the_route},
        {"rules of the file list", rules_of_the_file_list},
        {"the form comes first", the_form_comes_first},
        {"stops have a limit", stops_have_a_limit},
        {"paths are safe or not", paths_are_safe_or_not},
        {"vectors are read", vectors_are_read},
        {"every vector parses and has its position", every_vector_parses_and_has_its_position},
        {"a shuffled route is put in order", a_shuffled_route_is_put_in_order},
        {"changes keep other bytes, indented", changes_keep_other_bytes_indented},
        {"changes keep other bytes, compact", changes_keep_other_bytes_compact},
        {"a change that does not fit changes nothing", a_change_that_does_not_fit_changes_nothing},
        {"manifests are added in their place", manifests_are_added_in_their_place},
        {"a new train is whole", a_new_train_is_whole},
        {"a bad plan is refused", a_bad_plan_is_refused},
        {"stations are found by text", stations_are_found_by_text},
        {"signatures must fit together", signatures_must_fit_together},
    };
    return SUITE_RUN("train", tests);
}
