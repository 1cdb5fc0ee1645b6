#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "archive/tar_reader.h"
#include "archive/tar_writer.h"
#include "base/buffer.h"
#include "suite.h"

enum { BLOCK = 512, PIECE = 65536 };

/* A source in memory that gives what it has in pieces of at most `piece` bytes, or fails at an offset. */
struct memory {
    const uint8_t *data;
    size_t length;
    size_t position;
    size_t piece;
    size_t fails_at; /* 0: never */
    uint64_t skipped;
};

static enum tt_status memory_read(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    struct memory *memory = user;
    if (memory->fails_at && memory->position >= memory->fails_at)
        return tt_error_set(err, TT_STORE, "the disk is on fire");
    size_t left = memory->position < memory->length ? memory->length - memory->position : 0;
    size_t length = left < capacity ? left : capacity;
    length = length < memory->piece ? length : memory->piece;
    memcpy(data, memory->data + memory->position, length);
    memory->position += length;
    *ret_length = length;
    return TT_OK;
}

/* Does not notice where it goes beyond the end, as a seek does not. */
static enum tt_status memory_skip(void *user, uint64_t length, struct tt_error *err)
{
    struct memory *memory = user;
    if (memory->fails_at && memory->position + length >= memory->fails_at)
        return tt_error_set(err, TT_STORE, "the disk is on fire");
    memory->position = length > SIZE_MAX - memory->position ? SIZE_MAX : memory->position + (size_t)length;
    memory->skipped += length;
    return TT_OK;
}

static enum tt_status buffer_write(void *user, const void *data, size_t length, struct tt_error *err)
{
    return tt_buffer_append(user, data, length, err);
}

static struct tt_tar_reader *open_reader(struct memory *memory, bool with_skip)
{
    struct tt_source source = {.read = memory_read, .skip = with_skip ? memory_skip : NULL, .user = memory};
    struct tt_tar_reader *reader = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_tar_reader_new(&source, "test.tar", &reader, NULL), TT_OK);
    return reader;
}

/* Reads a whole archive, contents or not; what it ended with, and how many entries there were. */
static enum tt_status walk(const struct tt_buffer *archive, size_t length, bool with_skip, bool with_data,
                           size_t *ret_count, struct tt_error *err)
{
    struct memory memory = {.data = archive->data, .length = length, .piece = PIECE};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = open_reader(&memory, with_skip);
    const struct tt_entry *entry = NULL;
    enum tt_status status = TT_OK;
    for (*ret_count = 0; (status = tt_tar_reader_next(reader, &entry, err)) == TT_OK && entry; ++*ret_count) {
        uint8_t data[1000];
        size_t got = 1;
        while (with_data && status == TT_OK && got > 0)
            status = tt_tar_reader_read(reader, data, sizeof data, &got, err);
        if (status != TT_OK)
            break;
    }
    return status;
}

/* Foreign and hostile archives, block by block --------------------------------------------------------------------- */

struct header {
    const char *name, *prefix, *link, *magic;
    char type;
    uint64_t size;
    const char *uid;
    const char *digits; /* 12 bytes in the place of `size` */
};

static void add_block(struct tt_buffer *archive, const struct header *header)
{
    uint8_t block[BLOCK] = {0};
    const char *magic = header->magic ? header->magic : "ustar\00000";
    memcpy(block, header->name, strnlen(header->name, 100));
    memcpy(block + 100, "0100644", 8);
    memcpy(block + 108, header->uid ? header->uid : "0001750\0", 8);
    memcpy(block + 116, "0000000", 8);
    char number[24];
    snprintf(number, sizeof number, "%011llo", (unsigned long long)header->size);
    memcpy(block + 124, header->digits ? header->digits : number, 12);
    memcpy(block + 136, "14631463146", 11);
    block[156] = (uint8_t)header->type;
    if (header->link)
        memcpy(block + 157, header->link, strlen(header->link));
    memcpy(block + 257, magic, 8);
    if (header->prefix)
        memcpy(block + 345, header->prefix, strlen(header->prefix));
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < sizeof block; i++)
        sum += block[i];
    snprintf(number, sizeof number, "%06o", sum);
    memcpy(block + 148, number, 7);
    block[155] = ' ';
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(archive, block, sizeof block, NULL), TT_OK);
}

static void add_padded(struct tt_buffer *archive, const void *data, size_t length)
{
    static const uint8_t zeros[BLOCK];
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(archive, data, length, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(archive, zeros, (BLOCK - length % BLOCK) % BLOCK, NULL), TT_OK);
}

