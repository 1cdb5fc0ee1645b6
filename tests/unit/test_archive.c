#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/decompress.h"
#include "archive/file_set.h"
#include "archive/spool.h"
#include "archive/tar_reader.h"
#include "archive/tar_writer.h"
#include "suite.h"
#include "tar_bytes.h"

static void paths_sort_as_a_walk_visits_them(void)
{
    static const char *const order[] = {"",    "a",  "a/b", "a/b/c", "a/b0", "a/c",       "a-b",
                                        "a.b", "a0", "ab",  "b",     "b/a",  "b\xc3\xa9", "b\xff"};
    size_t count = sizeof order / sizeof order[0];
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            int compared = tt_path_compare(order[i], order[j]);
            CU_ASSERT_EQUAL(compared < 0, i < j);
            CU_ASSERT_EQUAL(compared == 0, i == j);
        }
    CU_ASSERT_TRUE(tt_path_is_under("opt/pht_train/x", "opt/pht_train"));
    CU_ASSERT_TRUE(tt_path_is_under("opt/pht_train", "opt/pht_train"));
    CU_ASSERT_FALSE(tt_path_is_under("opt/pht_train.so", "opt/pht_train"));
    CU_ASSERT_FALSE(tt_path_is_under("opt", "opt/pht_train"));
    CU_ASSERT_TRUE(tt_path_is_under("opt", ""));
}

static enum tt_status write_to_buffer(void *user, const void *data, size_t length, struct tt_error *err)
{
    return tt_buffer_append(user, data, length, err);
}

static void write_entries(const struct tt_entry *entries, size_t count, struct tt_buffer *ret_tar)
{
    struct tt_error err = TT_ERROR_INIT;
    struct tt_sink sink = {.write = write_to_buffer, .user = ret_tar};
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_new(&sink, &writer, &err), TT_OK);
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT_EQUAL_FATAL(tt_tar_writer_entry(writer, &entries[i], &err), TT_OK);
        for (uint64_t done = 0; done < entries[i].size; done++) {
            char byte = (char)('a' + done % 26);
            CU_ASSERT_EQUAL_FATAL(tt_tar_writer_data(writer, &byte, 1, &err), TT_OK);
        }
    }
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_finish(writer, &err), TT_OK);
}

static void expect_same(const struct tt_entry *got, const struct tt_entry *want)
{
    CU_ASSERT_STRING_EQUAL(got->path, want->path);
    CU_ASSERT_EQUAL(got->type, want->type);
    CU_ASSERT_EQUAL(got->mode, want->mode);
    CU_ASSERT_EQUAL(got->uid, want->uid);
    CU_ASSERT_EQUAL(got->gid, want->gid);
    CU_ASSERT_EQUAL(got->mtime_seconds, want->mtime_seconds);
    CU_ASSERT_EQUAL(got->mtime_nanoseconds, want->mtime_nanoseconds);
    CU_ASSERT_EQUAL(got->size, want->size);
    CU_ASSERT_EQUAL(got->link_target == NULL, want->link_target == NULL);
    if (got->link_target && want->link_target)
        CU_ASSERT_STRING_EQUAL(got->link_target, want->link_target);
}

static void expect_content(struct tt_tar_reader *reader, const struct tt_buffer *tar, uint64_t size)
{
    struct tt_error err = TT_ERROR_INIT;
    off_t offset = tt_tar_reader_offset(reader);
    uint64_t done = 0;
    for (;;) {
        char chunk[7];
        size_t length = 0;
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_read(reader, chunk, sizeof chunk, &length, &err), TT_OK);
        if (length == 0)
            break;
        CU_ASSERT_EQUAL(memcmp(chunk, tar->data + offset + done, length), 0);
        for (size_t i = 0; i < length; i++)
            CU_ASSERT_EQUAL(chunk[i], (char)('a' + (done + i) % 26));
        done += length;
    }
    CU_ASSERT_EQUAL(done, size);
}

static char *repeat(const char *part, size_t length)
{
    char *text = calloc(1, length + 1);
    for (size_t i = 0; text && i < length; i++)
        text[i] = part[i % strlen(part)];
    return text;
}

