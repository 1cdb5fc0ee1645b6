/* Whatever call fails, of memory, libcrypto, the disk or the machine: everything ends with an error that fits, leaks
 * nothing (the sanitizers' build tells), leaves the image in its old state or the new one, and works when it is tried
 * again. And what must be refused is refused all the same. Software keys stand in for the token's. */
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/trail.h"
#include "base/file.h"
#include "failing_calls.h"
#include "layout_bytes.h"
#include "protocol/protocol.h"
#include "run_command.h"
#include "suite.h"
#include "vector_key.h"

static enum tt_status open_software_key(void *user, const EVP_PKEY *expected, struct tt_private_key **ret_key,
                                        struct tt_error *err)
{
    (void)expected;
    return vector_key_open(user, ret_key, err);
}

/* --- a station with a train --- */

struct station {
    struct made_layout layout;
    char state[80]; /* its memory, its audit trail, what a train is made from */
    char results[80];
    char trust[80];
    char tar[80];
    EVP_PKEY *first;
    EVP_PKEY *second;
    EVP_PKEY *creator;
};

typedef enum tt_status (*operation)(const struct station *station, struct tt_error *err);

static void put_vector(struct made_layout *layout, const char *vector)
{
    char path[512];
    struct tt_buffer tar = {0};
    snprintf(path, sizeof path, "%s/basic/%s", TT_VECTORS, vector);
    CU_ASSERT_EQUAL_FATAL(tt_file_read(AT_FDCWD, path, 1 << 24, &tar, NULL), TT_OK);
    layout_put_layer(layout, &tar, NULL);
    tt_buffer_clear(&tar);
}

/* What trains are built on. */
static void put_system(struct made_layout *layout)
{
    struct tt_buffer below = {0};
    struct tt_buffer above = {0};
    tar_put_folder(&below, "bin/");
    tar_put_file(&below, "bin/python3", "runs");
    tar_put_end(&below);
    tar_put_folder(&above, "etc/");
    tar_put_file(&above, "etc/motd", "hello");
    tar_put_link(&above, "bin/python", '2', "python3");
    tar_put_folder(&above, "opt/");
    tar_put_folder(&above, "opt/pht_results/");
    tar_put_link(&above, "opt/pht_results/latest", '2', "nothing");
    tar_put_end(&above);
    layout_put_layer(layout, &below, "gzip");
    layout_put_layer(layout, &above, "zstd");
    tt_buffer_clear(&below);
    tt_buffer_clear(&above);
}

/* `vector` NULL: an image that no train was made of yet. */
static void station_open(struct station *station, const char *vector)
{
    layout_make(&station->layout);
    if (vector)
        put_vector(&station->layout, vector);
    else
        put_system(&station->layout);
    layout_put_manifest(&station->layout, "");
    char *latest = layout_entry(&station->layout, "latest", NULL);
    char *base = layout_entry(&station->layout, vector ? "base" : "master", NULL);
    char both[4096];
    snprintf(both, sizeof both, "%s,%s", latest, base);
    layout_put_index(&station->layout, both);
    free(latest);
    free(base);
    snprintf(station->state, sizeof station->state, "%.60s-state", station->layout.path);
    snprintf(station->results, sizeof station->results, "%.60s-results", station->layout.path);
    snprintf(station->trust, sizeof station->trust, "%.60s-state/trust", station->layout.path);
    snprintf(station->tar, sizeof station->tar, "%.60s-state/results.tar", station->layout.path);
    CU_ASSERT_EQUAL_FATAL(mkdir(station->state, 0700), 0);
    station->first = vector_key("station_1");
    station->second = vector_key("station_2");
    station->creator = vector_key("user");
}

static void station_close(struct station *station)
{
    run_command("rm -rf %s %s %s", station->layout.path, station->state, station->results);
    EVP_PKEY_free(station->first);
    EVP_PKEY_free(station->second);
    EVP_PKEY_free(station->creator);
}

static const char *latest(const struct station *station)
{
    return layout_reference(&station->layout, "latest");
}

/* --- whom it trusts --- */

struct certificate {
    const char *unit, *name; /* OU and CN */
    const char *alternative;
    const char *key, *issuer, *issuer_key;
};

