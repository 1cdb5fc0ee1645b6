/* The rules of a stop, of sealing and of opening results, each broken alone, with what holds beside it. Software keys
 * stand in for the token's; what else happens on the way is told to functions that the program is linked with. */
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "layout_bytes.h"
#include "protocol/pre_run.h"
#include "protocol/protocol.h"
#include "protocol/token_use.h"
#include "run_command.h"
#include "suite.h"
#include "vector_key.h"

/* --- what goes wrong beside: the nth time from now, counted from 1; 0 for never --- */

enum commit_outcome {
    COMMIT_WORKS,
    COMMIT_IS_REFUSED,      /* and the image is the old one */
    COMMIT_IS_LOST,         /* and it is not known that the image is the old one */
    COMMIT_IS_DONE_AND_LOST /* and it is not known that the image is the new one */
};

struct accidents {
    unsigned open;  /* opening an image, in the main thread, fails */
    unsigned write; /* writing the station's memory fails */
    unsigned thread;
    enum commit_outcome commit;
};

static struct accidents next;
static pthread_t main_thread;

static bool is_now(unsigned *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

enum tt_status __real_tt_image_open(const char *, const struct tt_image_options *, struct tt_image **,
                                    struct tt_error *);
enum tt_status __wrap_tt_image_open(const char *reference, const struct tt_image_options *options,
                                    struct tt_image **ret_image, struct tt_error *err);
enum tt_status __real_tt_image_change_commit(struct tt_image_change *, const char *, const char *, bool *,
                                             struct tt_error *);
enum tt_status __wrap_tt_image_change_commit(struct tt_image_change *change, const char *reference, const char *also,
                                             bool *ret_in_doubt, struct tt_error *err);
enum tt_status __real_tt_state_write(struct tt_state *, const struct tt_state_record *, struct tt_error *);
enum tt_status __wrap_tt_state_write(struct tt_state *state, const struct tt_state_record *record,
                                     struct tt_error *err);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

enum tt_status __wrap_tt_image_open(const char *reference, const struct tt_image_options *options,
                                    struct tt_image **ret_image, struct tt_error *err)
{
    if (pthread_equal(pthread_self(), main_thread) && is_now(&next.open))
        return tt_error_set(err, TT_STORE, "%s cannot be opened any more", reference);
    return __real_tt_image_open(reference, options, ret_image, err);
}

enum tt_status __wrap_tt_image_change_commit(struct tt_image_change *change, const char *reference, const char *also,
                                             bool *ret_in_doubt, struct tt_error *err)
{
    if (next.commit == COMMIT_WORKS)
        return __real_tt_image_change_commit(change, reference, also, ret_in_doubt, err);
    if (next.commit == COMMIT_IS_DONE_AND_LOST)
        CU_ASSERT_EQUAL(__real_tt_image_change_commit(change, reference, also, ret_in_doubt, err), TT_OK);
    *ret_in_doubt = next.commit != COMMIT_IS_REFUSED;
    return tt_error_set(err, TT_STORE, "the engine is gone");
}

enum tt_status __wrap_tt_state_write(struct tt_state *state, const struct tt_state_record *record, struct tt_error *err)
{
    return is_now(&next.write) ? tt_error_set(err, TT_STORE, "the disk is full")
                               : __real_tt_state_write(state, record, err);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    return is_now(&next.thread) ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* --- what is said --- */

static char said[4096];
static void (*when_believed)(void *user);
static void *when_believed_user;

static void listen_to(void *user, enum tt_log_level level, const char *message)
{
    (void)user;
    size_t used = strlen(said);
    if (level == TT_LOG_WARNING)
        snprintf(said + used, sizeof said - used, "%s\n", message);
    if (when_believed && strstr(message, "BELIEVED"))
        when_believed(when_believed_user);
}

static void expect(const char *what, enum tt_status status, const struct tt_error *err, enum tt_status expected,
                   const char *words)
{
    const char *text = status == TT_OK ? said : err->message;
    bool good = status == expected && (!words || strstr(text, words));
    if (!good)
        printf("\n    %s: %d '%s' (%s) instead of %d '%s'\n", what, status, text, err->detail, expected,
               words ? words : "");
    CU_ASSERT_TRUE(good);
}

/* --- keys --- */

struct held_key {
    EVP_PKEY *key; /* NULL: there is none */
    void (*before)(void *user);
    void *user;
};

static enum tt_status open_held_key(void *user, const EVP_PKEY *expected, struct tt_private_key **ret_key,
                                    struct tt_error *err)
{
    const struct held_key *held = user;
    (void)expected;
    if (held->before)
        held->before(held->user);
    if (!held->key)
        return tt_error_set(err, TT_TOKEN, "there is no such key");
    return vector_key_open(held->key, ret_key, err);
}

/* --- a station, and a creator, with a train --- */

struct place {
    struct made_layout layout;
    char image[128];
    char root[80]; /* beside it: folders "state", "definition", "results" */
    char state[96];
    char kept[2][96]; /* copies of the layout and of the rest, see keep() */
    struct held_key station;
    struct held_key creator;
    struct held_key builder;
};

static void put_train(struct place *place, const char *vector)
{
    char path[512];
    struct tt_buffer tar = {0};
    struct tt_error err = TT_ERROR_INIT;
    snprintf(path, sizeof path, "%s/%s", TT_VECTORS, vector);
    CU_ASSERT_EQUAL_FATAL(tt_file_read(AT_FDCWD, path, 1 << 24, &tar, &err), TT_OK);
    place->layout.layer_count = 0;
    layout_put_layer(&place->layout, &tar, NULL);
    layout_put_manifest(&place->layout, "");
    tt_buffer_clear(&tar);
}

/* The train of a vector as "latest" and as "base", and another one as "other". */
static void place_open(struct place *place, const char *vector)
{
    char entries[4096];
    *place = (struct place){0};
    layout_make(&place->layout);
    put_train(place, "wide/stop0.opt.tar");
    char *other = layout_entry(&place->layout, "other", NULL);
    put_train(place, vector);
    char *latest = layout_entry(&place->layout, "latest", NULL);
    char *base = layout_entry(&place->layout, "base", NULL);
    snprintf(entries, sizeof entries, "%s,%s,%s", latest, base, other);
    layout_put_index(&place->layout, entries);
    free(latest);
    free(base);
    free(other);
    snprintf(place->image, sizeof place->image, "%s", layout_reference(&place->layout, "latest"));
    snprintf(place->root, sizeof place->root, "%.60s-place", place->layout.path);
    snprintf(place->state, sizeof place->state, "%s/state", place->root);
    snprintf(place->kept[0], sizeof place->kept[0], "%s-kept-layout", place->root);
    snprintf(place->kept[1], sizeof place->kept[1], "%s-kept", place->root);
    run_command("mkdir -m 700 -p %s/state %s/definition/lib %s/definition/main.sh && cd %s/definition && "
                "echo 'print()' >main.py && echo 1 >lib/one.py",
                place->root, place->root, place->root, place->root);
    place->station.key = vector_key("station_1");
    place->creator.key = vector_key("user");
    place->builder.key = vector_key("builder");
    next = (struct accidents){0};
    said[0] = '\0';
    tt_log_set_sink(listen_to, NULL);
}

static void place_close(struct place *place)
{
    tt_log_set_sink(NULL, NULL);
    when_believed = NULL;
    layout_remove(&place->layout);
    run_command("rm -rf %s %s-kept %s-kept-layout", place->root, place->root, place->root);
    EVP_PKEY_free(place->station.key);
    EVP_PKEY_free(place->creator.key);
    EVP_PKEY_free(place->builder.key);
}

static void keep(const struct place *place)
{
    run_command("rm -rf %s %s && cp -a %s %s && cp -a %s %s", place->kept[0], place->kept[1], place->layout.path,
                place->kept[0], place->root, place->kept[1]);
}

/* Everything is again as it was kept, and nothing is said or goes wrong. */
static void restore(const struct place *place)
{
    run_command("rm -rf %s %s && cp -a %s %s && cp -a %s %s", place->layout.path, place->root, place->kept[0],
                place->layout.path, place->kept[1], place->root);
    next = (struct accidents){0};
    said[0] = '\0';
}

static struct tt_image *open_tag(const struct place *place, const char *tag)
{
    struct tt_image *image = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_image_open(layout_reference(&place->layout, tag), NULL, &image, &err);
    if (status != TT_OK)
        printf("\n    %s (%s)\n", err.message, err.detail);
    CU_ASSERT_EQUAL_FATAL(status, TT_OK);
    return image;
}

static void digest_of(const struct place *place, char digest[MADE_DIGEST])
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_tag(place, "latest");
    snprintf(digest, MADE_DIGEST, "%s", tt_image_digest(image));
}

/* A file or link that the image gets, as somebody on its way would do it. */
struct addition {
    const char *path;
    enum tt_entry_type type;
    const char *text; /* of a file, or a link's target */
};

static void add_to_image(const struct place *place, const struct addition *additions, size_t count)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_tag(place, "latest");
    struct tt_image_change *change TT_CLEANUP(tt_image_change_free_cleanup) = NULL;
    const char *digest = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_image_change_new(image, &change, NULL), TT_OK);
    for (size_t i = 0; i < count; i++) {
        bool is_file = additions[i].type == TT_ENTRY_FILE;
        struct tt_entry entry = {.path = (char *)additions[i].path,
                                 .type = additions[i].type,
                                 .mode = 0644,
                                 .size = is_file ? strlen(additions[i].text) : 0,
                                 .link_target = is_file ? NULL : (char *)additions[i].text};
        CU_ASSERT_EQUAL_FATAL(tt_image_change_add(change, &entry, NULL), TT_OK);
        if (is_file)
            CU_ASSERT_EQUAL_FATAL(tt_image_change_data(change, additions[i].text, entry.size, NULL), TT_OK);
    }
    CU_ASSERT_EQUAL_FATAL(tt_image_change_seal(change, NULL, &digest, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_image_change_commit(change, place->image, NULL, NULL, NULL), TT_OK);
}

