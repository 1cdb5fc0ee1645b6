/* What Vault and the central service answer. The input is their replies, one a line: "200 {...}"; what is no code is a
 * server that cannot be reached. A line with a slash first is the path in Vault. When replies run out, the place does
 * what it should: it takes what is written, and shows it.
 *
 * What is sent is held against what was shown: nothing is sent unasked, the key stands where it belongs, and everything
 * else that was there is still there, to the last digit. */
#include <cjson/cJSON.h>
#include <ctype.h>
#include <string.h>

#include "base/hex.h"
#include "provisioning/enrol.h"
#include "short_memory.h"
#include "json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void *__real_malloc(size_t size);
enum tt_status __wrap_tt_enrol_call(const struct tt_enrol_server *server, const char *method, const char *path,
                                    const char *body, int *ret_code, struct tt_buffer *ret_reply, struct tt_error *err);

enum tt_status __wrap_tt_public_key_parse(const void *pem, size_t length, const char *what, EVP_PKEY **ret_key,
                                          struct tt_error *err);
enum tt_status __real_tt_public_key_parse(const void *pem, size_t length, const char *what, EVP_PKEY **ret_key,
                                          struct tt_error *err);
enum tt_status __wrap_tt_public_key_pem(const EVP_PKEY *key, char **ret_pem, struct tt_error *err);

static const char OURS[] = "-----BEGIN PUBLIC KEY-----\n"
                           "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAmo2kOzLgG08SRtLUTDdG\n"
                           "PcqbOf1RWOP2FLqi8Z5p38bdVN6p9uGFSqOObnvgRgrtfPo9P2vcRFXVnx+tSnIA\n"
                           "fSUkWuumKqdCsEtKHYT0ceENb+6ed3DTTlm2qSojNG+bxn953mI4whbpC0iGJU9l\n"
                           "Qry1kBVc+dpG4wE3sUwOjpUloCk72K1DnEkg+JFkft6J65l6YvsuFqH5i1QQ8VoM\n"
                           "n/cyTPEXOqZbJuC5zZPQJFiXHlmal++0dYzHY4XeO6Bumo6fQR6TAzS7J1NAkFSM\n"
                           "su35jwbxPTXRazU19RJDdYroSDyqgdH4OdoRVjexd5hjlHHDVsJZWKoK89IwpAUw\n"
                           "awIDAQAB\n"
                           "-----END PUBLIC KEY-----\n";
static const char FIELD[] = "key";

static EVP_PKEY *ours;
static char *ours_hex;
static char *input; /* NUL-terminated */

/* One use of a place. */
static struct {
    struct tt_enrol_place place;
    bool fetches;
    bool short_of_memory;
    bool judging;     /* memory is had again */
    const char *next; /* reply */
    char *path;       /* that the input has */
    int kv;           /* that the store says it is of */
    int code;         /* of what was shown last, and */
    char *shown;
    char *written;
    bool is_honest; /* from the writing on */
} use;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void *take(size_t size)
{
    return use.judging ? __real_malloc(size) : malloc(size);
}