static void extend(X509 *certificate, int which, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, which, value);
    CU_ASSERT_EQUAL_FATAL(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_certificate(const struct station *station, const char *name, const struct certificate *wanted)
{
    char path[256];
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = vector_key(wanted->key);
    EVP_PKEY *issuer TT_CLEANUP(tt_evp_pkey_cleanup) = vector_key(wanted->issuer_key);
    X509 *made = X509_new();
    X509_NAME *subject = X509_get_subject_name(made);
    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 7);
    X509_NAME_add_entry_by_txt(subject, "OU", MBSTRING_UTF8, (const uint8_t *)wanted->unit, -1, -1, 0);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)wanted->name, -1, -1, 0);
    X509_NAME *by = X509_get_issuer_name(made);
    X509_NAME_add_entry_by_txt(by, "OU", MBSTRING_UTF8, (const uint8_t *)"authority", -1, -1, 0);
    X509_NAME_add_entry_by_txt(by, "CN", MBSTRING_UTF8, (const uint8_t *)wanted->issuer, -1, -1, 0);
    X509_gmtime_adj(X509_getm_notBefore(made), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made), 3600);
    X509_set_pubkey(made, key);
    extend(made, NID_basic_constraints,
           strcmp(wanted->unit, "authority") == 0 ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wanted->alternative)
        extend(made, NID_subject_alt_name, wanted->alternative);
    CU_ASSERT_NOT_EQUAL_FATAL(X509_sign(made, issuer, EVP_sha256()), 0);
    snprintf(path, sizeof path, "%s/%s", station->trust, name);
    FILE *file = fopen(path, "a");
    CU_ASSERT_EQUAL_FATAL(PEM_write_X509(file, made), 1);
    fclose(file);
    X509_free(made);
}

/* The creator by a certificate at the second hand, station_1 by the second of its keys, station_2 by a certificate. */
static void trust_all(const struct station *station)
{
    static const struct certificate root = {"authority", "root", NULL, "builder", "root", "builder"};
    static const struct certificate below = {"authority", "below", NULL, "station_3", "root", "builder"};
    static const struct certificate creator = {
        "person", "somebody", "URI:https://example.org,URI:urn:traintoken:creator:c", "user", "below", "station_3"};
    static const struct certificate second = {"station", "station_2", NULL, "station_2", "root", "builder"};
    run_command("umask 077 && cd %s/basic/keys && t=%s && mkdir -p $t/creators/d $t/stations/station_1 $t/authorities "
                "$t/certificates && cp user.pub.pem $t/creators/d/key.pem && "
                "cp station_2.pub.pem $t/stations/station_1/key.pem && "
                "(echo Valid-From: 2020-01-01T00:00:00Z; cat station_1.pub.pem) >$t/stations/station_1/other.pem",
                TT_VECTORS, station->trust);
    add_certificate(station, "authorities/root.pem", &root);
    add_certificate(station, "certificates/creator.pem", &creator);
    add_certificate(station, "certificates/creator.pem", &below);
    add_certificate(station, "certificates/creator.pem", &root);
    add_certificate(station, "certificates/second.pem", &second);
    run_command("chmod -R go= %s", station->trust);
}

/* --- what is tried --- */

/* What a careful station has. */
struct careful {
    struct tt_trust *store;
    struct tt_audit *audit;
    struct tt_trust_options trust;
};

static void careful_clear(struct careful *careful)
{
    tt_trust_free(careful->store);
    tt_audit_free(careful->audit);
}

static enum tt_status open_audit(const struct station *station, struct tt_audit **ret_audit, struct tt_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "%s/audit.jsonl", station->state);
    return tt_audit_new(path, false, TT_AUDIT_FILE_ONLY, ret_audit, err);
}

static enum tt_status careful_open(const struct station *station, struct careful *careful, struct tt_error *err)
{
    enum tt_status status = tt_trust_open(station->trust, &careful->store, err);
    if (status == TT_OK)
        status = open_audit(station, &careful->audit, err);
    careful->trust =
        (struct tt_trust_options){.store = careful->store, .folder = station->trust, .require_manifest = true};
    return status;
}

static struct tt_stop_options stop_options(const struct station *station, const struct careful *careful, bool second)
{
    return (struct tt_stop_options){
        .image = latest(station),
        .station = second ? "station_2" : "station_1",
        .state_folder = station->state,
        .trust = careful ? careful->trust : (struct tt_trust_options){.train_keys = true},
        .audit = careful ? careful->audit : NULL,
        .key = {.open = open_software_key, .user = second ? station->second : station->first}};
}