/* --- what is done with it --- */

static struct tt_stop_options stop_options(const struct place *place)
{
    return (struct tt_stop_options){.image = place->image,
                                    .station = "station_1",
                                    .state_folder = place->state,
                                    .trust = {.train_keys = true},
                                    .key = {.open = open_held_key, .user = (void *)&place->station}};
}

typedef enum tt_status (*stop_function)(const struct tt_stop_options *, struct tt_stop_report *, struct tt_error *);

static enum tt_status do_stop(stop_function function, const struct tt_stop_options *options, struct tt_error *err)
{
    struct tt_stop_report report = {0};
    enum tt_status status = function(options, &report, err);
    tt_stop_report_clear(&report);
    return status;
}

static void do_stop_well(stop_function function, const struct place *place)
{
    struct tt_stop_options options = stop_options(place);
    struct tt_error err = TT_ERROR_INIT;
    expect("a stop", do_stop(function, &options, &err), &err, TT_OK, NULL);
}

/* --- the station's memory: which stops it lets begin and end --- */

/* A digest in a record: 'n' is that of the image as it is now, 'x' another one, 0 none. */
struct memory_case {
    const char *name;
    enum tt_state_phase phase;
    char before, after;
    bool again, config;
    enum tt_status expected;
    const char *words;
};

static char *digest_for(char which, char now[MADE_DIGEST])
{
    static char another[] = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    return which == 'n' ? now : which == 'x' ? another : NULL;
}

