#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "suite.h"
#include "trust/trust_inside.h"

enum { NOW = 1800000000 }; /* 2027-01-15T08:00:00Z */

/* --- material --- */

static EVP_PKEY *read_key(const char *name)
{
    const char *of = strcmp(name, "alpha") == 0 ? "station_1" : strcmp(name, "beta") == 0 ? "station_2" : "user";
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/basic/keys/%s.pem", TT_VECTORS, of);
    FILE *file TT_CLEANUP(tt_fclose_cleanup) = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    return key;
}

static const char *public_text(const char *name)
{
    static char *text;
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = read_key(name);
    free(text);
    CU_ASSERT_EQUAL_FATAL(tt_public_key_pem(key, &text, NULL), TT_OK);
    return text;
}

struct wish {
    const char *subject; /* "CN=7,OU=station": parts without commas */
    const char *alternative;
    const char *key;
    const char *issuer;
    const char *issuer_key;
    bool ca;
    time_t from, until;
};

static void name_it(X509_NAME *name, const char *subject)
{
    char *copy TT_CLEANUP(tt_free_cleanup) = strdup(subject);
    char *rest = NULL;
    for (char *part = strtok_r(copy, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(part, '=');
        *value++ = '\0';
        CU_ASSERT_EQUAL_FATAL(
            X509_NAME_add_entry_by_txt(name, part, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0), 1);
    }
}

static void extend(X509 *certificate, int which, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, which, value);
    CU_ASSERT_PTR_NOT_NULL_FATAL(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* PEM, in memory that the next call takes back... of which there are a few. */
static const char *certificate(const struct wish *wish)
{
    static char *texts[8];
    static size_t next;
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = read_key(wish->key);
    EVP_PKEY *signer TT_CLEANUP(tt_evp_pkey_cleanup) = read_key(wish->issuer_key);
    X509 *made = X509_new();
    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), 7);
    name_it(X509_get_subject_name(made), wish->subject);
    name_it(X509_get_issuer_name(made), wish->issuer);
    ASN1_TIME_set(X509_getm_notBefore(made), wish->from ? wish->from : NOW - 1000);
    ASN1_TIME_set(X509_getm_notAfter(made), wish->until ? wish->until : NOW + 1000);
    X509_set_pubkey(made, key);
    extend(made, NID_basic_constraints, wish->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->alternative)
        extend(made, NID_subject_alt_name, wish->alternative);
    CU_ASSERT_NOT_EQUAL_FATAL(X509_sign(made, signer, EVP_sha256()), 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, made);
    char *data = NULL;
    long length = BIO_get_mem_data(bio, &data);
    free(texts[next % 8]);
    char *text = texts[next++ % 8] = strndup(data, (size_t)length);
    BIO_free(bio);
    X509_free(made);
    return text;
}

/* --- a store on disk --- */

static char *root;

static void make_store(void)
{
    char template[] = "/tmp/traintoken-trust-XXXXXX";
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(template));
    free(root);
    root = strdup(template);
}

static void end_store(void)
{
    char *command TT_CLEANUP(tt_free_cleanup) = tt_text_format("rm -rf '%s'", root);
    CU_ASSERT_EQUAL(system(command), 0);
    free(root);
    root = NULL;
}

