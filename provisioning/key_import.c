#include "provisioning/key_import.h"

#include <openssl/core_names.h>
#include <openssl/sha.h>
#include <string.h>

#include "base/interrupt.h"
#include "crypto/public_key.h"
#include "pkcs11/ckr.h"

enum { NUMBERS = 8 };

/* The key's numbers as Cryptoki wants them; the first two are public. */
static const struct {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
} numbers[NUMBERS] = {
    {CKA_MODULUS, OSSL_PKEY_PARAM_RSA_N},
    {CKA_PUBLIC_EXPONENT, OSSL_PKEY_PARAM_RSA_E},
    {CKA_PRIVATE_EXPONENT, OSSL_PKEY_PARAM_RSA_D},
    {CKA_PRIME_1, OSSL_PKEY_PARAM_RSA_FACTOR1},
    {CKA_PRIME_2, OSSL_PKEY_PARAM_RSA_FACTOR2},
    {CKA_EXPONENT_1, OSSL_PKEY_PARAM_RSA_EXPONENT1},
    {CKA_EXPONENT_2, OSSL_PKEY_PARAM_RSA_EXPONENT2},
    {CKA_COEFFICIENT, OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};

struct parts {
    struct tt_secret *values[NUMBERS];
};

static void parts_clear(struct parts *parts)
{
    for (size_t i = 0; i < NUMBERS; i++)
        tt_secret_free(parts->values[i]);
}

static enum tt_status take_apart(const EVP_PKEY *key, struct parts *parts, struct tt_error *err)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; status == TT_OK && i < NUMBERS; i++) {
        BIGNUM *number = NULL;
        if (EVP_PKEY_get_bn_param(key, numbers[i].name, &number) != 1)
            status = tt_error_set(err, TT_USAGE, "the key is not a whole RSA private key");
        if (status == TT_OK)
            status = tt_secret_new((size_t)BN_num_bytes(number) + 1, &parts->values[i], err);
        if (status == TT_OK)
            parts->values[i]->length = (size_t)BN_bn2bin(number, parts->values[i]->data);
        BN_clear_free(number);
    }
    return status;
}

static CK_RV create_private(struct tt_session *session, const struct tt_key_wish *wish, const struct parts *parts,
                            bool detailed, CK_OBJECT_HANDLE *handle)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_ATTRIBUTE template[2 + NUMBERS + TT_WISH_ATTRIBUTES] = {{CKA_CLASS, &class, sizeof class},
                                                               {CKA_KEY_TYPE, &type, sizeof type}};
    CK_ULONG count = 2;
    for (size_t i = 0; i < NUMBERS; i++)
        template[count++] = (CK_ATTRIBUTE){numbers[i].type, parts->values[i]->data, parts->values[i]->length};
    tt_key_wish_attributes(wish, detailed, template, &count);
    return session->cryptoki->functions->C_CreateObject(session->handle, template, count, handle);
}

static CK_RV create_public(struct tt_session *session, const struct tt_key_wish *wish, const struct parts *parts,
                           CK_OBJECT_HANDLE *handle)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_TOKEN, &yes, sizeof yes},
                               {CKA_PRIVATE, &no, sizeof no},
                               {CKA_ENCRYPT, &yes, sizeof yes},
                               {CKA_VERIFY, &yes, sizeof yes},
                               {CKA_LABEL, (void *)wish->label, strlen(wish->label)},
                               {CKA_ID, (void *)wish->id, wish->id_length},
                               {CKA_MODULUS, parts->values[0]->data, parts->values[0]->length},
                               {CKA_PUBLIC_EXPONENT, parts->values[1]->data, parts->values[1]->length}};
    return session->cryptoki->functions->C_CreateObject(session->handle, template, sizeof template / sizeof template[0],
                                                        handle);
}

static enum tt_status create(struct tt_session *session, const struct tt_key_wish *wish, const struct parts *parts,
                             struct tt_key_pair *pair, struct tt_error *err)
{
    char *token TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    if (!token)
        return tt_error_memory(err);
    CK_RV outcome = create_private(session, wish, parts, true, &pair->private_key);
    if (outcome == CKR_ATTRIBUTE_TYPE_INVALID || outcome == CKR_ATTRIBUTE_VALUE_INVALID ||
        outcome == CKR_ATTRIBUTE_READ_ONLY || outcome == CKR_TEMPLATE_INCONSISTENT)
        outcome = create_private(session, wish, parts, false, &pair->private_key);
    if (outcome != CKR_OK) {
        pair->private_key = CK_INVALID_HANDLE; /* a failing token may have written anything there */
        return tt_ckr_error(outcome, err,
                            "token '%s' does not take this private key from outside; many tokens take none: make the "
                            "key in it (traintoken key generate)",
                            token);
    }
    outcome = create_public(session, wish, parts, &pair->public_key);
    if (outcome == CKR_OK)
        return TT_OK;
    pair->public_key = CK_INVALID_HANDLE;
    return tt_ckr_error(outcome, err, "token '%s' does not take the public half of the key", token);
}

enum tt_status tt_key_import(struct tt_session *session, const struct tt_key_wish *wish, const EVP_PKEY *key,
                             const struct tt_secret *pin, struct tt_key_object *ret_key, struct tt_key_probe *ret_probe,
                             struct tt_error *err)
{
    struct parts parts TT_CLEANUP(parts_clear) = {0};
    struct tt_key_object made TT_CLEANUP(tt_key_object_clear) = {0};
    struct tt_key_wish named = *wish;
    struct tt_key_pair pair = {0};
    uint8_t id[SHA_DIGEST_LENGTH];
    enum tt_status status = take_apart(key, &parts, err);
    if (status == TT_OK && !named.id) {
        SHA1(parts.values[0]->data, parts.values[0]->length, id);
        named.id = id;
        named.id_length = sizeof id;
    }
    if (status == TT_OK)
        status = tt_key_is_new(session, named.label, named.id, named.id_length, NULL, err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = create(session, &named, &parts, &pair, err);
    if (status == TT_OK)
        status = tt_key_accept(session, &pair, &named, tt_public_key_bits(key), false, pin, &made, ret_probe, err);
    if (status == TT_OK && !tt_public_key_equal(made.public_half, key))
        status = tt_error_set(err, TT_TOKEN, "the token holds another key than the one that was given to it");
    if (status != TT_OK) {
        if (pair.private_key != CK_INVALID_HANDLE)
            tt_key_pair_remove(session, &pair, &named, pin);
        return status;
    }
    *ret_key = made;
    made = (struct tt_key_object){0};
    return TT_OK;
}
