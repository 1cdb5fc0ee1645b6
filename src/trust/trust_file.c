#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/text.h"
#include "trust/trust_inside.h"

static void bio_cleanup(BIO **bio)
{
    BIO_free(*bio);
}

static void x509_cleanup(X509 **certificate)
{
    X509_free(*certificate);
}

void trust_file_clear(struct trust_file *file)
{
    EVP_PKEY_free(file->key);
    X509_free(file->certificate);
    sk_X509_pop_free(file->more, X509_free);
    *file = (struct trust_file){0};
}

/* --- times --- */

static bool take_digits(const char **place, size_t count, int *ret_number)
{
    int number = 0;
    for (size_t i = 0; i < count; i++, ++*place) {
        if (**place < '0' || **place > '9')
            return false;
        number = number * 10 + (**place - '0');
    }
    *ret_number = number;
    return true;
}

static bool take_sign(const char **place, char sign)
{
    bool is_there = **place == sign;
    *place += is_there;
    return is_there;
}

bool tt_trust_time_parse(const char *text, int64_t *ret_time)
{
    struct tm time = {0};
    const char *place = text;
    bool good = take_digits(&place, 4, &time.tm_year) && take_sign(&place, '-') &&
                take_digits(&place, 2, &time.tm_mon) && take_sign(&place, '-') && take_digits(&place, 2, &time.tm_mday);
    if (good && *place)
        good = take_sign(&place, 'T') && take_digits(&place, 2, &time.tm_hour) && take_sign(&place, ':') &&
               take_digits(&place, 2, &time.tm_min) && take_sign(&place, ':') && take_digits(&place, 2, &time.tm_sec) &&
               take_sign(&place, 'Z');
    if (!good || *place || time.tm_year < 1970)
        return false;
    time.tm_year -= 1900;
    time.tm_mon -= 1;
    struct tm wanted = time;
    time_t seconds = timegm(&time);
    /* No such day or hour: what is too much of one is carried into the next. */
    if (time.tm_mon != wanted.tm_mon || time.tm_mday != wanted.tm_mday || time.tm_hour != wanted.tm_hour ||
        time.tm_min != wanted.tm_min)
        return false;
    *ret_time = seconds;
    return true;
}

