#include <string.h>

#include "statement/manifest_inside.h"
#include "json/json_writer.h"

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

static void put_entry(struct tt_json_writer *writer, const char *lead, const struct tt_manifest_entry *entry)
{
    char mode[MANIFEST_MODE_SIZE];
    tt_json_write(writer, lead);
    tt_json_write_text(writer, "{\"path\":", entry->path);
    tt_json_write_text(writer, ",\"mode\":", manifest_mode(entry, mode));
    tt_json_write_number(writer, ",\"size\":", entry->size);
    tt_json_write_hex(writer, ",\"sha512\":", entry->sha512, sizeof entry->sha512);
    tt_json_write(writer, "}");
}

static void put_list(struct tt_json_writer *writer, const struct tt_manifest_list *list, size_t room)
{
    tt_json_write_number(writer, "\"files\":", list->files);
    tt_json_write_number(writer, ",\"bytes\":", list->bytes);
    tt_json_write_number(writer, ",\"links\":", list->links);
    tt_json_write_hex(writer, ",\"list_sha512\":", list->sha512, sizeof list->sha512);
    if (!list->is_explicit || !has_room(list, room))
        return;
    tt_json_write(writer, ",\"entries\":[");
    for (size_t i = 0; i < list->entry_count; i++)
        put_entry(writer, i > 0 ? "," : "", &list->entries[i]);
    tt_json_write(writer, "]");
}

static void put_head(struct tt_json_writer *writer, const char *subject, const struct tt_manifest_list *list,
                     const char *type)
{
    tt_json_write_text(writer, "{\"_type\":", MANIFEST_STATEMENT_TYPE);
    tt_json_write_text(writer, ",\"subject\":[{\"name\":", subject);
    tt_json_write_hex(writer, ",\"digest\":{\"sha512\":", list->sha512, sizeof list->sha512);
    tt_json_write_text(writer, "}}],\"predicateType\":", type);
    tt_json_write(writer, ",\"predicate\":{");
}

static enum tt_status finish(struct tt_json_writer *writer, struct tt_buffer *ret_payload)
{
    tt_json_write(writer, "}}");
    if (writer->status != TT_OK) {
        tt_buffer_clear(&writer->text);
        return writer->status;
    }
    *ret_payload = writer->text;
    return TT_OK;
}

static void put_route(struct tt_json_writer *writer, const struct tt_creator_manifest *manifest)
{
    tt_json_write(writer, ",\"route\":[");
    for (size_t i = 0; i < manifest->stop_count; i++) {
        tt_json_write_text(writer, i > 0 ? ",{\"station\":" : "{\"station\":", manifest->route[i].station);
        tt_json_write_text(writer, ",\"fingerprint\":", manifest->route[i].fingerprint);
        tt_json_write(writer, "}");
    }
    tt_json_write(writer, "]");
}

static void put_base(struct tt_json_writer *writer, const struct tt_creator_manifest *manifest)
{
    tt_json_write_text(writer, ",\"base\":{\"reference\":", manifest->base);
    tt_json_write(writer, ",\"layers\":[");
    for (size_t i = 0; i < manifest->layer_count; i++)
        tt_json_write_text(writer, i > 0 ? "," : "", manifest->layers[i]);
    tt_json_write(writer, "]");
    if (manifest->has_settings)
        tt_json_write_hex(writer, ",\"settings_sha512\":", manifest->settings, sizeof manifest->settings);
    tt_json_write(writer, "}");
}

enum tt_status tt_creator_manifest_write(const struct tt_creator_manifest *manifest, size_t room,
                                         struct tt_buffer *ret_payload, struct tt_error *err)
{
    struct tt_json_writer writer = {.text = TT_BUFFER_INIT(TT_MANIFEST_PAYLOAD_LIMIT), .err = err};
    put_head(&writer, MANIFEST_DEFINITION, &manifest->definition, TT_MANIFEST_CREATOR_TYPE);
    tt_json_write_text(&writer, "\"train\":", manifest->train);
    tt_json_write_hex(&writer, ",\"session_id\":", manifest->session_id, sizeof manifest->session_id);
    tt_json_write_text(&writer, ",\"creator\":{\"id\":", manifest->creator);
    tt_json_write_text(&writer, ",\"fingerprint\":", manifest->fingerprint);
    tt_json_write(&writer, "}");
    put_route(&writer, manifest);
    tt_json_write_hex(&writer, ",\"definition\":{\"hash\":", manifest->hash, sizeof manifest->hash);
    tt_json_write(&writer, ",");
    put_list(&writer, &manifest->definition, room);
    tt_json_write(&writer, "},\"query\":");
    if (manifest->definition.has_query) {
        tt_json_write_hex(&writer, "{\"sha512\":", manifest->definition.query, sizeof manifest->definition.query);
        tt_json_write(&writer, "}");
    } else {
        tt_json_write(&writer, "null");
    }
    put_base(&writer, manifest);
    return finish(&writer, ret_payload);
}

enum tt_status tt_stop_manifest_write(const struct tt_stop_manifest *manifest, size_t room,
                                      struct tt_buffer *ret_payload, struct tt_error *err)
{
    struct tt_json_writer writer = {.text = TT_BUFFER_INIT(TT_MANIFEST_PAYLOAD_LIMIT), .err = err};
    put_head(&writer, MANIFEST_RESULTS, &manifest->results, TT_MANIFEST_STOP_TYPE);
    tt_json_write_text(&writer, "\"station\":", manifest->station);
    tt_json_write_number(&writer, ",\"index\":", manifest->index);
    tt_json_write_hex(&writer, ",\"session_id\":", manifest->session_id, sizeof manifest->session_id);
    tt_json_write_hex(&writer, ",\"route_digest\":", manifest->digest, sizeof manifest->digest);
    tt_json_write(&writer, ",\"results\":{");
    put_list(&writer, &manifest->results, room);
    tt_json_write_hex(&writer, "},\"previous\":", manifest->previous, sizeof manifest->previous);
    tt_json_write_text(&writer, ",\"time\":", manifest->time);
    return finish(&writer, ret_payload);
}
