#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/secret.h"
#include "cli/doctor.h"
#include "cli/harden.h"
#include "state/state.h"

enum {
    SECRETS = 128 * 1024, /* more than a run locks at once */
    SESSION_ID = 64,
    LITTLE_STATE_MIB = 64,
    LITTLE_TEMPORARY_MIB = 256,
    TOLERABLE_SECONDS = 5 * 60,
    WILD_SECONDS = 24 * 60 * 60
};

static void look_at_versions(struct doctor *doctor)
{
    doctor_begin(doctor, DOCTOR_MACHINE, "versions");
    doctor_say(doctor, TT_VERDICT_OK, "traintoken %s, %s (built with %s), libp11 (built with %s)", TT_VERSION,
               OpenSSL_version(OPENSSL_VERSION), OPENSSL_VERSION_STR, TT_LIBP11_VERSION);
}

/* Secrets. */

/* The limit of before counts for what others run on this station: a train's code has plaintext in its memory too. */
static void look_at_core_dumps(struct doctor *doctor)
{
    struct rlimit limit = {0};
    doctor_begin(doctor, DOCTOR_MACHINE, "core-dumps");
    if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_max != 0 || prctl(PR_GET_DUMPABLE) != 0)
        doctor_wrong(doctor, TT_INTERNAL,
                     "core dumps of this program cannot be switched off; see what keeps setrlimit and prctl from it");
    else if (harden_core_limit() != 0)
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "traintoken switches them off for itself, but what else is started from here may leave plaintext "
                   "in one; run: ulimit -c 0 (systemd: LimitCORE=0, docker: --ulimit core=0)");
    else
        doctor_say(doctor, TT_VERDICT_OK, "off");
}

/* The library itself warns, once, where it cannot lock them: that warning is the finding. */
static void look_at_memory(struct doctor *doctor)
{
    struct tt_secret *secret TT_CLEANUP(tt_secret_free_cleanup) = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    size_t before = doctor->count;
    doctor_begin(doctor, DOCTOR_MACHINE, "locked-memory");
    if (tt_secret_new(SECRETS, &secret, &failure) != TT_OK)
        doctor_fail(doctor, &failure, NULL);
    else if (doctor->count == before)
        doctor_say(doctor, TT_VERDICT_OK, "secrets are kept out of swap and core dumps");
}

/* Folders. */

static void say_space(struct doctor *doctor, const struct statvfs *facts, const char *folder, const char *how,
                      uint64_t little_mib)
{
    char space[24];
    uint64_t bytes = (uint64_t)facts->f_bavail * facts->f_frsize;
    output_bytes(bytes, space);
    if (bytes >> 20 < little_mib)
        doctor_say(doctor, TT_VERDICT_WARNING, "%s has only %s free; make room there", folder, space);
    else
        doctor_say(doctor, TT_VERDICT_OK, "%s%s, %s free", folder, how, space);
}

/* The deepest folder on the way to `path` that is there, in new memory. */
static char *existing(const char *path)
{
    char *folder = strdup(path);
    struct stat facts;
    while (folder && stat(folder, &facts) != 0) {
        char *slash = strrchr(folder, '/');
        if (!slash) {
            free(folder);
            return strdup(".");
        }
        slash[slash == folder ? 1 : 0] = '\0';
        if (slash == folder)
            break;
    }
    return folder;
}

/* A record is begun as a run would begin it, and taken back with the folders that this made. */
static bool can_be_kept(struct doctor *doctor, const char *folder, const char *station)
{
    struct tt_state *state TT_CLEANUP(tt_state_free_cleanup) = NULL;
    struct tt_error failure = TT_ERROR_INIT;
    uint8_t session_id[SESSION_ID];
    if (RAND_bytes(session_id, sizeof session_id) != 1) {
        doctor_wrong(doctor, TT_INTERNAL, "OpenSSL gives no random bytes; see its configuration");
        return false;
    }
    if (tt_state_open(folder, session_id, station ? station : "doctor", &state, &failure) == TT_OK)
        return true;
    doctor_fail(doctor, &failure, "or name another folder with --state or TRAINTOKEN_STATE");
    return false;
}

