#include "vector_key.h"

#include <CUnit/CUnit.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "base/file.h"

EVP_PKEY *vector_key(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/basic/keys/%s.pem", TT_VECTORS, name);
    FILE *file TT_CLEANUP(tt_fclose_cleanup) = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    return key;
}

enum tt_status vector_key_open(EVP_PKEY *key, struct tt_private_key **ret_key, struct tt_error *err)
{
    EVP_PKEY_up_ref(key);
    enum tt_status status = tt_private_key_new(key, NULL, NULL, "software", ret_key, err);
    if (status != TT_OK)
        EVP_PKEY_free(key);
    return status;
}