static enum tt_status pre_run(const struct station *station, struct tt_error *err)
{
    struct tt_stop_report report = {0};
    const struct tt_stop_options options = stop_options(station, NULL, false);
    enum tt_status status = tt_pre_run(&options, &report, err);
    tt_stop_report_clear(&report);
    return status;
}

static enum tt_status post_run(const struct station *station, struct tt_error *err)
{
    struct tt_stop_report report = {0};
    const struct tt_stop_options options = stop_options(station, NULL, false);
    enum tt_status status = tt_post_run(&options, &report, err);
    tt_stop_report_clear(&report);
    return status;
}

static enum tt_status verify(const struct station *station, struct tt_error *err)
{
    struct tt_verify_report report = {0};
    const struct tt_trust_options trust = {.train_keys = true};
    struct tt_verify_options options = {.trust = &trust, .station = "station_1"};
    enum tt_status status = tt_verify(latest(station), &options, NULL, NULL, &report, err);
    tt_verify_report_clear(&report);
    return status;
}

static enum tt_status inspect(const struct station *station, struct tt_error *err)
{
    struct tt_inspection inspection = {0};
    enum tt_status status = tt_inspect(latest(station), NULL, &inspection, err);
    tt_inspection_clear(&inspection);
    return status;
}

static enum tt_status leave(const struct station *station, struct tt_error *err)
{
    return tt_departure_check(latest(station), NULL, err);
}

static enum tt_status open_from(const struct station *station, const char *source, const struct careful *careful,
                                struct tt_error *err)
{
    struct tt_results_report report = {0};
    struct tt_results_options options = {.source = source,
                                         .directory = station->results,
                                         .trust =
                                             careful ? careful->trust : (struct tt_trust_options){.train_keys = true},
                                         .audit = careful ? careful->audit : NULL,
                                         .unfinished = true,
                                         .key = {.open = open_software_key, .user = station->creator}};
    enum tt_status status = tt_results(&options, &report, err);
    tt_results_report_clear(&report);
    return status;
}

static enum tt_status open_results(const struct station *station, struct tt_error *err)
{
    return open_from(station, latest(station), NULL, err);
}

static enum tt_status open_tar(const struct station *station, struct tt_error *err)
{
    return open_from(station, station->tar, NULL, err);
}

static enum tt_status keys_of(const char *source, const struct tt_trust_options *trust, struct tt_error *err)
{
    struct tt_named_keys keys TT_CLEANUP(tt_named_keys_clear) = {0};
    enum tt_status status = tt_named_keys(source, NULL, &keys, err);
    return status == TT_OK ? tt_named_keys_check(&keys, NULL, trust, source, err) : status;
}

static enum tt_status keys_of_tar(const struct station *station, struct tt_error *err)
{
    const struct tt_trust_options trust = {.train_keys = true};
    return keys_of(station->tar, &trust, err);
}

/* --- of a train with signed manifests --- */

static enum tt_status seal(const struct station *station, struct tt_error *err)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_seal_report report = {0};
    static const char *const stations[] = {"station_1", "station_2"};
    static const char *const stop_keys[] = {TT_VECTORS "/basic/keys/station_1.pub.pem",
                                            TT_VECTORS "/basic/keys/station_2.pub.pem"};
    char definition[128], query[128], order[128];
    snprintf(definition, sizeof definition, "%s/definition", station->state);
    snprintf(query, sizeof query, "%s/query.json", station->state);
    snprintf(order, sizeof order, "%s/order", station->state);
    struct tt_seal_options options = {.image = latest(station),
                                      .base = layout_reference(&station->layout, "master"),
                                      .definition = definition,
                                      .query = query,
                                      .file_list = order,
                                      .creator_id = "c",
                                      .interpreter = "python3",
                                      .stations = stations,
                                      .stop_keys = stop_keys,
                                      .stop_count = 2,
                                      .creator = {.open = open_software_key, .user = station->creator},
                                      .builder = {.open = open_software_key, .user = station->creator}};
    enum tt_status status = open_audit(station, &audit, err);
    options.audit = audit;
    if (status == TT_OK)
        status = tt_seal(&options, &report, err);
    tt_seal_report_clear(&report);
    return status;
}

