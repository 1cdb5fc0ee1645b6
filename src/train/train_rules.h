/* Inside src/train: rules for text that more than one file needs. */
#ifndef TT_TRAIN_TRAIN_RULES_H
#define TT_TRAIN_TRAIN_RULES_H

#include <stdbool.h>

/* What messages call the configuration. */
#define TRAIN_CONFIG_NAME "train_config.json"

/* RSA-2048 is the least that stations take. */
enum { TRAIN_SIGNATURE_LEAST = 256 };

/* Whether UTF-8 text holds a control character (C0, DEL or C1). */
bool train_text_has_control(const char *text);

#endif
