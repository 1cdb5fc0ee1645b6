/* A station's wishes for its key, as a file. */
#include "fuzz_folder.h"
#include "provisioning/policy.h"
#include "short_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum tt_status read_file(const uint8_t *data, size_t size, struct tt_error *err)
{
    (void)data, (void)size;
    struct tt_key_policy policy = {0};
    char *path = fuzz_path("policy.json");
    enum tt_status status = tt_policy_read(path, &policy, err);
    free(path);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tt_error err = TT_ERROR_INIT;
    fuzz_write("policy.json", data, size);
    enum tt_status status = read_file(data, size, &err);
    if (status != TT_OK && (status != TT_USAGE || !err.message[0]))
        abort();
    short_memory_try(data, size, read_file);
    return 0;
}