static void round_trip(void)
{
    char *long_path = repeat("folder12/", 3999);
    char *long_name = repeat("n", 255);
    char *deep_name = repeat("\xff\xfe/", 600);
    long_path[3998] = 'x';
    deep_name[599] = 'y';
    struct tt_entry entries[] = {
        {.path = "opt", .type = TT_ENTRY_FOLDER, .mode = 01777, .mtime_seconds = 1},
        {.path = "opt/plain",
         .type = TT_ENTRY_FILE,
         .mode = 06755,
         .uid = 12,
         .gid = 34,
         .mtime_seconds = 1700000000,
         .mtime_nanoseconds = 123456789,
         .size = 1000},
        {.path = "opt/\xc3\xa4\xe2\x82\xac\x65\xcc\x81", .type = TT_ENTRY_FILE, .size = 512, .mtime_seconds = -1},
        {.path = "opt/\xff\xfe raw", .type = TT_ENTRY_FILE, .size = 1, .mtime_seconds = -7},
        {.path = "opt/big ids",
         .type = TT_ENTRY_FILE,
         .uid = UINT32_MAX,
         .gid = 2097152,
         .mtime_seconds = 99999999999,
         .mtime_nanoseconds = 10},
        {.path = long_path, .type = TT_ENTRY_FILE, .mode = 0644, .size = 40000},
        {.path = long_name, .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = long_path},
        {.path = deep_name, .type = TT_ENTRY_HARDLINK, .link_target = "opt/plain"},
        {.path = "opt/up", .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = "../../etc/\xc3\xa4\xff"}};
    size_t count = sizeof entries / sizeof entries[0];
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    write_entries(entries, count, &tar);
    CU_ASSERT_EQUAL(tar.length % 512, 0);
    for (int way = 0; way < 4; way++) {
        struct tar_memory memory = {.tar = &tar, .step = way < 2 ? 0 : 333};
        struct tt_source source = tar_source(&memory, way % 2);
        struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
        struct tt_error err = TT_ERROR_INIT;
        const struct tt_entry *entry = NULL;
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_new(&source, "test", &reader, &err), TT_OK);
        for (size_t i = 0; i < count; i++) {
            CU_ASSERT_EQUAL_FATAL(tt_tar_reader_next(reader, &entry, &err), TT_OK);
            CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
            expect_same(entry, &entries[i]);
            if (i % 2 == 1 || way < 2)
                expect_content(reader, &tar, entries[i].size);
        }
        CU_ASSERT_EQUAL(tt_tar_reader_next(reader, &entry, &err), TT_OK);
        CU_ASSERT_PTR_NULL(entry);
    }
    free(long_path);
    free(long_name);
    free(deep_name);
}

static void names_are_bytes_in_every_locale(void)
{
    static const char *const locales[] = {"C", "C.UTF-8", "en_US.UTF-8"};
    for (size_t i = 0; i < sizeof locales / sizeof locales[0]; i++)
        if (setlocale(LC_ALL, locales[i]))
            round_trip();
    setlocale(LC_ALL, "C");
}

/* Reads everything; the status of the first failure. */
static enum tt_status read_all(const struct tt_buffer *tar, size_t *ret_count, struct tt_error *err)
{
    struct tar_memory memory = {.tar = tar};
    struct tt_source source = tar_source(&memory, false);
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    enum tt_status status = tt_tar_reader_new(&source, "test", &reader, err);
    *ret_count = 0;
    while (status == TT_OK) {
        status = tt_tar_reader_next(reader, &entry, err);
        if (status != TT_OK || !entry)
            break;
        ++*ret_count;
        for (size_t length = 1; status == TT_OK && length > 0;) {
            char chunk[4096];
            status = tt_tar_reader_read(reader, chunk, sizeof chunk, &length, err);
        }
    }
    return status;
}

static enum tt_status read_first(const struct tt_buffer *tar, struct tt_entry *ret_entry, struct tt_error *err)
{
    struct tar_memory memory = {.tar = tar};
    struct tt_source source = tar_source(&memory, false);
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    enum tt_status status = tt_tar_reader_new(&source, "test", &reader, err);
    if (status == TT_OK)
        status = tt_tar_reader_next(reader, &entry, err);
    if (status == TT_OK && entry)
        status = tt_entry_copy(entry, ret_entry, err);
    return status;
}

