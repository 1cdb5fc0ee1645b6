/*
 * Whom a station trusts: public keys by role and id, kept in a folder of small files (docs/trust.md). What a train
 * names is compared with it; nothing in a train can add to it.
 *
 *   FOLDER/creators/ID/NAME.pem     a public key or a certificate; ID percent-encoded as in station memory
 *   FOLDER/stations/ID/NAME.pem
 *   FOLDER/authorities/NAME.pem     certificate authorities: a certificate of theirs that names the id is enough
 *
 * Text before the PEM may bound a key's life, a line each: "Valid-From: 2026-01-01T00:00:00Z", "Valid-Until: ...".
 */
#ifndef TT_TRUST_TRUST_H
#define TT_TRUST_TRUST_H

#include <openssl/evp.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "crypto/public_key.h"

enum tt_trust_role { TT_TRUST_CREATOR, TT_TRUST_STATION };

/* "creator" or "station". */
const char *tt_trust_role_name(enum tt_trust_role role);

struct tt_trust;

/* The folder to use when none is named: TRAINTOKEN_TRUST, else /etc/traintoken/trust where that exists, else
 * $XDG_CONFIG_HOME/traintoken/trust, else ~/.config/traintoken/trust. The caller frees. */
TT_MUST_USE enum tt_status tt_trust_default_folder(char **ret_folder, struct tt_error *err);

/* Reads the folder. One that is not there trusts nobody. TT_UNTRUSTED, naming the file, for anything in it that cannot
 * be read or understood, or that others than its owner and root could write: a store in doubt trusts nobody. */
TT_MUST_USE enum tt_status tt_trust_open(const char *folder, struct tt_trust **ret_trust, struct tt_error *err);
void tt_trust_free(struct tt_trust *trust);
TT_DEFINE_CLEANUP(struct tt_trust *, tt_trust_free)

/* TT_OK when this key is one of that id's at this time. TT_UNTRUSTED says which of these it is: nothing is known of the
 * id, other keys of it are, or the key's time is over or yet to come. */
TT_MUST_USE enum tt_status tt_trust_check(const struct tt_trust *trust, enum tt_trust_role role, const char *id,
                                          const EVP_PKEY *key, time_t now, struct tt_error *err);

#endif
