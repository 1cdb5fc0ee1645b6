#include "provisioning/key_export.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/hex.h"
#include "crypto/public_key.h"

enum { PUBLIC_LIMIT = 4096 };

enum tt_status tt_export_format_parse(const char *name, enum tt_export_format *ret_format, struct tt_error *err)
{
    static const char *const names[] = {"pem", "der", "hex", "fingerprint", "request", "certificate"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) {
            *ret_format = (enum tt_export_format)i;
            return TT_OK;
        }
    return tt_error_set(err, TT_USAGE, "--format takes pem, der, hex, fingerprint, request or certificate, not '%.64s'",
                        name);
}

/* Finding it. */

static enum tt_status take_candidate(struct tt_session *session, const struct tt_pkcs11_uri *uri,
                                     CK_OBJECT_HANDLE handle, EVP_PKEY **found, struct tt_error *err)
{
    struct tt_key_object object TT_CLEANUP(tt_key_object_clear) = {0};
    enum tt_status status = tt_key_read(session, handle, &object, err);
    if (status != TT_OK || !object.public_half ||
        !tt_uri_matches_object(uri, object.label, object.id, object.id_length))
        return status;
    if (*found && !tt_public_key_equal(*found, object.public_half))
        return tt_error_set(err, TT_TOKEN,
                            "the token shows several public keys that the URI names; say more of the one that is "
                            "meant (traintoken key list tells label and id)");
    if (!*found)
        *found = TT_TAKE(object.public_half);
    return TT_OK;
}

enum tt_status tt_export_find(struct tt_session *session, const struct tt_pkcs11_uri *uri, EVP_PKEY **ret_key,
                              struct tt_error *err)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}};
    CK_OBJECT_HANDLE *handles TT_CLEANUP(tt_free_cleanup) = calloc(PUBLIC_LIMIT, sizeof *handles);
    EVP_PKEY *found TT_CLEANUP(tt_evp_pkey_cleanup) = NULL;
    size_t count = 0;
    if (!handles)
        return tt_error_memory(err);
    enum tt_status status = tt_objects_find(session, template, 1, handles, PUBLIC_LIMIT, &count, err);
    for (size_t i = 0; status == TT_OK && i < count; i++)
        status = take_candidate(session, uri, handles[i], &found, err);
    if (status == TT_OK)
        *ret_key = TT_TAKE(found);
    return status;
}

/* The public half. */

static enum tt_status put_der(const EVP_PKEY *key, struct tt_buffer *ret_text, struct tt_error *err)
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY((EVP_PKEY *)key, &der);
    enum tt_status status = length > 0 ? tt_buffer_append(ret_text, der, (size_t)length, err) : tt_error_memory(err);
    OPENSSL_free(der);
    return status;
}

enum tt_status tt_export_public(const EVP_PKEY *key, enum tt_export_format format, struct tt_buffer *ret_text,
                                struct tt_error *err)
{
    char *pem TT_CLEANUP(tt_free_cleanup) = NULL;
    char *hex TT_CLEANUP(tt_free_cleanup) = NULL;
    char fingerprint[TT_FINGERPRINT_SIZE];
    /* Exponent 1, for instance, is a key that everybody has. */
    enum tt_status status = tt_public_key_check(key, "the public key that the token shows", err);
    if (status == TT_OK)
        status = tt_public_key_pem(key, &pem, err);
    if (status == TT_OK && !(hex = tt_hex_new((const uint8_t *)pem, strlen(pem))))
        status = tt_error_memory(err);
    if (status == TT_OK)
        status = tt_public_key_fingerprint(key, fingerprint, err);
    if (status != TT_OK)
        return status;
    switch (format) {
    case TT_EXPORT_PEM:
        return tt_buffer_append(ret_text, pem, strlen(pem), err);
    case TT_EXPORT_DER:
        return put_der(key, ret_text, err);
    case TT_EXPORT_HEX:
        return tt_buffer_append(ret_text, hex, strlen(hex), err);
    case TT_EXPORT_FINGERPRINT:
        return tt_buffer_append(ret_text, fingerprint, strlen(fingerprint), err);
    case TT_EXPORT_REQUEST:
    case TT_EXPORT_CERTIFICATE:
        break;
    }
    return tt_error_set(err, TT_INTERNAL, "this form needs the private key");
}

/* What the key signs. */

static void request_cleanup(X509_REQ **request)
{
    X509_REQ_free(*request);
}

static void certificate_cleanup(X509 **certificate)
{
    X509_free(*certificate);
}

static void bio_cleanup(BIO **bio)
{
    BIO_free(*bio);
}

static void algorithm_cleanup(X509_ALGOR **algorithm)
{
    X509_ALGOR_free(*algorithm);
}

static void bits_cleanup(ASN1_BIT_STRING **bits)
{
    ASN1_BIT_STRING_free(*bits);
}

static enum tt_status no_memory(struct tt_error *err)
{
    ERR_clear_error();
    return tt_error_memory(err);
}