static void expect_name(const char *written, const char *read)
{
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_entry entry TT_CLEANUP(tt_entry_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    size_t length = strlen(written);
    tar_put_header(&tar, &(struct tar_block){.name = written, .type = written[length - 1] == '/' ? '5' : '0'});
    tar_put_end(&tar);
    enum tt_status status = read_first(&tar, &entry, &err);
    CU_ASSERT_EQUAL(status, read ? TT_OK : TT_MALFORMED);
    if (read && status == TT_OK)
        CU_ASSERT_STRING_EQUAL(entry.path, read);
}

static void hostile_names_are_refused(void)
{
    expect_name("/etc/passwd", "etc/passwd");
    expect_name("./opt/x", "opt/x");
    expect_name(".//./opt/x///", "opt/x");
    expect_name(".", "");
    expect_name("./", "");
    expect_name("...", "...");
    expect_name("..x/y", "..x/y");
    expect_name("..", NULL);
    expect_name("../x", NULL);
    expect_name("/../x", NULL);
    expect_name("a/../b", NULL);
    expect_name("a/..", NULL);
    expect_name("a/./b", NULL);
    expect_name("a//b", NULL);
    expect_name("opt/x\n\x1b[2J", "opt/x\n\x1b[2J");
}

static void hostile_extensions_are_refused(void)
{
    static const struct {
        char type;
        const char *key;
        const char *value;
        size_t length;
        enum tt_status status;
    } cases[] = {{'x', "path", "a\0b", 3, TT_MALFORMED},
                 {'x', "linkpath", "a\0b", 3, TT_MALFORMED},
                 {'x', "path", "a/../b", 6, TT_MALFORMED},
                 {'x', "size", "-1", 2, TT_MALFORMED},
                 {'x', "size", "99999999999999999999", 20, TT_MALFORMED},
                 {'x', "uid", "4294967296", 10, TT_MALFORMED},
                 {'g', "path", "evil", 4, TT_MALFORMED},
                 {'g', "comment", "fine", 4, TT_OK},
                 {'x', "comment", "a\0b", 3, TT_OK},
                 {'x', "path", "", 0, TT_MALFORMED},
                 {'x', "GNU.sparse.map", "0", 1, TT_MALFORMED},
                 {'x', "GNU.sparse.map", "0,5", 3, TT_MALFORMED}, /* no size */
                 {'x', "GNU.sparse.major", "2", 1, TT_MALFORMED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        size_t count = 0;
        tar_put_pax(&tar, cases[i].type, cases[i].key, cases[i].value, cases[i].length);
        tar_put_file(&tar, "file", "text");
        tar_put_end(&tar);
        CU_ASSERT_EQUAL(read_all(&tar, &count, &err), cases[i].status);
        if (cases[i].status != TT_OK)
            CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "test: "));
    }
}

static void huge_names_are_refused(void)
{
    for (int form = 0; form < 3; form++) {
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        size_t count = 0;
        size_t length = form == 2 ? (1 << 20) + 1 : TT_PATH_LIMIT + (form == 0);
        char *name = repeat("name/", length);
        name[length - 1] = 'x';
        tar_put_header(&tar, &(struct tar_block){.name = "long", .type = 'L', .size = length});
        tar_put_data(&tar, name, length);
        tar_put_file(&tar, "file", "text");
        tar_put_end(&tar);
        CU_ASSERT_EQUAL(read_all(&tar, &count, &err), form == 1 ? TT_OK : TT_MALFORMED);
        free(name);
    }
}

/* Cut anywhere: malformed, or everything before a place where an archive may end. */
static void cut_archives_are_noticed(void)
{
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    tar_put_folder(&tar, "opt/");
    tar_put_pax(&tar, 'x', "path", "opt/one", 7);
    tar_put_file(&tar, "one", "some content");
    tar_put_file(&tar, "opt/two", "more content");
    tar_put_end(&tar);
    size_t whole = tar.length;
    for (size_t length = 0; length <= whole; length++) {
        struct tt_error err = TT_ERROR_INIT;
        size_t count = 0;
        tar.length = length;
        enum tt_status status = read_all(&tar, &count, &err);
        bool after_folder = length == 512;
        bool after_one = length == 512 * 4 + 12 || length == 512 * 5;
        bool after_two = length == 512 * 6 + 12 || length == 512 * 7 || length >= 512 * 8;
        CU_ASSERT_EQUAL(status, after_folder || after_one || after_two ? TT_OK : TT_MALFORMED);
        if (status == TT_OK)
            CU_ASSERT_EQUAL(count, after_folder ? 1u : after_one ? 2u : 3u);
    }
    tar.length = whole;
}

static void damaged_headers_are_noticed(void)
{
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    tar_put_file(&tar, "one", "some content");
    tar_put_end(&tar);
    for (size_t i = 0; i < 512; i++) {
        struct tt_error err = TT_ERROR_INIT;
        size_t count = 0;
        tar.data[i] ^= 0x41;
        bool in_checksum = i >= 148 && i < 156;
        CU_ASSERT_TRUE(in_checksum || read_all(&tar, &count, &err) == TT_MALFORMED);
        tar.data[i] ^= 0x41;
    }
}

