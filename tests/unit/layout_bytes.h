/* OCI layouts made by hand, honest or not. */
#ifndef TT_TESTS_UNIT_LAYOUT_BYTES_H
#define TT_TESTS_UNIT_LAYOUT_BYTES_H

#include <stdbool.h>

#include "tar_bytes.h"

enum { MADE_DIGEST = 160, MADE_LAYERS = 16 };

/* One layer as the manifest and the configuration tell of it; change the words to lie. */
struct made_layer {
    char digest[MADE_DIGEST];
    char diff_id[MADE_DIGEST];
    uint64_t size;
};

struct made_layout {
    char path[64];
    struct made_layer layers[MADE_LAYERS];
    size_t layer_count;
    char manifest[MADE_DIGEST];
    size_t manifest_size;
    char config[MADE_DIGEST];
    size_t config_size;
};

void layout_make(struct made_layout *layout);
void layout_remove(struct made_layout *layout);
/* "oci:PATH:TAG", in a buffer that the next call of the next but seven reuses. */
const char *layout_reference(const struct made_layout *layout, const char *tag);

void layout_digest(const char *algorithm, const void *data, size_t length, char digest[MADE_DIGEST]);
/* Writes a blob under its digest. */
void layout_put_blob(struct made_layout *layout, const char *algorithm, const void *data, size_t length,
                     char digest[MADE_DIGEST]);
/* Adds a layer from a tar; filter NULL, "gzip" or "zstd". */
void layout_put_layer(struct made_layout *layout, const struct tt_buffer *tar, const char *filter);
/* Writes configuration and manifest for the layers; `config_members` are added to the configuration. */
void layout_put_manifest(struct made_layout *layout, const char *config_members);
/* Writes index.json with these entries (JSON objects, comma-separated). */
void layout_put_index(struct made_layout *layout, const char *entries);
/* An entry for the manifest; the text is the caller's to free. */
char *layout_entry(const struct made_layout *layout, const char *tag, const char *platform);
/* Configuration, manifest and index with one tag. */
void layout_finish(struct made_layout *layout, const char *tag);

void layout_path_of(const struct made_layout *layout, const char *digest, char path[256]);
/* Flips one bit of a blob. */
void layout_flip(const struct made_layout *layout, const char *digest, long offset);
/* How many files there are in the layout, of any kind. */
size_t layout_count_files(const char *path);
bool layout_has(const struct made_layout *layout, const char *digest);

#endif
