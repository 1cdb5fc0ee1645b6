/* Inside src/statement: how manifests write their lists. */
#ifndef TT_STATEMENT_MANIFEST_INSIDE_H
#define TT_STATEMENT_MANIFEST_INSIDE_H

#include "statement/manifest.h"

#define MANIFEST_STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define MANIFEST_DEFINITION "opt/pht_train"
#define MANIFEST_RESULTS "opt/pht_results"
#define MANIFEST_QUERY "query.json"

enum { MANIFEST_MODE_SIZE = 12 };

/* "0644", "symlink" or "hardlink", in text[MANIFEST_MODE_SIZE]. */
const char *manifest_mode(const struct tt_manifest_entry *entry, char *text);

/* At most so many bytes an entry takes as JSON. */
size_t manifest_entry_bytes(const struct tt_manifest_entry *entry);

#endif