/* What has no content has none, whatever size its header says: as Go's reader has it. */
static void links_have_no_content(void)
{
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    size_t count = 0;
    tar_put_header(&tar, &(struct tar_block){.name = "a", .type = '1', .link = "/./b", .size = 700});
    tar_put_header(&tar, &(struct tar_block){.name = "c", .type = '2', .link = "../b", .size = 700});
    tar_put_header(&tar, &(struct tar_block){.name = "d/", .type = '5', .size = 700});
    tar_put_header(&tar, &(struct tar_block){.name = "e", .type = '3', .size = 700});
    tar_put_end(&tar);
    struct tt_entry entry TT_CLEANUP(tt_entry_clear) = {0};
    CU_ASSERT_EQUAL(read_first(&tar, &entry, &err), TT_OK);
    CU_ASSERT_STRING_EQUAL(entry.link_target, "b");
    CU_ASSERT_EQUAL(read_all(&tar, &count, &err), TT_OK);
    CU_ASSERT_EQUAL(count, 4);
}

static void load(const char *path, struct tt_buffer *ret_content)
{
    FILE *file TT_CLEANUP(tt_fclose_cleanup) = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char chunk[65536];
    for (size_t length; (length = fread(chunk, 1, sizeof chunk, file)) > 0;)
        CU_ASSERT_EQUAL_FATAL(tt_buffer_append(ret_content, chunk, length, NULL), TT_OK);
}

/* GNU tar writes all four sparse forms; their contents must come back as the file was. */
static void sparse_files_of_all_forms(void)
{
    static const char *const forms[] = {"--format=gnu", "--format=posix --sparse-version=0.0",
                                        "--format=posix --sparse-version=0.1", "--format=posix --sparse-version=1.0"};
    char folder[] = "/tmp/traintoken-test-XXXXXX";
    char command[512];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(command, sizeof command,
             "cd %s && mkdir opt && truncate -s 3000000 opt/holes && for at in 0 7 100 101 250 600; do "
             "printf 'piece %%s' $at | dd of=opt/holes bs=4096 seek=$at conv=notrunc status=none; done && "
             "truncate -s 5000 opt/empty && printf after > opt/zz",
             folder);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        char path[64];
        snprintf(command, sizeof command, "cd %s && tar --sparse %s -cf holes.tar opt/empty opt/holes opt/zz", folder,
                 forms[i]);
        CU_ASSERT_EQUAL_FATAL(system(command), 0);
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        snprintf(path, sizeof path, "%s/holes.tar", folder);
        load(path, &tar);
        CU_ASSERT_TRUE(tar.length < 200000);
        struct tar_memory memory = {.tar = &tar};
        struct tt_source source = tar_source(&memory, true);
        struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
        struct tt_error err = TT_ERROR_INIT;
        const struct tt_entry *entry = NULL;
        CU_ASSERT_EQUAL_FATAL(tt_tar_reader_new(&source, "sparse", &reader, &err), TT_OK);
        while (tt_tar_reader_next(reader, &entry, &err) == TT_OK && entry) {
            struct tt_buffer want TT_CLEANUP(tt_buffer_clear) = {0};
            snprintf(path, sizeof path, "%s/%s", folder, entry->path);
            load(path, &want);
            CU_ASSERT_EQUAL_FATAL(entry->size, want.length);
            CU_ASSERT_EQUAL(tt_tar_reader_offset(reader) == -1, strcmp(entry->path, "opt/zz") != 0);
            size_t done = 0;
            for (size_t length = 1; length > 0; done += length) {
                uint8_t chunk[1013];
                CU_ASSERT_EQUAL_FATAL(tt_tar_reader_read(reader, chunk, sizeof chunk, &length, &err), TT_OK);
                CU_ASSERT_EQUAL(memcmp(chunk, want.data + done, length), 0);
            }
            CU_ASSERT_EQUAL(done, want.length);
        }
        CU_ASSERT_EQUAL(err.status, TT_OK);
        CU_ASSERT_PTR_NULL(entry);
    }
    snprintf(command, sizeof command, "rm -r %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void sparse_maps_must_make_sense(void)
{
    static const char *const maps[] = {"0,3,2,2", "5,1", "0,4", "4,1,0,4", "0,9223372036854775807,1,1", "3,2"};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
        struct tt_error err = TT_ERROR_INIT;
        size_t count = 0;
        char body[200];
        int length = snprintf(body, sizeof body, "21 GNU.sparse.size=5\n");
        int record = (int)strlen(maps[i]) + 19;
        length += snprintf(body + length, sizeof body - (size_t)length, "%d GNU.sparse.map=%s\n", record, maps[i]);
        tar_put_header(&tar, &(struct tar_block){.name = "pax", .type = 'x', .size = (uint64_t)length});
        tar_put_data(&tar, body, (size_t)length);
        tar_put_file(&tar, "file", "text+");
        tar_put_end(&tar);
        CU_ASSERT_EQUAL(read_all(&tar, &count, &err), TT_MALFORMED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "test: "));
    }
}