static void look_at_state(struct doctor *doctor, const char *named, const char *station)
{
    struct tt_error failure = TT_ERROR_INIT;
    struct stat facts;
    struct statvfs space;
    char *folder TT_CLEANUP(tt_free_cleanup) = named ? strdup(named) : NULL;
    doctor_begin(doctor, DOCTOR_MACHINE, "state-folder");
    if (!named && tt_state_default_folder(&folder, &failure) != TT_OK) {
        doctor_fail(doctor, &failure, NULL);
        return;
    }
    if (!folder || !can_be_kept(doctor, folder, station))
        return;
    bool is_there = stat(folder, &facts) == 0;
    if (is_there && (facts.st_mode & (S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH)))
        doctor_say(doctor, TT_VERDICT_WARNING, "others may look into %s; run: chmod 700 %s", folder, folder);
    char *place TT_CLEANUP(tt_free_cleanup) = existing(folder);
    if (place && statvfs(place, &space) == 0)
        say_space(doctor, &space, folder, is_there ? "" : " (made when it is first needed)", LITTLE_STATE_MIB);
}

static void look_at_temporary(struct doctor *doctor)
{
    const char *named = secure_getenv("TMPDIR");
    const char *folder = named && *named ? named : "/var/tmp";
    struct tt_error failure = TT_ERROR_INIT;
    struct statvfs space;
    int file TT_CLEANUP(tt_close_cleanup) = -1;
    doctor_begin(doctor, DOCTOR_MACHINE, "temporary-folder");
    if (tt_file_unnamed(folder, &file, &failure) != TT_OK)
        doctor_fail(doctor, &failure, "or name another folder in TMPDIR");
    else if (fstatvfs(file, &space) == 0)
        say_space(doctor, &space, folder, "", LITTLE_TEMPORARY_MIB);
}

static void look_at_station(struct doctor *doctor, const char *station)
{
    doctor_begin(doctor, DOCTOR_MACHINE, "station");
    if (station)
        doctor_say(doctor, TT_VERDICT_OK, "%s", station);
    else
        doctor_say(doctor, TT_VERDICT_WARNING,
                   "no station is named; set STATION_ID to its id on trains' routes, or give it with --station");
}

void doctor_machine(struct doctor *doctor, const struct doctor_options *options)
{
    look_at_memory(doctor); /* before anything else is kept there */
    look_at_core_dumps(doctor);
    look_at_versions(doctor);
    look_at_station(doctor, options->station);
    look_at_state(doctor, options->state, options->station);
    look_at_temporary(doctor);
}

/* The clock. */

static void write_time(time_t when, char text[32])
{
    struct tm parts;
    text[0] = '\0';
    if (gmtime_r(&when, &parts))
        strftime(text, 32, "%Y-%m-%d %H:%M:%S UTC", &parts);
}

void doctor_clock(struct doctor *doctor)
{
    static const char advice[] = "set it (timedatectl set-ntp true), here or there";
    time_t now = time(NULL);
    char here[32];
    char there[32];
    doctor_begin(doctor, DOCTOR_MACHINE, "clock");
    write_time(now, here);
    if (now < (time_t)TT_BUILD_TIME - WILD_SECONDS) {
        write_time((time_t)TT_BUILD_TIME, there);
        doctor_wrong(doctor, TT_INTERNAL,
                     "it is %s by this machine's clock, before this program was built (%s); set the clock (timedatectl "
                     "set-ntp true)",
                     here, there);
        return;
    }
    if (!doctor->has_other_clock) {
        doctor_say(doctor, TT_VERDICT_OK, "%s", here);
        return;
    }
    long long apart = (long long)now - (long long)doctor->other_clock;
    apart = apart < 0 ? -apart : apart;
    write_time(doctor->other_clock, there);
    if (apart > WILD_SECONDS)
        doctor_wrong(doctor, TT_INTERNAL, "%s here, but %s by the container engine's clock; %s", here, there, advice);
    else if (apart > TOLERABLE_SECONDS)
        doctor_say(doctor, TT_VERDICT_WARNING, "%s here, but %s by the container engine's clock; %s", here, there,
                   advice);
    else
        doctor_say(doctor, TT_VERDICT_OK, "%s, as the container engine's", here);
}