static void add_end(struct tt_buffer *archive)
{
    static const uint8_t zeros[2 * BLOCK];
    add_padded(archive, zeros, sizeof zeros);
}

/* Pairs of key and value, ended by NULL, as an extended header. */
static void add_pax(struct tt_buffer *archive, ...) __attribute__((sentinel));
static void add_pax(struct tt_buffer *archive, ...)
{
    struct tt_buffer body TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    va_list arguments;
    va_start(arguments, archive);
    for (const char *key; (key = va_arg(arguments, const char *));) {
        const char *value = va_arg(arguments, const char *);
        size_t rest = strlen(key) + strlen(value) + 3;
        size_t length = rest + 1;
        while ((size_t)snprintf(NULL, 0, "%zu", length) + rest != length)
            length++;
        CU_ASSERT_EQUAL_FATAL(tt_buffer_printf(&body, NULL, "%zu %s=%s\n", length, key, value), TT_OK);
    }
    va_end(arguments);
    add_block(archive, &(struct header){.name = "pax", .type = 'x', .size = body.length});
    add_padded(archive, body.data, body.length);
}

static void expect_malformed(const struct tt_buffer *archive, const char *words)
{
    for (int way = 0; way < 4; way++) {
        struct tt_error err = TT_ERROR_INIT;
        size_t count = 0;
        CU_ASSERT_EQUAL(walk(archive, archive->length, way & 1, way & 2, &count, &err), TT_MALFORMED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "test.tar: "));
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    }
}

static void malformed(const char *words, const struct header *header)
{
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    add_block(&archive, header);
    add_end(&archive);
    expect_malformed(&archive, words);
}