static enum tt_status careful_stop(const struct station *station, bool pre, bool second, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_stop_report report = {0};
    enum tt_status status = careful_open(station, &careful, err);
    struct tt_stop_options options = stop_options(station, &careful, second);
    options.base = layout_reference(&station->layout, "base");
    if (status == TT_OK)
        status = pre ? tt_pre_run(&options, &report, err) : tt_post_run(&options, &report, err);
    tt_stop_report_clear(&report);
    return status;
}

static enum tt_status careful_pre_run(const struct station *station, struct tt_error *err)
{
    return careful_stop(station, true, false, err);
}

static enum tt_status careful_post_run(const struct station *station, struct tt_error *err)
{
    return careful_stop(station, false, false, err);
}

static enum tt_status second_pre_run(const struct station *station, struct tt_error *err)
{
    return careful_stop(station, true, true, err);
}

static enum tt_status second_post_run(const struct station *station, struct tt_error *err)
{
    return careful_stop(station, false, true, err);
}

static enum tt_status careful_verify(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_verify_report report = {0};
    enum tt_status status = careful_open(station, &careful, err);
    struct tt_verify_options options = {.trust = &careful.trust,
                                        .against = layout_reference(&station->layout, "master")};
    if (status == TT_OK)
        status = tt_verify(latest(station), &options, NULL, NULL, &report, err);
    tt_verify_report_clear(&report);
    return status;
}

static enum tt_status careful_results(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    enum tt_status status = careful_open(station, &careful, err);
    return status == TT_OK ? open_from(station, latest(station), &careful, err) : status;
}

static enum tt_status check_keys(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    char *usual TT_CLEANUP(tt_free_cleanup) = NULL;
    enum tt_status status = tt_trust_default_folder(&usual, err);
    if (status == TT_OK)
        status = careful_open(station, &careful, err);
    return status == TT_OK ? keys_of(latest(station), &careful.trust, err) : status;
}

static enum tt_status trust_more(const struct station *station, struct tt_error *err)
{
    struct tt_buffer key TT_CLEANUP(tt_buffer_clear) = {0};
    struct tt_buffer chain TT_CLEANUP(tt_buffer_clear) = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/certificates/creator.pem", station->trust);
    enum tt_status status =
        tt_file_read(AT_FDCWD, TT_VECTORS "/basic/keys/station_3.pub.pem", TT_PUBLIC_KEY_TEXT_LIMIT, &key, err);
    if (status == TT_OK)
        status = tt_file_read(AT_FDCWD, path, 1 << 16, &chain, err);
    const struct tt_trust_addition additions[] = {
        {.kind = TT_TRUST_KEY,
         .role = TT_TRUST_STATION,
         .id = "station_3",
         .text = (const char *)key.data,
         .length = key.length,
         .what = "key",
         .from = TT_TRUST_ALWAYS,
         .until = TT_TRUST_FOR_EVER},
        {.kind = TT_TRUST_CERTIFICATE,
         .text = (const char *)chain.data,
         .length = chain.length,
         .what = "chain",
         .from = TT_TRUST_ALWAYS,
         .until = TT_TRUST_FOR_EVER},
    };
    return status == TT_OK ? tt_trust_add(station->trust, additions, 2, err) : status;
}

/* --- running, without an engine --- */

static struct tt_image_change *running; /* what "ran" is opened from, which goes first */
static const char *unnamed;

static enum tt_status add_results(struct tt_image_change *change, struct tt_error *err)
{
    static char folder[] = "opt/pht_results", deep[] = "opt/pht_results/deep", file[] = "opt/pht_results/deep/a.csv",
                twin[] = "opt/pht_results/twin", link[] = "opt/pht_results/z", target[] = "/opt/pht_results/deep/a.csv";
    const struct tt_entry entries[] = {
        {.path = folder, .type = TT_ENTRY_FOLDER, .mode = 0755},
        {.path = deep, .type = TT_ENTRY_FOLDER, .mode = 0755},
        {.path = file, .type = TT_ENTRY_FILE, .mode = 0644, .size = 6},
        {.path = twin, .type = TT_ENTRY_HARDLINK, .link_target = file},
        {.path = link, .type = TT_ENTRY_SYMLINK, .mode = 0777, .link_target = target},
    };
    enum tt_status status = tt_image_change_replace(change, &entries[0], err);
    for (size_t i = 1; status == TT_OK && i < sizeof entries / sizeof entries[0]; i++) {
        status = tt_image_change_add(change, &entries[i], err);
        if (status == TT_OK && entries[i].type == TT_ENTRY_FILE)
            status = tt_image_change_data(change, "a,b\n1\n", 6, err);
    }
    return status;
}