const char *tt_trust_time_text(int64_t time, char text[TT_TRUST_TIME_SIZE])
{
    time_t seconds = (time_t)time;
    struct tm parts;
    text[0] = '\0';
    if (time != TT_TRUST_ALWAYS && time != TT_TRUST_FOR_EVER && gmtime_r(&seconds, &parts) &&
        strftime(text, TT_TRUST_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        text[0] = '\0';
    return text;
}

/* --- reading --- */

struct reading {
    const char *what;
    enum trust_form form;
    bool has_block;
    bool has_from, has_until;
    struct trust_file *file;
    struct tt_error *err;
};

static enum tt_status malformed(const struct reading *reading, const char *says)
{
    ERR_clear_error();
    return tt_error_set(reading->err, TT_MALFORMED, "%s %s", reading->what, says);
}

/* "Name: value" with this name; gives where the value starts. */
static const char *value_of(const char *line, const char *name)
{
    const char *colon = strchr(line, ':');
    size_t length = strlen(name);
    if (!colon || (size_t)(colon - line) != length || strncmp(line, name, length) != 0)
        return NULL;
    return colon + 1 + strspn(colon + 1, " \t");
}

static enum tt_status take_bound(const struct reading *reading, const char *value, bool *has, int64_t *bound)
{
    if (*has)
        return malformed(reading, "bounds its life twice");
    *has = true;
    if (!tt_trust_time_parse(value, bound))
        return malformed(reading, "has a time that is none; it is written as in Valid-Until: 2026-12-31T00:00:00Z");
    return TT_OK;
}

/* A line outside of PEM, without the blanks at its end. */
static enum tt_status take_line(struct reading *reading, const char *line)
{
    const char *from = reading->has_block ? NULL : value_of(line, "Valid-From");
    const char *until = reading->has_block ? NULL : value_of(line, "Valid-Until");
    if (from)
        return take_bound(reading, from, &reading->has_from, &reading->file->from);
    if (until)
        return take_bound(reading, until, &reading->has_until, &reading->file->until);
    if (reading->form == TRUST_FILE_OTHERS || !*line || *line == '#')
        return TT_OK;
    return malformed(reading, reading->has_block ? "has something after what it is for"
                                                 : "has a line that is none of Valid-From, Valid-Until and # remarks");
}

static enum tt_status add_certificate(struct reading *reading, X509 *certificate)
{
    struct trust_file *file = reading->file;
    if (!file->certificate) {
        X509_up_ref(certificate);
        file->certificate = certificate;
        file->key = X509_get_pubkey(certificate);
        return file->key ? TT_OK : malformed(reading, "is a certificate whose key cannot be read");
    }
    if (!file->more && !(file->more = sk_X509_new_null()))
        return tt_error_memory(reading->err);
    if (sk_X509_num(file->more) + 1 >= TRUST_CERTIFICATE_LIMIT)
        return malformed(reading, "has more certificates than a chain may have");
    if (sk_X509_push(file->more, certificate) <= 0)
        return tt_error_memory(reading->err);
    X509_up_ref(certificate);
    return TT_OK;
}

static enum tt_status read_certificate(struct reading *reading, BIO *bio)
{
    char *name = NULL;
    char *header = NULL;
    unsigned char *data = NULL;
    long length = 0;
    bool good = PEM_read_bio(bio, &name, &header, &data, &length) == 1 && !*header;
    const unsigned char *place = data;
    X509 *certificate TT_CLEANUP(x509_cleanup) = good ? d2i_X509(NULL, &place, length) : NULL;
    good = certificate && place == data + length;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    return good ? add_certificate(reading, certificate) : malformed(reading, "has a certificate that is none");
}

/* One PEM object, from "-----BEGIN" to the end of its last line. */
static enum tt_status take_block(struct reading *reading, const char *block, size_t length)
{
    static const char certificate[] = "-----BEGIN CERTIFICATE-----";
    static const char key[] = "-----BEGIN PUBLIC KEY-----";
    size_t first = strcspn(block, "\n");
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new_mem_buf(block, (int)length);
    if (!bio)
        return tt_error_memory(reading->err);
    if (memmem(block, first, "PRIVATE KEY", 11))
        return malformed(reading, "holds a private key, which belongs into a token; here go public keys");
    bool is_first = !reading->has_block;
    reading->has_block = true;
    if (strncmp(block, certificate, sizeof certificate - 1) == 0)
        return !is_first && !reading->file->certificate ? malformed(reading, "has more than a public key")
                                                        : read_certificate(reading, bio);
    if (strncmp(block, key, sizeof key - 1) != 0)
        return malformed(reading, "is neither a public key nor a certificate (PEM)");
    if (!is_first)
        return malformed(reading, "has more than one thing; a public key is alone in its file");
    if (tt_public_key_parse(block, length, reading->what, &reading->file->key, reading->err) != TT_OK)
        return TT_MALFORMED;
    return TT_OK;
}

/* The end of the PEM object at `block`: after its "-----END" line; NULL when there is none. */
static const char *block_end(const char *block, const char *end)
{
    for (const char *line = block, *next = NULL; line < end; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        next = newline ? newline + 1 : end;
        if (strncmp(line, "-----END ", 9) == 0)
            return next;
    }
    return NULL;
}

static enum tt_status read_line(struct reading *reading, const char *line, size_t length)
{
    char copy[256];
    while (length > 0 && strchr(" \t\r", line[length - 1]))
        length--;
    bool is_remark = length > 0 && line[0] == '#';
    if (length >= sizeof copy)
        return reading->form == TRUST_FILE_OTHERS || is_remark ? TT_OK
                                                               : malformed(reading, "has a line that is too long");
    memcpy(copy, line, length);
    copy[length] = '\0';
    return take_line(reading, copy);
}

/* `text` has no NUL, and one at its end. */
static enum tt_status read_all(struct reading *reading, const char *text, const char *end)
{
    enum tt_status status = TT_OK;
    while (status == TT_OK && text < end) {
        const char *next = memchr(text, '\n', (size_t)(end - text));
        if (strncmp(text, "-----BEGIN ", 11) != 0) {
            status = read_line(reading, text, (size_t)((next ? next : end) - text));
            text = next ? next + 1 : end;
            continue;
        }
        next = block_end(text, end);
        status = next ? take_block(reading, text, (size_t)(next - text)) : malformed(reading, "ends in the middle");
        text = next;
    }
    return status;
}

/* The certificate's own time; a bound that cannot be read is one that never holds. */
static int64_t seconds_of(const ASN1_TIME *time, int64_t otherwise)
{
    struct tm parts;
    return time && ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : otherwise;
}

static enum tt_status take_certificate_time(struct reading *reading)
{
    struct trust_file *file = reading->file;
    if (file->certificate) {
        int64_t from = seconds_of(X509_get0_notBefore(file->certificate), TT_TRUST_FOR_EVER);
        int64_t until = seconds_of(X509_get0_notAfter(file->certificate), TT_TRUST_ALWAYS) + 1; /* with it */
        file->from = from > file->from ? from : file->from;
        file->until = until < file->until ? until : file->until;
    }
    return file->from < file->until ? TT_OK : malformed(reading, "is at no time valid: it ends before it begins");
}

enum tt_status trust_file_parse(const void *text, size_t length, enum trust_form form, const char *what,
                                struct trust_file *ret_file, struct tt_error *err)
{
    struct trust_file file TT_CLEANUP(trust_file_clear) = {.from = TT_TRUST_ALWAYS, .until = TT_TRUST_FOR_EVER};
    struct reading reading = {.what = what, .form = form, .file = &file, .err = err};
    if (length > TRUST_FILE_LIMIT)
        return malformed(&reading, "is too long for a public key or a certificate");
    if (length > 0 && memchr(text, '\0', length))
        return malformed(&reading, "is not text; keys and certificates are PEM here");
    char *copy TT_CLEANUP(tt_free_cleanup) = length > 0 ? strndup(text, length) : strdup("");
    if (!copy)
        return tt_error_memory(err);
    enum tt_status status = read_all(&reading, copy, copy + length);
    if (status == TT_OK && !file.key)
        status = malformed(&reading, "holds neither a public key nor a certificate (PEM)");
    if (status == TT_OK)
        status = take_certificate_time(&reading);
    ERR_clear_error();
    if (status != TT_OK)
        return status;
    *ret_file = file;
    file = (struct trust_file){0};
    return TT_OK;
}

/* --- writing --- */

static enum tt_status append_bound(struct tt_buffer *text, const char *name, int64_t bound, struct tt_error *err)
{
    char time[TT_TRUST_TIME_SIZE];
    if (!*tt_trust_time_text(bound, time))
        return TT_OK;
    return tt_buffer_printf(text, err, "%s: %s\n", name, time);
}

enum tt_status trust_file_write(const struct trust_file *file, int64_t from, int64_t until, const char *remark,
                                struct tt_buffer *text, struct tt_error *err)
{
    char safe[512];
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new(BIO_s_mem());
    bool good = bio && (file->certificate ? PEM_write_bio_X509(bio, file->certificate)
                                          : PEM_write_bio_PUBKEY(bio, file->key)) == 1;
    for (int i = 0; good && file->more && i < sk_X509_num(file->more); i++)
        good = PEM_write_bio_X509(bio, sk_X509_value(file->more, i)) == 1;
    if (!good)
        return tt_error_memory(err);
    char *pem = NULL;
    long length = BIO_get_mem_data(bio, &pem);
    enum tt_status status = TT_OK;
    if (remark) {
        tt_text_printable(remark, safe, sizeof safe);
        status = tt_buffer_printf(text, err, "# %s\n", safe);
    }
    if (status == TT_OK)
        status = append_bound(text, "Valid-From", from, err);
    if (status == TT_OK)
        status = append_bound(text, "Valid-Until", until, err);
    return status == TT_OK ? tt_buffer_append(text, pem, (size_t)length, err) : status;
}

char *trust_subject(const X509 *certificate)
{
    BIO *bio TT_CLEANUP(bio_cleanup) = BIO_new(BIO_s_mem());
    if (!bio || X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
                                   XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) < 0)
        return NULL;
    char *text = NULL;
    long length = BIO_get_mem_data(bio, &text);
    return strndup(text ? text : "", text ? (size_t)length : 0);
}