static void test_refused_headers(void)
{
    char deep[TT_PATH_LIMIT + 2];
    memset(deep, 'a', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    malformed("'.' or '..'", &(struct header){.name = "../etc/passwd", .type = '0'});
    malformed("'.' or '..'", &(struct header){.name = "a/../../b", .type = '0'});
    malformed("'.' or '..'", &(struct header){.name = "a/.", .type = '5'});
    malformed("'.' or '..'", &(struct header){.name = "b", .prefix = "a/..", .type = '0'});
    malformed("empty", &(struct header){.name = "a//b", .type = '0'});
    malformed("'.' or '..'", &(struct header){.name = "a", .link = "../b", .type = '1'});
    malformed("missing", &(struct header){.name = "a", .type = '2'});
    malformed("owner", &(struct header){.name = "a", .type = '0', .uid = "\x80\0\0\x01\0\0\0\0"});
    malformed("owner", &(struct header){.name = "a", .type = '0', .uid = "\xff\xff\xff\xff\xff\xff\xff\xff"});
    malformed("size", &(struct header){.name = "folder/", .type = '0', .size = BLOCK});
    malformed("damaged", &(struct header){.name = "a", .type = '0', .size = 1ULL << 32});

    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    add_pax(&archive, "path", deep, NULL);
    add_block(&archive, &(struct header){.name = "a", .type = '0'});
    add_end(&archive);
    expect_malformed(&archive, "at most 4095");
}

/* What libarchive would take one way and the tools that unpack images another. */
static void test_ambiguous(void)
{
    static const struct {
        const char *key, *value, *words;
        struct header header;
    } cases[] = {
        {"size", "512", "size that cannot be", {.name = "folder", .type = '5'}},
        {"size", "512", "size that cannot be", {.name = "link", .link = "to", .type = '1'}},
        {"SCHILY.realsize", "3", "sparse", {.name = "file", .type = '0', .size = 2 * BLOCK}},
        {"SCHILY.realsize", "9000", "sparse", {.name = "file", .type = '0', .size = BLOCK}},
        {"SUN.holesdata", " 0 512", "sparse", {.name = "file", .type = '0', .size = BLOCK}},
        {"GNU.sparse.name", "harmless", "sparse", {.name = "file", .type = '0', .size = BLOCK}},
        {"GNU.sparse.map", "0,512", "sparse", {.name = "file", .type = '0', .size = 2 * BLOCK}},
        {"GNU.sparse.map", "1,511", "does not fit", {.name = "file", .type = '0', .size = 2 * BLOCK}},
        {"GNU.sparse.map", "0,x", "damaged", {.name = "file", .type = '0', .size = BLOCK}},
        {"path", "plain\xf3\xa0\x81\xa1", "invisible", {.name = "plain", .type = '0', .size = BLOCK}},
        {"path", "\xc3\xa4/", "name of a folder", {.name = "file", .type = '0', .size = BLOCK}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        add_pax(&archive, cases[i].key, cases[i].value, NULL);
        add_block(&archive, &cases[i].header);
        add_block(&archive, &(struct header){.name = "hidden", .type = '0'});
        add_block(&archive, &(struct header){.name = "more", .type = '0'});
        add_end(&archive);
        expect_malformed(&archive, cases[i].words);
    }
}

/* Extended headers in an order, or header blocks of a form, that hide a name from one program and not from another. */
static void test_hidden_names(void)
{
    malformed("two parts",
              &(struct header){.name = "x.py", .prefix = "opt/pht_train", .type = '0', .magic = "ustar  "});
    malformed("two parts", &(struct header){.name = "x.py", .prefix = "0/../opt", .type = '0', .magic = "ustar  "});
    malformed(
        "two parts",
        &(struct header){.name = "x.py", .prefix = "1 1111111111 11111111111/../usr", .type = '0', .magic = "ustar  "});
    malformed("no known form",
              &(struct header){.name = "x.py", .prefix = "elsewhere", .type = '0', .magic = "ustarX00"});
    malformed("name of a folder", &(struct header){.name = "opt/", .type = '0'});
    malformed("no known type", &(struct header){.name = "opt/", .type = '7'});
    malformed("no known type", &(struct header){.name = "x.py", .type = 'Z'});
    for (int i = 0; i < 2; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        add_block(&archive, &(struct header){.name = "x", .type = 'L', .size = (uint64_t)i, .magic = "ustar  "});
        add_padded(&archive, "", (size_t)i);
        add_block(&archive, &(struct header){.name = "usr/bin", .type = '5', .magic = "ustar  "});
        add_end(&archive);
        expect_malformed(&archive, "name is empty");
    }
    static const char kinds[][2] = {"xg", "xL", "xK", "Lx", "Kx", "Lg", "xx", "Xx"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        for (int j = 0; j < 2; j++) {
            const char *body = strchr("LK", kinds[i][j]) ? "harmless" : "17 path=harmless\n";
            body = kinds[i][j] == 'g' ? "12 comment=\n" : body;
            add_block(&archive, &(struct header){.name = "x", .type = kinds[i][j], .size = strlen(body)});
            add_padded(&archive, body, strlen(body));
        }
        add_block(&archive, &(struct header){.name = "opt/pht_train/x.py", .type = '0'});
        add_end(&archive);
        expect_malformed(&archive, "");
    }
}

/* Whoever reads another size finds other entries behind it: what is a file's content to one hides a file from another,
 * whose header lies in there. */
static void test_hidden_entries(void)
{
    static const struct {
        const char *pax; /* NULL: the header says it */
        char digits[16];
    } cases[] = {
        {NULL, "\0000000001000"}, {NULL, "0\00000001000"},  {NULL, "\t0000001000"},   {NULL, "0000000x1000"},
        {NULL, "0 0000001000"},   {"", "00000001000"},      {"+512", "00000000000"},  {"-0", "00000001000"},
        {" 512", "00000000000"},  {"512.5", "00000000000"}, {"0x200", "00000000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        if (cases[i].pax)
            add_pax(&archive, "size", cases[i].pax, NULL);
        add_block(&archive, &(struct header){.name = "opt/pht_results/a", .type = '0', .digits = cases[i].digits});
        add_block(&archive, &(struct header){.name = "opt/pht_results/b", .type = '0', .size = 2 * BLOCK});
        add_block(&archive, &(struct header){.name = "usr/bin/python3", .type = '0'});
        add_block(&archive, &(struct header){.name = "usr/bin/perl", .type = '0'});
        add_end(&archive);
        expect_malformed(&archive, "size is no number");
    }
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    static const char good[][16] = {"       1000 ", "1000\0\0\0\0\0\0\0\0", "000000001000",
                                    "\x80\0\0\0\0\0\0\0\0\0\2\0"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        size_t count = 0;
        archive.length = 0;
        add_block(&archive, &(struct header){.name = "a", .type = '0', .digits = good[i]});
        add_padded(&archive, "content", 7);
        add_end(&archive);
        CU_ASSERT_EQUAL(walk(&archive, archive.length, false, true, &count, NULL), TT_OK);
        CU_ASSERT_EQUAL(count, 1);
    }
}

/* A sparse file's name that ends for one program where another one reads on, and goes elsewhere from there. */
static void test_sparse_names(void)
{
    static const char names[][64] = {"opt/pht_results/a", "opt/pht_results/a\0/../../../usr/bin/python3", ""};
    static const size_t lengths[] = {17, 43, 0};
    for (size_t i = 0; i < 3; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        char body[256];
        int start = snprintf(body, sizeof body,
                             "22 GNU.sparse.size=10\n26 GNU.sparse.numblocks=1\n"
                             "22 GNU.sparse.map=0,5\n%zu GNU.sparse.name=",
                             lengths[i] + 20);
        memcpy(body + start, names[i], lengths[i]);
        size_t length = (size_t)start + lengths[i];
        body[length++] = '\n';
        add_block(&archive, &(struct header){.name = "pax", .type = 'x', .size = length});
        add_padded(&archive, body, length);
        add_block(&archive, &(struct header){.name = "x", .type = '0', .size = 5});
        add_padded(&archive, "12345", 5);
        add_end(&archive);
        size_t count = 0;
        if (i > 0)
            expect_malformed(&archive, "name is empty or has a NUL");
        else
            CU_ASSERT_EQUAL(walk(&archive, archive.length, false, true, &count, NULL), TT_OK);
    }
}

static void test_damaged(void)
{
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    add_block(&archive, &(struct header){.name = "a", .type = '0'});
    add_block(&archive, &(struct header){.name = "b", .type = '0'});
    add_end(&archive);
    archive.data[BLOCK] ^= 1; /* the second header's checksum */
    expect_malformed(&archive, "damaged");

    static const char *const bodies[] = {"9 path=a", "99 path=a\n", "x path=a\n", "7 path\n", "8 path=a\n"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        archive.length = 0;
        add_block(&archive, &(struct header){.name = "pax", .type = 'x', .size = strlen(bodies[i])});
        add_padded(&archive, bodies[i], strlen(bodies[i]));
        add_block(&archive, &(struct header){.name = "a", .type = '0'});
        add_end(&archive);
        expect_malformed(&archive, "damaged");
    }
    archive.length = 0;
    expect_malformed(&archive, "not a tar");
    add_padded(&archive, "These are not the bytes of a tar.", 33);
    expect_malformed(&archive, "not a tar");
}

static void test_header_limit(void)
{
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    char *value TT_CLEANUP(tt_free_cleanup) = calloc(1, 900001);
    CU_ASSERT_PTR_NOT_NULL_FATAL(value);
    memset(value, 'a', 900000);
    add_pax(&archive, "comment", value, NULL);
    add_block(&archive, &(struct header){.name = "a", .type = '0'});
    add_end(&archive);
    expect_malformed(&archive, "headers");
}

/* Old GNU, and pax 0.1 and 1.0: holes in the middle and at the end. */
static void expect_holes(const struct tt_buffer *archive)
{
    struct memory memory = {.data = archive->data, .length = archive->length, .piece = PIECE};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = open_reader(&memory, false);
    const struct tt_entry *entry = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, NULL), TT_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
    CU_ASSERT_STRING_EQUAL(entry->path, "holes");
    CU_ASSERT_EQUAL(entry->size, 5000);
    CU_ASSERT_EQUAL(tt_tar_reader_offset(reader), -1);
    uint8_t content[6000];
    size_t used = 0;
    for (size_t got = 1; got > 0; used += got)
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_read(reader, content + used, 999, &got, NULL), TT_OK);
    CU_ASSERT_EQUAL(used, 5000);
    for (size_t i = 0; i < used; i++)
        CU_ASSERT_EQUAL_FATAL(content[i], i >= 1024 && i < 1536 ? 'd' : 0);
    CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, NULL), TT_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
    CU_ASSERT_STRING_EQUAL(entry->path, "after");
}