static void keep(char **place, const char *text, size_t length)
{
    free(*place);
    *place = __real_malloc(length + 1);
    require(*place != NULL);
    memcpy(*place, text, length);
    (*place)[length] = '\0';
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

/* With the numbers' spelling, except where memory is short. */
static cJSON *parse(const char *text)
{
    cJSON *document = NULL;
    if (use.short_of_memory)
        document = cJSON_Parse(text);
    else
        require(tt_json_parse(text, strlen(text), 8192, "text", &document, NULL) == TT_OK);
    require(document != NULL);
    return document;
}

/* libcrypto takes thousands of allocations for a key's text, which is not what is tried here: each is read once. */
enum tt_status __wrap_tt_public_key_parse(const void *pem, size_t length, const char *what, EVP_PKEY **ret_key,
                                          struct tt_error *err)
{
    static char *last_text;
    static size_t last_length;
    static EVP_PKEY *last_key;
    bool is_last = last_text && length == last_length && memcmp(pem, last_text, length) == 0;
    if (!is_last) {
        EVP_PKEY *key = NULL;
        enum tt_status status = __real_tt_public_key_parse(pem, length, what, &key, err);
        if (status != TT_OK)
            return status;
        EVP_PKEY_free(last_key);
        last_key = key;
        last_length = length;
        keep(&last_text, pem, length);
    }
    EVP_PKEY_up_ref(last_key);
    *ret_key = last_key;
    return TT_OK;
}

enum tt_status __wrap_tt_public_key_pem(const EVP_PKEY *key, char **ret_pem, struct tt_error *err)
{
    require(key == ours);
    char *pem = strdup(OURS);
    if (!pem)
        return tt_error_memory(err);
    *ret_pem = pem;
    return TT_OK;
}

static void require_same(const cJSON *one, const cJSON *other)
{
    require(one && other && one->type == other->type);
    if (cJSON_IsNumber(one))
        require(one->valuedouble == other->valuedouble);
    require(!one->valuestring == !other->valuestring);
    require(!one->valuestring || strcmp(one->valuestring, other->valuestring) == 0);
    const cJSON *place = other->child;
    for (const cJSON *item = one->child; item; item = item->next, place = place->next) {
        require_same(item, place);
        require(!item->string || strcmp(item->string, place->string) == 0);
    }
    require(!place);
}

static void require_kept(const cJSON *before, const cJSON *after, const char *but)
{
    for (const cJSON *item = cJSON_IsObject(before) ? before->child : NULL; item; item = item->next)
        if (strcmp(item->string, but) != 0)
            require_same(item, member(after, item->string));
}

static void require_ours(const cJSON *object, const char *name)
{
    const cJSON *item = member(object, name);
    require(cJSON_IsString(item) && strcmp(item->valuestring, ours_hex) == 0);
}

/* Without being told to, only what is nobody's is written over. */
static void require_free(const cJSON *item)
{
    bool is_empty = !use.place.is_vault && cJSON_IsString(item) && !item->valuestring[0];
    require(!item || cJSON_IsNull(item) || is_empty || use.place.replace);
}

static void judge_second(const cJSON *shown, const cJSON *body)
{
    const cJSON *data = member(shown, "data");
    const cJSON *before = use.code == 200 ? member(data, "data") : NULL;
    const cJSON *version = member(member(data, "metadata"), "version");
    const cJSON *cas = member(member(body, "options"), "cas");
    require_ours(member(body, "data"), FIELD);
    require_free(member(before, FIELD));
    require_kept(before, member(body, "data"), FIELD);
    require(cJSON_IsNumber(cas) && cJSON_GetArraySize(body) == 2);
    if (use.code == 200)
        require_same(version, cas);
}

static void judge_first(const cJSON *shown, const cJSON *body)
{
    const cJSON *before = use.code == 200 ? member(shown, "data") : NULL;
    const cJSON *inner = member(before, "data");
    if (!cJSON_IsObject(inner) && member(before, FIELD)) {
        require_ours(body, FIELD);
        require_free(member(before, FIELD));
        require_kept(before, body, FIELD);
        return;
    }
    require_ours(member(body, "data"), FIELD);
    require_free(member(inner, FIELD));
    require_kept(inner, member(body, "data"), FIELD);
    require_kept(before, body, "data");
    require(!inner || cJSON_IsNull(inner) || cJSON_IsObject(inner));
    require(member(body, "options") != NULL);
}

static void judge_central(const cJSON *shown, const cJSON *body)
{
    const cJSON *data = member(shown, "data");
    require_ours(body, "public_key");
    require(cJSON_GetArraySize(body) == 1);
    require_free(member(data ? data : shown, "public_key"));
}

/* What is, or would be, sent. */
static void judge(const char *text)
{
    use.judging = true;
    cJSON *body = parse(text);
    cJSON *shown = use.shown[0] && use.code == 200 ? parse(use.shown) : NULL;
    require(!use.fetches && (use.code == 200 || (use.code == 404 && use.place.is_vault)));
    if (!use.place.is_vault)
        judge_central(shown, body);
    else if (use.kv == 2)
        judge_second(shown, body);
    else
        judge_first(shown, body);
    cJSON_Delete(body);
    cJSON_Delete(shown);
    use.judging = false;
}

static void require_path(const char *path)
{
    require(strncmp(path, use.place.is_vault ? "/v1/" : "/stations/", use.place.is_vault ? 4 : 10) == 0);
    require(!strstr(path, "/../") && !strstr(path, "/./") && !strstr(path, "//"));
    for (; *path; path++)
        require(isalnum((unsigned char)*path) || strchr("-._~/%", *path) ||
                (!use.place.is_vault && strchr("?=", *path)));
}

/* The next line, or NULL. */
static const char *next_line(size_t *ret_length)
{
    const char *line = use.next;
    if (!*line)
        return NULL;
    *ret_length = strcspn(line, "\n");
    use.next += *ret_length + (line[*ret_length] == '\n');
    return line;
}

/* As the place should. */
static char *honest(bool posts, int *ret_code)
{
    bool shows = !posts && use.written;
    use.is_honest = use.is_honest || posts;
    *ret_code = shows ? 200 : posts ? 204 : 404;
    bool wraps = shows && use.place.is_vault;
    bool merges = wraps && use.kv == 2; /* what is written is {"options": ..., "data": ...} */
    char *reply = NULL;
    require(asprintf(&reply, "%s%s%s",
                     merges  ? "{\"data\":{\"metadata\":{\"version\":1},"
                     : wraps ? "{\"data\":"
                             : "",
                     shows ? use.written + merges : "", wraps ? "}" : "") >= 0);
    return reply;
}

static void note_mount(const char *reply)
{
    use.judging = true;
    cJSON *document = cJSON_Parse(reply);
    const cJSON *version = member(member(member(document, "data"), "options"), "version");
    use.kv = cJSON_IsString(version) && strcmp(version->valuestring, "2") == 0 ? 2 : 1;
    cJSON_Delete(document);
    use.judging = false;
}

enum tt_status __wrap_tt_enrol_call(const struct tt_enrol_server *server, const char *method, const char *path,
                                    const char *body, int *ret_code, struct tt_buffer *ret_reply, struct tt_error *err)
{
    bool posts = strcmp(method, "POST") == 0;
    size_t length = 0;
    char *reply TT_CLEANUP(tt_free_cleanup) = NULL;
    require(server == &use.place.server && (posts || strcmp(method, "GET") == 0) && posts == (body != NULL));
    require_path(path);
    if (posts) {
        require(!use.place.dry_run && !use.written);
        judge(body);
        keep(&use.written, body, strlen(body));
    }
    const char *line = next_line(&length);
    int code = 0;
    if (!line) {
        reply = honest(posts, &code);
    } else {
        size_t head = length < 4 ? length : 4;
        code = isdigit((unsigned char)line[0]) ? (int)strtol(line, NULL, 10) % 1000 : 0;
        keep(&reply, line + head, length - head);
    }
    if (code < 100 || code > 599 || code / 100 == 3)
        return tt_error_set(err, TT_STORE, "%s cannot be reached", server->url);
    if (strstr(path, "/sys/internal/"))
        note_mount(reply);
    else if (!posts)
        keep(&use.shown, reply, strlen(reply));
    use.code = posts ? use.code : code;
    *ret_code = code;
    ret_reply->limit = TT_ENROL_REPLY_LIMIT;
    return tt_buffer_append(ret_reply, reply, strlen(reply), err);
}

/* One of the ways in which a place is used. */
static void begin(int way, bool short_of_memory)
{
    use.next = input;
    use.short_of_memory = short_of_memory;
    use.fetches = way / 4 == 0;
    use.is_honest = false;
    use.code = 0;
    free(use.written);
    use.written = NULL;
    keep(&use.shown, "", 0);
    if (input[0] == '/') {
        size_t length = 0;
        const char *line = next_line(&length);
        keep(&use.path, line + 1, length - 1);
    } else {
        keep(&use.path, "dept/station pks/alpha", 22);
    }
    use.place = (struct tt_enrol_place){.server = {.url = "https://registry.example"},
                                        .is_vault = way % 4 < 3,
                                        .path = use.path,
                                        .kv = way % 4 % 3,
                                        .field = FIELD,
                                        .station = "a/b c",
                                        .replace = way / 4 >= 2,
                                        .dry_run = way / 4 == 3};
    use.kv = use.place.kv;
}

static enum tt_status write_key(struct tt_error *err)
{
    struct tt_enrol_report report TT_CLEANUP(tt_enrol_report_clear) = {0};
    enum tt_status status = tt_enrol(&use.place, ours, &report, err);
    require(status == TT_OK || !report.body);
    if (status == TT_OK) {
        require(report.was_there == !report.body && !report.url == !report.body && !report.method == !report.body);
        require(!use.place.is_vault || report.kv == use.kv);
        require(!report.before[0] || use.place.replace);
        require(!use.written == (report.was_there || use.place.dry_run));
        if (report.body)
            require(!use.written || strcmp(use.written, report.body) == 0);
        if (use.place.dry_run && report.body)
            judge(report.body);
    }
    require(!use.is_honest || status == TT_OK || use.short_of_memory);
    return status;
}

static enum tt_status fetch_key(struct tt_error *err)
{
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    enum tt_status status = tt_enrol_fetch(&use.place, &key, err);
    require((status == TT_OK) == (key != NULL) && !use.written);
    return status;
}

static void use_place(int way, bool short_of_memory)
{
    struct tt_error err = TT_ERROR_INIT;
    begin(way, short_of_memory);
    enum tt_status status = use.place.is_vault ? tt_enrol_path_check(use.path, &err) : TT_OK;
    if (status == TT_OK)
        status = use.fetches ? fetch_key(&err) : write_key(&err);
    require(status == TT_OK || err.message[0]);
    require(short_of_memory || status == TT_OK || status == TT_USAGE || status == TT_STORE || status == TT_UNTRUSTED);
}

/* One kind of place, in all ways: which, the size decides. */
static enum tt_status use_one(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)err;
    for (int way = (int)(size % 4); way < 16; way += 4)
        use_place(way, true);
    return TT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!ours) {
        cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = take, .free_fn = free});
        require(tt_public_key_parse(OURS, strlen(OURS), "ours", &ours, NULL) == TT_OK);
        ours_hex = tt_hex_new((const uint8_t *)OURS, strlen(OURS));
    }
    keep(&input, (const char *)data, size);
    for (int way = 0; way < 16; way++)
        use_place(way, false);
    short_memory_try(data, size, use_one);
    return 0;
}
