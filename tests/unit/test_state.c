#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/text.h"
#include "state/state.h"
#include "suite.h"

/* A folder of its own for each test, removed with all that is in it. */
struct place {
    char root[64];
    char folder[96];   /* not made yet */
    char session[320]; /* FOLDER/trains/SESSION_ID */
    uint8_t session_id[64];
};

static void make_place(struct place *place)
{
    memset(place, 0, sizeof *place);
    strcpy(place->root, "/tmp/traintoken-state-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(place->root));
    snprintf(place->folder, sizeof place->folder, "%s/deep/er", place->root);
    int used = snprintf(place->session, sizeof place->session, "%s/trains/", place->folder);
    for (int i = 0; i < 64; i++) {
        place->session_id[i] = (uint8_t)(i * 3);
        used += snprintf(place->session + used, sizeof place->session - (size_t)used, "%02x", place->session_id[i]);
    }
}

static void remove_place(struct place *place)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", place->root);
    CU_ASSERT_EQUAL(system(command), 0);
}

static struct tt_state *open_state(const struct place *place, const char *station)
{
    struct tt_state *state = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_state_open(place->folder, place->session_id, station, &state, &err);
    if (status != TT_OK)
        printf("\n    %s (%s)", err.message, err.detail);
    CU_ASSERT_EQUAL_FATAL(status, TT_OK);
    return state;
}

static void expect_refused(const struct place *place, const char *folder, const char *station, enum tt_status expected,
                           const char *words)
{
    struct tt_state *state = NULL;
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = tt_state_open(folder, place->session_id, station, &state, &err);
    if (status != expected || !strstr(err.message, words))
        printf("\n    status %d, '%s' instead of '%s'", status, err.message, words);
    CU_ASSERT_EQUAL(status, expected);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words));
    tt_state_free(state);
}

static void write_record(struct tt_state *state, enum tt_state_phase phase, const char *config)
{
    char before[] = "sha256:before";
    struct tt_state_record record = {.phase = phase, .image_before = before};
    record.config = (struct tt_buffer){.data = (uint8_t *)(uintptr_t)config, .length = strlen(config)};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_state_write(state, &record, &err), TT_OK);
}

static bool exists(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void put_file(const struct place *place, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", place->session, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void a_record_comes_back(void)
{
    static const char config[] = "{\n\t\"a\" : \"\\u0041\xc3\xbc\\\"\\\\\x7f\",\r\n \"n\": 1.0e5 }\n";
    struct place place;
    make_place(&place);
    struct tt_state *state = open_state(&place, "one");
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_NONE);
    CU_ASSERT_PTR_NULL(tt_state_record(state)->image_before);
    write_record(state, TT_STATE_ENTERED, config);
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_ENTERED);
    tt_state_free(state);

    state = open_state(&place, "one");
    const struct tt_state_record *record = tt_state_record(state);
    CU_ASSERT_EQUAL(record->phase, TT_STATE_ENTERED);
    CU_ASSERT_STRING_EQUAL(record->image_before, "sha256:before");
    CU_ASSERT_PTR_NULL(record->image_after);
    CU_ASSERT_EQUAL(record->config.length, sizeof config - 1);
    CU_ASSERT_STRING_EQUAL((const char *)record->config.data, config);
    /* The state's own record, changed, may be written. */
    struct tt_state_record changed = *record;
    changed.phase = TT_STATE_DONE;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_state_write(state, &changed, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_DONE);
    CU_ASSERT_STRING_EQUAL((const char *)tt_state_record(state)->config.data, config);
    tt_state_free(state);
    remove_place(&place);
}

static void every_phase_comes_back(void)
{
    struct place place;
    make_place(&place);
    for (int phase = TT_STATE_ENTERING; phase <= TT_STATE_DONE; phase++) {
        struct tt_state *state = open_state(&place, "one");
        write_record(state, (enum tt_state_phase)phase, "");
        tt_state_free(state);
        state = open_state(&place, "one");
        CU_ASSERT_EQUAL(tt_state_record(state)->phase, (enum tt_state_phase)phase);
        CU_ASSERT_EQUAL(tt_state_record(state)->config.length, 0);
        tt_state_free(state);
    }
    remove_place(&place);
}