static void test_sparse(void)
{
    uint8_t data[2 * BLOCK] = {0};
    memcpy(data, "1\n1024\n512\n", 11);
    memset(data + BLOCK, 'd', BLOCK);
    for (int form = 0; form < 2; form++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        if (form == 0) {
            add_pax(&archive, "GNU.sparse.size", "5000", "GNU.sparse.map", "1024,512", "GNU.sparse.name", "holes",
                    NULL);
            add_block(&archive, &(struct header){.name = "made-up", .type = '0', .size = BLOCK});
            add_padded(&archive, data + BLOCK, BLOCK);
        } else {
            add_pax(&archive, "GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.name", "holes",
                    "GNU.sparse.realsize", "5000", NULL);
            add_block(&archive, &(struct header){.name = "made-up", .type = '0', .size = sizeof data});
            add_padded(&archive, data, sizeof data);
        }
        add_block(&archive, &(struct header){.name = "after", .type = '0'});
        add_end(&archive);
        expect_holes(&archive);
    }
}

/* What we write ---------------------------------------------------------------------------------------------------- */

static const char nfd[] = "re\xcc\x81sume\xcc\x81/\xe2\x84\xab.txt"; /* decomposed, and an Angstrom sign */
static const char latin1[] = "gr\xf6\xdf"
                             "e.csv";                      /* not UTF-8 */