static struct tt_state *open_memory(const struct place *place, const struct tt_train *train)
{
    struct tt_state *state = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL_FATAL(tt_state_open(place->state, train->session_id, "station_1", &state, &err), TT_OK);
    return state;
}

static void remember(const struct place *place, const struct memory_case *memory, const char *config_file)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_tag(place, "latest");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = NULL;
    char now[MADE_DIGEST];
    digest_of(place, now);
    CU_ASSERT_EQUAL_FATAL(visit_read_train(image, &train, NULL), TT_OK);
    struct tt_state *state TT_CLEANUP(tt_state_free_cleanup) = open_memory(place, train);
    const struct tt_state_record record = {.phase = memory->phase,
                                           .image_before = digest_for(memory->before, now),
                                           .image_after = digest_for(memory->after, now),
                                           .config = train->text};
    if (memory->phase != TT_STATE_NONE || tt_state_record(state)->phase != TT_STATE_NONE)
        CU_ASSERT_EQUAL_FATAL(tt_state_write(state, &record, NULL), TT_OK);
    int file TT_CLEANUP(tt_close_cleanup) = open(config_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CU_ASSERT_EQUAL_FATAL(tt_file_write_all(file, train->text.data, train->text.length, config_file, NULL), TT_OK);
}

static enum tt_state_phase remembered_phase(const struct place *place)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_tag(place, "latest");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(visit_read_train(image, &train, NULL), TT_OK);
    struct tt_state *state TT_CLEANUP(tt_state_free_cleanup) = open_memory(place, train);
    return tt_state_record(state)->phase;
}

static void try_memory(struct place *place, stop_function function, const struct memory_case *cases, size_t count)
{
    char config_file[128];
    char old[MADE_DIGEST], now[MADE_DIGEST];
    keep(place);
    digest_of(place, old);
    for (size_t i = 0; i < count; i++) {
        struct tt_error err = TT_ERROR_INIT;
        restore(place);
        snprintf(config_file, sizeof config_file, "%s/config", place->root);
        remember(place, &cases[i], config_file);
        struct tt_stop_options options = stop_options(place);
        options.again = cases[i].again;
        options.config_file = cases[i].config ? config_file : NULL;
        expect(cases[i].name, do_stop(function, &options, &err), &err, cases[i].expected, cases[i].words);
        digest_of(place, now);
        CU_ASSERT_EQUAL(strcmp(old, now) == 0, cases[i].expected != TT_OK);
        CU_ASSERT_TRUE(cases[i].expected == TT_OK || remembered_phase(place) == cases[i].phase);
    }
}

static void who_may_enter(void)
{
    static const struct memory_case cases[] = {
        {"a new train", TT_STATE_NONE, 0, 0, false, false, TT_OK, NULL},
        {"killed early", TT_STATE_ENTERING, 'n', 'x', false, false, TT_OK, NULL},
        {"killed early, by an old record", TT_STATE_ENTERING, 'n', 0, false, false, TT_OK, NULL},
        {"overtaken", TT_STATE_ENTERING, 'x', 'n', false, false, TT_WRONG_STOP, "is decrypted already"},
        {"entered and put back", TT_STATE_ENTERED, 'n', 'x', false, false, TT_OK, NULL},
        {"killed as it left", TT_STATE_LEAVING, 'x', 'x', false, false, TT_WRONG_STOP, "ended just as it finished"},
        {"killed as it left, again", TT_STATE_LEAVING, 'x', 'x', true, false, TT_OK, NULL},
        {"done", TT_STATE_DONE, 'x', 'x', false, false, TT_WRONG_STOP, "an older state of it was put back"},
        {"done, again", TT_STATE_DONE, 'x', 'x', true, false, TT_OK, NULL},
    };
    struct place place;
    place_open(&place, "basic/stop0.opt.tar");
    try_memory(&place, tt_pre_run, cases, sizeof cases / sizeof cases[0]);
    place_close(&place);
}

static void who_may_leave(void)
{
    static const struct memory_case cases[] = {
        {"no record", TT_STATE_NONE, 0, 0, false, false, TT_WRONG_STOP, "has no record of a pre-run"},
        {"a configuration in its place", TT_STATE_NONE, 0, 0, false, true, TT_OK, NULL},
        {"killed early", TT_STATE_ENTERING, 'n', 'x', false, false, TT_WRONG_STOP, "did not come to its end"},
        {"killed late", TT_STATE_ENTERING, 'x', 'n', false, false, TT_OK, NULL},
        {"killed late, by an old record", TT_STATE_ENTERING, 0, 0, false, false, TT_OK, NULL},
        {"entered", TT_STATE_ENTERED, 'x', 'n', false, false, TT_OK, NULL},
        {"killed before it left", TT_STATE_LEAVING, 'n', 'x', false, false, TT_OK, NULL},
        {"killed before it left, by an old record", TT_STATE_LEAVING, 'n', 0, false, false, TT_OK, NULL},
        {"killed as it left", TT_STATE_LEAVING, 'x', 'n', false, false, TT_WRONG_STOP, "has done its stop"},
        {"killed as it left, again", TT_STATE_LEAVING, 'x', 'n', true, false, TT_OK, NULL},
        {"done", TT_STATE_DONE, 'x', 'x', false, false, TT_WRONG_STOP, "has done its stop"},
        {"done, again", TT_STATE_DONE, 'x', 'x', true, false, TT_OK, NULL},
    };
    struct place place;
    place_open(&place, "basic/stop0.opt.tar");
    do_stop_well(tt_pre_run, &place);
    try_memory(&place, tt_post_run, cases, sizeof cases / sizeof cases[0]);
    place_close(&place);
}

