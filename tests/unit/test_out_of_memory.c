/* Whatever allocation fails, everything ends with an error, leaks nothing (the sanitizers' build tells) and leaves the
 * image in its old state or the new one. Software keys stand in for the token's. */
#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "failing_memory.h"
#include "layout_bytes.h"
#include "protocol/protocol.h"
#include "suite.h"

static enum tt_status open_software_key(void *user, const EVP_PKEY *expected, struct tt_private_key **ret_key,
                                        struct tt_error *err)
{
    (void)expected;
    EVP_PKEY *key = user;
    EVP_PKEY_up_ref(key);
    enum tt_status status = tt_private_key_new(key, NULL, NULL, "software", ret_key, err);
    if (status != TT_OK)
        EVP_PKEY_free(key);
    return status;
}

static EVP_PKEY *read_key(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/basic/keys/%s.pem", TT_VECTORS, name);
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    return key;
}

/* --- a station with a train --- */

struct station {
    struct made_layout layout;
    char state[80];
    char results[80];
    char trust[80];
    EVP_PKEY *key;
    EVP_PKEY *creator;
};

static void remove_tree(const char *path)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", path);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

/* `to` becomes what `from` is. */
static void copy_tree(const char *from, const char *to)
{
    char command[512];
    snprintf(command, sizeof command, "rm -rf %s && cp -a %s %s", to, from, to);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static void station_open(struct station *station, const char *vector)
{
    char path[512];
    struct tt_buffer tar = {0};
    struct tt_error err = TT_ERROR_INIT;
    layout_make(&station->layout);
    snprintf(path, sizeof path, "%s/basic/%s", TT_VECTORS, vector);
    CU_ASSERT_EQUAL_FATAL(tt_file_read(AT_FDCWD, path, 1 << 24, &tar, &err), TT_OK);
    layout_put_layer(&station->layout, &tar, NULL);
    layout_put_manifest(&station->layout, "");
    char *latest = layout_entry(&station->layout, "latest", NULL);
    char *base = layout_entry(&station->layout, "base", NULL);
    char both[4096];
    snprintf(both, sizeof both, "%s,%s", latest, base);
    layout_put_index(&station->layout, both);
    free(latest);
    free(base);
    tt_buffer_clear(&tar);
    snprintf(station->state, sizeof station->state, "%.60s-state", station->layout.path);
    snprintf(station->results, sizeof station->results, "%.60s-results", station->layout.path);
    snprintf(station->trust, sizeof station->trust, "%.60s-trust", station->layout.path);
    CU_ASSERT_EQUAL_FATAL(mkdir(station->state, 0700), 0);
    station->key = read_key("station_1");
    station->creator = read_key("user");
}

static void station_close(struct station *station)
{
    remove_tree(station->layout.path);
    remove_tree(station->state);
    remove_tree(station->results);
    remove_tree(station->trust);
    EVP_PKEY_free(station->key);
    EVP_PKEY_free(station->creator);
}

/* --- what is tried --- */

static enum tt_status stop(const struct station *station, bool pre, struct tt_error *err)
{
    struct tt_stop_report report = {0};
    const char *image = layout_reference(&station->layout, "latest");
    struct tt_stop_options options = {.image = image,
                                      .station = "station_1",
                                      .state_folder = station->state,
                                      .trust = {.train_keys = true},
                                      .key = {.open = open_software_key, .user = station->key}};
    enum tt_status status = pre ? tt_pre_run(&options, &report, err) : tt_post_run(&options, &report, err);
    tt_stop_report_clear(&report);
    return status;
}

static enum tt_status pre_run(const struct station *station, struct tt_error *err)
{
    return stop(station, true, err);
}

static enum tt_status post_run(const struct station *station, struct tt_error *err)
{
    return stop(station, false, err);
}

static enum tt_status verify(const struct station *station, struct tt_error *err)
{
    struct tt_verify_report report = {0};
    const struct tt_trust_options trust = {.train_keys = true};
    struct tt_verify_options options = {.trust = &trust};
    enum tt_status status = tt_verify(layout_reference(&station->layout, "latest"), &options, NULL, NULL, &report, err);
    tt_verify_report_clear(&report);
    return status;
}

static enum tt_status inspect(const struct station *station, struct tt_error *err)
{
    struct tt_inspection inspection = {0};
    enum tt_status status = tt_inspect(layout_reference(&station->layout, "latest"), NULL, &inspection, err);
    tt_inspection_clear(&inspection);
    return status;
}

static enum tt_status leave(const struct station *station, struct tt_error *err)
{
    return tt_departure_check(layout_reference(&station->layout, "latest"), NULL, err);
}

static enum tt_status open_results(const struct station *station, struct tt_error *err)
{
    struct tt_results_report report = {0};
    struct tt_results_options options = {.source = layout_reference(&station->layout, "latest"),
                                         .directory = station->results,
                                         .trust = {.train_keys = true},
                                         .unfinished = true,
                                         .key = {.open = open_software_key, .user = station->creator}};
    enum tt_status status = tt_results(&options, &report, err);
    tt_results_report_clear(&report);
    return status;
}

/* --- what is tried of a train with signed manifests, its keys trusted, with an audit trail --- */

/* The trust store, with a file for an id of each role. */
static void trust_all(const struct station *station)
{
    char command[2048];
    snprintf(command, sizeof command,
             "umask 077 && cd %s/basic/keys && mkdir -p %s/creators/c %s/stations/station_1 && "
             "cp user.pub.pem %s/creators/c/key.pem && cp station_2.pub.pem %s/stations/station_1/other.pem && "
             "cp station_1.pub.pem %s/stations/station_1/key.pem && chmod -R go= %s",
             TT_VECTORS, station->trust, station->trust, station->trust, station->trust, station->trust,
             station->trust);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

/* A definition with a file in a folder, and what else goes into a train. */
static void write_definition(const struct station *station)
{
    char command[1024];
    snprintf(command, sizeof command,
             "mkdir -p %s/definition/lib && cd %s && echo 'print()' >definition/main.py && "
             "echo 1 >definition/lib/one.py && echo '{}' >query.json && printf 'lib/one.py\nmain.py\n' >order",
             station->state, station->state);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

static enum tt_status open_audit(const struct station *station, struct tt_audit **ret_audit, struct tt_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "%s/audit.jsonl", station->state);
    return tt_audit_new(path, false, TT_AUDIT_FILE_ONLY, ret_audit, err);
}

static enum tt_status seal(const struct station *station, struct tt_error *err)
{
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_seal_report report = {0};
    static const char *const stations[] = {"station_1"};
    static const char *const stop_keys[] = {TT_VECTORS "/basic/keys/station_1.pub.pem"};
    char definition[128], query[128], order[128];
    snprintf(definition, sizeof definition, "%s/definition", station->state);
    snprintf(query, sizeof query, "%s/query.json", station->state);
    snprintf(order, sizeof order, "%s/order", station->state);
    struct tt_seal_options options = {.image = layout_reference(&station->layout, "latest"),
                                      .base = layout_reference(&station->layout, "base"),
                                      .definition = definition,
                                      .query = query,
                                      .file_list = order,
                                      .creator_id = "c",
                                      .interpreter = "python3",
                                      .stations = stations,
                                      .stop_keys = stop_keys,
                                      .stop_count = 1,
                                      .creator = {.open = open_software_key, .user = station->creator}};
    enum tt_status status = open_audit(station, &audit, err);
    options.audit = audit;
    if (status == TT_OK)
        status = tt_seal(&options, &report, err);
    tt_seal_report_clear(&report);
    return status;
}

/* What a stop has besides in a careful station. */
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

static enum tt_status careful_open(const struct station *station, struct careful *careful, struct tt_error *err)
{
    enum tt_status status = tt_trust_open(station->trust, &careful->store, err);
    if (status == TT_OK)
        status = open_audit(station, &careful->audit, err);
    careful->trust =
        (struct tt_trust_options){.store = careful->store, .folder = station->trust, .require_manifest = true};
    return status;
}

static enum tt_status careful_stop(const struct station *station, bool pre, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_stop_report report = {0};
    enum tt_status status = careful_open(station, &careful, err);
    struct tt_stop_options options = {.image = layout_reference(&station->layout, "latest"),
                                      .station = "station_1",
                                      .state_folder = station->state,
                                      .trust = careful.trust,
                                      .audit = careful.audit,
                                      .key = {.open = open_software_key, .user = station->key}};
    if (status == TT_OK)
        status = pre ? tt_pre_run(&options, &report, err) : tt_post_run(&options, &report, err);
    tt_stop_report_clear(&report);
    return status;
}

static enum tt_status careful_pre_run(const struct station *station, struct tt_error *err)
{
    return careful_stop(station, true, err);
}

static enum tt_status careful_post_run(const struct station *station, struct tt_error *err)
{
    return careful_stop(station, false, err);
}

static enum tt_status careful_verify(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_verify_report report = {0};
    enum tt_status status = careful_open(station, &careful, err);
    struct tt_verify_options options = {.trust = &careful.trust};
    if (status == TT_OK)
        status = tt_verify(layout_reference(&station->layout, "latest"), &options, NULL, NULL, &report, err);
    tt_verify_report_clear(&report);
    return status;
}

static enum tt_status careful_results(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_results_report report = {0};
    enum tt_status status = careful_open(station, &careful, err);
    struct tt_results_options options = {.source = layout_reference(&station->layout, "latest"),
                                         .directory = station->results,
                                         .trust = careful.trust,
                                         .audit = careful.audit,
                                         .key = {.open = open_software_key, .user = station->creator}};
    if (status == TT_OK)
        status = tt_results(&options, &report, err);
    tt_results_report_clear(&report);
    return status;
}

static enum tt_status check_keys(const struct station *station, struct tt_error *err)
{
    struct careful careful TT_CLEANUP(careful_clear) = {0};
    struct tt_named_keys keys TT_CLEANUP(tt_named_keys_clear) = {0};
    const char *image = layout_reference(&station->layout, "latest");
    enum tt_status status = careful_open(station, &careful, err);
    if (status == TT_OK)
        status = tt_named_keys(image, NULL, &keys, err);
    return status == TT_OK ? tt_named_keys_check(&keys, NULL, &careful.trust, image, err) : status;
}

static enum tt_status before_seal(const struct station *station, struct tt_error *err)
{
    (void)err;
    trust_all(station);
    write_definition(station);
    return TT_OK;
}

static enum tt_status before_pre_run(const struct station *station, struct tt_error *err)
{
    (void)before_seal(station, err);
    return seal(station, err);
}

static enum tt_status before_post_run(const struct station *station, struct tt_error *err)
{
    enum tt_status status = before_pre_run(station, err);
    return status == TT_OK ? careful_pre_run(station, err) : status;
}

static enum tt_status before_results(const struct station *station, struct tt_error *err)
{
    enum tt_status status = before_post_run(station, err);
    return status == TT_OK ? careful_post_run(station, err) : status;
}

/* --- trying it --- */

static void digest_of(const struct station *station, char digest[MADE_DIGEST])
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_image_open(layout_reference(&station->layout, "latest"), NULL, &image, &err);
    if (status != TT_OK)
        printf("\n    %s (%s)\n", err.message, err.detail);
    CU_ASSERT_EQUAL_FATAL(status, TT_OK);
    snprintf(digest, MADE_DIGEST, "%s", tt_image_digest(image));
}

static void expect_ok(enum tt_status (*operation)(const struct station *, struct tt_error *),
                      const struct station *station)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = operation(station, &err);
    if (status != TT_OK)
        printf("\n    %s (%s)\n", err.message, err.detail);
    CU_ASSERT_EQUAL_FATAL(status, TT_OK);
}

