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

/* Every so many allocations one fails: all of them in a build that is not watched, fewer where that takes its time. */
#ifndef TT_MEMORY_STRIDE
#define TT_MEMORY_STRIDE 1
#endif

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
    CU_ASSERT_EQUAL_FATAL(mkdir(station->state, 0700), 0);
    station->key = read_key("station_1");
    station->creator = read_key("user");
}

static void station_close(struct station *station)
{
    remove_tree(station->layout.path);
    remove_tree(station->state);
    remove_tree(station->results);
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

/* Repeats an operation, with one allocation failing that comes later each time, until none fails any more. */
static void try_all(const char *vector, enum tt_status (*before)(const struct station *, struct tt_error *),
                    enum tt_status (*operation)(const struct station *, struct tt_error *))
{
    struct station station = {0};
    char layout[96], state[96], old[MADE_DIGEST];
    unsigned long nth = 1;
    enum tt_status status = TT_INTERNAL;
    station_open(&station, vector);
    if (before)
        CU_ASSERT_EQUAL_FATAL(before(&station, NULL), TT_OK);
    snprintf(layout, sizeof layout, "%.60s-kept-layout", station.layout.path);
    snprintf(state, sizeof state, "%.60s-kept-state", station.layout.path);
    copy_tree(station.layout.path, layout);
    copy_tree(station.state, state);
    digest_of(&station, old);
    for (bool came = true; came; nth += TT_MEMORY_STRIDE) {
        struct tt_error err = TT_ERROR_INIT;
        char now[MADE_DIGEST];
        failing_memory_arm(nth);
        status = operation(&station, &err);
        came = failing_memory_disarm();
        CU_ASSERT_TRUE(status == TT_OK || err.message[0]);
        digest_of(&station, now);
        bool changed = strcmp(now, old) != 0;
        if (changed && status != TT_OK)
            CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is in place")); /* it was the new state already */
        if (changed || status == TT_OK) {
            copy_tree(layout, station.layout.path);
            copy_tree(state, station.state);
            remove_tree(station.results);
        }
    }
    CU_ASSERT_EQUAL(status, TT_OK);
    printf(" (%lu) ", nth);
    remove_tree(layout);
    remove_tree(state);
    station_close(&station);
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

int main(void)
{
    static const struct suite_test tests[] = {
        {"every allocation of pre-run", of_pre_run}, {"every allocation of post-run", of_post_run},
        {"every allocation of verify", of_verify},   {"every allocation of inspect", of_inspect},
        {"every allocation of push", of_push},       {"every allocation of results", of_results},
    };
    return SUITE_RUN("out of memory", tests);
}
