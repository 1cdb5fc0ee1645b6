#include "layout_bytes.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/text.h"
#include "crypto/digest.h"

static void must(bool good)
{
    if (!good)
        abort();
}

static void write_file(const char *path, const void *data, size_t length)
{
    FILE *file = fopen(path, "wb");
    must(file && fwrite(data, 1, length, file) == length && fclose(file) == 0);
}

void layout_make(struct made_layout *layout)
{
    static const char version[] = "{\"imageLayoutVersion\": \"1.0.0\"}";
    char path[256];
    *layout = (struct made_layout){0};
    /* In memory where that can be: what is tested here syncs every file. */
    snprintf(layout->path, sizeof layout->path, "%s/traintoken-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(mkdtemp(layout->path) != NULL);
    static const char *const folders[] = {"blobs", "blobs/sha256", "blobs/sha512"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", layout->path, folders[i]);
        must(mkdir(path, 0755) == 0);
    }
    snprintf(path, sizeof path, "%s/oci-layout", layout->path);
    write_file(path, version, sizeof version - 1);
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)facts, (void)kind, (void)walk;
    return remove(path);
}

void layout_remove(struct made_layout *layout)
{
    nftw(layout->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *layout_reference(const struct made_layout *layout, const char *tag)
{
    static char references[8][128];
    static size_t next;
    char *reference = references[next++ % 8];
    snprintf(reference, 128, "oci:%s:%s", layout->path, tag);
    return reference;
}

void layout_digest(const char *algorithm, const void *data, size_t length, char digest[MADE_DIGEST])
{
    uint8_t value[TT_SHA512_SIZE];
    bool is_long = strcmp(algorithm, "sha512") == 0;
    must(tt_digest_once(is_long ? TT_SHA512 : TT_SHA256, data, length, value, NULL) == TT_OK);
    snprintf(digest, MADE_DIGEST, "%s:", algorithm);
    tt_hex_encode(value, is_long ? TT_SHA512_SIZE : TT_SHA256_SIZE, digest + 7);
}

void layout_path_of(const struct made_layout *layout, const char *digest, char path[256])
{
    snprintf(path, 256, "%s/blobs/%.6s/%s", layout->path, digest, digest + 7);
}

void layout_put_blob(struct made_layout *layout, const char *algorithm, const void *data, size_t length,
                     char digest[MADE_DIGEST])
{
    char path[256];
    layout_digest(algorithm, data, length, digest);
    layout_path_of(layout, digest, path);
    write_file(path, data, length);
}

void layout_put_layer(struct made_layout *layout, const struct tt_buffer *tar, const char *filter)
{
    must(layout->layer_count < MADE_LAYERS);
    struct made_layer *layer = &layout->layers[layout->layer_count++];
    layout_digest("sha256", tar->data, tar->length, layer->diff_id);
    if (!filter) {
        layout_put_blob(layout, "sha256", tar->data, tar->length, layer->digest);
        layer->size = tar->length;
        return;
    }
    struct tt_buffer packed = {0};
    tar_compress(tar, filter, &packed);
    layout_put_blob(layout, "sha256", packed.data, packed.length, layer->digest);
    layer->size = packed.length;
    tt_buffer_clear(&packed);
}

static void put_text(struct tt_buffer *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put_text(struct tt_buffer *text, const char *format, ...)
{
    char *piece = NULL;
    va_list arguments;
    va_start(arguments, format);
    must(vasprintf(&piece, format, arguments) >= 0);
    va_end(arguments);
    must(tt_buffer_append(text, piece, strlen(piece), NULL) == TT_OK);
    free(piece);
}

void layout_put_manifest(struct made_layout *layout, const char *config_members)
{
    struct tt_buffer config = {0};
    struct tt_buffer manifest = {0};
    put_text(&config, "{\"os\":\"linux\",%s\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[", config_members);
    for (size_t i = 0; i < layout->layer_count; i++)
        put_text(&config, "%s\"%s\"", i ? "," : "", layout->layers[i].diff_id);
    put_text(&config, "]},\"history\":[{\"created_by\":\"hand\"}]}");
    layout_put_blob(layout, "sha256", config.data, config.length, layout->config);
    layout->config_size = config.length;
    put_text(
        &manifest,
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
        "\"digest\":\"%s\",\"size\":%zu},\"annotations\":{\"org.opencontainers.image.title\":\"by hand\"},\"layers\":[",
        layout->config, config.length);
    for (size_t i = 0; i < layout->layer_count; i++)
        put_text(&manifest,
                 "%s{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%llu}",
                 i ? "," : "", layout->layers[i].digest, (unsigned long long)layout->layers[i].size);
    put_text(&manifest, "]}");
    layout_put_blob(layout, "sha256", manifest.data, manifest.length, layout->manifest);
    layout->manifest_size = manifest.length;
    tt_buffer_clear(&config);
    tt_buffer_clear(&manifest);
}

char *layout_entry(const struct made_layout *layout, const char *tag, const char *platform)
{
    return tt_text_format("{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu"
                          "%s%s%s%s%s%s}",
                          layout->manifest, layout->manifest_size,
                          tag ? ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" : "", tag ? tag : "",
                          tag ? "\"}" : "", platform ? ",\"platform\":{" : "", platform ? platform : "",
                          platform ? "}" : "");
}

void layout_put_index(struct made_layout *layout, const char *entries)
{
    char path[256];
    char *text = tt_text_format("{\"schemaVersion\":2,\"x\":1.50,\"manifests\":[%s]}", entries);
    snprintf(path, sizeof path, "%s/index.json", layout->path);
    write_file(path, text, strlen(text));
    free(text);
}

void layout_finish(struct made_layout *layout, const char *tag)
{
    layout_put_manifest(layout, "");
    char *entry = layout_entry(layout, tag, NULL);
    layout_put_index(layout, entry);
    free(entry);
}

void layout_flip(const struct made_layout *layout, const char *digest, long offset)
{
    char path[256];
    layout_path_of(layout, digest, path);
    FILE *file = fopen(path, "r+b");
    must(file && fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET) == 0);
    int byte = fgetc(file);
    must(byte != EOF && fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 4, file) != EOF && fclose(file) == 0);
}

static size_t counted;

static int count_one(const char *path, const struct stat *facts, int kind, struct FTW *walk)
{
    (void)path, (void)facts, (void)walk;
    counted += kind == FTW_F || kind == FTW_SL;
    return 0;
}

size_t layout_count_files(const char *path)
{
    counted = 0;
    nftw(path, count_one, 16, FTW_PHYS);
    return counted;
}

bool layout_has(const struct made_layout *layout, const char *digest)
{
    char path[256];
    layout_path_of(layout, digest, path);
    return access(path, F_OK) == 0;
}