static void an_image_that_is_gone_is_not_entered(void)
{
    static const struct memory_case entered = {.phase = TT_STATE_ENTERED, .before = 'n', .after = 'x'};
    struct place place;
    char config_file[128];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    snprintf(config_file, sizeof config_file, "%s/config", place.root);
    remember(&place, &entered, config_file);
    const struct tt_stop_options options = stop_options(&place);
    next.open = 2; /* once more after the station's memory was locked */
    expect("gone", do_stop(tt_pre_run, &options, &err), &err, TT_STORE, "cannot be opened any more");
    do_stop_well(tt_pre_run, &place);
    place_close(&place);
}

/* --- the moment of the change --- */

static void the_change_and_its_record_fit_together(void)
{
    static const struct {
        const char *name;
        struct accidents accidents;
        enum tt_status expected;
        enum tt_state_phase phase;
        bool changed;
        const char *words;
        const char *warning;
    } cases[] = {
        {"all is well", {0}, TT_OK, TT_STATE_ENTERED, true, NULL, "BELIEVED"},
        {"no record before", {.write = 1}, TT_STORE, TT_STATE_NONE, false, "the disk is full", NULL},
        {"no record after", {.write = 2}, TT_OK, TT_STATE_ENTERING, true, NULL, "the disk is full"},
        {"refused", {.commit = COMMIT_IS_REFUSED}, TT_STORE, TT_STATE_NONE, false, "the engine is gone", NULL},
        {"refused, and no way back",
         {.commit = COMMIT_IS_REFUSED, .write = 2},
         TT_STORE,
         TT_STATE_ENTERING,
         false,
         "the engine is gone",
         "could not be put back: the disk is full"},
        {"lost before", {.commit = COMMIT_IS_LOST}, TT_STORE, TT_STATE_NONE, false, "the engine is gone", NULL},
        {"lost before, and nobody can look",
         {.commit = COMMIT_IS_LOST, .open = 2},
         TT_STORE,
         TT_STATE_ENTERING,
         false,
         "the engine is gone",
         NULL},
        {"lost after", {.commit = COMMIT_IS_DONE_AND_LOST}, TT_OK, TT_STATE_ENTERED, true, NULL, NULL},
        {"lost after, and nobody can look",
         {.commit = COMMIT_IS_DONE_AND_LOST, .open = 2},
         TT_STORE,
         TT_STATE_ENTERING,
         true,
         "the engine is gone",
         NULL},
    };
    struct place place;
    char old[MADE_DIGEST], now[MADE_DIGEST];
    place_open(&place, "basic/stop0.opt.tar");
    keep(&place);
    digest_of(&place, old);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        const struct tt_stop_options options = stop_options(&place);
        restore(&place);
        next = cases[i].accidents;
        enum tt_status status = do_stop(tt_pre_run, &options, &err);
        next = (struct accidents){0};
        expect(cases[i].name, status, &err, cases[i].expected, cases[i].words);
        if (cases[i].warning)
            CU_ASSERT_PTR_NOT_NULL(strstr(said, cases[i].warning));
        digest_of(&place, now);
        CU_ASSERT_EQUAL(strcmp(old, now) != 0, cases[i].changed);
        CU_ASSERT_EQUAL(remembered_phase(&place), cases[i].phase);
        /* What the record says is enough to go on. */
        do_stop_well(cases[i].changed ? tt_post_run : tt_pre_run, &place);
    }
    place_close(&place);
}

static void change_image(void *user)
{
    static const struct addition more = {"opt/pht_results/more", TT_ENTRY_FILE, "more"};
    add_to_image(user, &more, 1);
}

static void an_image_that_moves_is_left_alone(void)
{
    struct place place;
    char old[MADE_DIGEST], now[MADE_DIGEST];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    do_stop_well(tt_pre_run, &place);
    const struct tt_stop_options options = stop_options(&place);
    next.open = 2;
    expect("gone", do_stop(tt_post_run, &options, &err), &err, TT_STORE, "cannot be opened any more");
    digest_of(&place, old);
    when_believed = change_image;
    when_believed_user = &place;
    expect("moved", do_stop(tt_post_run, &options, &err), &err, TT_STORE, "was changed by something else");
    when_believed = NULL;
    digest_of(&place, now);
    CU_ASSERT_STRING_NOT_EQUAL(old, now); /* what the other did stays */
    CU_ASSERT_EQUAL(remembered_phase(&place), TT_STATE_ENTERED);
    do_stop_well(tt_post_run, &place);
    place_close(&place);
}

/* --- what a stop takes --- */

static void the_base_image_is_this_trains(void)
{
    struct place place;
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    do_stop_well(tt_pre_run, &place);
    struct tt_stop_options options = stop_options(&place);
    options.base = layout_reference(&place.layout, "other");
    expect("another's", do_stop(tt_post_run, &options, &err), &err, TT_TAMPERED,
           "belongs to another train: its session id differs");
    options.base = layout_reference(&place.layout, "none");
    expect("none", do_stop(tt_post_run, &options, &err), &err, TT_STORE, "the train's base image");
    options.base = layout_reference(&place.layout, "base");
    expect("ours", do_stop(tt_post_run, &options, &err), &err, TT_OK, NULL);
    place_close(&place);
}

static void the_token_holds_the_stops_key(void)
{
    struct place place;
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    const struct tt_stop_options options = stop_options(&place);
    const struct held_key right = place.station;
    place.station.key = place.builder.key;
    expect("another key", do_stop(tt_pre_run, &options, &err), &err, TT_UNTRUSTED,
           "the train is meant for another key: it names SHA256:");
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "for station 'station_1', the token holds SHA256:"));
    place.station.key = NULL;
    expect("no key", do_stop(tt_pre_run, &options, &err), &err, TT_TOKEN, "there is no such key");
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    place.station.key = weak;
    expect("a short key", do_stop(tt_pre_run, &options, &err), &err, TT_TOKEN, "has a size outside 2048 to 8192 bits");
    EVP_PKEY_free(weak);
    place.station = right;
    expect("the key", do_stop(tt_pre_run, &options, &err), &err, TT_OK, NULL);
    place_close(&place);
}

