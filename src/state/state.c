#include "state/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/text.h"
#include "state/state_inside.h"

/* What a file name may have, less what tt_file_replace puts around it while writing. */
enum { STATION_NAME_LIMIT = 230 };

struct tt_state {
    struct state_subject subject;
    struct state_folder folder;
    char *name; /* of the record in the folder */
    bool on_disk;
    struct tt_state_record record;
};

enum tt_status tt_state_default_folder(char **ret_folder, struct tt_error *err)
{
    const char *named = getenv("TRAINTOKEN_STATE");
    const char *state_home = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char *folder;
    if (named && *named)
        folder = strdup(named);
    else if (geteuid() == 0)
        folder = strdup("/var/lib/traintoken");
    else if (state_home && *state_home == '/')
        folder = tt_text_format("%s/traintoken", state_home);
    else if (home && *home == '/')
        folder = tt_text_format("%s/.local/state/traintoken", home);
    else
        return tt_error_set(err, TT_USAGE,
                            "no folder for the station's memory: HOME is not set; pass --state DIR or set "
                            "TRAINTOKEN_STATE");
    if (!folder)
        return tt_error_memory(err);
    *ret_folder = folder;
    return TT_OK;
}

static enum tt_status name_all(struct tt_state *state, const char *folder, const uint8_t *session_id,
                               const char *station, struct tt_error *err)
{
    struct tt_buffer encoded TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    if (!tt_file_name_encode(station, STATION_NAME_LIMIT, &encoded))
        return tt_error_set(err, TT_STORE, "the station id '%s' is empty or too long for a file name", station);
    size_t length = strlen(folder);
    if (length == 0)
        return tt_error_set(err, TT_USAGE, "the name of the folder for the station's memory is empty");
    while (length > 0 && folder[length - 1] == '/')
        length--;
    tt_hex_encode(session_id, STATE_SESSION_ID_SIZE, state->subject.session_id);
    state->subject.station = strdup(station);
    state->folder.root = length;
    state->folder.path = tt_text_format("%.*s/trains/%s", (int)length, folder, state->subject.session_id);
    state->folder.lock_name = tt_text_format("%s.lock", (const char *)encoded.data);
    state->name = tt_text_format("%s.json", (const char *)encoded.data);
    if (!state->subject.station || !state->folder.path || !state->folder.lock_name || !state->name)
        return tt_error_memory(err);
    return TT_OK;
}

static enum tt_status load(struct tt_state *state, struct tt_error *err)
{
    struct stat facts;
    if (fstatat(state->folder.descriptor, state->name, &facts, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT)
            return TT_OK;
        return tt_error_errno(err, TT_STORE, "cannot read %s/%s", state->folder.path, state->name);
    }
    state->on_disk = true;
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(0);
    enum tt_status status = tt_file_read(state->folder.descriptor, state->name, STATE_RECORD_LIMIT, &text, err);
    if (status == TT_MALFORMED)
        status = tt_error_set(err, TT_STORE, "it has more than %d bytes", STATE_RECORD_LIMIT);
    if (status == TT_OK)
        status = state_record_parse(&state->subject, &text, &state->record, err);
    if (status == TT_STORE)
        tt_error_context(err,
                         "the station's memory of this train, %s/%s, cannot be used (restore it, or remove it to let "
                         "the station forget the train)",
                         state->folder.path, state->name);
    return status;
}

enum tt_status tt_state_open(const char *folder, const uint8_t *session_id, const char *station,
                             struct tt_state **ret_state, struct tt_error *err)
{
    struct tt_state *state TT_CLEANUP(tt_state_free_cleanup) = calloc(1, sizeof *state);
    if (!state)
        return tt_error_memory(err);
    state->folder.descriptor = -1;
    state->folder.lock = -1;
    state->folder.kept = SIZE_MAX;
    enum tt_status status = name_all(state, folder, session_id, station, err);
    if (status == TT_OK)
        status = state_folder_open(&state->folder, station, err);
    if (status == TT_OK)
        status = load(state, err);
    if (status != TT_OK)
        return status;
    *ret_state = TT_TAKE(state);
    return TT_OK;
}

void tt_state_free(struct tt_state *state)
{
    if (!state)
        return;
    state_folder_close(&state->folder, !state->on_disk);
    tt_state_record_clear(&state->record);
    free(state->subject.station);
    free(state->name);
    free(state);
}

const struct tt_state_record *tt_state_record(const struct tt_state *state)
{
    return &state->record;
}

enum tt_status tt_state_record_copy(const struct tt_state_record *record, struct tt_state_record *ret_copy,
                                    struct tt_error *err)
{
    struct tt_state_record copy TT_CLEANUP(tt_state_record_clear) = {.phase = record->phase};
    copy.image_before = record->image_before ? strdup(record->image_before) : NULL;
    copy.image_after = record->image_after ? strdup(record->image_after) : NULL;
    if ((record->image_before && !copy.image_before) || (record->image_after && !copy.image_after))
        return tt_error_memory(err);
    enum tt_status status = tt_buffer_append(&copy.config, record->config.data, record->config.length, err);
    if (status != TT_OK)
        return status;
    *ret_copy = copy;
    copy = (struct tt_state_record){0};
    return TT_OK;
}

/* Phase TT_STATE_NONE: there is nothing to remember. */
static enum tt_status forget(struct tt_state *state, struct tt_error *err)
{
    if (unlinkat(state->folder.descriptor, state->name, 0) != 0 && errno != ENOENT)
        return tt_error_errno(err, TT_STORE, "cannot remove %s/%s", state->folder.path, state->name);
    if (fsync(state->folder.descriptor) != 0)
        return tt_error_errno(err, TT_STORE, "cannot write the folder %s to disk", state->folder.path);
    state->on_disk = false;
    tt_state_record_clear(&state->record);
    return TT_OK;
}

enum tt_status tt_state_write(struct tt_state *state, const struct tt_state_record *record, struct tt_error *err)
{
    if (record->phase == TT_STATE_NONE)
        return forget(state, err);
    struct tt_state_record copy TT_CLEANUP(tt_state_record_clear) = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = TT_BUFFER_INIT(STATE_RECORD_LIMIT);
    enum tt_status status = tt_state_record_copy(record, &copy, err);
    if (status == TT_OK)
        status = state_record_write(&state->subject, &copy, &text, err);
    if (status != TT_OK)
        return tt_error_context(err, "the station's record of this train");
    status = tt_file_replace(state->folder.descriptor, state->name, text.data, text.length, 0600, err);
    /* A failure after the rename leaves the new record there: look, rather than take back its folder. */
    state->on_disk = state->on_disk || faccessat(state->folder.descriptor, state->name, F_OK, 0) == 0;
    if (status != TT_OK)
        return tt_error_context(err, "the station's memory in %s", state->folder.path);
    struct tt_state_record old = state->record;
    state->record = copy;
    copy = old;
    return TT_OK;
}