static enum tt_status ran(struct tt_image *image, struct tt_image_change **ret_change, struct tt_error *err)
{
    static const struct tt_image_settings settings = {.created_by = "the train"};
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    const char *digest = NULL;
    enum tt_status status = tt_image_change_new(image, &change, err);
    if (status == TT_OK)
        status = add_results(change, err);
    if (status == TT_OK)
        status = tt_image_change_seal(change, &settings, &digest, err);
    if (status == TT_OK)
        *ret_change = TT_TAKE(change);
    return status;
}

/* What an engine can show without a name has one in a layout. */
enum tt_status __wrap_tt_image_change_open(struct tt_image_change *change, struct tt_image **ret_image,
                                           struct tt_error *err);
enum tt_status __wrap_tt_image_change_open(struct tt_image_change *change, struct tt_image **ret_image,
                                           struct tt_error *err)
{
    enum tt_status status = tt_image_change_commit(change, unnamed, NULL, NULL, err);
    return status == TT_OK ? tt_image_open(unnamed, NULL, ret_image, err) : status;
}

enum tt_status __wrap_tt_image_execute(struct tt_image *image, const struct tt_execution_options *options,
                                       struct tt_image **ret_ran, struct tt_error *err);
enum tt_status __wrap_tt_image_execute(struct tt_image *image, const struct tt_execution_options *options,
                                       struct tt_image **ret_ran, struct tt_error *err)
{
    (void)options;
    enum tt_status status = ran(image, &running, err);
    return status == TT_OK ? __wrap_tt_image_change_open(running, ret_ran, err) : status;
}

static enum tt_status whole_stop(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_run_report report = {0};
    const struct tt_execution_options execution = {0};
    enum tt_status status = careful_open(station, &careful, err);
    struct tt_run_options options = {.stop = stop_options(station, &careful, false),
                                     .execution = &execution,
                                     .against = layout_reference(&station->layout, "master")};
    unnamed = layout_reference(&station->layout, "unnamed");
    if (status == TT_OK)
        status = tt_run(&options, &report, err);
    tt_run_report_clear(&report);
    tt_image_change_free(TT_TAKE(running));
    return status;
}

/* --- what comes before --- */

static enum tt_status before_tar(const struct station *station, struct tt_error *err)
{
    (void)err;
    run_command("cd %s && mkdir x && tar -C x -xf %s/basic/stop2.opt.tar && tar -C x/opt -cf results.tar pht_results "
                "train_config.json && rm -rf x",
                station->state, TT_VECTORS);
    return TT_OK;
}

/* A definition with a file in a folder, and what else goes into a train. */
static enum tt_status before_seal(const struct station *station, struct tt_error *err)
{
    (void)err;
    trust_all(station);
    run_command("mkdir -p %s/definition/lib && cd %s && echo 'print()' >definition/main.py && "
                "echo 1 >definition/lib/one.py && echo '{}' >query.json && "
                "printf 'lib/one.py\nmain.py\n' >order",
                station->state, station->state);
    return TT_OK;
}

static enum tt_status before_pre_run(const struct station *station, struct tt_error *err)
{
    (void)before_seal(station, err);
    return seal(station, err);
}

/* The train's code has run in an engine, which adds a layer of its own. */
static enum tt_status before_post_run(const struct station *station, struct tt_error *err)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    enum tt_status status = before_pre_run(station, err);
    if (status == TT_OK)
        status = careful_pre_run(station, err);
    if (status == TT_OK)
        status = tt_image_open(latest(station), NULL, &image, err);
    if (status == TT_OK)
        status = ran(image, &change, err);
    return status == TT_OK ? tt_image_change_commit(change, latest(station), NULL, NULL, err) : status;
}

static enum tt_status before_results(const struct station *station, struct tt_error *err)
{
    enum tt_status status = before_post_run(station, err);
    return status == TT_OK ? careful_post_run(station, err) : status;
}

static enum tt_status before_second_post_run(const struct station *station, struct tt_error *err)
{
    enum tt_status status = before_results(station, err);
    return status == TT_OK ? second_pre_run(station, err) : status;
}

/* --- what must be refused --- */

