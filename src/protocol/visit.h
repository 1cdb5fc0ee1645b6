/* A train opened in its image: configuration, keys and the two sets of files, with the rules for what may be there. */
#ifndef TT_PROTOCOL_VISIT_H
#define TT_PROTOCOL_VISIT_H

#include <stdbool.h>

#include "image/image.h"
#include "protocol/keys.h"
#include "train/train.h"

struct visit {
    struct tt_image *image;
    struct tt_train *train; /* the configuration in the image */
    struct train_keys keys;
    struct tt_file_set *definition;
    struct tt_file_set *results; /* NULL with VISIT_RESULTS_LATER */
};

enum visit_results {
    VISIT_RESULTS_READ,   /* to be read, more than once and in any order */
    VISIT_RESULTS_LISTED, /* a listing, without the contents */
    VISIT_RESULTS_LATER   /* the caller streams them */
};

/* Opens the image, parses its configuration and keys, lists definition and results. TT_MALFORMED when it is no train.
 * The rules for files are definition_check's and results_check's (file_rules.c). */
TT_MUST_USE enum tt_status visit_open(const char *reference, const char *platform, enum visit_results results,
                                      struct visit *ret_visit, struct tt_error *err);
/* The same for an image that is open. It is the visit's from here on, whatever happens. */
TT_MUST_USE enum tt_status visit_image(struct tt_image *image, enum visit_results results, struct visit *ret_visit,
                                       struct tt_error *err);
void visit_clear(struct visit *visit);

/* Whether the definition lies in the image as plaintext: pre-run was here, and perhaps the train's code. */
TT_MUST_USE enum tt_status visit_is_decrypted(const struct visit *visit, bool *ret_is_decrypted, struct tt_error *err);

/* Reads and parses the configuration of an image. TT_MALFORMED when it is missing, too large or no configuration,
 * TT_TAMPERED when it is no regular file. */
TT_MUST_USE enum tt_status visit_read_train(struct tt_image *image, struct tt_train **ret_train, struct tt_error *err);

/* The same of a tar with train_config.json and pht_results/, as the creator gets it. */
TT_MUST_USE enum tt_status visit_read_tar(const char *tar, struct tt_train **ret_train, struct tt_error *err);

/* Which entries of the definition's file set belong to the train. */
struct definition_files {
    bool *taken;     /* per entry; the others never reach a new state of the image */
    size_t left_out; /* files that are not taken */
};

void definition_files_clear(struct definition_files *files);

enum definition_moment {
    DEFINITION_ARRIVES, /* encrypted */
    DEFINITION_RAN      /* decrypted */
};

/* docs/protocol.md, 5.6: only files and folders; every file is in file_list or is the query; every listed
 * file is there. But what a Python interpreter leaves in folders named __pycache__ is left out instead of refused.
 * `ret_files` may be NULL. TT_TAMPERED names the file. */
TT_MUST_USE enum tt_status definition_check(const struct tt_train *train, const struct tt_file_set *files,
                                            enum definition_moment moment, struct definition_files *ret_files,
                                            struct tt_error *err);

/* docs/protocol.md, 5.7: only files, folders and links that stay inside. `encrypted`: files have sizes that encrypted
 * ones can have. `first_stop`: nothing but folders. TT_TAMPERED names the file. */
TT_MUST_USE enum tt_status results_check(const struct tt_file_set *files, bool encrypted, bool first_stop,
                                         struct tt_error *err);

/* What results_check says of one entry without knowing the others: the folder itself is one, and nothing is a device,
 * pipe or socket. */
TT_MUST_USE enum tt_status results_check_entry(const struct tt_entry *entry, struct tt_error *err);

#endif
