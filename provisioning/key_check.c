#include "provisioning/key_check.h"

#include <stdarg.h>

#include "crypto/public_key.h"

enum { GOOD_BITS = 3072 };

const char *tt_verdict_name(enum tt_verdict verdict)
{
    return verdict == TT_VERDICT_OK ? "ok" : verdict == TT_VERDICT_WARNING ? "warning" : "wrong";
}

static void say(struct tt_findings *findings, const char *name, enum tt_verdict verdict, const char *format, ...)
    TT_PRINTF(4, 5);
static void say(struct tt_findings *findings, const char *name, enum tt_verdict verdict, const char *format, ...)
{
    if (findings->count == TT_FINDING_LIMIT)
        return;
    struct tt_finding *finding = &findings->items[findings->count++];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->says, sizeof finding->says, format, arguments);
    va_end(arguments);
    finding->name = name;
    finding->verdict = verdict;
    findings->wrong += verdict == TT_VERDICT_WRONG;
}

/* What is no more than a wish, unless the policy insists. */
static enum tt_verdict unless(bool insisted)
{
    return insisted ? TT_VERDICT_WRONG : TT_VERDICT_WARNING;
}

static void look_at_type(const struct tt_key_object *key, const struct tt_key_policy *policy,
                         struct tt_findings *findings)
{
    static const char make[] = "make one with traintoken key generate";
    if (key->type != CKK_RSA) {
        say(findings, "type", TT_VERDICT_WRONG, "it is no RSA key, which the protocol needs; %s", make);
        return;
    }
    say(findings, "type", TT_VERDICT_OK, "RSA");
    unsigned least = policy->minimum_bits > TT_RSA_BITS_MIN ? policy->minimum_bits : TT_RSA_BITS_MIN;
    if (key->bits == 0)
        say(findings, "size", TT_VERDICT_WRONG,
            "the token shows no public half of the key, so its size is not known; bring the public key onto the token");
    else if (key->bits < least)
        say(findings, "size", TT_VERDICT_WRONG, "%u bits, of which %u are wanted; %s", key->bits, least, make);
    else if (key->bits > TT_RSA_BITS_MAX)
        say(findings, "size", TT_VERDICT_WRONG, "%u bits, more than the %d that trains may have; %s", key->bits,
            (int)TT_RSA_BITS_MAX, make);
    else if (key->bits < GOOD_BITS && policy->minimum_bits == 0)
        say(findings, "size", TT_VERDICT_WARNING, "%u bits serve, but a new key should have %d", key->bits,
            (int)GOOD_BITS);
    else
        say(findings, "size", TT_VERDICT_OK, "%u bits", key->bits);
}

/* A flag that should be `wanted`. */
static void look_at_flag(struct tt_findings *findings, const char *name, enum tt_attribute flag, bool wanted,
                         bool insisted, const char *good, const char *bad)
{
    enum tt_attribute right = wanted ? TT_ATTRIBUTE_TRUE : TT_ATTRIBUTE_FALSE;
    if (flag == right)
        say(findings, name, TT_VERDICT_OK, "%s", good);
    else if (flag == TT_ATTRIBUTE_UNKNOWN)
        say(findings, name, unless(insisted), "the token does not show it; ask its maker whether %s", good);
    else
        say(findings, name, unless(insisted), "%s", bad);
}

/* A modulus or exponent that no honest key has: it is not tried, and whoever seals for it may seal for everybody. */
static void look_at_numbers(const struct tt_key_object *key, struct tt_findings *findings)
{
    struct tt_error fault = TT_ERROR_INIT;
    if (key->type == CKK_RSA && key->bits >= TT_RSA_BITS_MIN && key->bits <= TT_RSA_BITS_MAX &&
        tt_public_key_check(key->public_half, "the public half that the token shows", &fault) != TT_OK)
        say(findings, "public-half", TT_VERDICT_WRONG,
            "%s; somebody may have put it there: use this key for nothing, and make one with traintoken key generate",
            fault.message);
}

static void look_at_secrecy(const struct tt_key_object *key, const struct tt_key_policy *policy,
                            struct tt_findings *findings)
{
    look_at_flag(findings, "sensitive", key->sensitive, true, policy->sensitive,
                 "the token gives the private key to nobody in plain text",
                 "whoever is logged in can read the private key in plain text; make a new one with traintoken key "
                 "generate");
    look_at_flag(findings, "always-sensitive", key->always_sensitive, true, policy->always_sensitive,
                 "it has always been so",
                 "it was not sensitive at some time, or came from outside: copies may exist; make a new one in the "
                 "token");
    look_at_flag(findings, "extractable", key->extractable, false, policy->not_extractable,
                 "the private key cannot leave the token, not even wrapped",
                 "the private key can leave the token, wrapped by another key; make a new one with traintoken key "
                 "generate");
    look_at_flag(findings, "never-extractable", key->never_extractable, true, policy->never_extractable,
                 "it never could",
                 "it could leave the token at some time, or came from outside: copies may exist; make a new one in "
                 "the token");
    bool was_guarded = key->always_sensitive == TT_ATTRIBUTE_TRUE && key->never_extractable == TT_ATTRIBUTE_TRUE;
    look_at_flag(findings, "local", key->local, true, policy->local, "it was made inside the token",
                 was_guarded ? "the token does not say that it made the key (CKA_LOCAL), which NSS never does; it "
                               "says that the key was never outside"
                             : "it was imported: see that no copy of the file is left, or make a new one in the token");
    look_at_flag(findings, "private", key->is_private, true, policy->is_private, "it can be used after a login only",
                 "it can be used without a login; make a new one with traintoken key generate");
    if (policy->always_authenticate)
        look_at_flag(findings, "always-authenticate", key->always_authenticate, true, true,
                     "it asks for the PIN at each use",
                     "it does not ask for the PIN at each use; make a new one with --always-authenticate");
}