static void modes_are_private(void)
{
    struct place place;
    make_place(&place);
    mode_t old = umask(0);
    struct tt_state *state = open_state(&place, "one");
    write_record(state, TT_STATE_ENTERED, "{}");
    umask(old);
    char path[512];
    struct stat facts;
    snprintf(path, sizeof path, "%s/one.json", place.session);
    CU_ASSERT_EQUAL(stat(path, &facts), 0);
    CU_ASSERT_EQUAL(facts.st_mode & 07777, 0600);
    snprintf(path, sizeof path, "%s/one.lock", place.session);
    CU_ASSERT_EQUAL(stat(path, &facts), 0);
    CU_ASSERT_EQUAL(facts.st_mode & 07777, 0600);
    CU_ASSERT_EQUAL(stat(place.session, &facts), 0);
    CU_ASSERT_EQUAL(facts.st_mode & 07777, 0700);
    CU_ASSERT_EQUAL(stat(place.folder, &facts), 0);
    CU_ASSERT_EQUAL(facts.st_mode & 07777, 0700);
    tt_state_free(state);
    CU_ASSERT_TRUE(exists(place.session, "one.json"));
    CU_ASSERT_FALSE(exists(place.session, "one.lock"));
    remove_place(&place);
}

static void a_second_run_is_refused(void)
{
    struct place place;
    make_place(&place);
    struct tt_state *state = open_state(&place, "one");
    expect_refused(&place, place.folder, "one", TT_WRONG_STOP,
                   "another run works on this train at this station ('one'); let it end first");
    struct tt_state *other = open_state(&place, "two");
    pid_t child = fork();
    if (child == 0) {
        struct tt_state *mine = NULL;
        struct tt_error err = TT_ERROR_INIT;
        _exit((int)tt_state_open(place.folder, place.session_id, "one", &mine, &err));
    }
    int outcome = 0;
    CU_ASSERT_EQUAL(waitpid(child, &outcome, 0), child);
    CU_ASSERT_TRUE(WIFEXITED(outcome) && WEXITSTATUS(outcome) == TT_WRONG_STOP);
    tt_state_free(other);
    write_record(state, TT_STATE_ENTERED, "{}"); /* the refused runs took nothing away */
    tt_state_free(state);
    state = open_state(&place, "one");
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_ENTERED);
    tt_state_free(state);
    remove_place(&place);
}

static void a_killed_run_leaves_no_lock(void)
{
    struct place place;
    make_place(&place);
    pid_t child = fork();
    if (child == 0) {
        struct tt_state *mine = NULL;
        struct tt_error err = TT_ERROR_INIT;
        _exit((int)tt_state_open(place.folder, place.session_id, "one", &mine, &err)); /* and nothing is freed */
    }
    int outcome = 0;
    CU_ASSERT_EQUAL(waitpid(child, &outcome, 0), child);
    CU_ASSERT_TRUE(exists(place.session, "one.lock"));
    tt_state_free(open_state(&place, "one"));
    CU_ASSERT_FALSE(exists(place.session, ""));
    remove_place(&place);
}

static void nothing_written_leaves_nothing(void)
{
    struct place place;
    make_place(&place);
    tt_state_free(open_state(&place, "one"));
    CU_ASSERT_FALSE(exists(place.root, "deep"));
    CU_ASSERT_TRUE(exists(place.root, ""));

    CU_ASSERT_EQUAL(mkdir(place.folder, 0700), -1);
    put_file(&place, "other.json", "x");
    tt_state_free(open_state(&place, "one"));
    CU_ASSERT_TRUE(exists(place.session, "other.json"));
    CU_ASSERT_FALSE(exists(place.session, "one.lock"));

    struct tt_state *state = open_state(&place, "one");
    write_record(state, TT_STATE_ENTERING, "{}");
    write_record(state, TT_STATE_NONE, "");
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_NONE);
    CU_ASSERT_FALSE(exists(place.session, "one.json"));
    tt_state_free(state);
    remove_place(&place);
}

/* Runs that open, write and take back all at once: the lock holds, and none of them trips over another. */
static void runs_do_not_trip_over_each_other(void)
{
    enum { RUNS = 4, ROUNDS = 300 };
    struct place place;
    make_place(&place);
    pid_t children[RUNS];
    for (int run = 0; run < RUNS; run++) {
        children[run] = fork();
        if (children[run] != 0)
            continue;
        for (int round = 0; round < ROUNDS; round++) {
            struct tt_state *state = NULL;
            struct tt_error err = TT_ERROR_INIT;
            enum tt_status status =
                tt_state_open(place.folder, place.session_id, run % 2 ? "one" : "two", &state, &err);
            if (status != TT_OK && status != TT_WRONG_STOP) {
                fprintf(stderr, "%s (%s)\n", err.message, err.detail);
                _exit(1);
            }
            char guard[512];
            snprintf(guard, sizeof guard, "%s/guard-%d", place.root, run % 2);
            int descriptor = state ? open(guard, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600) : -1;
            if (state && (descriptor < 0 || close(descriptor) != 0 || unlink(guard) != 0))
                _exit(2);
            tt_state_free(state);
        }
        _exit(0);
    }
    for (int run = 0; run < RUNS; run++) {
        int outcome = -1;
        CU_ASSERT_EQUAL(waitpid(children[run], &outcome, 0), children[run]);
        CU_ASSERT_EQUAL(outcome, 0);
    }
    CU_ASSERT_FALSE(exists(place.session, ""));
    remove_place(&place);
}