static void only_so_many_operations_are_told_of(void)
{
    static const enum tt_padding_by by[] = {TT_PADDING_UNKNOWN, TT_PADDING_NATIVE, TT_PADDING_RAW};
    struct tt_token_use use = {0};
    for (size_t i = 0; i < TT_TOKEN_OPERATION_LIMIT + 2; i++) {
        token_used(&use, "sign-result", by[i % 3]);
        CU_ASSERT_EQUAL(use.count, i < TT_TOKEN_OPERATION_LIMIT ? i + 1 : TT_TOKEN_OPERATION_LIMIT);
    }
    CU_ASSERT_EQUAL(use.operations[1].padding_by, TT_PADDING_NATIVE);
    CU_ASSERT_STRING_EQUAL(use.operations[3].name, "sign-result");
}

/* The configuration, changed: of the first `from` behind `member`, what stands up to the next comma becomes `by`. */
static void change_configuration(const struct place *place, const char *member, const char *from, const char *by)
{
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = open_tag(place, "latest");
    struct tt_train *train TT_CLEANUP(tt_train_free_cleanup) = NULL;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(visit_read_train(image, &train, NULL), TT_OK);
    const char *whole = (const char *)train->text.data;
    const char *start = strstr(whole, member);
    start = start ? strstr(start, from) : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(start);
    start += strlen(from);
    const char *end = start + strcspn(start, ",\n");
    CU_ASSERT_EQUAL_FATAL(tt_buffer_printf(&text, NULL, "%.*s%s%s", (int)(start - whole), whole, by, end), TT_OK);
    const struct addition changed = {TT_TRAIN_CONFIG_PATH, TT_ENTRY_FILE, (const char *)text.data};
    add_to_image(place, &changed, 1);
}

/* Nothing that is signed has a train's name. */
static void a_train_needs_no_name(void)
{
    struct place place;
    struct tt_stop_report report = {0};
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    change_configuration(&place, "{", "\"@id\": ", "null");
    const struct tt_stop_options options = stop_options(&place);
    expect("no name", tt_pre_run(&options, &report, &err), &err, TT_OK, NULL);
    CU_ASSERT_PTR_NULL(report.train);
    CU_ASSERT_PTR_NOT_NULL(report.digest_after);
    tt_stop_report_clear(&report);
    place_close(&place);
}

static void failures_that_cannot_be_recorded_are_told(void)
{
    struct place place;
    struct tt_audit *audit TT_CLEANUP(tt_audit_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    char trail[128];
    place_open(&place, "basic/stop1.opt.tar");
    snprintf(trail, sizeof trail, "%s/none/trail", place.root);
    struct tt_stop_options options = stop_options(&place);
    CU_ASSERT_EQUAL_FATAL(tt_audit_new(trail, false, TT_AUDIT_FILE_ONLY, &audit, &err), TT_OK);
    options.audit = audit;
    expect("refused", do_stop(tt_pre_run, &options, &err), &err, TT_WRONG_STOP, "was at station 'station_1'");
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "that this was refused could not be recorded: "));
    tt_audit_free(audit);
    audit = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_audit_new(trail, false, TT_AUDIT_FILE_ONLY, &audit, &err), TT_OK);
    options.audit = audit;
    options.image = layout_reference(&place.layout, "none");
    expect("failed", do_stop(tt_pre_run, &options, &err), &err, TT_STORE, "none");
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "that this was given up could not be recorded: "));
    place_close(&place);
}

/* --- blobs that are checked beside the decryption: what is said of a train where both find something --- */

/* The next thread is the new image's, the one after it that of the definition's hash. */
static void lose_threads(void *user)
{
    (void)user;
    next.thread = 2;
}

/* A pre-run of the image while the blobs of "checked" are looked at. */
static enum tt_status build_beside(const struct place *place, struct made_layout *checked, struct tt_error *err)
{
    const struct tt_stop_options options = stop_options(place);
    struct tt_image *image TT_CLEANUP(tt_image_free_cleanup) = NULL;
    struct pre_run run TT_CLEANUP(pre_run_clear) = {.options = &options};
    CU_ASSERT_EQUAL_FATAL(tt_image_open(layout_reference(checked, "latest"), NULL, &image, err), TT_OK);
    layout_flip(checked, checked->layers[0].digest, 600);
    CU_ASSERT_EQUAL_FATAL(blob_check_start(image, NULL, &run.blobs, err), TT_OK);
    enum tt_status status = pre_run_build(&run, err);
    layout_flip(checked, checked->layers[0].digest, 600);
    return status;
}

static void damaged_blobs_are_named_first(void)
{
    static const struct addition garbage = {"opt/pht_train/entrypoint.py", TT_ENTRY_FILE,
                                            "forty-eight bytes that nobody has ever encrypted"};
    struct place place;
    struct place other;
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    place_open(&other, "basic/stop0.opt.tar");
    const struct tt_stop_options options = stop_options(&place);
    expect("the blobs alone", build_beside(&place, &other.layout, &err), &err, TT_TAMPERED,
           other.layout.layers[0].digest);
    place.station.before = lose_threads;
    expect("the machine fails", build_beside(&place, &other.layout, &err), &err, TT_INTERNAL, "memory");
    place.station.before = NULL;
    add_to_image(&place, &garbage, 1);
    expect("the definition and the blobs", build_beside(&place, &other.layout, &err), &err, TT_TAMPERED,
           other.layout.layers[0].digest);
    expect("the definition alone", do_stop(tt_pre_run, &options, &err), &err, TT_TAMPERED,
           "the definition files of the train do not match the hash");
    place_close(&other);
    place_close(&place);
}

