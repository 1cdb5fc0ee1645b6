/* The library is made of the folders' archives; a shared library needs one source of its own. */
#include "protocol/protocol.h"

_Static_assert(TT_TRAIN_FAILED == 10, "the statuses are a contract: append only");
