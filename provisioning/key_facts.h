/* What is known of a key, as JSON: for results that programs read, and for records that are signed. */
#ifndef TT_PROVISIONING_KEY_FACTS_H
#define TT_PROVISIONING_KEY_FACTS_H

#include <cjson/cJSON.h>

#include "provisioning/key_probe.h"

/* A member with text from a token, which may be anything: what is no plain UTF-8 is written as \xNN. NULL is null. */
void tt_facts_add(cJSON *object, const char *name, const char *text);

/* Where the key is, what it is, and its attributes; null where the token does not show one. The caller frees it. */
cJSON *tt_key_facts(const struct tt_session *session, const struct tt_key_object *key);

/* Each operation's way, and what said no. The caller frees it. */
cJSON *tt_probe_facts(const struct tt_key_probe *probe);

#endif