struct trial {
    struct station station;
    char layout[96], state[96], old[MADE_DIGEST]; /* as it was before */
};

static void restore(const struct trial *trial)
{
    copy_tree(trial->layout, trial->station.layout.path);
    copy_tree(trial->state, trial->station.state);
    remove_tree(trial->station.results);
}

static void check_outcome(const struct trial *trial, enum tt_status status, const struct tt_error *err)
{
    char now[MADE_DIGEST];
    CU_ASSERT_TRUE(status == TT_OK || err->message[0]);
    digest_of(&trial->station, now);
    bool changed = strcmp(now, trial->old) != 0;
    if (changed && status != TT_OK)
        CU_ASSERT_PTR_NOT_NULL(strstr(err->message, "is in place")); /* it was the new state already */
    if (changed || status == TT_OK)
        restore(trial);
}

/* TT_MEMORY_STRIDE=1 tries every place, a larger number each so many-th one: where there is little time. */
static size_t stride(void)
{
    const char *text = getenv("TT_MEMORY_STRIDE");
    int value = text ? atoi(text) : 1;
    return value > 0 ? (size_t)value : 1;
}

/* Repeats an operation; each time an allocation fails in another place, which is where it came from by way of all who
 * called: what a loop does again and again fails once. */
static void try_all(const char *vector, enum tt_status (*before)(const struct station *, struct tt_error *),
                    enum tt_status (*operation)(const struct station *, struct tt_error *))
{
    struct trial trial = {0};
    struct station *station = &trial.station;
    station_open(station, vector);
    if (before)
        expect_ok(before, station);
    snprintf(trial.layout, sizeof trial.layout, "%.60s-kept-layout", station->layout.path);
    snprintf(trial.state, sizeof trial.state, "%.60s-kept-state", station->layout.path);
    copy_tree(station->layout.path, trial.layout);
    copy_tree(station->state, trial.state);
    digest_of(station, trial.old);
    failing_memory_watch();
    expect_ok(operation, station);
    size_t count = failing_memory_places();
    CU_ASSERT_TRUE(count > 0);
    restore(&trial);
    for (size_t i = 0; i < count; i += stride()) {
        struct tt_error err = TT_ERROR_INIT;
        failing_memory_arm_place(i);
        enum tt_status status = operation(station, &err);
        (void)failing_memory_disarm();
        check_outcome(&trial, status, &err);
    }
    printf(" (%zu) ", count);
    remove_tree(trial.layout);
    remove_tree(trial.state);
    station_close(station);
}

