/* What an engine hands out of an image, and the rules for a train's own layers. Whatever the bytes: a layer is shown
 * only with its own digest, each one that is wanted comes once or the whole fails, and what passes the rules touches
 * nothing but a train's files. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/digest.h"
#include "image/docker_saved.h"
#include "image/layer_scan.h"
#include "protocol/layer_rules.h"

enum { FILES = 6, TEXT = 7 + 2 * TT_SHA256_SIZE + 1, CONTENT_LIMIT = 1 << 22 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

struct memory {
    const uint8_t *data;
    size_t size;
    size_t piece;
};

static enum tt_status memory_read(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    (void)err;
    struct memory *memory = user;
    size_t length = memory->size < capacity ? memory->size : capacity;
    length = length < memory->piece ? length : memory->piece;
    if (length > 0)
        memcpy(data, memory->data, length);
    memory->data += length;
    memory->size -= length;
    *ret_length = length;
    return TT_OK;
}

/* The digests of the first files in the archive: those may be layers. */
static size_t digests(struct memory memory, char texts[FILES][TEXT])
{
    struct tt_source source = {.read = memory_read, .user = &memory};
    struct tt_tar_reader *reader TT_CLEANUP(tt_tar_reader_free_cleanup) = NULL;
    const struct tt_entry *entry = NULL;
    size_t count = 0;
    demand(tt_tar_reader_new(&source, "fuzz", &reader, NULL) == TT_OK);
    while (count < FILES && tt_tar_reader_next(reader, &entry, NULL) == TT_OK && entry) {
        struct tt_digest *digest TT_CLEANUP(tt_digest_free_cleanup) = NULL;
        uint8_t value[TT_SHA256_SIZE];
        uint8_t piece[4096];
        size_t length = 1;
        size_t total = 0;
        demand(tt_digest_new(TT_SHA256, &digest, NULL) == TT_OK);
        while (length > 0 && total < CONTENT_LIMIT) {
            if (tt_tar_reader_read(reader, piece, sizeof piece, &length, NULL) != TT_OK)
                return count;
            demand(tt_digest_update(digest, piece, length, NULL) == TT_OK);
            total += length;
        }
        demand(tt_digest_final(digest, value, NULL) == TT_OK);
        strcpy(texts[count], "sha256:");
        tt_hex_encode(value, sizeof value, texts[count] + 7);
        count += entry->type == TT_ENTRY_FILE;
    }
    return count;
}

struct look {
    struct tt_layer_visitor rules;
    size_t first;
    size_t count;
    size_t ends[FILES + 1];
    bool is_open;
};

static void begin(void *user)
{
    struct look *look = user;
    look->is_open = true;
    look->rules.begin(look->rules.user);
}

static bool is_trains(const char *path)
{
    return strcmp(path, "") == 0 || strcmp(path, "opt") == 0 || strncmp(path, "opt/pht_train/", 14) == 0 ||
           strncmp(path, "opt/pht_results/", 16) == 0 || strcmp(path, "opt/pht_train") == 0 ||
           strcmp(path, "opt/pht_results") == 0 || strcmp(path, "opt/train_config.json") == 0 ||
           strcmp(path, "opt/user_sym_key.key") == 0 || strncmp(path, "opt/.wh.", 8) == 0;
}

static enum tt_status take(void *user, const struct tt_entry *entry, struct tt_error *err)
{
    struct look *look = user;
    demand(look->is_open);
    enum tt_status status = look->rules.entry(look->rules.user, entry, err);
    demand(status == TT_OK || status == TT_TAMPERED || status == TT_MALFORMED);
    demand(status != TT_OK || (is_trains(entry->path) && entry->type != TT_ENTRY_SPECIAL));
    return status;
}

static enum tt_status end(void *user, size_t layer, struct tt_error *err)
{
    struct look *look = user;
    demand(layer >= look->first && layer < look->count && look->ends[layer]++ == 0);
    return look->rules.end(look->rules.user, layer, err);
}