static enum tt_status wrong_key(const struct station *station, struct tt_error *err)
{
    struct station other = *station;
    other.first = station->second;
    return careful_pre_run(&other, err);
}

static enum tt_status before_distrust(const struct station *station, struct tt_error *err)
{
    enum tt_status status = before_results(station, err);
    run_command("rm -rf %s/certificates/second.pem %s/stations", station->trust, station->trust);
    return status;
}

/* A file of the definition is another, of the same size. */
static enum tt_status before_tampered(const struct station *station, struct tt_error *err)
{
    static char path[] = "opt/pht_train/entrypoint.py";
    static const struct tt_entry entry = {.path = path, .type = TT_ENTRY_FILE, .mode = 0755, .size = 48};
    static const struct tt_image_settings settings = {.created_by = "an attacker"};
    static const uint8_t other[48] = {1};
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    const char *digest = NULL;
    enum tt_status status = tt_image_open(latest(station), NULL, &image, err);
    if (status == TT_OK)
        status = tt_image_change_new(image, &change, err);
    if (status == TT_OK)
        status = tt_image_change_add(change, &entry, err);
    if (status == TT_OK)
        status = tt_image_change_data(change, other, sizeof other, err);
    if (status == TT_OK)
        status = tt_image_change_seal(change, &settings, &digest, err);
    return status == TT_OK ? tt_image_change_commit(change, latest(station), NULL, NULL, err) : status;
}

static void add_layer(const struct station *station, const struct tt_buffer *tar)
{
    struct made_layout layout = station->layout;
    layout_put_layer(&layout, tar, NULL);
    layout_finish(&layout, "latest");
}

static enum tt_status before_removed(const struct station *station, struct tt_error *err)
{
    (void)err;
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    tar_put_file(&tar, "opt/.wh.pht_train", "");
    tar_put_end(&tar);
    add_layer(station, &tar);
    return TT_OK;
}

static enum tt_status before_linked(const struct station *station, struct tt_error *err)
{
    (void)err;
    struct tt_buffer tar TT_CLEANUP(tt_buffer_clear) = {0};
    tar_put_link(&tar, "opt/pht_train/entrypoint.py", '2', "/bin/sh");
    tar_put_end(&tar);
    add_layer(station, &tar);
    return TT_OK;
}

/* --- trying it --- */

enum { FAILURES = 4 };

struct scenario {
    const char *name;
    const char *vector; /* NULL: as station_open has it */
    operation before;   /* NULL: nothing */
    operation does;
    bool only_looks;        /* changes nothing */
    enum tt_status outcome; /* when nothing fails */
};

struct trial {
    struct station station;
    const struct scenario *scenario;
    char layout[96], state[96], old[MADE_DIGEST]; /* as it was before */
    size_t count, tried, came;
    size_t failures; /* since it worked */
};

static void digest_of(const struct station *station, char digest[MADE_DIGEST])
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_image_open(latest(station), NULL, &image, &err);
    if (status != TT_OK)
        printf("\n    %s (%s)\n", err.message, err.detail);
    CU_ASSERT_EQUAL_FATAL(status, TT_OK);
    snprintf(digest, MADE_DIGEST, "%s", tt_image_digest(image));
}

static void expect(enum tt_status status, enum tt_status expected, const struct tt_error *err, const char *after)
{
    if (status != expected)
        printf("\n    after %s: %d instead of %d: %s (%s)\n", after, status, expected, err->message, err->detail);
    CU_ASSERT_EQUAL(status, expected);
}

static void keep(struct trial *trial)
{
    struct station *station = &trial->station;
    snprintf(trial->layout, sizeof trial->layout, "%.60s-kept-layout", station->layout.path);
    snprintf(trial->state, sizeof trial->state, "%.60s-kept-state", station->layout.path);
    digest_of(station, trial->old);
    run_command("cp -a %s %s && cp -a %s %s", station->layout.path, trial->layout, station->state, trial->state);
}

static void restore(const struct trial *trial)
{
    const struct station *station = &trial->station;
    if (!trial->scenario->only_looks)
        run_command("rm -rf %s %s %s && cp -a %s %s && cp -a %s %s", station->layout.path, station->state,
                    station->results, trial->layout, station->layout.path, trial->state, station->state);
}

