/* Inside src/trust: a file of the store, and the store in memory. */
#ifndef TT_TRUST_TRUST_INSIDE_H
#define TT_TRUST_TRUST_INSIDE_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "trust/trust.h"

enum {
    TRUST_FILE_LIMIT = 65536,      /* bytes of a file */
    TRUST_STORE_LIMIT = 10000,     /* files of a store */
    TRUST_CERTIFICATE_LIMIT = 8,   /* certificates of a file, and of a chain */
    TRUST_FOLDER_NAME_LIMIT = 250, /* bytes of an id as a folder's name */
};

/* --- trust_file.c --- */

/* What a file says: a bare key, or certificates. Starts zeroed. */
struct trust_file {
    EVP_PKEY *key;         /* the bare one, or the first certificate's */
    X509 *certificate;     /* NULL for a bare key */
    STACK_OF(X509) * more; /* certificates that follow it; NULL for none */
    int64_t from, until;   /* as its text says, and the certificate */
};
void trust_file_clear(struct trust_file *file);

enum trust_form {
    TRUST_FILE_OURS,   /* of the store: a line that is not understood is a mistake in it */
    TRUST_FILE_OTHERS, /* from elsewhere: such lines are passed over */
};

/* TT_MALFORMED, naming `what`. */
TT_MUST_USE enum tt_status trust_file_parse(const void *text, size_t length, enum trust_form form, const char *what,
                                            struct trust_file *ret_file, struct tt_error *err);
/* The same as text for the store. `remark` may be NULL. */
TT_MUST_USE enum tt_status trust_file_write(const struct trust_file *file, int64_t from, int64_t until,
                                            const char *remark, struct tt_buffer *text, struct tt_error *err);

/* The subject on a line, in new memory; NULL out of memory. */
char *trust_subject(const X509 *certificate);

/* The same failure, seen from further up. */
static inline enum tt_status trust_restatus(struct tt_error *err, enum tt_status status)
{
    if (err)
        err->status = status;
    return status;
}

/* --- trust_folder.c --- */

struct trust_item {
    struct tt_trust_entry entry;
    X509 *certificate;     /* NULL for a bare key */
    STACK_OF(X509) * more; /* its helpers on the way to an authority; may be NULL */
};
void trust_item_clear(struct trust_item *item);

struct tt_trust {
    char *folder;
    bool is_there;
    struct trust_item *items;
    size_t count;
};

/* Opens a folder of the store, or the store itself, and checks who may write to it. -1 in *ret_descriptor where there
 * is none. TT_UNTRUSTED. */
TT_MUST_USE enum tt_status trust_folder_open(int parent, const char *name, const char *path, int *ret_descriptor,
                                             struct tt_error *err);

/* Without slashes at the end. TT_USAGE when nothing is left. */
TT_MUST_USE enum tt_status trust_folder_name(const char *folder, char **ret_name, struct tt_error *err);

/* What an item of this kind must be besides: an authority is one, others have keys of the protocol. TT_MALFORMED. */
TT_MUST_USE enum tt_status trust_item_make(enum tt_trust_kind kind, struct trust_file *file, const char *what,
                                           struct trust_item *ret_item, struct tt_error *err);

/* "creators", "stations", "authorities" or "certificates". */
const char *trust_folder_of(enum tt_trust_kind kind, enum tt_trust_role role);

/* --- trust_chain.c --- */

/* Whether the certificate's subject gives this id and role (docs/trust.md, "Certificates"). */
bool trust_certificate_names(const X509 *certificate, enum tt_trust_role role, const char *id);

/* Whether the store's authorities stand for a certificate now. TT_UNTRUSTED says why not. */
TT_MUST_USE enum tt_status trust_chain_check(const struct tt_trust *trust, const struct trust_item *item, time_t now,
                                             struct tt_error *err);

#endif