/* --- run --- */

static enum tt_status run(const struct place *place, struct tt_error *err)
{
    static const struct tt_execution_options execution = {0};
    const struct tt_run_options options = {.stop = stop_options(place), .execution = &execution};
    struct tt_run_report report = {0};
    enum tt_status status = tt_run(&options, &report, err);
    tt_run_report_clear(&report);
    return status;
}

/* It asks whether the image can be run as late as it has one to be run. */
static void a_layout_runs_nothing(void)
{
    struct place place;
    char old[MADE_DIGEST], now[MADE_DIGEST];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    digest_of(&place, old);
    expect("no engine", run(&place, &err), &err, TT_USAGE, "lies where no image can be run");
    next.thread = 1;
    expect("no thread for the base image", run(&place, &err), &err, TT_INTERNAL, "memory");
    digest_of(&place, now);
    CU_ASSERT_STRING_EQUAL(old, now);
    CU_ASSERT_EQUAL(remembered_phase(&place), TT_STATE_NONE);
    place_close(&place);
}

/* --- verify --- */

static enum tt_status verify(const struct place *place, const char *station, bool with_trust, struct tt_error *err)
{
    const struct tt_trust_options trust = {.train_keys = true};
    const struct tt_verify_options options = {.trust = with_trust ? &trust : NULL, .station = station};
    struct tt_verify_report report = {0};
    enum tt_status status = tt_verify(place->image, &options, NULL, NULL, &report, err);
    tt_verify_report_clear(&report);
    return status;
}

static void decrypted_results_are_looked_at(void)
{
    static const struct addition inside = {"opt/pht_results/z", TT_ENTRY_SYMLINK, "/opt/pht_results/a"};
    static const struct addition outside = {"opt/pht_results/z", TT_ENTRY_SYMLINK, "../pht_train/main.py"};
    struct place place;
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    do_stop_well(tt_pre_run, &place);
    add_to_image(&place, &inside, 1);
    expect("a link inside", verify(&place, NULL, false, &err), &err, TT_OK, NULL);
    expect("ours", verify(&place, "station_1", true, &err), &err, TT_OK, NULL);
    expect("not ours", verify(&place, "elsewhere", true, &err), &err, TT_OK, NULL);
    add_to_image(&place, &outside, 1);
    expect("a link outside", verify(&place, NULL, false, &err), &err, TT_TAMPERED, "leads outside");
    place_close(&place);
}

/* --- seal --- */

static const char *const two_stations[] = {"station_1", "7"};
static const char *const two_keys[] = {TT_VECTORS "/basic/keys/station_1.pub.pem",
                                       TT_VECTORS "/basic/keys/station_2.pub.pem"};

static struct tt_seal_options seal_options(const struct place *place, char definition[128])
{
    snprintf(definition, 128, "%s/definition", place->root);
    return (struct tt_seal_options){.image = place->image,
                                    .base = layout_reference(&place->layout, "base"),
                                    .definition = definition,
                                    .creator_id = "c",
                                    .interpreter = "python3",
                                    .stations = two_stations,
                                    .stop_keys = two_keys,
                                    .stop_count = 1,
                                    .creator = {.open = open_held_key, .user = (void *)&place->creator}};
}

static enum tt_status do_seal(const struct tt_seal_options *options, struct tt_error *err)
{
    struct tt_seal_report report = {0};
    enum tt_status status = tt_seal(options, &report, err);
    tt_seal_report_clear(&report);
    return status;
}

static void creators_ids_are_read_as_they_are_written(void)
{
    static const struct {
        const char *id;
        enum tt_status expected;
        const char *words;
    } cases[] = {{"0", TT_OK, NULL},
                 {"42", TT_OK, NULL},
                 {"7a", TT_OK, NULL},
                 {"-", TT_OK, NULL},
                 {"007", TT_USAGE, "would be read as a number"},
                 {"00", TT_USAGE, "would be read as a number"},
                 {"-7", TT_USAGE, "would be read as a number"},
                 {"1_0", TT_USAGE, "would be read as a number"},
                 {"7 ", TT_USAGE, "would be read as a number"},
                 {"", TT_MALFORMED, "creator.id is empty"}};
    struct place place;
    char definition[128];
    place_open(&place, "basic/stop0.opt.tar");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_error err = TT_ERROR_INIT;
        struct tt_seal_options options = seal_options(&place, definition);
        options.creator_id = cases[i].id;
        expect(cases[i].id, do_seal(&options, &err), &err, cases[i].expected, cases[i].words);
    }
    place_close(&place);
}

static void routes_have_limits(void)
{
    static const char *many[TT_TRAIN_STOP_LIMIT + 1];
    struct place place;
    char definition[128];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    struct tt_seal_options options = seal_options(&place, definition);
    options.stations = options.stop_keys = many;
    options.stop_count = TT_TRAIN_STOP_LIMIT + 1;
    expect("too many", do_seal(&options, &err), &err, TT_USAGE, "a train has at most 1000 stops");
    options = seal_options(&place, definition);
    expect("one", do_seal(&options, &err), &err, TT_OK, NULL);
    CU_ASSERT_PTR_NULL(strstr(said, "numeric id"));
    options.stop_count = 2;
    expect("two", do_seal(&options, &err), &err, TT_OK, "does not find itself under the numeric id '7'");
    place_close(&place);
}