/* Who called is told apart up to the caller of this. */
static __attribute__((noinline)) enum tt_status attempt(const struct trial *trial, struct tt_error *err)
{
    failing_calls_begin(__builtin_return_address(0));
    enum tt_status status = trial->scenario->does(&trial->station, err);
    failing_calls_begin(NULL);
    return status;
}

/* Nothing fails: it works, or refuses what it must. */
static void attempt_well(struct trial *trial, const char *after)
{
    struct tt_error err = TT_ERROR_INIT;
    expect(attempt(trial, &err), trial->scenario->outcome, &err, after);
}

/* Whatever happened, what was recorded of it holds. */
static void check_trail(const struct station *station, const char *after)
{
    char path[128];
    struct tt_trail_report report;
    struct tt_error err = TT_ERROR_INIT;
    const struct tt_trail_options options = {0};
    snprintf(path, sizeof path, "%s/audit.jsonl", station->state);
    if (access(path, F_OK) == 0)
        expect(tt_trail_read(path, &options, &report, &err), TT_OK, &err, after);
}

/* Where it failed and nothing has changed, it works when it is tried again; what several failures left behind adds up.
 */
static void try_again(struct trial *trial, const char *after)
{
    attempt_well(trial, after);
    check_trail(&trial->station, after);
    restore(trial);
    trial->failures = 0;
}

static void check_outcome(struct trial *trial, enum tt_status status, const struct tt_error *err, const char *name)
{
    char now[MADE_DIGEST];
    bool is_done = status == TT_OK;
    CU_ASSERT_TRUE(is_done ? trial->scenario->outcome == TT_OK : err->message[0]);
    check_trail(&trial->station, name);
    digest_of(&trial->station, now);
    if (!is_done && strcmp(now, trial->old) != 0) {
        CU_ASSERT_PTR_NOT_NULL(strstr(err->message, "is in place")); /* it was the new state already */
        is_done = true;
    }
    if (is_done)
        restore(trial);
    trial->failures = is_done ? 0 : trial->failures + 1;
    if (trial->failures == FAILURES)
        try_again(trial, name);
}

/* TT_MEMORY_STRIDE=1 tries every place, a larger number each so many-th one: where there is little time. */
static size_t stride(void)
{
    const char *text = getenv("TT_MEMORY_STRIDE");
    long value = text ? strtol(text, NULL, 10) : 1;
    return value > 0 ? (size_t)value : 1;
}

/* Repeats an operation; each time a call fails in another place, which is where it came from by way of all who called:
 * what a loop does again and again fails once. */
static void fail_each(struct trial *trial)
{
    for (size_t i = 0; i < trial->count; i += stride()) {
        struct tt_error err = TT_ERROR_INIT;
        failing_calls_arm_place(i, false);
        enum tt_status status = attempt(trial, &err);
        trial->came += failing_calls_disarm();
        trial->tried++;
        check_outcome(trial, status, &err, failing_calls_name(i));
    }
    try_again(trial, "the last ones");
}

/* A signal while something is read or written makes no difference. */
static void interrupt_each(struct trial *trial)
{
    static const char *const names[] = {"read", "pread64", "write"};
    for (size_t i = 0, seen = 0; i < trial->count; i++) {
        bool can_be = false;
        for (size_t j = 0; j < sizeof names / sizeof names[0]; j++)
            can_be = can_be || strcmp(failing_calls_name(i), names[j]) == 0;
        if (!can_be || seen++ % stride() != 0)
            continue;
        failing_calls_arm_place(i, true);
        attempt_well(trial, "a signal");
        (void)failing_calls_disarm();
        restore(trial);
    }
}

static void try_all(const struct scenario *scenario)
{
    struct trial trial = {.scenario = scenario};
    struct tt_error err = TT_ERROR_INIT;
    station_open(&trial.station, scenario->vector);
    if (scenario->before)
        expect(scenario->before(&trial.station, &err), TT_OK, &err, "nothing");
    CU_ASSERT_EQUAL_FATAL(err.status, TT_OK);
    keep(&trial);
    failing_calls_watch();
    attempt_well(&trial, "nothing");
    trial.count = failing_calls_places();
    restore(&trial);
    fail_each(&trial);
    interrupt_each(&trial);
    printf("\n    %s%s: %zu places, %zu tried, %zu came", scenario->name, scenario->vector ? "" : ", manifests",
           trial.count, trial.tried, trial.came);
    CU_ASSERT_TRUE(trial.count > 0);
    CU_ASSERT_TRUE(trial.came >= trial.tried - trial.tried / 8); /* threads do not always get as far */
    run_command("rm -rf %s %s", trial.layout, trial.state);
    station_close(&trial.station);
}