static const char cesu[] = "\xed\xa0\xbd\xed\xb8\x80.txt"; /* surrogates, not UTF-8 either */
static const char tags[] = "plain\xf3\xa0\x81\xa1.txt";    /* a character that iconv drops */
static char long_name[701];                                /* one component */
static char long_path[301];                                /* fits prefix and name nowhere */
static char split_path[201];

static struct tt_entry written[] = {
    {.path = "", .type = TT_ENTRY_FOLDER, .mode = 0755},
    {.path = "opt", .type = TT_ENTRY_FOLDER, .mode = 01777, .uid = 1, .gid = 2, .mtime_seconds = 1},
    {.path = "empty", .type = TT_ENTRY_FILE, .mode = 04755, .mtime_seconds = 1700000000},
    {.path = "one", .type = TT_ENTRY_FILE, .mode = 0600, .size = 1, .mtime_seconds = 5000000000},
    {.path = "511", .type = TT_ENTRY_FILE, .mode = 0, .size = 511, .mtime_nanoseconds = 1},
    {.path = "512",
     .type = TT_ENTRY_FILE,
     .mode = 0777,
     .size = 512,
     .mtime_seconds = 9,
     .mtime_nanoseconds = 999999999},
    {.path = "513", .type = TT_ENTRY_FILE, .mode = 0777, .size = 513, .mtime_seconds = -1},
    {.path = "large", .type = TT_ENTRY_FILE, .mode = 0644, .size = 200000, .uid = 3000000, .gid = UINT32_MAX},
    {.path = (char *)nfd, .type = TT_ENTRY_FILE, .mode = 0644, .size = 3},
    {.path = (char *)latin1, .type = TT_ENTRY_FILE, .mode = 0644, .size = 3},
    {.path = (char *)cesu, .type = TT_ENTRY_FILE, .mode = 0644, .size = 3},
    {.path = (char *)tags, .type = TT_ENTRY_FILE, .mode = 0644, .size = 3},
    {.path = (char *)tags, .type = TT_ENTRY_FOLDER, .mode = 0755},
    {.path = long_name, .type = TT_ENTRY_FILE, .mode = 0644, .size = 4},
    {.path = long_path, .type = TT_ENTRY_FOLDER, .mode = 0700},
    {.path = split_path, .type = TT_ENTRY_FILE, .mode = 0700, .size = 5},
    {.path = (char *)"\xc3\xa4 size=1\n17 GNU.sparse.name=x\n path=y", .type = TT_ENTRY_FILE, .size = 2},
    {.path = "link", .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = "../x//y/."},
    {.path = "l2", .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = long_name},
    {.path = "l3", .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = (char *)latin1},
    {.path = (char *)"l4\xc3\xa4", .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = (char *)nfd},
    {.path = "h1", .type = TT_ENTRY_HARDLINK, .mode = 0644, .link_target = "large"},
    {.path = "h2", .type = TT_ENTRY_HARDLINK, .mode = 0644, .link_target = (char *)tags},
    {.path = "h3", .type = TT_ENTRY_HARDLINK, .mode = 0644, .link_target = long_path},
};
enum { WRITTEN = sizeof written / sizeof written[0] };

static uint8_t content_byte(size_t entry, size_t offset)
{
    return (uint8_t)(entry * 31 + offset * 7 + offset / 251);
}