static void of_pre_run(void)
{
    try_all("stop0.opt.tar", NULL, pre_run);
}

static void of_post_run(void)
{
    try_all("stop0.opt.tar", pre_run, post_run);
}

static void of_verify(void)
{
    try_all("stop2.opt.tar", NULL, verify);
}

static void of_inspect(void)
{
    try_all("stop2.opt.tar", NULL, inspect);
}

static void of_push(void)
{
    try_all("stop2.opt.tar", NULL, leave);
}

static void of_results(void)
{
    try_all("stop2.opt.tar", NULL, open_results);
}

static void of_seal(void)
{
    try_all("stop0.opt.tar", before_seal, seal);
}

static void of_careful_pre_run(void)
{
    try_all("stop0.opt.tar", before_pre_run, careful_pre_run);
}

static void of_careful_post_run(void)
{
    try_all("stop0.opt.tar", before_post_run, careful_post_run);
}

static void of_careful_verify(void)
{
    try_all("stop0.opt.tar", before_results, careful_verify);
}

static void of_careful_results(void)
{
    try_all("stop0.opt.tar", before_results, careful_results);
}

static void of_trust(void)
{
    try_all("stop0.opt.tar", before_pre_run, check_keys);
}

/* With an argument, the second half: two programs take less time than one. */
int main(int argc, char **argv)
{
    (void)argv;
    static const struct suite_test sealed[] = {
        {"every allocation of seal", of_seal},
        {"every allocation of pre-run with manifests, trust and audit", of_careful_pre_run},
        {"every allocation of post-run with manifests, trust and audit", of_careful_post_run},
        {"every allocation of verify with manifests and trust", of_careful_verify},
        {"every allocation of results with manifests, trust and audit", of_careful_results},
        {"every allocation of the trust check", of_trust},
    };
    static const struct suite_test tests[] = {
        {"every allocation of pre-run", of_pre_run}, {"every allocation of post-run", of_post_run},
        {"every allocation of verify", of_verify},   {"every allocation of inspect", of_inspect},
        {"every allocation of push", of_push},       {"every allocation of results", of_results},
    };
    return argc > 1 ? SUITE_RUN("out of memory, sealed", sealed) : SUITE_RUN("out of memory", tests);
}
