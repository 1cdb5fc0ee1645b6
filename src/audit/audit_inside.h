/* What the files of this folder share: one line of a trail, its chain, and a trail's end. */
#ifndef TT_AUDIT_AUDIT_INSIDE_H
#define TT_AUDIT_AUDIT_INSIDE_H

#include "audit/audit.h"
#include "base/buffer.h"
#include "crypto/digest.h"
#include "json/json.h"

enum {
    AUDIT_EVENT_SIZE = 32,
    AUDIT_HASH_SIZE = 7 + 2 * TT_SHA256_SIZE + 1, /* "sha256:" and hexadecimal */
    AUDIT_FACT_LIMIT = 48,
    AUDIT_RUIN_LIMIT = 16 * 1024 * 1024, /* bytes without a record at a trail's end */
};

/* The highest number of a record. */
#define AUDIT_NUMBER_LIMIT (UINT64_C(1) << 62)

#define AUDIT_FIRST_EVENT "trail"
#define AUDIT_RECOVERY_EVENT "recovered"

void audit_hash_text(const uint8_t hash[TT_SHA256_SIZE], char ret_text[AUDIT_HASH_SIZE]);
bool audit_hash_parse(const char *text, uint8_t ret_hash[TT_SHA256_SIZE]);

/* --- a record that was read --- */

struct audit_line {
    cJSON *json;
    uint64_t number;
    bool has_previous; /* only the very first record of all has none */
    uint8_t previous[TT_SHA256_SIZE];
    char event[AUDIT_EVENT_SIZE];
};

/* A line without its end. TT_MALFORMED when it is no record. */
TT_MUST_USE enum tt_status audit_line_parse(const char *text, size_t length, struct audit_line *ret_line,
                                            struct tt_error *err);
void audit_line_clear(struct audit_line *line);

/* --- the chain --- */

/* Where a reader stands: after so many lines. Starts zeroed. */
struct audit_chain {
    uint64_t number;              /* of the last record */
    bool has_hash;                /* something stands before what comes next */
    uint8_t hash[TT_SHA256_SIZE]; /* of that */
    bool takes_any;               /* the first record may have any number: others come before its file */
    bool is_file_start;           /* the next line is the first of its file */
    struct tt_digest *ruin;       /* over lines that are no records; NULL outside of them */
    uint64_t ruin_bytes;
    uint64_t recoveries;
};

/* A record. TT_TAMPERED when it does not follow on what was there before; the chain goes on from it all the same. */
TT_MUST_USE enum tt_status audit_chain_record(struct audit_chain *chain, const struct audit_line *line,
                                              const char *text, size_t length, struct tt_error *err);
/* A line that is no record, in one or several pieces. */
TT_MUST_USE enum tt_status audit_chain_ruin(struct audit_chain *chain, const char *text, size_t length, bool begins,
                                            struct tt_error *err);
void audit_chain_clear(struct audit_chain *chain);

/* --- one to write --- */

/* A member, its value as JSON, and as text where it is one. */
struct audit_member {
    const char *name;
    char *value;
    char *text;
};

/* *ret_value is NULL for a fact that is left out. */
TT_MUST_USE enum tt_status audit_fact_value(const struct tt_audit_fact *fact, char **ret_value, struct tt_error *err);

/* The place of a record in the chain. */
struct audit_place {
    uint64_t number;              /* of the last record; 0 before the first */
    bool has_previous;            /* whether something stands before the next record */
    uint8_t hash[TT_SHA256_SIZE]; /* of that */
};

/* Appends the line of the next record, with its end. Members of `context` that a fact, or an earlier one of them, has
 * the name of are left out. */
TT_MUST_USE enum tt_status audit_line_make(const struct audit_place *place, const char *event,
                                           const struct tt_audit_fact *facts, size_t count,
                                           const struct audit_member *context, size_t context_count,
                                           struct tt_buffer *line, struct tt_error *err);

/* --- a trail's end --- */

struct audit_end {
    struct audit_place place;
    uint64_t size;      /* of the file */
    uint64_t ruin;      /* bytes after the last record that are none: a crash ended them; `place` has the hash */
    bool lacks_newline; /* the last byte of the file is no line's end */
};

/* Reads it, of a regular file. TT_STORE when it cannot be read or is no trail's. */
TT_MUST_USE enum tt_status audit_end_read(int descriptor, const char *path, struct audit_end *ret_end,
                                          struct tt_error *err);

/* --- the folder --- */

enum audit_folder_use { AUDIT_FOLDER_READ, AUDIT_FOLDER_WRITE, AUDIT_FOLDER_MAKE };

/* The folder of a path, opened, and the name in it; made, where that is asked. TT_STORE; also when it is to be written
 * to, and others than its user and root can put another file in the trail's place. */
TT_MUST_USE enum tt_status audit_folder_open(const char *path, enum audit_folder_use use, int *ret_folder,
                                             const char **ret_name, struct tt_error *err);
/* Opens the trail in it, to append or only to read; made when it is to be appended to and not there. TT_STORE when it
 * cannot be, is no regular file, belongs to another or may be written to by others. */
TT_MUST_USE enum tt_status audit_file_open(int folder, const char *name, const char *path, bool append,
                                           int *ret_descriptor, struct tt_error *err);
/* Locks it, waiting for a while. *ret_moved: the name leads to another file by now, which is to be opened. */
TT_MUST_USE enum tt_status audit_file_lock(int descriptor, int folder, const char *name, const char *path,
                                           bool *ret_moved, struct tt_error *err);

/* --- copies --- */

struct audit_channel {
    enum tt_audit_copy kind;
    int socket; /* journald's; -1 before it was opened */
};

/* Makes sure that records can be sent. TT_STORE. */
TT_MUST_USE enum tt_status audit_channel_open(struct audit_channel *channel, struct tt_error *err);
/* Sends a line, without its end. */
TT_MUST_USE enum tt_status audit_channel_send(struct audit_channel *channel, const char *event, const char *line,
                                              size_t length, struct tt_error *err);
void audit_channel_close(struct audit_channel *channel);

#endif
