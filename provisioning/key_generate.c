#include "provisioning/key_generate.h"

#include <openssl/rand.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "pkcs11/ckr.h"

enum { RANDOM_ID = 8 };

enum tt_status tt_key_generate_check(struct tt_cryptoki *cryptoki, const struct tt_token *token, unsigned bits,
                                     struct tt_error *err)
{
    CK_MECHANISM_INFO info = {0};
    char *label TT_CLEANUP(tt_free_cleanup) = tt_token_label(token);
    if (!label)
        return tt_error_memory(err);
    CK_RV outcome = cryptoki->functions->C_GetMechanismInfo(token->slot, CKM_RSA_PKCS_KEY_PAIR_GEN, &info);
    if (outcome != CKR_OK)
        return tt_ckr_error(outcome, err, "token '%s' does not make RSA keys", label);
    bool in_bits = info.ulMaxKeySize >= 1024; /* some count in bytes, or do not say */
    if (in_bits && (bits < info.ulMinKeySize || bits > info.ulMaxKeySize))
        return tt_error_set(err, TT_TOKEN,
                            "token '%s' makes RSA keys of %lu to %lu bits, not of %u; choose with --bits", label,
                            info.ulMinKeySize, info.ulMaxKeySize, bits);
    return TT_OK;
}

/* The same wish, put in all detail or in the attributes that every token knows. */
static CK_RV ask(struct tt_session *session, const struct tt_key_wish *wish, CK_ULONG bits, bool detailed,
                 struct tt_key_pair *pair)
{
    CK_BBOOL yes = CK_TRUE;
    CK_BBOOL no = CK_FALSE;
    CK_BYTE exponent[] = {1, 0, 1};
    CK_ATTRIBUTE shown[] = {{CKA_TOKEN, &yes, sizeof yes},
                            {CKA_LABEL, (void *)wish->label, strlen(wish->label)},
                            {CKA_ID, (void *)wish->id, wish->id_length},
                            {CKA_MODULUS_BITS, &bits, sizeof bits},
                            {CKA_PUBLIC_EXPONENT, exponent, sizeof exponent},
                            {CKA_ENCRYPT, &yes, sizeof yes},
                            {CKA_VERIFY, &yes, sizeof yes},
                            {CKA_PRIVATE, &no, sizeof no},
                            {CKA_WRAP, &no, sizeof no},
                            {CKA_VERIFY_RECOVER, &no, sizeof no}};
    CK_ATTRIBUTE wanted[TT_WISH_ATTRIBUTES];
    CK_ULONG count = 0;
    tt_key_wish_attributes(wish, detailed, wanted, &count);
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    return session->cryptoki->functions->C_GenerateKeyPair(session->handle, &mechanism, shown, detailed ? 10 : 7,
                                                           wanted, count, &pair->public_key, &pair->private_key);
}

static bool is_about_template(CK_RV outcome)
{
    return outcome == CKR_ATTRIBUTE_TYPE_INVALID || outcome == CKR_ATTRIBUTE_VALUE_INVALID ||
           outcome == CKR_ATTRIBUTE_READ_ONLY || outcome == CKR_TEMPLATE_INCONSISTENT;
}

static enum tt_status make(struct tt_session *session, const struct tt_key_wish *wish, unsigned bits,
                           struct tt_key_pair *pair, struct tt_error *err)
{
    char *token TT_CLEANUP(tt_free_cleanup) = tt_token_label(&session->token);
    if (!token)
        return tt_error_memory(err);
    tt_log(TT_LOG_INFO, "token '%s' makes an RSA key of %u bits; that may take a while", token, bits);
    CK_RV outcome = ask(session, wish, bits, true, pair);
    if (is_about_template(outcome))
        outcome = ask(session, wish, bits, false, pair);
    if (outcome == CKR_OK)
        return TT_OK;
    *pair = (struct tt_key_pair){0}; /* a failing token may have written anything there */
    bool special = wish->always_authenticate || wish->allowed_count > 0;
    return tt_ckr_error(outcome, err, "token '%s' does not make such a key%s", token,
                        is_about_template(outcome) && special
                            ? " (it may not know --always-authenticate or --allow-mechanisms: leave them out)"
                            : "");
}

enum tt_status tt_key_generate(struct tt_session *session, const struct tt_key_wish *wish, unsigned bits,
                               const struct tt_secret *pin, struct tt_key_object *ret_key,
                               struct tt_key_probe *ret_probe, struct tt_error *err)
{
    unsigned char random[RANDOM_ID];
    struct tt_key_wish named = *wish;
    struct tt_key_pair pair = {0};
    if (!named.id && RAND_bytes(random, sizeof random) != 1)
        return tt_error_set(err, TT_INTERNAL, "no random numbers");
    if (!named.id) {
        named.id = random;
        named.id_length = sizeof random;
    }
    enum tt_status status = tt_key_is_new(session, named.label, named.id, named.id_length, NULL, err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = make(session, &named, bits, &pair, err);
    if (status == TT_OK)
        status = tt_interrupt_check(err);
    if (status == TT_OK)
        status = tt_key_accept(session, &pair, &named, bits, true, pin, ret_key, ret_probe, err);
    if (status != TT_OK && pair.private_key != CK_INVALID_HANDLE)
        tt_key_pair_remove(session, &pair, &named, pin);
    return status;
}