static void stations_become_file_names(void)
{
    static const struct {
        const char *station;
        const char *name;
    } cases[] = {{"Station_1-a~b.c", "Station_1-a~b.c.json"}, {".", "%2E.json"},         {"..", "%2E..json"},
                 {"../../etc", "%2E.%2F..%2Fetc.json"},       {"a b%", "a%20b%25.json"}, {"\xc3\xbc", "%C3%BC.json"}};
    struct place place;
    make_place(&place);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_state *state = open_state(&place, cases[i].station);
        write_record(state, TT_STATE_DONE, "{}");
        CU_ASSERT_TRUE(exists(place.session, cases[i].name));
        tt_state_free(state);
        state = open_state(&place, cases[i].station);
        CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_DONE);
        tt_state_free(state);
    }
    char station[129];
    memset(station, 'a', 128);
    station[128] = '\0';
    tt_state_free(open_state(&place, station));
    memset(station, '/', 128);
    expect_refused(&place, place.folder, station, TT_STORE, "too long for a file name");
    expect_refused(&place, place.folder, "", TT_STORE, "is empty or too long");
    remove_place(&place);
}

static void folders_of_others_are_refused(void)
{
    struct place place;
    make_place(&place);
    char path[128];
    snprintf(path, sizeof path, "%s/link", place.root);
    CU_ASSERT_EQUAL(symlink(place.root, path), 0);
    expect_refused(&place, path, "one", TT_STORE, "/link is a symbolic link; name the folder that it leads to");
    strcat(path, "//");
    expect_refused(&place, path, "one", TT_STORE, "/link is a symbolic link");
    snprintf(path, sizeof path, "%s/nowhere", place.root);
    CU_ASSERT_EQUAL(symlink("/nonexistent/traintoken", path), 0);
    expect_refused(&place, path, "one", TT_STORE, "broken symbolic link");
    CU_ASSERT_EQUAL(chmod(place.root, 0770), 0);
    expect_refused(&place, place.root, "one", TT_STORE, "run: chmod go-w ");
    CU_ASSERT_FALSE(exists(place.root, "trains"));
    CU_ASSERT_EQUAL(chmod(place.root, 0702), 0);
    expect_refused(&place, place.root, "one", TT_STORE, "others may write to the folder");
    CU_ASSERT_EQUAL(chmod(place.root, 0755), 0);
    snprintf(path, sizeof path, "%s/trains", place.root);
    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    CU_ASSERT_EQUAL(chmod(path, 0777), 0);
    expect_refused(&place, place.root, "one", TT_STORE, "/trains; run: chmod go-w ");
    if (geteuid() == 0) {
        CU_ASSERT_EQUAL(chmod(path, 0700), 0);
        CU_ASSERT_EQUAL(chown(path, 12345, 12345), 0);
        expect_refused(&place, place.root, "one", TT_STORE, "/trains belongs to user 12345, not to user 0");
    }
    expect_refused(&place, "", "one", TT_USAGE, "is empty");
    snprintf(path, sizeof path, "%s/file", place.root);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fclose(file);
    expect_refused(&place, path, "one", TT_STORE, "cannot make the folder ");
    remove_place(&place);
}

static void broken_records_are_refused(void)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "the document ends"},
        {"{\"version\":1", "ends where"},
        {"{}", "it has no version number"},
        {"[]", "it has no version number"},
        {"{\"version\":2}", "its version is 2, and this traintoken knows 1"},
        {"{\"version\":1}", "session_id is missing or is not a string"},
        {"{\"version\":1,\"session_id\":\"00\",\"station\":\"one\"}", "it tells of another train or station"},
        {"{\"version\":1,\"session_id\":\"%s\",\"station\":\"two\"}", "it tells of another train or station"},
        {"{\"version\":1,\"session_id\":\"%s\",\"station\":\"one\",\"phase\":\"odd\"}",
         "phase is 'odd', which is none"},
        {"{\"version\":1,\"session_id\":\"%s\",\"station\":\"one\",\"phase\":\"done\"}", "config is missing"},
        {"{\"version\":1,\"session_id\":\"%s\",\"station\":\"one\",\"phase\":\"done\",\"config\":\"\",\"image_after\":"
         "1}",
         "image_after is missing or is not a string"},
    };
    struct place place;
    make_place(&place);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *session = strrchr(place.session, '/') + 1;
        char text[512];
        const char *gap = strstr(cases[i].text, "%s");
        snprintf(text, sizeof text, "%.*s%s%s", gap ? (int)(gap - cases[i].text) : 400, cases[i].text,
                 gap ? session : "", gap ? gap + 2 : "");
        put_file(&place, "one.json", text);
        expect_refused(&place, place.folder, "one", TT_STORE, cases[i].words);
        expect_refused(&place, place.folder, "one", TT_STORE, "/one.json, cannot be used");
        CU_ASSERT_TRUE(exists(place.session, "one.json"));
        CU_ASSERT_FALSE(exists(place.session, "one.lock"));
    }
    remove_place(&place);
}

