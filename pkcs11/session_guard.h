/* libp11 up to 0.4.13 waits for ever for a session when the token opens none. */
#ifndef TT_PKCS11_SESSION_GUARD_H
#define TT_PKCS11_SESSION_GUARD_H

#include <libp11.h>

/* For a context right after PKCS11_CTX_load, one at a time: from now on a session that cannot be opened lets libp11's
 * call fail, with the token's return value first in OpenSSL's queue. Versions of libp11 that fail by themselves are
 * left alone. */
void tt_session_guard(PKCS11_CTX *context);

/* With what the token refused to open a session since then, 0 if it did not or if that is not known. */
unsigned long tt_session_refused(void);

#endif