static void compressed_archives(void)
{
    static const char *const filters[] = {"gzip", "zstd"};
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    char *text = repeat("some content ", 300000);
    tar_put_file(&tar, "file", text);
    tar_put_end(&tar);
    free(text);
    for (size_t i = 0; i < 2; i++) {
        struct tt_buffer packed TT_CLEANUP(tt_buffer_clear) = {0};
        tar_compress(&tar, filters[i], &packed);
        enum tt_compression kind = tt_compression_of(packed.data, packed.length);
        CU_ASSERT_EQUAL(kind, i == 0 ? TT_COMPRESSION_GZIP : TT_COMPRESSION_ZSTD);
        size_t whole = packed.length;
        for (int cut = 0; cut < 2; cut++) {
            packed.length = cut ? whole / 2 : whole;
            struct tar_memory memory = {.tar = &packed, .step = 1000};
            struct tt_source source = tar_source(&memory, false);
            struct tt_decompressor *decompressor TT_CLEANUP(tt_decompressor_free_cleanup) = NULL;
            struct tt_error err = TT_ERROR_INIT;
            struct tt_buffer out TT_CLEANUP(tt_buffer_clear) = {0};
            enum tt_status status = tt_decompressor_new(&source, kind, "layer", &decompressor, &err);
            for (size_t length = 1; status == TT_OK && length > 0;) {
                char chunk[10000];
                status = tt_decompressor_read(decompressor, chunk, sizeof chunk, &length, &err);
                if (status == TT_OK)
                    CU_ASSERT_EQUAL_FATAL(tt_buffer_append(&out, chunk, length, &err), TT_OK);
            }
            CU_ASSERT_EQUAL(status, cut ? TT_MALFORMED : TT_OK);
            if (!cut) {
                CU_ASSERT_EQUAL_FATAL(out.length, tar.length);
                CU_ASSERT_EQUAL(memcmp(out.data, tar.data, tar.length), 0);
            }
        }
    }
    CU_ASSERT_EQUAL(tt_compression_of(tar.data, tar.length), TT_COMPRESSION_NONE);
}

