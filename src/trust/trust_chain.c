#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "trust/trust_inside.h"

/* Keys and signatures of a chain are worth at least 112 bits: RSA-2048, no SHA-1. */
enum { CHAIN_LEVEL = 2 };

/* Whether a part of the subject is this text, whatever its encoding. */
static bool part_is(const X509_NAME *subject, int at, const char *text)
{
    unsigned char *utf8 = NULL;
    int length = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    bool same = length >= 0 && (size_t)length == strlen(text) && memcmp(utf8, text, (size_t)length) == 0;
    OPENSSL_free(utf8);
    return same;
}

/* The one CN is the id, and an OU is the role. */
static bool subject_names(const X509 *certificate, enum tt_trust_role role, const char *id)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int name = X509_NAME_get_index_by_NID((X509_NAME *)subject, NID_commonName, -1);
    if (name < 0 || X509_NAME_get_index_by_NID((X509_NAME *)subject, NID_commonName, name) >= 0)
        return false;
    if (!part_is(subject, name, id))
        return false;
    for (int unit = -1;
         (unit = X509_NAME_get_index_by_NID((X509_NAME *)subject, NID_organizationalUnitName, unit)) >= 0;)
        if (part_is(subject, unit, tt_trust_role_name(role)))
            return true;
    return false;
}

/* A subjectAltName URI "urn:traintoken:ROLE:ID", the id percent-encoded. */
static bool alternative_names(const X509 *certificate, enum tt_trust_role role, const char *id)
{
    struct tt_buffer urn TT_CLEANUP(tt_buffer_clear) = {0};
    bool found = false;
    if (tt_buffer_printf(&urn, NULL, "urn:traintoken:%s:", tt_trust_role_name(role)) != TT_OK ||
        !tt_file_name_encode(id, 3 * strlen(id), &urn))
        return false;
    GENERAL_NAMES *names = X509_get_ext_d2i((X509 *)certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
        found = found || ((size_t)ASN1_STRING_length(uri) == urn.length &&
                          memcmp(ASN1_STRING_get0_data(uri), urn.data, urn.length) == 0);
    }
    GENERAL_NAMES_free(names);
    return found;
}

bool trust_certificate_names(const X509 *certificate, enum tt_trust_role role, const char *id)
{
    bool names = subject_names(certificate, role, id) || alternative_names(certificate, role, id);
    ERR_clear_error();
    return names;
}

static void store_cleanup(X509_STORE **store)
{
    X509_STORE_free(*store);
}

static void context_cleanup(X509_STORE_CTX **context)
{
    X509_STORE_CTX_free(*context);
}

/* The authorities of this time, and no others: none of the system's. */
static X509_STORE *authorities(const struct tt_trust *trust, time_t now)
{
    X509_STORE *store TT_CLEANUP(store_cleanup) = X509_STORE_new();
    for (size_t i = 0; store && i < trust->count; i++) {
        const struct trust_item *item = &trust->items[i];
        bool holds = item->entry.kind == TT_TRUST_AUTHORITY && item->entry.from <= now && now < item->entry.until;
        if (holds && X509_STORE_add_cert(store, item->certificate) != 1)
            return NULL;
    }
    return TT_TAKE(store);
}

enum tt_status trust_chain_check(const struct tt_trust *trust, const struct trust_item *item, time_t now,
                                 struct tt_error *err)
{
    X509_STORE *store TT_CLEANUP(store_cleanup) = authorities(trust, now);
    X509_STORE_CTX *context TT_CLEANUP(context_cleanup) = X509_STORE_CTX_new();
    if (!store || !context || X509_STORE_CTX_init(context, store, item->certificate, item->more) != 1)
        return tt_error_memory(err);
    X509_VERIFY_PARAM *how = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(how, now);
    X509_VERIFY_PARAM_set_depth(how, TRUST_CERTIFICATE_LIMIT);
    X509_VERIFY_PARAM_set_auth_level(how, CHAIN_LEVEL);
    /* What is in the store of authorities is one, whether somebody else signed it or not. */
    if (X509_VERIFY_PARAM_set_flags(how, X509_V_FLAG_PARTIAL_CHAIN) != 1 ||
        X509_VERIFY_PARAM_set_purpose(how, X509_PURPOSE_ANY) != 1)
        return tt_error_memory(err);
    bool holds = X509_verify_cert(context) == 1;
    ERR_clear_error();
    if (holds)
        return TT_OK;
    return tt_error_set(err, TT_UNTRUSTED, "no authority of the store stands for the certificate %s now: %s",
                        item->entry.path, X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
}
