/* Subjects of certificates, as people write them. */
#ifndef TT_PROVISIONING_SUBJECT_H
#define TT_PROVISIONING_SUBJECT_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "base/error.h"

/* "/CN=alpha/O=Hospital": parts C, ST, L, O, OU, CN, DC, serialNumber and emailAddress; a "/" or "\" in a value is
 * written as "\/" or "\\". There is one CN; only OU and DC come more than once. TT_USAGE. The caller frees. */
TT_MUST_USE enum tt_status tt_subject_parse(const char *text, X509_NAME **ret_name, struct tt_error *err);

static inline void tt_subject_cleanup(X509_NAME **name)
{
    X509_NAME_free(*name);
}

#endif