static enum tt_status visit(struct memory memory, const char *const *layers, size_t first, size_t count)
{
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
    struct tt_docker_saved saved = {.what = "fuzz", .layers = layers, .count = count, .first = first};
    struct tt_source source = {.read = memory_read, .user = &memory};
    demand(layer_rules_new(first, count, &rules, NULL) == TT_OK);
    struct look look = {.rules = layer_rules_visitor(rules), .first = first, .count = count};
    struct tt_layer_visitor visitor = {.user = &look, .begin = begin, .entry = take, .end = end};
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_docker_saved_visit(&saved, &source, &visitor, &err);
    demand(status == TT_OK || status == TT_STORE || status == TT_MALFORMED || status == TT_TAMPERED);
    demand(status == TT_OK || err.message[0]);
    for (size_t i = first; status == TT_OK && i < count; i++)
        demand(look.ends[i] == 1);
    if (status == TT_OK)
        status = layer_rules_finish(rules, NULL);
    demand(status != TT_INTERNAL);
    return status;
}

static enum tt_status memory_skip(void *user, uint64_t length, struct tt_error *err)
{
    (void)err;
    struct memory *memory = user;
    size_t used = memory->size < length ? memory->size : (size_t)length;
    memory->data += used;
    memory->size -= used;
    return TT_OK;
}

/* A layer on a master that has the same links. */
struct twice {
    struct layer_rules *rules;
    struct tt_layer_visitor visitor;
};

static void begin_twice(void *user)
{
    struct twice *twice = user;
    twice->visitor.begin(twice->visitor.user);
}

static enum tt_status take_twice(void *user, const struct tt_entry *entry, struct tt_error *err)
{
    struct twice *twice = user;
    enum tt_status status = layer_rules_below(twice->rules, entry, err);
    return status == TT_OK ? twice->visitor.entry(twice->visitor.user, entry, err) : status;
}

/* As a layer of a layout, of an image that runs in a folder of its own: what is passed over changes nothing. */
static enum tt_status scan(struct memory memory, bool unhashed)
{
    static const char *const folders[] = {"srv", "/srv/./work", "/", "/srv/work"};
    struct layer_rules *rules TT_CLEANUP(layer_rules_free_cleanup) = NULL;
    struct layer_scan_result result = {.status = TT_OK};
    struct layer_scan_input input = {.what = "fuzz",
                                     .source = {.read = memory_read, .skip = memory_skip, .user = &memory},
                                     .compression =
                                         unhashed ? TT_COMPRESSION_NONE : tt_compression_of(memory.data, memory.size),
                                     .algorithm = TT_SHA256,
                                     .unhashed = unhashed};
    demand(layer_rules_new(0, 1, &rules, NULL) == TT_OK);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        demand(layer_rules_run_in(rules, folders[i], NULL) == TT_OK);
    struct twice twice = {.rules = rules, .visitor = layer_rules_visitor(rules)};
    struct tt_layer_visitor visitor = {.user = &twice, .begin = begin_twice, .entry = take_twice};
    enum tt_status status = layer_scan(&input, &visitor, &result, NULL);
    demand(status == TT_OK || status == TT_MALFORMED);
    demand(result.is_hashed || unhashed || status != TT_OK || result.status != TT_OK);
    if (status != TT_OK || result.status != TT_OK)
        return status == TT_OK ? result.status : status;
    demand(twice.visitor.end(twice.visitor.user, 0, NULL) == TT_OK);
    status = layer_rules_finish(rules, NULL);
    demand(status == TT_OK || status == TT_MALFORMED || status == TT_TAMPERED);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory = {.data = data, .size = size, .piece = size % 3 == 0 ? 511 : 100000};
    char texts[FILES][TEXT];
    const char *layers[FILES + 1];
    size_t count = digests(memory, texts);
    for (size_t i = 0; i < count; i++)
        layers[i] = texts[i];
    layers[count] = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (size_t i = 0; i < count; i++) {
        struct memory other = {.data = data, .size = size, .piece = 7000};
        demand(visit(memory, layers, i, i + 1) == visit(other, layers, i, i + 1));
    }
    visit(memory, layers, 0, count);
    if (tt_compression_of(data, size) == TT_COMPRESSION_NONE)
        demand((scan(memory, true) == TT_OK) == (scan(memory, false) == TT_OK));
    else
        (void)!scan(memory, false);
    demand(visit(memory, layers, count, count + 1) != TT_OK);
    return 0;
}