/* The signature of what is to be signed (`der`, which is freed), in the form that it has in both documents. */
static enum tt_status sign(struct tt_private_key *key, unsigned char *der, int length, ASN1_BIT_STRING **ret_bits,
                           enum tt_padding_by *ret_padding_by, struct tt_error *err)
{
    uint8_t signature[TT_RSA_BYTES_MAX];
    size_t size = 0;
    ASN1_BIT_STRING *bits TT_CLEANUP(bits_cleanup) = ASN1_BIT_STRING_new();
    enum tt_status status = TT_INTERNAL;
    if (length > 0 && bits)
        status = tt_private_key_sign_pkcs1(key, der, (size_t)length, signature, &size, ret_padding_by, err);
    else
        status = no_memory(err);
    OPENSSL_free(der);
    if (status != TT_OK)
        return status;
    if (ASN1_BIT_STRING_set(bits, signature, (int)size) != 1)
        return no_memory(err);
    bits->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 7);
    bits->flags |= ASN1_STRING_FLAG_BITS_LEFT; /* no bit of the last byte is unused */
    *ret_bits = TT_TAKE(bits);
    return TT_OK;
}

static X509_ALGOR *algorithm_new(void)
{
    X509_ALGOR *algorithm = X509_ALGOR_new();
    if (algorithm && X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_sha512WithRSAEncryption), V_ASN1_NULL, NULL) == 1)
        return algorithm;
    X509_ALGOR_free(algorithm);
    return NULL;
}

static enum tt_status take_text(BIO *bio, struct tt_buffer *ret_text, struct tt_error *err)
{
    char *data = NULL;
    long length = BIO_get_mem_data(bio, &data);
    return tt_buffer_append(ret_text, data, (size_t)length, err);
}

enum tt_status tt_export_request(struct tt_private_key *key, const X509_NAME *subject, struct tt_buffer *ret_text,
                                 enum tt_padding_by *ret_padding_by, struct tt_error *err)
{
    EVP_PKEY *public = tt_private_key_public(key);
    X509_REQ *request TT_CLEANUP(request_cleanup) = X509_REQ_new();
    X509_ALGOR *algorithm TT_CLEANUP(algorithm_cleanup) = algorithm_new();
    ASN1_BIT_STRING *bits TT_CLEANUP(bits_cleanup) = NULL;
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new(BIO_s_mem());
    unsigned char *der = NULL;
    if (!request || !algorithm || !bio || X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_subject_name(request, (X509_NAME *)subject) != 1 || X509_REQ_set_pubkey(request, public) != 1 ||
        X509_REQ_set1_signature_algo(request, algorithm) != 1)
        return no_memory(err);
    int length = i2d_re_X509_REQ_tbs(request, &der);
    enum tt_status status = sign(key, der, length, &bits, ret_padding_by, err);
    if (status != TT_OK)
        return status;
    X509_REQ_set0_signature(request, TT_TAKE(bits));
    if (X509_REQ_verify(request, public) != 1 || PEM_write_bio_X509_REQ(bio, request) != 1) {
        ERR_clear_error();
        return tt_error_set(err, TT_INTERNAL, "the request that was made does not verify");
    }
    return take_text(bio, ret_text, err);
}

static bool set_serial(X509 *certificate)
{
    uint8_t random[16];
    if (tt_random(random, sizeof random, NULL) != TT_OK)
        return false;
    random[0] = (uint8_t)((random[0] & 0x7F) | 0x40); /* positive, and always of the same length */
    BIGNUM *number = BN_bin2bn(random, sizeof random, NULL);
    bool done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return done;
}

static bool add_extension(X509 *certificate, int type, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, type, value);
    bool done = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static bool fill_certificate(X509 *certificate, EVP_PKEY *public, const X509_NAME *subject, unsigned days)
{
    X509_NAME *name = (X509_NAME *)subject;
    return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
           X509_time_adj_ex(X509_getm_notAfter(certificate), (int)days, 0, NULL) &&
           X509_set_subject_name(certificate, name) == 1 && X509_set_issuer_name(certificate, name) == 1 &&
           X509_set_pubkey(certificate, public) == 1 &&
           add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
           add_extension(certificate, NID_subject_key_identifier, "hash");
}

enum tt_status tt_export_certificate(struct tt_private_key *key, const X509_NAME *subject, unsigned days,
                                     struct tt_buffer *ret_text, enum tt_padding_by *ret_padding_by,
                                     struct tt_error *err)
{
    EVP_PKEY *public = tt_private_key_public(key);
    X509 *certificate TT_CLEANUP(certificate_cleanup) = X509_new();
    X509_ALGOR *algorithm TT_CLEANUP(algorithm_cleanup) = algorithm_new();
    ASN1_BIT_STRING *bits TT_CLEANUP(bits_cleanup) = NULL;
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new(BIO_s_mem());
    const ASN1_BIT_STRING *place = NULL;
    const X509_ALGOR *outer = NULL;
    unsigned char *der = NULL;
    if (!certificate || !algorithm || !bio || !fill_certificate(certificate, public, subject, days))
        return no_memory(err);
    /* OpenSSL fills these only when it holds the private key itself. */
    X509_get0_signature(&place, &outer, certificate);
    if (X509_ALGOR_copy((X509_ALGOR *)X509_get0_tbs_sigalg(certificate), algorithm) != 1 ||
        X509_ALGOR_copy((X509_ALGOR *)outer, algorithm) != 1)
        return no_memory(err);
    int length = i2d_re_X509_tbs(certificate, &der);
    enum tt_status status = sign(key, der, length, &bits, ret_padding_by, err);
    if (status != TT_OK)
        return status;
    if (ASN1_STRING_copy((ASN1_BIT_STRING *)place, bits) != 1)
        return no_memory(err);
    if (X509_verify(certificate, public) != 1 || PEM_write_bio_X509(bio, certificate) != 1) {
        ERR_clear_error();
        return tt_error_set(err, TT_INTERNAL, "the certificate that was made does not verify");
    }
    return take_text(bio, ret_text, err);
}