static void write_all(struct tt_buffer *archive, size_t piece)
{
    memset(long_name, 'n', sizeof long_name - 1);
    for (size_t i = 0; i < sizeof long_path - 1; i++)
        long_path[i] = i % 150 == 149 ? '/' : 'p';
    long_path[sizeof long_path - 2] = 'q';
    for (size_t i = 0; i < sizeof split_path - 1; i++)
        split_path[i] = i == 120 ? '/' : 's';
    struct tt_sink sink = {.write = buffer_write, .user = archive};
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_new(&sink, &writer, NULL), TT_OK);
    for (size_t i = 0; i < WRITTEN; i++) {
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_entry(writer, &written[i], NULL), TT_OK);
        uint8_t *data TT_CLEANUP(tt_free_cleanup) = malloc(written[i].size + 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(data);
        for (size_t at = 0; at < written[i].size; at++)
            data[at] = content_byte(i, at);
        for (size_t at = 0; at < written[i].size; at += piece) {
            size_t left = written[i].size - at;
            CU_ASSERT_EQUAL_FATAL(tt_tar_writer_data(writer, data + at, left < piece ? left : piece, NULL), TT_OK);
        }
    }
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_finish(writer, NULL), TT_OK);
}

static void compare(const struct tt_entry *entry, const struct tt_entry *other)
{
    CU_ASSERT_STRING_EQUAL(entry->path, other->path);
    CU_ASSERT_EQUAL(entry->type, other->type);
    CU_ASSERT_EQUAL(entry->mode, other->mode);
    CU_ASSERT_EQUAL(entry->uid, other->uid);
    CU_ASSERT_EQUAL(entry->gid, other->gid);
    CU_ASSERT_EQUAL(entry->mtime_seconds, other->mtime_seconds);
    CU_ASSERT_EQUAL(entry->mtime_nanoseconds, other->mtime_nanoseconds);
    CU_ASSERT_EQUAL(entry->size, other->size);
    CU_ASSERT_EQUAL_FATAL(!entry->link_target, !other->link_target);
    if (entry->link_target)
        CU_ASSERT_STRING_EQUAL(entry->link_target, other->link_target);
}

static void compare_content(struct tt_tar_reader *reader, size_t index, size_t piece)
{
    uint8_t data[PIECE];
    size_t at = 0;
    for (size_t got = 1; got > 0; at += got) {
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_read(reader, data, piece, &got, NULL), TT_OK);
        CU_ASSERT_FATAL(got <= piece);
        for (size_t i = 0; i < got; i++)
            if (data[i] != content_byte(index, at + i))
                CU_FAIL_FATAL("the content differs");
    }
    CU_ASSERT_EQUAL(at, written[index].size);
}

static void read_all(const struct tt_buffer *archive, size_t piece, bool with_skip, size_t data_piece)
{
    struct memory memory = {.data = archive->data, .length = archive->length, .piece = piece};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = open_reader(&memory, with_skip);
    const struct tt_entry *entry = NULL;
    for (size_t i = 0; i < WRITTEN; i++) {
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, NULL), TT_OK);
        CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
        compare(entry, &written[i]);
        off_t offset = tt_tar_reader_offset(reader);
        CU_ASSERT_FATAL(offset >= 0 && (size_t)offset + entry->size < archive->length);
        for (size_t at = 0; at < entry->size; at++)
            if (archive->data[(size_t)offset + at] != content_byte(i, at))
                CU_FAIL_FATAL("the content lies elsewhere");
        if (data_piece)
            compare_content(reader, i, data_piece);
    }
    for (int again = 0; again < 2; again++) {
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, NULL), TT_OK);
        CU_ASSERT_PTR_NULL(entry);
    }
    CU_ASSERT_EQUAL(memory.skipped > 0, with_skip && !data_piece);
}

static void test_round_trip(void)
{
    static const char *const locales[] = {"C", "C.UTF-8"};
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    write_all(&archive, PIECE);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_PTR_NOT_NULL_FATAL(setlocale(LC_ALL, locales[i]));
        struct tt_buffer again TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        write_all(&again, i == 0 ? 100 : 300000);
        CU_ASSERT_EQUAL_FATAL(again.length, archive.length);
        CU_ASSERT_EQUAL(memcmp(again.data, archive.data, archive.length), 0);
        read_all(&archive, PIECE, false, 0);
        read_all(&archive, PIECE, true, 0);
        read_all(&archive, PIECE, true, PIECE);
        read_all(&archive, 511, false, 1000);
        read_all(&archive, 1, false, PIECE);
    }
    setlocale(LC_ALL, "C");
}