static void what_cannot_be_kept_is_refused(void)
{
    struct place place;
    make_place(&place);
    struct tt_state *state = open_state(&place, "one");
    write_record(state, TT_STATE_ENTERED, "{}");
    struct tt_state_record record = {.phase = TT_STATE_DONE};
    uint8_t with_nul[] = "a\0b";
    record.config = (struct tt_buffer){.data = with_nul, .length = 3};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_state_write(state, &record, &err), TT_INTERNAL);
    uint8_t not_utf8[] = "\xff";
    record.config = (struct tt_buffer){.data = not_utf8, .length = 1};
    CU_ASSERT_NOT_EQUAL(tt_state_write(state, &record, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_ENTERED);
    tt_state_free(state);
    state = open_state(&place, "one");
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_ENTERED);
    tt_state_free(state);
    remove_place(&place);
}

/* A limit on file sizes stands for a full disk. */
static void a_failed_write_changes_nothing(void)
{
    struct place place;
    make_place(&place);
    struct tt_state *state = open_state(&place, "old");
    write_record(state, TT_STATE_ENTERED, "{}");
    tt_state_free(state);

    struct rlimit limit;
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const struct rlimit small = {.rlim_cur = 100, .rlim_max = limit.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &small), 0);
    static const char *const stations[] = {"old", "new"};
    for (size_t i = 0; i < 2; i++) {
        const struct tt_state_record record = {.phase = TT_STATE_DONE};
        struct tt_error err = TT_ERROR_INIT;
        state = open_state(&place, stations[i]);
        CU_ASSERT_EQUAL(tt_state_write(state, &record, &err), TT_STORE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the station's memory in "));
        CU_ASSERT_EQUAL(tt_state_record(state)->phase, i == 0 ? TT_STATE_ENTERED : TT_STATE_NONE);
        tt_state_free(state);
    }
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, handler);

    state = open_state(&place, "old");
    CU_ASSERT_EQUAL(tt_state_record(state)->phase, TT_STATE_ENTERED);
    CU_ASSERT_FALSE(exists(place.session, "new.json"));
    CU_ASSERT_FALSE(exists(place.session, ".new.json.traintoken"));
    CU_ASSERT_FALSE(exists(place.session, ".old.json.traintoken"));
    tt_state_free(state);
    remove_place(&place);
}

static void expect_default(const char *expected)
{
    char *folder = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_state_default_folder(&folder, &err), expected ? TT_OK : TT_USAGE);
    if (expected && folder)
        CU_ASSERT_STRING_EQUAL(folder, expected);
    free(folder);
}

static void there_is_a_default_folder(void)
{
    bool root = geteuid() == 0;
    setenv("TRAINTOKEN_STATE", "/named/here", 1);
    setenv("XDG_STATE_HOME", "/xdg", 1);
    setenv("HOME", "/home/x", 1);
    expect_default("/named/here");
    setenv("TRAINTOKEN_STATE", "", 1);
    expect_default(root ? "/var/lib/traintoken" : "/xdg/traintoken");
    setenv("XDG_STATE_HOME", "relative", 1);
    expect_default(root ? "/var/lib/traintoken" : "/home/x/.local/state/traintoken");
    unsetenv("HOME");
    expect_default(root ? "/var/lib/traintoken" : NULL);
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"a record comes back", a_record_comes_back},
        {"every phase comes back", every_phase_comes_back},
        {"modes are private", modes_are_private},
        {"a second run is refused", a_second_run_is_refused},
        {"a killed run leaves no lock", a_killed_run_leaves_no_lock},
        {"nothing written leaves nothing", nothing_written_leaves_nothing},
        {"runs do not trip over each other", runs_do_not_trip_over_each_other},
        {"stations become file names", stations_become_file_names},
        {"folders of others are refused", folders_of_others_are_refused},
        {"broken records are refused", broken_records_are_refused},
        {"what cannot be kept is refused", what_cannot_be_kept_is_refused},
        {"a failed write changes nothing", a_failed_write_changes_nothing},
        {"there is a default folder", there_is_a_default_folder},
    };
    return SUITE_RUN("state", tests);
}
