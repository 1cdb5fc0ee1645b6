#include "base/interrupt.h"
#include "base/text.h"
#include "image/docker.h"
#include "image/docker_saved.h"

/* An engine shows layers only by handing out the whole image: it takes its time before the first byte comes. */

static enum tt_status receive(void *user, void *data, size_t capacity, size_t *ret_length, struct tt_error *err)
{
    enum tt_status status = tt_interrupt_check(err);
    return status == TT_OK ? tt_http_download_read(user, data, capacity, ret_length, err) : status;
}

static enum tt_status ask(struct docker_image *own, struct tt_http_download **ret_download, struct tt_error *err)
{
    struct tt_buffer path TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = tt_docker_path(&path, err, "/images/%s/get", own->id);
    if (status != TT_OK)
        return status;
    struct tt_docker_request request = {.method = "GET", .path = (const char *)path.data, .patient = true};
    return tt_docker_download(own->engine, &request, ret_download, NULL, err);
}

enum tt_status docker_visit_layers(struct tt_image *image, size_t first, const struct tt_layer_visitor *visitor,
                                   struct tt_error *err)
{
    struct docker_image *own = image->state;
    struct tt_http_download *download TT_CLEANUP(tt_http_download_free_cleanup) = NULL;
    char *what TT_CLEANUP(tt_free_cleanup) = tt_text_format("the image in %s", tt_docker_name(own->engine));
    const char **layers TT_CLEANUP(tt_free_cleanup) = calloc(image->layer_count + 1, sizeof *layers);
    if (!what || !layers)
        return tt_error_memory(err);
    if (first >= image->layer_count)
        return TT_OK;
    for (size_t i = 0; i < image->layer_count; i++)
        layers[i] = image->layers[i].digest;
    enum tt_status status = ask(own, &download, err);
    if (status != TT_OK)
        return status;
    struct tt_docker_saved saved = {.what = what, .layers = layers, .count = image->layer_count, .first = first};
    struct tt_source source = {.read = receive, .user = download};
    return tt_docker_saved_visit(&saved, &source, visitor, err);
}