/* Names from elsewhere: UTF-8 in pax headers without a word on the charset, or what only says that it is. */
static void test_foreign_names(void)
{
    static const char *const names[] = {
        nfd, latin1, cesu, "\xe2\x84\xaa", "a\xcc\x88", "\xf0\x9f\x8f\xb4\xf3\xa0\x81\xa7\xf3\xa0\x81\xbf"};
    static const char *const locales[] = {"C", "C.UTF-8"};
    for (size_t i = 0; i < 2 * sizeof names / sizeof names[0]; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        const char *name = names[i / 2];
        add_pax(&archive, "path", name, "linkpath", name, NULL);
        add_block(&archive, &(struct header){.name = "x", .type = '2'}); /* as Go writes it */
        add_block(&archive, &(struct header){.name = name, .link = name, .type = '2'});
        add_block(&archive, &(struct header){.name = "././@LongLink", .type = 'L', .size = strlen(name) + 1});
        add_padded(&archive, name, strlen(name) + 1);
        add_block(&archive, &(struct header){.name = "././@LongLink", .type = 'K', .size = strlen(name) + 1});
        add_padded(&archive, name, strlen(name) + 1);
        add_block(&archive, &(struct header){.name = "x", .link = "y", .type = '2', .magic = "ustar  "});
        add_end(&archive);
        CU_ASSERT_PTR_NOT_NULL_FATAL(setlocale(LC_ALL, locales[i % 2]));
        struct memory memory = {.data = archive.data, .length = archive.length, .piece = PIECE};
        struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = open_reader(&memory, true);
        for (int entries = 0; entries < 3; entries++) {
            const struct tt_entry *entry = NULL;
            CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, NULL), TT_OK);
            CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
            CU_ASSERT_EQUAL_FATAL(entry->type, TT_ENTRY_SYMLINK);
            CU_ASSERT_STRING_EQUAL(entry->path, name);
            CU_ASSERT_STRING_EQUAL(entry->link_target, name);
        }
    }
    setlocale(LC_ALL, "C");
}

/* Plain entries cost a header and no more. */
static void test_small(void)
{
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_sink sink = {.write = buffer_write, .user = &archive};
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
    struct tt_entry entry = {.path = "opt/a", .type = TT_ENTRY_FILE, .mode = 0644, .size = 1, .mtime_seconds = 1};
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_new(&sink, &writer, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_entry(writer, &entry, NULL), TT_OK);
    CU_ASSERT_EQUAL(tt_tar_writer_data(writer, "ab", 2, NULL), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_tar_writer_finish(writer, NULL), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_tar_writer_entry(writer, &entry, NULL), TT_INTERNAL);
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_data(writer, "a", 1, NULL), TT_OK);
    entry.type = TT_ENTRY_SPECIAL;
    CU_ASSERT_EQUAL(tt_tar_writer_entry(writer, &entry, NULL), TT_INTERNAL);
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_finish(writer, NULL), TT_OK);
    CU_ASSERT_EQUAL(archive.length, 4 * BLOCK);
}

/* A size that no disk has: the header says it, the reader skips it, giving up writing it does not take long. */
static void test_huge(void)
{
    static const uint64_t sizes[] = {(1ULL << 33) - 1, 1ULL << 33, 1ULL << 62};
    for (size_t i = 0; i < 3; i++) {
        struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
        struct tt_sink sink = {.write = buffer_write, .user = &archive};
        struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
        struct tt_entry huge = {.path = "huge", .type = TT_ENTRY_FILE, .size = sizes[i]};
        uint8_t data[PIECE] = {0};
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_new(&sink, &writer, NULL), TT_OK);
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_entry(writer, &huge, NULL), TT_OK);
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_data(writer, data, sizeof data, NULL), TT_OK);
        CU_ASSERT_EQUAL(archive.length, PIECE);
        tt_tar_writer_free(TT_TAKE(writer));
        CU_ASSERT_EQUAL(archive.length, PIECE);
        struct memory memory = {.data = archive.data, .length = archive.length, .piece = PIECE};
        struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = open_reader(&memory, true);
        const struct tt_entry *entry = NULL;
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, NULL), TT_OK);
        CU_ASSERT_EQUAL(entry->size, sizes[i]);
        if (sizes[i] < 1ULL << 40) {
            CU_ASSERT_EQUAL(tt_tar_reader_next(reader, &entry, NULL), TT_MALFORMED);
            CU_ASSERT(memory.skipped > 1ULL << 32);
        }
    }
}

/* Cut off anywhere but between entries, before the zeros that fill a block too, it is noticed, whichever way one reads.
 */