/* What a use of the key told outweighs what the attribute says of it. */
static void look_at_right(struct tt_findings *findings, const char *name, const char *attribute, enum tt_attribute flag,
                          enum tt_probe_way way)
{
    if (flag == TT_ATTRIBUTE_TRUE)
        say(findings, name, TT_VERDICT_OK, "the key may (%s)", attribute);
    else if (way != TT_PROBE_NO)
        say(findings, name, TT_VERDICT_WARNING, "the token %s %s, though it lets the key do so",
            flag == TT_ATTRIBUTE_UNKNOWN ? "does not show" : "says no to", attribute);
    else if (flag == TT_ATTRIBUTE_FALSE)
        say(findings, name, TT_VERDICT_WRONG,
            "the key must not (%s is false); a station needs it: set it with the tools of the token, or make a new key",
            attribute);
    else
        say(findings, name, TT_VERDICT_WARNING, "the token does not show %s", attribute);
}

static void look_at_other_use(struct tt_session *session, const struct tt_key_object *key,
                              const struct tt_key_policy *policy, struct tt_findings *findings)
{
    enum tt_attribute may_derive = tt_object_flag(session, key->private_key, CKA_DERIVE);
    bool unwrap = key->unwrap == TT_ATTRIBUTE_TRUE;
    bool recover = key->sign_recover == TT_ATTRIBUTE_TRUE;
    bool derive = may_derive == TT_ATTRIBUTE_TRUE;
    bool all_shown = key->unwrap != TT_ATTRIBUTE_UNKNOWN && key->sign_recover != TT_ATTRIBUTE_UNKNOWN &&
                     may_derive != TT_ATTRIBUTE_UNKNOWN;
    if (unwrap || recover || derive)
        say(findings, "other-use", unless(policy->no_other_use),
            "the key may do more than a station needs:%s%s%s; keys of traintoken key generate may not",
            unwrap ? " CKA_UNWRAP" : "", recover ? " CKA_SIGN_RECOVER" : "", derive ? " CKA_DERIVE" : "");
    else if (!all_shown)
        say(findings, "other-use", policy->no_other_use ? TT_VERDICT_WRONG : TT_VERDICT_OK,
            "the token does not show whether the key may do more; it shows nothing that it may");
    else
        say(findings, "other-use", TT_VERDICT_OK, "the key may do nothing else");
}

static enum tt_status look_at_operation(struct tt_findings *findings, const char *name, const char *what,
                                        const char *mechanism, const struct tt_probe_result *result, bool native,
                                        struct tt_error *err)
{
    char *reason TT_CLEANUP(tt_free_cleanup) = tt_probe_reason(result, mechanism);
    if (!reason)
        return tt_error_memory(err);
    if (result->way == TT_PROBE_NO)
        say(findings, name, TT_VERDICT_WRONG,
            "%s cannot be done (%s); see what the key and the token allow, or take another token", what, reason);
    else if (result->way == TT_PROBE_RAW && native)
        say(findings, name, TT_VERDICT_WRONG,
            "%s was done by raw RSA, and the policy wants the token's own mechanism; take another token", what);
    else if (result->way == TT_PROBE_RAW)
        say(findings, name, TT_VERDICT_OK, "%s was done, by raw RSA with the padding made here", what);
    else
        say(findings, name, TT_VERDICT_OK, "%s was done, by the token's own mechanism", what);
    if (result->is_wrong)
        say(findings, name, TT_VERDICT_WARNING,
            "the token once claimed success with a wrong outcome (%s); ask its maker", mechanism);
    return TT_OK;
}

static bool can_be_probed(const struct tt_key_object *key)
{
    return key->public_half && tt_public_key_check(key->public_half, "the key", NULL) == TT_OK;
}

enum tt_status tt_key_check(struct tt_session *session, const struct tt_key_object *key, const struct tt_secret *pin,
                            const struct tt_key_policy *policy, struct tt_findings *ret_findings, struct tt_error *err)
{
    struct tt_findings findings = {.is_probed = can_be_probed(key)};
    enum tt_status status = findings.is_probed ? tt_key_probe(session, key, pin, &findings.probe, err) : TT_OK;
    if (status != TT_OK)
        return status;
    say(&findings, "key", TT_VERDICT_OK, "exactly one key is named so");
    look_at_type(key, policy, &findings);
    look_at_numbers(key, &findings);
    look_at_secrecy(key, policy, &findings);
    look_at_right(&findings, "decrypt", "CKA_DECRYPT", key->decrypt, findings.probe.unwrap.way);
    look_at_right(&findings, "sign", "CKA_SIGN", key->sign, findings.probe.sign.way);
    look_at_other_use(session, key, policy, &findings);
    if (findings.is_probed)
        status = look_at_operation(&findings, "try-unwrap", "unwrapping a train's key (RSA-OAEP, SHA-512)", "OAEP",
                                   &findings.probe.unwrap, policy->native_unwrap, err);
    if (status == TT_OK && findings.is_probed)
        status = look_at_operation(&findings, "try-sign", "signing (RSA-PSS, SHA-512, the longest salt)", "PSS",
                                   &findings.probe.sign, policy->native_sign, err);
    if (status == TT_OK)
        *ret_findings = findings;
    return status;
}