static void spools_give_back_what_they_took(void)
{
    struct tt_spool *spool TT_CLEANUP(tt_spool_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_spool_new("/tmp", &spool, &err), TT_OK);
    size_t total = 300001;
    uint8_t *data = malloc(total);
    uint8_t *back = malloc(total);
    for (size_t i = 0; i < total; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    for (size_t done = 0, step = 1; done < total; done += step, step = step * 3 + 1) {
        step = step < total - done ? step : total - done;
        CU_ASSERT_EQUAL(tt_spool_length(spool), done);
        CU_ASSERT_EQUAL(tt_spool_append(spool, data + done, step, &err), TT_OK);
    }
    for (size_t offset = 0; offset < total; offset += 9973) {
        size_t length = total - offset < 70000 ? total - offset : 70000;
        CU_ASSERT_EQUAL(tt_spool_read(spool, offset, back, length, &err), TT_OK);
        CU_ASSERT_EQUAL(memcmp(back, data + offset, length), 0);
    }
    CU_ASSERT_EQUAL(tt_spool_read(spool, total - 3, back, 4, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_spool_read(spool, UINT64_MAX, back, 4, &err), TT_INTERNAL);
    free(data);
    free(back);
}

static void spools_hold_no_plaintext(void)
{
    struct tt_spool *spool TT_CLEANUP(tt_spool_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    static char text[131072];
    memset(text, 'P', sizeof text);
    CU_ASSERT_EQUAL_FATAL(tt_spool_new("/tmp", &spool, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_spool_append(spool, text, sizeof text, &err), TT_OK);
    int found = 0;
    for (int descriptor = 3; descriptor < 64; descriptor++) {
        char link[64];
        char target[256] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        if (readlink(link, target, sizeof target - 1) < 0 || !strstr(target, "(deleted)"))
            continue;
        found++;
        CU_ASSERT_EQUAL(pread(descriptor, text, sizeof text, 0), (ssize_t)sizeof text);
        CU_ASSERT_PTR_NULL(memmem(text, sizeof text, "PPPPPPPP", 8));
    }
    CU_ASSERT_EQUAL(found, 1);
}

static enum tt_status read_nothing(void *store, size_t index, uint64_t offset, void *data, size_t length,
                                   struct tt_error *err)
{
    (void)store, (void)err;
    memset(data, (int)(index + offset), length);
    return TT_OK;
}

static void file_sets_find_and_keep_bounds(void)
{
    static const struct tt_file_set_ways ways = {.read = read_nothing};
    static const char *const names[] = {"opt", "opt/a", "opt/a/b", "opt/a.b"};
    struct tt_entry *entries = calloc(4, sizeof *entries);
    struct tt_error err = TT_ERROR_INIT;
    struct tt_file_set *set = NULL;
    for (size_t i = 0; i < 4; i++)
        entries[i] = (struct tt_entry){
            .path = strdup(names[i]), .type = i < 2 ? TT_ENTRY_FOLDER : TT_ENTRY_FILE, .size = i < 2 ? 0 : 10};
    char *first = entries[0].path;
    entries[0].path = entries[1].path;
    entries[1].path = first;
    CU_ASSERT_EQUAL(tt_file_set_new(entries, 4, &ways, NULL, &set, &err), TT_INTERNAL);
    entries[1].path = entries[0].path;
    entries[0].path = first;
    CU_ASSERT_EQUAL_FATAL(tt_file_set_new(entries, 4, &ways, NULL, &set, &err), TT_OK);
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(tt_file_set_find(set, names[i]), i);
    CU_ASSERT_EQUAL(tt_file_set_find(set, "opt/a/c"), 4);
    CU_ASSERT_EQUAL(tt_file_set_bytes(set), 20);
    char data[11];
    CU_ASSERT_EQUAL(tt_file_set_read(set, 2, 0, data, 10, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_file_set_read(set, 2, 1, data, 10, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_file_set_read(set, 2, UINT64_MAX, data, 1, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_file_set_read(set, 0, 0, data, 1, &err), TT_INTERNAL);
    tt_file_set_free(set);
}

static void writers_refuse_wrong_sizes(void)
{
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_sink sink = {.write = write_to_buffer, .user = &tar};
    struct tt_error err = TT_ERROR_INIT;
    struct tt_tar_writer *writer TT_CLEANUP(tt_tar_writer_free_cleanup) = NULL;
    struct tt_entry entry = {.path = "file", .type = TT_ENTRY_FILE, .size = 3};
    struct tt_entry device = {.path = "null", .type = TT_ENTRY_SPECIAL};
    CU_ASSERT_EQUAL_FATAL(tt_tar_writer_new(&sink, &writer, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_tar_writer_entry(writer, &device, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_tar_writer_entry(writer, &entry, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_tar_writer_data(writer, "four", 4, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_tar_writer_data(writer, "on", 2, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_tar_writer_finish(writer, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_tar_writer_entry(writer, &entry, &err), TT_INTERNAL);
    CU_ASSERT_EQUAL(tt_tar_writer_data(writer, "e", 1, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_tar_writer_finish(writer, &err), TT_OK);
    CU_ASSERT_EQUAL(tar.length, 2048);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"paths sort as a walk visits them", paths_sort_as_a_walk_visits_them},
        {"names are bytes in every locale", names_are_bytes_in_every_locale},
        {"hostile names are refused", hostile_names_are_refused},
        {"hostile extensions are refused", hostile_extensions_are_refused},
        {"huge names are refused", huge_names_are_refused},
        {"cut archives are noticed", cut_archives_are_noticed},
        {"damaged headers are noticed", damaged_headers_are_noticed},
        {"links have no content", links_have_no_content},
        {"sparse files of all forms", sparse_files_of_all_forms},
        {"sparse maps must make sense", sparse_maps_must_make_sense},
        {"compressed archives", compressed_archives},
        {"spools give back what they took", spools_give_back_what_they_took},
        {"spools hold no plaintext", spools_hold_no_plaintext},
        {"file sets find and keep bounds", file_sets_find_and_keep_bounds},
        {"writers refuse wrong sizes", writers_refuse_wrong_sizes},
    };
    return SUITE_RUN("archive", tests);
}