/* The folder main.sh of the definition has a usual name, but nothing in it runs. */
static void what_runs_is_a_file(void)
{
    struct place place;
    char definition[128];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    struct tt_seal_options options = seal_options(&place, definition);
    options.entry_point = "main.sh";
    expect("a folder", do_seal(&options, &err), &err, TT_USAGE, "the entry point 'main.sh' is not in");
    options.interpreter = "./python3";
    options.entry_point = "main.py";
    expect("a program of the train's", do_seal(&options, &err), &err, TT_USAGE, "is no program of the base image");
    options = seal_options(&place, definition);
    expect("a file", do_seal(&options, &err), &err, TT_OK, NULL);
    run_command("rm %s/main.py", definition);
    expect("a folder with a usual name", do_seal(&options, &err), &err, TT_USAGE, "none of the usual entry points");
    place_close(&place);
}

static void edit_definition(void *user)
{
    const struct place *place = user;
    run_command("echo 2 >%s/definition/lib/one.py", place->root);
}

static void definitions_stay_while_they_are_sealed(void)
{
    struct place place;
    char definition[128];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    const struct tt_seal_options options = seal_options(&place, definition);
    place.creator.before = edit_definition; /* it was hashed by then, and is not encrypted yet */
    place.creator.user = &place;
    expect("edited", do_seal(&options, &err), &err, TT_USAGE, "changed while the train was being sealed; run again");
    place.creator.before = NULL;
    expect("run again", do_seal(&options, &err), &err, TT_OK, NULL);
    place_close(&place);
}

static void builders_have_keys_of_their_own(void)
{
    struct place place;
    char definition[128];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    struct tt_seal_options options = seal_options(&place, definition);
    const struct held_key right = place.builder;
    options.builder = (struct tt_key_source){.open = open_held_key, .user = &place.builder};
    place.builder.key = NULL;
    expect("no key", do_seal(&options, &err), &err, TT_TOKEN, "the builder's key: there is no such key");
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    place.builder.key = weak;
    expect("a short key", do_seal(&options, &err), &err, TT_TOKEN, "the builder's key: software has a size outside");
    EVP_PKEY_free(weak);
    place.builder = right;
    expect("a key", do_seal(&options, &err), &err, TT_OK, NULL);
    const struct held_key creator = place.creator;
    place.creator.key = NULL;
    expect("no key of the creator", do_seal(&options, &err), &err, TT_TOKEN, "there is no such key");
    CU_ASSERT_PTR_NULL(strstr(err.message, "builder"));
    place.creator = creator;
    place_close(&place);
}

/* Its public half alone: a token that refuses to do what it is asked for. */
static EVP_PKEY *half_of(EVP_PKEY *key)
{
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    EVP_PKEY *half = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_public_key_pem(key, &pem, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_public_key_parse(pem, strlen(pem), "half a key", &half, NULL), TT_OK);
    return half;
}

static void keys_that_do_nothing_make_nothing(void)
{
    struct place place;
    char definition[128];
    char old[MADE_DIGEST], now[MADE_DIGEST];
    struct tt_error err = TT_ERROR_INIT;
    place_open(&place, "basic/stop0.opt.tar");
    const struct tt_stop_options stop = stop_options(&place);
    struct tt_seal_options seal = seal_options(&place, definition);
    EVP_PKEY *const keys[] = {place.station.key, place.creator.key, place.builder.key};
    EVP_PKEY *const halves[] = {half_of(keys[0]), half_of(keys[1]), half_of(keys[2])};
    digest_of(&place, old);
    place.station.key = halves[0];
    expect("unwrapping", do_stop(tt_pre_run, &stop, &err), &err, TT_TAMPERED, "does not open with this key");
    place.creator.key = halves[1];
    expect("sealing", do_seal(&seal, &err), &err, TT_TOKEN, "software");
    place.creator.key = keys[1];
    place.builder.key = halves[2];
    seal.builder = (struct tt_key_source){.open = open_held_key, .user = &place.builder};
    expect("building", do_seal(&seal, &err), &err, TT_TOKEN, "the builder's key: ");
    digest_of(&place, now);
    CU_ASSERT_STRING_EQUAL(old, now);
    place.station.key = keys[0];
    expect("unwrapping with the key", do_stop(tt_pre_run, &stop, &err), &err, TT_OK, NULL);
    digest_of(&place, old);
    place.station.key = halves[0];
    expect("signing", do_stop(tt_post_run, &stop, &err), &err, TT_TOKEN, "software");
    digest_of(&place, now);
    CU_ASSERT_STRING_EQUAL(old, now);
    place.station.key = keys[0];
    place.builder.key = keys[2];
    expect("signing with the key", do_stop(tt_post_run, &stop, &err), &err, TT_OK, NULL);
    expect("sealing with the keys", do_seal(&seal, &err), &err, TT_OK, NULL);
    for (size_t i = 0; i < 3; i++)
        EVP_PKEY_free(halves[i]);
    place_close(&place);
}

/* --- results --- */

static enum tt_status open_results(const struct place *place, struct tt_error *err)
{
    char directory[128];
    struct tt_results_report report = {0};
    snprintf(directory, sizeof directory, "%s/results", place->root);
    const struct tt_results_options options = {.source = place->image,
                                               .directory = directory,
                                               .trust = {.train_keys = true},
                                               .key = {.open = open_held_key, .user = (void *)&place->creator}};
    enum tt_status status = tt_results(&options, &report, err);
    tt_results_report_clear(&report);
    return status;
}

/* A train with signed manifests that has been to its only stop, where it wrote these results. */
static void come_home(struct place *place, const struct addition *results, size_t count)
{
    char definition[128];
    struct tt_error err = TT_ERROR_INIT;
    place_open(place, "basic/stop0.opt.tar");
    const struct tt_seal_options options = seal_options(place, definition);
    expect("sealing", do_seal(&options, &err), &err, TT_OK, NULL);
    do_stop_well(tt_pre_run, place);
    add_to_image(place, results, count);
    do_stop_well(tt_post_run, place);
}