static const struct scenario scenarios[] = {
    {.name = "pre-run", .vector = "stop0.opt.tar", .does = pre_run},
    {.name = "post-run", .vector = "stop0.opt.tar", .before = pre_run, .does = post_run},
    {.name = "verify", .vector = "stop2.opt.tar", .does = verify, .only_looks = true},
    {.name = "inspect", .vector = "stop2.opt.tar", .does = inspect, .only_looks = true},
    {.name = "push", .vector = "stop2.opt.tar", .does = leave, .only_looks = true},
    {.name = "results", .vector = "stop2.opt.tar", .does = open_results},
    {.name = "results of a tar", .vector = "stop2.opt.tar", .before = before_tar, .does = open_tar},
    {.name = "keys of a tar", .vector = "stop2.opt.tar", .before = before_tar, .does = keys_of_tar, .only_looks = true},
    {.name = "pre-run of what was changed",
     .vector = "stop0.opt.tar",
     .before = before_tampered,
     .does = pre_run,
     .outcome = TT_TAMPERED},
    {.name = "verify without a definition",
     .vector = "stop0.opt.tar",
     .before = before_removed,
     .does = verify,
     .only_looks = true,
     .outcome = TT_MALFORMED},
    {.name = "verify with a link",
     .vector = "stop0.opt.tar",
     .before = before_linked,
     .does = verify,
     .only_looks = true,
     .outcome = TT_TAMPERED},
    {.name = "run", .before = before_pre_run, .does = whole_stop},
    {.name = "post-run of the second", .before = before_second_post_run, .does = second_post_run},
    /* the second program's: */
    {.name = "seal", .before = before_seal, .does = seal},
    {.name = "pre-run", .before = before_pre_run, .does = careful_pre_run},
    {.name = "post-run", .before = before_post_run, .does = careful_post_run},
    {.name = "pre-run of the second", .before = before_results, .does = second_pre_run},
    {.name = "verify", .before = before_results, .does = careful_verify},
    {.name = "verify what ran", .before = before_post_run, .does = careful_verify},
    {.name = "inspect", .before = before_results, .does = inspect, .only_looks = true},
    {.name = "results", .before = before_results, .does = careful_results},
    {.name = "trust check", .before = before_pre_run, .does = check_keys},
    {.name = "trust add", .before = before_pre_run, .does = trust_more},
    {.name = "push of what is decrypted",
     .before = before_post_run,
     .does = leave,
     .only_looks = true,
     .outcome = TT_WRONG_STOP},
    {.name = "pre-run of what is decrypted",
     .before = before_post_run,
     .does = careful_pre_run,
     .outcome = TT_WRONG_STOP},
    {.name = "pre-run with another key", .before = before_pre_run, .does = wrong_key, .outcome = TT_UNTRUSTED},
    {.name = "verify with keys unknown", .before = before_distrust, .does = careful_verify, .outcome = TT_UNTRUSTED},
};

enum { FIRST_COUNT = 13, COUNT = sizeof scenarios / sizeof scenarios[0] };

static const char *only;

static void of_some(size_t first, size_t end)
{
    for (size_t i = first; i < end; i++)
        if (!only || strcmp(only, scenarios[i].name) == 0)
            try_all(&scenarios[i]);
}

static void of_first(void)
{
    of_some(0, FIRST_COUNT);
}

static void of_second(void)
{
    of_some(FIRST_COUNT, COUNT);
}

static void of_all(void)
{
    of_some(0, COUNT);
}

/* "first" and "second" are halves: two programs take less time than one. Another argument is what alone is tried. */
int main(int argc, char **argv)
{
    static const struct suite_test first[] = {{"every failing call of the first half", of_first}};
    static const struct suite_test second[] = {{"every failing call of the second half", of_second}};
    static const struct suite_test all[] = {{"every failing call", of_all}};
    if (argc > 1 && strcmp(argv[1], "first") == 0)
        return SUITE_RUN("failing calls, first half", first);
    if (argc > 1 && strcmp(argv[1], "second") == 0)
        return SUITE_RUN("failing calls, second half", second);
    only = argc > 1 ? argv[1] : NULL;
    return SUITE_RUN("failing calls", all);
}
