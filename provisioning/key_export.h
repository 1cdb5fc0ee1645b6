/* The public half of a key in the forms that others want, and what the key signs about itself. */
#ifndef TT_PROVISIONING_KEY_EXPORT_H
#define TT_PROVISIONING_KEY_EXPORT_H

#include <openssl/x509.h>

#include "base/buffer.h"
#include "crypto/private_key.h"
#include "provisioning/object.h"

enum tt_export_format {
    TT_EXPORT_PEM,         /* SubjectPublicKeyInfo */
    TT_EXPORT_DER,         /* the same, binary */
    TT_EXPORT_HEX,         /* hexadecimal of the PEM, as in train configurations (docs/protocol.md) */
    TT_EXPORT_FINGERPRINT, /* "SHA256:..." */
    TT_EXPORT_REQUEST,     /* PKCS#10, signed by the key */
    TT_EXPORT_CERTIFICATE, /* X.509, signed by the key itself */
};

enum { TT_EXPORT_DAYS = 365, TT_EXPORT_DAYS_LIMIT = 36500 };

/* By its name on the command line. TT_USAGE. */
TT_MUST_USE enum tt_status tt_export_format_parse(const char *name, enum tt_export_format *ret_format,
                                                  struct tt_error *err);

/* The public half of the one key that the URI names, as far as the session sees it without a login: *ret_key is NULL
 * when it sees none. The caller frees. TT_TOKEN when there are several. */
TT_MUST_USE enum tt_status tt_export_find(struct tt_session *session, const struct tt_pkcs11_uri *uri,
                                          EVP_PKEY **ret_key, struct tt_error *err);

/* The first four formats. Text ends with a newline, but for TT_EXPORT_HEX and TT_EXPORT_FINGERPRINT. */
TT_MUST_USE enum tt_status tt_export_public(const EVP_PKEY *key, enum tt_export_format format,
                                            struct tt_buffer *ret_text, struct tt_error *err);

/* Both are PEM, signed with RSASSA-PKCS1-v1_5 and SHA-512, checked before they are handed out. */
TT_MUST_USE enum tt_status tt_export_request(struct tt_private_key *key, const X509_NAME *subject,
                                             struct tt_buffer *ret_text, enum tt_padding_by *ret_padding_by,
                                             struct tt_error *err);
/* `days`: how long it is valid from now on, 1 to TT_EXPORT_DAYS_LIMIT. */
TT_MUST_USE enum tt_status tt_export_certificate(struct tt_private_key *key, const X509_NAME *subject, unsigned days,
                                                 struct tt_buffer *ret_text, enum tt_padding_by *ret_padding_by,
                                                 struct tt_error *err);

#endif
