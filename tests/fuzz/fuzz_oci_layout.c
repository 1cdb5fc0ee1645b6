/* A whole layout: index.json and blobs that it leads to. What is opened was checked: digests, sizes, platform. */
#include <stdio.h>
#include <string.h>

#include "fuzz_folder.h"
#include "image/oci.h"
#include "short_memory.h"
#include "json/json.h"

enum { PIECES = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

struct piece {
    const uint8_t *data;
    size_t size;
    struct oci_digest digest;
    size_t written;
};

/* The input, parted by lines with a lone "=": index.json first, then blobs. */
static size_t part(const uint8_t *data, size_t size, struct piece pieces[PIECES])
{
    size_t count = 0;
    while (size > 0 && count < PIECES) {
        const uint8_t *end = memmem(data, size, "\n=\n", 3);
        struct piece *piece = &pieces[count++];
        *piece = (struct piece){.data = data, .size = end ? (size_t)(end - data) : size};
        size -= end ? piece->size + 3 : piece->size;
        data += end ? piece->size + 3 : piece->size;
    }
    return count;
}

/* "@a" and "@A" stand for the digest and the size of piece 0, "@b" of piece 1: no fuzzer would find a digest. Only
 * pieces after this one have been made. */
static void make(const struct piece *pieces, size_t index, size_t count, struct tt_buffer *text)
{
    const struct piece *piece = &pieces[index];
    for (size_t i = 0; i < piece->size; i++) {
        uint8_t letter = piece->data[i] == '@' && i + 1 < piece->size ? piece->data[i + 1] : 0;
        size_t low = (size_t)letter - 'a';
        size_t high = (size_t)letter - 'A';
        enum tt_status status = TT_OK;
        if (low > index && low < count)
            status = tt_buffer_printf(text, NULL, "%s", pieces[low].digest.text);
        else if (high > index && high < count)
            status = tt_buffer_printf(text, NULL, "%zu", pieces[high].written);
        else
            status = tt_buffer_append(text, &piece->data[i], 1, NULL);
        i += (low > index && low < count) || (high > index && high < count);
        demand(status == TT_OK);
    }
}

static void write_layout(const uint8_t *data, size_t size)
{
    struct piece pieces[PIECES];
    size_t count = part(data, size, pieces);
    fuzz_empty("layout");
    fuzz_empty("layout/blobs");
    fuzz_empty("layout/blobs/sha256");
    fuzz_write("layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
    for (size_t i = count; i-- > 0;) {
        struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
        uint8_t value[TT_SHA256_SIZE];
        char name[OCI_DIGEST_TEXT + 16] = "layout/";
        make(pieces, i, count, &text);
        demand(tt_digest_once(TT_SHA256, text.length ? (const void *)text.data : "", text.length, value, NULL) ==
               TT_OK);
        oci_digest_make(TT_SHA256, value, &pieces[i].digest);
        oci_digest_path(&pieces[i].digest, name + strlen(name));
        pieces[i].written = text.length;
        fuzz_write(i == 0 ? "layout/index.json" : name, text.data, text.length);
    }
}

/* Each blob's bytes against its name. */
static void verify_blobs(const struct oci_layout *layout, const struct oci_manifest *manifest)
{
    for (size_t i = 0; i < manifest->layer_count; i++)
        if (oci_verify_blob(layout, &manifest->layers[i].blob, NULL, NULL) == TT_OK)
            demand(oci_blob_exists(layout, &manifest->layers[i].blob));
    enum tt_status self = oci_verify_blob(layout, &manifest->self, NULL, NULL);
    enum tt_status config = oci_verify_blob(layout, &manifest->config, NULL, NULL);
    demand((self == TT_OK && config == TT_OK) || self == TT_INTERNAL || config == TT_INTERNAL); /* out of memory */
}

static enum tt_status open_image(const struct oci_layout *layout, const char *tag, const char *platform,
                                 struct tt_error *err)
{
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_descriptor found;
    struct oci_manifest manifest TT_CLEANUP(oci_manifest_clear) = {0};
    struct tt_buffer configuration TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = oci_index_read(layout, NULL, &index, err);
    if (status == TT_OK)
        status = oci_select(layout, index, tag, platform, &found, err);
    if (status == TT_OK)
        status = oci_manifest_read(layout, &found, &manifest, &configuration, platform, err);
    if (status != TT_OK)
        return status;
    verify_blobs(layout, &manifest);
    demand(manifest.layer_count > 0 && configuration.length > 0 && manifest.text.length == found.size);
    return status;
}

static enum tt_status open_one(const char *tag, const char *platform, struct tt_error *err)
{
    struct oci_layout layout TT_CLEANUP(oci_layout_close) = OCI_LAYOUT_INIT;
    char *path TT_CLEANUP(tt_free_cleanup) = fuzz_path("layout");
    enum tt_status status = oci_layout_open(path, &layout, err);
    return status == TT_OK ? open_image(&layout, tag, platform, err) : status;
}

static enum tt_status read_again(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)size;
    return open_one("latest", "linux/amd64", err);
}

static enum tt_status reach(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)size;
    struct oci_layout layout TT_CLEANUP(oci_layout_close) = OCI_LAYOUT_INIT;
    char *path TT_CLEANUP(tt_free_cleanup) = fuzz_path("layout");
    cJSON *index TT_CLEANUP(tt_json_cleanup) = NULL;
    struct oci_set set TT_CLEANUP(oci_set_clear) = {0};
    enum tt_status status = oci_layout_open(path, &layout, err);
    if (status == TT_OK)
        status = oci_index_read(&layout, NULL, &index, err);
    return status == TT_OK ? oci_reach_all(&layout, index, &set, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const platforms[] = {NULL,           "linux/amd64", "linux/arm64/v8",
                                            "linux/arm/v7", "no platform", "a/b/c/d"};
    write_layout(data, size);
    for (size_t i = 0; i < sizeof platforms / sizeof platforms[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        enum tt_status status = open_one(i % 2 ? "latest" : "base", platforms[i], &err);
        demand(status == TT_OK || err.message[0]);
        demand(i < 4 || status == TT_USAGE || status == TT_STORE || status == TT_MALFORMED);
    }
    short_memory_try(data, size, read_again);
    short_memory_try(data, size, reach);
    return 0;
}
