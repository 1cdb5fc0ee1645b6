/* What old versions of libp11 do not get over when a token fails: they wait for ever, or crash. */
#ifndef TT_PKCS11_LIBP11_GUARD_H
#define TT_PKCS11_LIBP11_GUARD_H

#include <libp11.h>

/* For a context right after PKCS11_CTX_load, one at a time. From now on a session that cannot be opened lets libp11's
 * call fail, with the token's return value first in OpenSSL's queue, and a key whose public exponent cannot be read is
 * no harm. Versions of libp11 that manage by themselves are left alone. */
void tt_libp11_guard(PKCS11_CTX *context);

/* With what the token refused to open a session since then, 0 if it did not or if that is not known. */
unsigned long tt_libp11_refused_session(void);

#endif
