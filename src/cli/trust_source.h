/* Where "trust add" takes a key from: a file, a train, a token, or a registry. */
#ifndef TT_CLI_TRUST_SOURCE_H
#define TT_CLI_TRUST_SOURCE_H

#include "cli/provision_command.h"
#include "cli/registry_options.h"

/* One of file, from, token, registry.vault and registry.central. */
struct trust_source {
    const char *file;
    const char *from;
    const char *token;
    const char *platform; /* of the train's image */
    struct registry_options registry;
    struct provision_options provision;
};

struct trust_found {
    struct tt_buffer text; /* PEM; empty where there is a key */
    EVP_PKEY *key;
    char *id;     /* whose it is */
    char *remark; /* where it comes from */
    bool is_word; /* somebody else says whose key this is: to be confirmed */
};
void trust_found_clear(struct trust_found *found);

/* Whether exactly one is named. TT_USAGE. */
TT_MUST_USE enum tt_status trust_source_check(const struct trust_source *source, struct tt_error *err);

/* `id` is NULL for the creator that a train names, and for what is no key of an id. */
TT_MUST_USE enum tt_status trust_source_read(const struct trust_source *source, enum tt_trust_role role, const char *id,
                                             struct trust_found *ret_found, struct tt_error *err);

#endif