static void put(const char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *path, const char *format, ...)
{
    char *whole TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/%s", root, path);
    for (char *slash = strchr(whole + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0755);
        *slash = '/';
    }
    FILE *file TT_CLEANUP(tt_fclose_cleanup) = fopen(whole, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    chmod(whole, 0644);
}

static enum tt_status ask(enum tt_trust_role role, const char *id, const char *name, time_t now, struct tt_error *err)
{
    struct tt_trust *trust TT_CLEANUP(tt_trust_free_cleanup) = NULL;
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = read_key(name);
    *err = (struct tt_error)TT_ERROR_INIT;
    enum tt_status status = tt_trust_open(root, &trust, err);
    return status == TT_OK ? tt_trust_check(trust, role, id, key, now, err) : status;
}

static void expect(enum tt_trust_role role, const char *id, const char *name, time_t now, const char *words)
{
    struct tt_error err = TT_ERROR_INIT;
    enum tt_status status = ask(role, id, name, now, &err);
    bool good = words ? status == TT_UNTRUSTED && strstr(err.message, words) : status == TT_OK;
    CU_ASSERT_TRUE(good);
    if (!good)
        printf("\n    %s %s: %d %s\n", id, name, status, err.message);
}

#define STATION(id, key, now, words) expect(TT_TRUST_STATION, id, key, now, words)

/* --- keys --- */

static void keys_are_found_by_role_and_id(void)
{
    make_store();
    STATION("7", "alpha", NOW, "nothing is known of it");
    put("stations/7/a.pem", "%s", public_text("alpha"));
    put("stations/7/b.pem", "# the next one\nValid-From: 2027-01-15T08:00:00Z\n%s", public_text("beta"));
    put("creators/%2E.%2F7/a.pem", "%s", public_text("creator"));
    put("stations/.7.pem.traintoken", "cut off");
    STATION("7", "alpha", NOW, NULL);
    STATION("7", "beta", NOW, NULL);
    STATION("7", "beta", NOW - 1, "begins");
    STATION("7", "creator", NOW, "ANOTHER key is known");
    STATION("07", "alpha", NOW, "nothing is known");
    STATION("../7", "creator", NOW, "nothing is known");
    expect(TT_TRUST_CREATOR, "7", "alpha", NOW, "nothing is known");
    expect(TT_TRUST_CREATOR, "../7", "creator", NOW, NULL);
    end_store();
}

static void a_store_that_is_not_there_trusts_nobody(void)
{
    struct tt_trust *trust TT_CLEANUP(tt_trust_free_cleanup) = NULL;
    struct tt_error err = TT_ERROR_INIT;
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = read_key("alpha");
    CU_ASSERT_EQUAL_FATAL(tt_trust_open("/nonexistent/trust", &trust, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_trust_count(trust), 0);
    CU_ASSERT_EQUAL(tt_trust_check(trust, TT_TRUST_STATION, "7", key, NOW, &err), TT_UNTRUSTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "not there"));
    CU_ASSERT_EQUAL(tt_trust_check(NULL, TT_TRUST_STATION, "7", key, NOW, NULL), TT_UNTRUSTED);
    struct tt_trust *none = NULL;
    CU_ASSERT_EQUAL(tt_trust_open("", &none, &err), TT_USAGE);
}

static void times_are_bounded(void)
{
    make_store();
    put("stations/7/a.pem", "Valid-From: 2027-01-15\nValid-Until: 2027-01-15T08:00:01Z\n%s", public_text("alpha"));
    STATION("7", "alpha", NOW, NULL);
    STATION("7", "alpha", NOW + 1, "ended at 2027-01-15T08:00:01Z");
    STATION("7", "alpha", NOW - 8 * 3600 - 1, "begins at 2027-01-15T00:00:00Z");
    end_store();
    int64_t time = 0;
    static const char *const wrong[] = {"",
                                        "2027",
                                        "2027-1-5",
                                        "2027-02-29",
                                        "2027-13-01",
                                        "2027-01-01T24:00:00Z",
                                        "2027-01-01T00:00:60Z",
                                        "2027-01-01T00:00:00",
                                        "2027-01-01T00:00:00Zx",
                                        "2027-01-01 ",
                                        "1969-12-31",
                                        "+027-01-01"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CU_ASSERT_FALSE(tt_trust_time_parse(wrong[i], &time));
    char text[TT_TRUST_TIME_SIZE];
    CU_ASSERT_TRUE(tt_trust_time_parse("2028-02-29T23:59:59Z", &time));
    CU_ASSERT_STRING_EQUAL(tt_trust_time_text(time, text), "2028-02-29T23:59:59Z");
    CU_ASSERT_STRING_EQUAL(tt_trust_time_text(TT_TRUST_FOR_EVER, text), "");
}

/* Whatever is in the store and is not understood: nobody is trusted. */
static void doubt(const char *path, const char *text, const char *words)
{
    make_store();
    put("stations/7/good.pem", "%s", public_text("alpha"));
    put(path, "%s", text);
    STATION("7", "alpha", NOW, words);
    end_store();
}

static void what_is_not_understood_is_doubt(void)
{
    char *alpha TT_CLEANUP(tt_free_cleanup) = strdup(public_text("alpha"));
    char *beta TT_CLEANUP(tt_free_cleanup) = strdup(public_text("beta"));
    char *odd TT_CLEANUP(tt_free_cleanup) = tt_text_format("Valid-Untill: 2020-01-01\n%s", beta);
    char *twice TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("Valid-Until: 2030-01-01\nValid-Until: 2031-01-01\n%s", beta);
    char *never TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("Valid-From: 2030-01-01\nValid-Until: 2030-01-01\n%s", beta);
    char *time TT_CLEANUP(tt_free_cleanup) = tt_text_format("Valid-Until: soon\n%s", beta);
    char *two TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%s", beta, alpha);
    char *after TT_CLEANUP(tt_free_cleanup) = tt_text_format("%sValid-Until: 2020-01-01\n", beta);
    char *cut TT_CLEANUP(tt_free_cleanup) = strndup(beta, strlen(beta) - 30);
    char *large TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%*s", beta, TRUST_FILE_LIMIT, "");
    doubt("stations/7/x.pem", odd, "none of Valid-From");
    doubt("stations/7/x.pem", twice, "twice");
    doubt("stations/7/x.pem", never, "at no time");
    doubt("stations/7/x.pem", time, "a time that is none");
    doubt("stations/7/x.pem", two, "more than one thing");
    doubt("stations/7/x.pem", after, "after what it is for");
    doubt("stations/7/x.pem", cut, "ends in the middle");
    doubt("stations/7/x.pem", large, "too long");
    doubt("stations/7/x.pem", "", "neither a public key nor a certificate");
    doubt("stations/7/x.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
          "is not a PEM public key");
    doubt("stations/7/x.pem", "-----BEGIN X-----\nAAAA\n-----END X-----\n", "neither a public key nor");
    doubt("stations/7/x.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "that is none");
    doubt("stations/7/x.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key");
    doubt("stations/7/other.pem", alpha, "have the same key");
    doubt("stations/7/x.txt", beta, "NAME.pem");
    doubt("stations/7/.pem/x.pem", beta, NULL); /* hidden */
    doubt("stations/7/sub.pem/x.pem", beta, "no regular file");
    doubt("stations/x.pem", beta, "no folder");
    doubt("stations/%37/x.pem", beta, "not how an id is written");
    doubt("stations/a b/x.pem", beta, "not how an id is written");
    doubt("stations/%2f/x.pem", beta, "not how an id is written");
    doubt("stations/%00/x.pem", beta, "not how an id is written");
    doubt("station/7/x.pem", beta, "nothing that belongs there");
    doubt("authorities/x.pem", beta, "no certificate");
    doubt("certificates/x.pem", beta, "no certificate");
}

static void who_else_may_write_is_doubt(void)
{
    static const char *const places[] = {"", "/stations", "/stations/7", "/stations/7/a.pem"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        make_store();
        put("stations/7/a.pem", "%s", public_text("alpha"));
        char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%s", root, places[i]);
        STATION("7", "alpha", NOW, NULL);
        struct stat facts;
        CU_ASSERT_EQUAL_FATAL(stat(path, &facts), 0);
        chmod(path, (facts.st_mode & 07777) | 020);
        STATION("7", "alpha", NOW, "others may write");
        chmod(path, (facts.st_mode & 07777) | 002);
        STATION("7", "alpha", NOW, "others may write");
        chmod(path, facts.st_mode & 07777);
        if (geteuid() == 0) {
            CU_ASSERT_EQUAL(chown(path, 12345, 0), 0);
            STATION("7", "alpha", NOW, "belongs to user 12345");
        }
        end_store();
    }
}

static void links_are_doubt(void)
{
    static const char *const places[] = {"/stations", "/stations/7", "/stations/7/a.pem"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        make_store();
        put("stations/7/a.pem", "%s", public_text("alpha"));
        char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%s", root, places[i]);
        char *moved TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/.moved", root);
        CU_ASSERT_EQUAL(rename(path, moved), 0);
        CU_ASSERT_EQUAL(symlink(moved, path), 0);
        STATION("7", "alpha", NOW, "symbolic link");
        end_store();
    }
    make_store();
    put("store/stations/7/a.pem", "%s", public_text("alpha"));
    char *real TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/store", root);
    char *link TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/link///", root);
    link[strlen(link) - 3] = '\0';
    CU_ASSERT_EQUAL(symlink(real, link), 0);
    link[strlen(link)] = '/';
    struct tt_trust *trust = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_trust_open(link, &trust, &err), TT_UNTRUSTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "symbolic link"));
    end_store();
}

/* --- certificates --- */

static const struct wish authority = {
    .subject = "CN=root", .key = "creator", .issuer = "CN=root", .issuer_key = "creator", .ca = true};

static struct wish leaf(const char *subject)
{
    return (struct wish){.subject = subject, .key = "alpha", .issuer = "CN=root", .issuer_key = "creator"};
}

/* What an authority signed, alone in the folder of certificates. */
static void try_leaf(const struct wish *wish, const char *words)
{
    make_store();
    put("authorities/root.pem", "%s", certificate(&authority));
    put("certificates/leaf.pem", "%s", certificate(wish));
    STATION("7", "alpha", NOW, words);
    expect(TT_TRUST_CREATOR, "7", "alpha", NOW, "nothing is known");
    STATION("7", "beta", NOW, "nothing is known");
    end_store();
}

static void a_certificate_that_names_id_and_role_is_enough(void)
{
    static const char *const good[] = {"CN=7,OU=station", "OU=station,CN=7,O=Hospital", "OU=x,OU=station,CN=7"};
    static const char *const other[] = {"CN=7",       "CN=7,OU=creator x", "CN=77,OU=station", "CN=7,CN=8,OU=station",
                                        "OU=station", "CN=7 ,OU=station",  "CN=7,OU=Station",  "CN=station,OU=7"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct wish wish = leaf(good[i]);
        try_leaf(&wish, NULL);
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        struct wish wish = leaf(other[i]);
        try_leaf(&wish, "nothing is known");
    }
    struct wish wish = leaf("CN=Hospital");
    wish.alternative = "DNS:x,URI:urn:traintoken:station:7";
    try_leaf(&wish, NULL);
    wish.alternative = "URI:urn:traintoken:station:77,URI:urn:traintoken:station:";
    try_leaf(&wish, "nothing is known");
    wish.alternative = "DNS:7,email:7";
    try_leaf(&wish, "nothing is known");
}

static void a_certificate_must_hold(void)
{
    struct wish wish = leaf("CN=7,OU=station");
    wish.until = NOW - 1;
    try_leaf(&wish, "ended at");
    wish.until = 0;
    wish.from = NOW + 1;
    try_leaf(&wish, "begins at");
    wish = leaf("CN=7,OU=station");
    wish.issuer_key = "beta"; /* in the authority's name */
    try_leaf(&wish, "no authority of the store stands for");
    wish = leaf("CN=7,OU=station");
    wish.issuer = "CN=somebody else";
    wish.issuer_key = "beta";
    try_leaf(&wish, "no authority of the store stands for");
    wish.issuer = wish.subject; /* by itself */
    wish.issuer_key = "alpha";
    try_leaf(&wish, "no authority of the store stands for");
}

static void chains_go_by_way_of_others(void)
{
    struct wish middle = {
        .subject = "CN=middle", .key = "beta", .issuer = "CN=root", .issuer_key = "creator", .ca = true};
    struct wish wish = leaf("CN=7,OU=station");
    wish.issuer = "CN=middle";
    wish.issuer_key = "beta";
    make_store();
    put("authorities/root.pem", "%s", certificate(&authority));
    put("certificates/x.pem", "%s", certificate(&wish));
    STATION("7", "alpha", NOW, "no authority of the store stands for");
    put("certificates/x.pem", "%s%s", certificate(&wish), certificate(&middle));
    STATION("7", "alpha", NOW, NULL);
    put("certificates/x.pem", "Valid-Until: 2027-01-15T07:50:00Z\n%s%s", certificate(&wish), certificate(&middle));
    STATION("7", "alpha", NOW, "ended at");
    middle.ca = false; /* a station that signs for others */
    put("certificates/x.pem", "%s%s", certificate(&wish), certificate(&middle));
    STATION("7", "alpha", NOW, "no authority of the store stands for");
    middle.ca = true;
    /* What is in the folder of authorities is one, whoever signed it; and not beyond its time. */
    put("authorities/root.pem", "%s", certificate(&middle));
    put("certificates/x.pem", "%s", certificate(&wish));
    STATION("7", "alpha", NOW, NULL);
    put("authorities/root.pem", "Valid-Until: 2027-01-15T08:00:00Z\n%s", certificate(&middle));
    STATION("7", "alpha", NOW - 1, NULL);
    STATION("7", "alpha", NOW, "no authority of the store stands for");
    end_store();
}

static void a_certificate_in_an_ids_folder_is_its_key(void)
{
    struct wish wish = leaf("CN=whoever");
    wish.issuer_key = "beta";
    make_store();
    put("stations/7/x.pem", "%s", certificate(&wish));
    STATION("7", "alpha", NOW, NULL);
    STATION("7", "alpha", NOW + 1001, "ended at");
    STATION("7", "alpha", NOW - 1001, "begins at");
    /* And its time there is the last word, whatever an authority says. */
    wish = leaf("CN=7,OU=station");
    put("stations/7/x.pem", "Valid-Until: 2027-01-01\n%s", public_text("alpha"));
    put("authorities/root.pem", "%s", certificate(&authority));
    put("certificates/x.pem", "%s", certificate(&wish));
    STATION("7", "alpha", NOW, "ended at 2027-01-01");
    put("stations/7/x.pem", "%s%s", certificate(&wish), certificate(&wish));
    STATION("7", "alpha", NOW, "more than one certificate");
    end_store();
}

static void an_authority_is_one(void)
{
    struct wish wish = leaf("CN=x");
    make_store();
    put("authorities/x.pem", "%s", certificate(&wish));
    STATION("7", "alpha", NOW, "no authority's certificate");
    end_store();
}

/* --- changes --- */

static enum tt_status add(struct tt_trust_addition addition, struct tt_error *err)
{
    addition.length = addition.text ? strlen(addition.text) : 0;
    addition.what = "it";
    addition.until = addition.until ? addition.until : TT_TRUST_FOR_EVER;
    addition.from = addition.from ? addition.from : TT_TRUST_ALWAYS;
    return tt_trust_add(root, &addition, 1, err);
}

static void what_is_added_is_there(void)
{
    struct tt_error err = TT_ERROR_INIT;
    char *noise TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("Bag Attributes\n  x: y\n%s\nthe end", public_text("alpha"));
    make_store();
    end_store(); /* it is made */
    root = strdup("/tmp/traintoken-trust-made/deep");
    struct tt_trust_addition one = {.role = TT_TRUST_STATION, .id = "a/\xc3\xa4 '", .text = noise, .remark = "x\ny"};
    CU_ASSERT_EQUAL(add(one, &err), TT_OK);
    STATION("a/\xc3\xa4 '", "alpha", NOW, NULL);
    one.until = NOW;
    CU_ASSERT_EQUAL(add(one, &err), TT_OK);
    STATION("a/\xc3\xa4 '", "alpha", NOW, "ended");
    struct tt_trust *trust TT_CLEANUP(tt_trust_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_trust_open(root, &trust, &err), TT_OK);
    CU_ASSERT_EQUAL(tt_trust_count(trust), 1);
    CU_ASSERT_EQUAL(tt_trust_remove(root, tt_trust_entry(trust, 0), &err), TT_OK);
    STATION("a/\xc3\xa4 '", "alpha", NOW, "nothing is known");
    end_store();
    rmdir("/tmp/traintoken-trust-made");
}

static void what_cannot_be_added_makes_nothing(void)
{
    char id[400];
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    struct tt_error err = TT_ERROR_INIT;
    root = strdup("/tmp/traintoken-trust-unmade");
    struct tt_trust_addition one = {.role = TT_TRUST_STATION, .id = id, .text = public_text("alpha")};
    CU_ASSERT_EQUAL(add(one, &err), TT_USAGE);
    one.id = "";
    CU_ASSERT_EQUAL(add(one, &err), TT_USAGE);
    one.id = "\xff";
    CU_ASSERT_EQUAL(add(one, &err), TT_USAGE);
    one.id = "7";
    one.from = NOW;
    one.until = NOW;
    CU_ASSERT_EQUAL(add(one, &err), TT_USAGE);
    one.text = "nothing";
    CU_ASSERT_EQUAL(add(one, &err), TT_USAGE);
    CU_ASSERT_NOT_EQUAL(access(root, F_OK), 0);
    free(root);
    root = NULL;
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"keys are found by role and id", keys_are_found_by_role_and_id},
        {"a store that is not there trusts nobody", a_store_that_is_not_there_trusts_nobody},
        {"times are bounded", times_are_bounded},
        {"what is not understood is doubt", what_is_not_understood_is_doubt},
        {"who else may write is doubt", who_else_may_write_is_doubt},
        {"links are doubt", links_are_doubt},
        {"a certificate that names id and role is enough", a_certificate_that_names_id_and_role_is_enough},
        {"a certificate must hold", a_certificate_must_hold},
        {"chains go by way of others", chains_go_by_way_of_others},
        {"a certificate in an id's folder is its key", a_certificate_in_an_ids_folder_is_its_key},
        {"an authority is one", an_authority_is_one},
        {"what is added is there", what_is_added_is_there},
        {"what cannot be added makes nothing", what_cannot_be_added_makes_nothing},
    };
    return SUITE_RUN("trust", tests);
}