static void test_cut_off(void)
{
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    struct tt_sink sink = {.write = buffer_write, .user = &archive};
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
    struct tt_entry entry = {.path = (char *)"pax \xc3\xa4", .type = TT_ENTRY_FILE, .size = 600};
    uint8_t data[600];
    memset(data, 'c', sizeof data);
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_new(&sink, &writer, NULL), TT_OK);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_entry(writer, &entry, NULL), TT_OK);
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_data(writer, data, sizeof data, NULL), TT_OK);
    }
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_finish(writer, NULL), TT_OK);
    size_t each = (archive.length - 2 * BLOCK) / 2;
    CU_ASSERT_EQUAL_FATAL(each, 5 * BLOCK);
    for (size_t length = 0; length <= archive.length; length++)
        for (int way = 0; way < 4; way++) {
            size_t count = 0;
            enum tt_status status = walk(&archive, length, way & 1, way & 2, &count, NULL);
            bool unfilled = (length + 2 * BLOCK - sizeof data) % each == 0; /* as "umoci insert" ends */
            bool between = length == each || length == 2 * each || length >= 2 * each + BLOCK;
            CU_ASSERT_EQUAL_FATAL(status, between || unfilled ? TT_OK : TT_MALFORMED);
            if (between || unfilled)
                CU_ASSERT_EQUAL_FATAL(count, length <= each ? 1 : 2);
        }
}

static void test_source_fails(void)
{
    struct tt_buffer archive TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    write_all(&archive, PIECE);
    for (size_t fails_at = 1; fails_at < archive.length; fails_at += 509)
        for (int way = 0; way < 4; way++) {
            struct memory memory = {
                .data = archive.data, .length = archive.length, .piece = BLOCK, .fails_at = fails_at};
            struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = open_reader(&memory, way & 1);
            const struct tt_entry *entry = NULL;
            struct tt_error err = TT_ERROR_INIT;
            enum tt_status status = TT_OK;
            while ((status = tt_tar_reader_next(reader, &entry, &err)) == TT_OK && entry) {
                uint8_t data[1000];
                for (size_t got = 1; way & 2 && got > 0 && status == TT_OK;)
                    status = tt_tar_reader_read(reader, data, sizeof data, &got, &err);
                if (status != TT_OK)
                    break;
            }
            if (status == TT_OK && fails_at > archive.length - 2 * BLOCK)
                continue; /* behind the end mark */
            CU_ASSERT_EQUAL_FATAL(status, TT_STORE);
            CU_ASSERT_STRING_EQUAL(err.message, "the disk is on fire");
        }
}

static enum tt_status full_write(void *user, const void *data, size_t length, struct tt_error *err)
{
    (void)data;
    size_t *left = user;
    if (length > *left)
        return tt_error_set(err, TT_STORE, "the disk is full");
    *left -= length;
    return TT_OK;
}

static void test_sink_fails(void)
{
    for (size_t space = 0; space < 400000; space += 60000) {
        size_t left = space;
        struct tt_sink sink = {.write = full_write, .user = &left};
        struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
        struct tt_entry entry = {.path = "file", .type = TT_ENTRY_FILE, .size = 100000};
        struct tt_error err = TT_ERROR_INIT;
        uint8_t data[10000] = {0};
        enum tt_status status = tt_tar_writer_new(&sink, &writer, &err);
        for (int i = 0; i < 4 && status == TT_OK; i++) {
            status = tt_tar_writer_entry(writer, &entry, &err);
            for (int piece = 0; piece < 10 && status == TT_OK; piece++)
                status = tt_tar_writer_data(writer, data, sizeof data, &err);
        }
        if (status == TT_OK)
            status = tt_tar_writer_finish(writer, &err);
        CU_ASSERT_EQUAL(status, TT_STORE);
        CU_ASSERT_STRING_EQUAL(err.message, "the disk is full");
    }
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"what is written is read again, byte for byte, in any locale", test_round_trip},
        {"names of others are taken as they are", test_foreign_names},
        {"headers only where they are needed", test_small},
        {"huge files", test_huge},
        {"sparse files", test_sparse},
        {"an archive that is cut off is noticed", test_cut_off},
        {"damaged headers", test_damaged},
        {"headers above the limit", test_header_limit},
        {"names and numbers that are refused", test_refused_headers},
        {"what tools read in different ways is refused", test_ambiguous},
        {"names that only some tools would see", test_hidden_names},
        {"entries that only some tools would see", test_hidden_entries},
        {"names of sparse files", test_sparse_names},
        {"a source's error comes back as it was", test_source_fails},
        {"a sink's error comes back as it was", test_sink_fails},
    };
    return SUITE_RUN("tar", tests);
}
