#include "trust/trust.h"

const char *tt_trust_role_name(enum tt_trust_role role)
{
    return role == TT_TRUST_CREATOR ? "creator" : "station";
}
