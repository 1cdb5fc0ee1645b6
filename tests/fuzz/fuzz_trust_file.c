/* Files of the trust store, and what is to be added to it. What is accepted is a public key that can be written into
 * the store and comes back as it was; the store's own form is never taken for more than the general one. */
#include <string.h>

#include "short_memory.h"
#include "trust/trust_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

static void write_and_compare(const struct trust_file *file)
{
    struct trust_file again TT_CLEANUP(trust_file_clear) = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    demand(trust_file_write(file, file->from, file->until, "a remark", &text, NULL) == TT_OK);
    enum tt_status status = trust_file_parse(text.data, text.length, TRUST_FILE_OURS, "again", &again, NULL);
    demand(status == TT_OK || (status == TT_MALFORMED && text.length > TRUST_FILE_LIMIT));
    if (status != TT_OK)
        return;
    demand(EVP_PKEY_eq(file->key, again.key) == 1);
    demand(again.from == file->from && again.until == file->until);
    demand(!again.certificate == !file->certificate && !again.more == !file->more);
}

static void try_names(const struct trust_file *file)
{
    char *subject = trust_subject(file->certificate);
    demand(subject != NULL);
    bool creator = trust_certificate_names(file->certificate, TT_TRUST_CREATOR, "id");
    bool station = trust_certificate_names(file->certificate, TT_TRUST_STATION, "id");
    demand(!creator || !station || strstr(subject, "id"));
    free(subject);
}

static enum tt_status parse(const uint8_t *data, size_t size, enum trust_form form, bool look, struct tt_error *err)
{
    struct trust_file file TT_CLEANUP(trust_file_clear) = {0};
    enum tt_status status = trust_file_parse(data, size, form, "fuzz", &file, err);
    if (status == TT_OK) {
        demand(file.key && file.from < file.until);
        demand(!file.more || file.certificate);
    }
    if (status == TT_OK && look) {
        write_and_compare(&file);
        if (file.certificate)
            try_names(&file);
    }
    return status;
}

static enum tt_status read_ours(const uint8_t *data, size_t size, struct tt_error *err)
{
    return parse(data, size, TRUST_FILE_OURS, false, err);
}

static enum tt_status read_others(const uint8_t *data, size_t size, struct tt_error *err)
{
    struct trust_file file TT_CLEANUP(trust_file_clear) = {0};
    struct tt_buffer text TT_CLEANUP(tt_buffer_clear) = {0};
    enum tt_status status = trust_file_parse(data, size, TRUST_FILE_OTHERS, "fuzz", &file, err);
    return status == TT_OK ? trust_file_write(&file, file.from, file.until, "a remark", &text, err) : status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum tt_status ours = parse(data, size, TRUST_FILE_OURS, true, NULL);
    enum tt_status others = parse(data, size, TRUST_FILE_OTHERS, true, NULL);
    demand(ours == TT_OK || ours == TT_MALFORMED);
    demand(others == TT_OK || others == TT_MALFORMED);
    demand(ours != TT_OK || others == TT_OK);
    short_memory_try(data, size, read_ours);
    short_memory_try(data, size, read_others);
    return 0;
}
