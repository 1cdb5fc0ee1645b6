#include <inttypes.h>
#include <string.h>

#include "base/hex.h"
#include "statement/manifest_inside.h"
#include "json/json.h"

/* Writes piece after piece; the first failure stays, so that a document reads as one piece. */
struct writer {
    struct tt_buffer text;
    enum tt_status status;
    struct tt_error *err;
};

static void put(struct writer *writer, const char *raw)
{
    if (writer->status == TT_OK)
        writer->status = tt_buffer_append(&writer->text, raw, strlen(raw), writer->err);
}

static void put_number(struct writer *writer, const char *lead, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    put(writer, lead);
    put(writer, text);
}

/* NULL is null. */
static void put_text(struct writer *writer, const char *lead, const char *text)
{
    put(writer, lead);
    if (!text)
        put(writer, "null");
    else if (writer->status == TT_OK)
        writer->status = tt_json_quote(&writer->text, text, writer->err);
}

static void put_hex(struct writer *writer, const char *lead, const uint8_t *data, size_t length)
{
    char *hex TT_CLEANUP(tt_free_cleanup) = tt_hex_new(data, length);
    if (!hex && writer->status == TT_OK)
        writer->status = tt_error_memory(writer->err);
    put_text(writer, lead, hex);
}

/* Control characters take six bytes for one. */
size_t manifest_entry_bytes(const struct tt_manifest_entry *entry)
{
    size_t bytes = 2 * TT_SHA512_SIZE + 80;
    for (const char *at = entry->path; *at; at++)
        bytes += (unsigned char)*at < 0x20 ? 6 : *at == '"' || *at == '\\' ? 2 : 1;
    return bytes;
}

static bool has_room(const struct tt_manifest_list *list, size_t room)
{
    size_t bytes = 0;
    for (size_t i = 0; i < list->entry_count; i++)
        bytes += manifest_entry_bytes(&list->entries[i]);
    return bytes <= room;
}

static void put_entry(struct writer *writer, const char *lead, const struct tt_manifest_entry *entry)
{
    char mode[MANIFEST_MODE_SIZE];
    put(writer, lead);
    put_text(writer, "{\"path\":", entry->path);
    put_text(writer, ",\"mode\":", manifest_mode(entry, mode));
    put_number(writer, ",\"size\":", entry->size);
    put_hex(writer, ",\"sha512\":", entry->sha512, sizeof entry->sha512);
    put(writer, "}");
}

static void put_list(struct writer *writer, const struct tt_manifest_list *list, size_t room)
{
    put_number(writer, "\"files\":", list->files);
    put_number(writer, ",\"bytes\":", list->bytes);
    put_number(writer, ",\"links\":", list->links);
    put_hex(writer, ",\"list_sha512\":", list->sha512, sizeof list->sha512);
    if (!list->is_explicit || !has_room(list, room))
        return;
    put(writer, ",\"entries\":[");
    for (size_t i = 0; i < list->entry_count; i++)
        put_entry(writer, i > 0 ? "," : "", &list->entries[i]);
    put(writer, "]");
}

static void put_head(struct writer *writer, const char *subject, const struct tt_manifest_list *list, const char *type)
{
    put_text(writer, "{\"_type\":", MANIFEST_STATEMENT_TYPE);
    put_text(writer, ",\"subject\":[{\"name\":", subject);
    put_hex(writer, ",\"digest\":{\"sha512\":", list->sha512, sizeof list->sha512);
    put_text(writer, "}}],\"predicateType\":", type);
    put(writer, ",\"predicate\":{");
}

static enum tt_status finish(struct writer *writer, struct tt_buffer *ret_payload)
{
    put(writer, "}}");
    if (writer->status != TT_OK) {
        tt_buffer_clear(&writer->text);
        return writer->status;
    }
    *ret_payload = writer->text;
    return TT_OK;
}

static void put_route(struct writer *writer, const struct tt_creator_manifest *manifest)
{
    put(writer, ",\"route\":[");
    for (size_t i = 0; i < manifest->stop_count; i++) {
        put_text(writer, i > 0 ? ",{\"station\":" : "{\"station\":", manifest->route[i].station);
        put_text(writer, ",\"fingerprint\":", manifest->route[i].fingerprint);
        put(writer, "}");
    }
    put(writer, "]");
}

static void put_base(struct writer *writer, const struct tt_creator_manifest *manifest)
{
    put_text(writer, ",\"base\":{\"reference\":", manifest->base);
    put(writer, ",\"layers\":[");
    for (size_t i = 0; i < manifest->layer_count; i++)
        put_text(writer, i > 0 ? "," : "", manifest->layers[i]);
    put(writer, "]");
    if (manifest->has_settings)
        put_hex(writer, ",\"settings_sha512\":", manifest->settings, sizeof manifest->settings);
    put(writer, "}");
}

enum tt_status tt_creator_manifest_write(const struct tt_creator_manifest *manifest, size_t room,
                                         struct tt_buffer *ret_payload, struct tt_error *err)
{
    struct writer writer = {.text = TT_BUFFER_INIT(TT_MANIFEST_PAYLOAD_LIMIT), .err = err};
    put_head(&writer, MANIFEST_DEFINITION, &manifest->definition, TT_MANIFEST_CREATOR_TYPE);
    put_text(&writer, "\"train\":", manifest->train);
    put_hex(&writer, ",\"session_id\":", manifest->session_id, sizeof manifest->session_id);
    put_text(&writer, ",\"creator\":{\"id\":", manifest->creator);
    put_text(&writer, ",\"fingerprint\":", manifest->fingerprint);
    put(&writer, "}");
    put_route(&writer, manifest);
    put_hex(&writer, ",\"definition\":{\"hash\":", manifest->hash, sizeof manifest->hash);
    put(&writer, ",");
    put_list(&writer, &manifest->definition, room);
    put(&writer, "},\"query\":");
    if (manifest->definition.has_query) {
        put_hex(&writer, "{\"sha512\":", manifest->definition.query, sizeof manifest->definition.query);
        put(&writer, "}");
    } else {
        put(&writer, "null");
    }
    put_base(&writer, manifest);
    return finish(&writer, ret_payload);
}

enum tt_status tt_stop_manifest_write(const struct tt_stop_manifest *manifest, size_t room,
                                      struct tt_buffer *ret_payload, struct tt_error *err)
{
    struct writer writer = {.text = TT_BUFFER_INIT(TT_MANIFEST_PAYLOAD_LIMIT), .err = err};
    put_head(&writer, MANIFEST_RESULTS, &manifest->results, TT_MANIFEST_STOP_TYPE);
    put_text(&writer, "\"station\":", manifest->station);
    put_number(&writer, ",\"index\":", manifest->index);
    put_hex(&writer, ",\"session_id\":", manifest->session_id, sizeof manifest->session_id);
    put_hex(&writer, ",\"route_digest\":", manifest->digest, sizeof manifest->digest);
    put(&writer, ",\"results\":{");
    put_list(&writer, &manifest->results, room);
    put_hex(&writer, "},\"previous\":", manifest->previous, sizeof manifest->previous);
    put_text(&writer, ",\"time\":", manifest->time);
    return finish(&writer, ret_payload);
}