static void expect_link(const struct place *place, const char *name, const char *expected)
{
    char path[256];
    char found[256] = "";
    snprintf(path, sizeof path, "%s/results/%s", place->root, name);
    CU_ASSERT_TRUE(readlink(path, found, sizeof found - 1) > 0);
    CU_ASSERT_STRING_EQUAL(found, expected);
}

/* On the creator's machine /opt/pht_results is another place, and so is what lies beside the folder. */
static void links_of_results_stay_in_their_folder(void)
{
    static const struct addition results[] = {
        {"opt/pht_results/a", TT_ENTRY_FILE, "a"},
        {"opt/pht_results/sub/b", TT_ENTRY_FILE, "b"},
        {"opt/pht_results/sub/plain", TT_ENTRY_SYMLINK, "../a"},
        {"opt/pht_results/sub/absolute", TT_ENTRY_SYMLINK, "/opt/pht_results/a"},
        {"opt/pht_results/sub/root", TT_ENTRY_SYMLINK, "/opt/pht_results"},
        {"opt/pht_results/slash", TT_ENTRY_SYMLINK, "/opt/pht_results/"},
        {"opt/pht_results/doubled", TT_ENTRY_SYMLINK, "//opt//pht_results//sub/b"},
        {"opt/pht_results/dotted", TT_ENTRY_SYMLINK, "/./opt/./pht_results/./a"},
        {"opt/pht_results/turned", TT_ENTRY_SYMLINK, "/../opt/../opt/pht_results/a"},
        {"opt/pht_results/gone", TT_ENTRY_SYMLINK, "/opt/pht_results/x/y"},
    };
    static const struct addition outside[] = {
        {"opt/pht_results/left", TT_ENTRY_SYMLINK, "/opt/pht_results/../pht_results/a"},
        {"opt/pht_results/left", TT_ENTRY_SYMLINK, "sub/root/../pht_results/a"},
        {"opt/pht_results/left", TT_ENTRY_SYMLINK, "/opt"},
    };
    struct place place;
    struct tt_error err = TT_ERROR_INIT;
    come_home(&place, results, sizeof results / sizeof results[0]);
    expect("links inside", open_results(&place, &err), &err, TT_OK, NULL);
    expect_link(&place, "sub/plain", "../a");
    expect_link(&place, "sub/absolute", "../a");
    expect_link(&place, "sub/root", "../.");
    expect_link(&place, "slash", ".");
    expect_link(&place, "doubled", "sub/b");
    expect_link(&place, "dotted", "./a");
    expect_link(&place, "turned", "a");
    expect_link(&place, "gone", "x/y");
    run_command("rm -rf %s/results", place.root);
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        add_to_image(&place, &outside[i], 1);
        expect(outside[i].text, open_results(&place, &err), &err, TT_TAMPERED, "leads outside /opt/pht_results");
    }
    place_close(&place);
}

static void results_are_whole(void)
{
    static const struct addition result = {"opt/pht_results/a", TT_ENTRY_FILE, "a result"};
    static const struct addition garbage = {"opt/pht_results/a", TT_ENTRY_FILE, "thirty-two bytes not encrypted.."};
    struct place place;
    char path[128];
    struct tt_error err = TT_ERROR_INIT;
    come_home(&place, &result, 1);
    keep(&place);
    add_to_image(&place, &garbage, 1);
    snprintf(path, sizeof path, "%s/results", place.root);
    expect("a file of others", open_results(&place, &err), &err, TT_TAMPERED, "do not match the hash");
    CU_ASSERT_NOT_EQUAL(access(path, F_OK), 0);
    restore(&place);
    change_configuration(&place, "{", "\"result_signature\": ", "null");
    expect("nobody signed them", open_results(&place, &err), &err, TT_TAMPERED, "has no result_signature");
    restore(&place);
    change_configuration(&place, "\"creator\": {", "\"encrypted_key\": ", "null");
    expect("no key for the creator", open_results(&place, &err), &err, TT_MALFORMED,
           "creator.encrypted_key is missing");
    restore(&place);
    expect("as they came", open_results(&place, &err), &err, TT_OK, NULL);
    CU_ASSERT_EQUAL(access(path, F_OK), 0);
    place_close(&place);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"who may enter", who_may_enter},
        {"who may leave", who_may_leave},
        {"an image that is gone is not entered", an_image_that_is_gone_is_not_entered},
        {"the change and its record fit together", the_change_and_its_record_fit_together},
        {"an image that moves is left alone", an_image_that_moves_is_left_alone},
        {"the base image is this train's", the_base_image_is_this_trains},
        {"the token holds the stop's key", the_token_holds_the_stops_key},
        {"only so many operations are told of", only_so_many_operations_are_told_of},
        {"a train needs no name", a_train_needs_no_name},
        {"failures that cannot be recorded are told", failures_that_cannot_be_recorded_are_told},
        {"damaged blobs are named first", damaged_blobs_are_named_first},
        {"a layout runs nothing", a_layout_runs_nothing},
        {"decrypted results are looked at", decrypted_results_are_looked_at},
        {"creators' ids are read as they are written", creators_ids_are_read_as_they_are_written},
        {"routes have limits", routes_have_limits},
        {"what runs is a file", what_runs_is_a_file},
        {"definitions stay while they are sealed", definitions_stay_while_they_are_sealed},
        {"builders have keys of their own", builders_have_keys_of_their_own},
        {"keys that do nothing make nothing", keys_that_do_nothing_make_nothing},
        {"links of results stay in their folder", links_of_results_stay_in_their_folder},
        {"results are whole", results_are_whole},
    };
    main_thread = pthread_self();
    return SUITE_RUN("stops", tests);
}
