#include <dirent.h>
#include <errno.h>
#include <openssl/conf.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/text.h"
#include "suite.h"
#include "trust/trust_inside.h"
#include "vector_key.h"

enum { NOW = 1800000000 }; /* 2027-01-15T08:00:00Z */

/* --- material --- */

/* "small" is too small a key, "curve" one of another kind; made once. */
static EVP_PKEY *odd_key(const char *name)
{
    static EVP_PKEY *small, *curve;
    if (!small)
        small = EVP_RSA_gen(1024);
    if (!curve)
        curve = EVP_EC_gen("P-256");
    EVP_PKEY *key = strcmp(name, "small") == 0 ? small : curve;
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_up_ref(key), 1);
    return key;
}

static EVP_PKEY *read_key(const char *name)
{
    if (strcmp(name, "small") == 0 || strcmp(name, "curve") == 0)
        return odd_key(name);
    return vector_key(strcmp(name, "alpha") == 0 ? "station_1" : strcmp(name, "beta") == 0 ? "station_2" : "user");
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
    const char *constraints; /* in the place of CA:TRUE or CA:FALSE; "" for none at all */
    const char *extension;   /* a further one: its name, */
    const char *value;       /* and its value */
    time_t from, until;
    const EVP_MD *digest;        /* SHA-256 where there is none */
    void (*spoil)(X509 *change); /* before it is signed */
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

/* "dirName:here" names the section that there is. */
static void extend(X509 *certificate, const char *name, const char *value)
{
    static const char sections[] = "[here]\nO=Hospital\n";
    X509V3_CTX context = {0};
    CONF *conf = NCONF_new(NULL);
    BIO *bio = BIO_new_mem_buf(sections, -1);
    CU_ASSERT_EQUAL_FATAL(NCONF_load_bio(conf, bio, NULL), 1);
    X509V3_set_nconf(&context, conf);
    X509_EXTENSION *extension = X509V3_EXT_nconf(conf, &context, name, value);
    CU_ASSERT_PTR_NOT_NULL_FATAL(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    BIO_free(bio);
    NCONF_free(conf);
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
    const char *constraints = wish->ca ? "critical,CA:TRUE" : "critical,CA:FALSE";
    constraints = wish->constraints ? wish->constraints : constraints;
    if (*constraints)
        extend(made, "basicConstraints", constraints);
    if (wish->alternative)
        extend(made, "subjectAltName", wish->alternative);
    if (wish->extension)
        extend(made, wish->extension, wish->value);
    if (wish->spoil)
        wish->spoil(made);
    CU_ASSERT_NOT_EQUAL_FATAL(X509_sign(made, signer, wish->digest ? wish->digest : EVP_sha256()), 0);
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

static const struct wish authority = {
    .subject = "CN=root", .key = "creator", .issuer = "CN=root", .issuer_key = "creator", .ca = true};

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
    CU_ASSERT_STRING_EQUAL(tt_trust_folder(trust), "/nonexistent/trust");
    static const char *const none[] = {"", "/", "///"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        struct tt_trust_addition one = {.role = TT_TRUST_STATION, .id = "7", .key = key, .what = "it"};
        struct tt_trust *other = NULL;
        one.from = TT_TRUST_ALWAYS;
        one.until = TT_TRUST_FOR_EVER;
        CU_ASSERT_EQUAL(tt_trust_open(none[i], &other, &err), TT_USAGE);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "needs a folder of its own"));
        CU_ASSERT_EQUAL(tt_trust_add(none[i], &one, 1, &err), TT_USAGE);
    }
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
    CU_ASSERT_STRING_EQUAL(tt_trust_time_text(TT_TRUST_ALWAYS, text), "");
    CU_ASSERT_STRING_EQUAL(tt_trust_time_text(TT_TRUST_FOR_EVER - 1, text), ""); /* of no calendar */
    CU_ASSERT_STRING_EQUAL(tt_trust_time_text(1000LL * 1000 * 1000 * 1000 * 1000, text), "");
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
    char *turned TT_CLEANUP(tt_free_cleanup) = tt_text_format("Valid-Form: 2020-01-01\n%s", beta);
    char *twice TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("Valid-Until: 2030-01-01\nValid-Until: 2031-01-01\n%s", beta);
    char *never TT_CLEANUP(tt_free_cleanup) =
        tt_text_format("Valid-From: 2030-01-01\nValid-Until: 2030-01-01\n%s", beta);
    char *time TT_CLEANUP(tt_free_cleanup) = tt_text_format("Valid-Until: soon\n%s", beta);
    char *two TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%s", beta, alpha);
    char *after TT_CLEANUP(tt_free_cleanup) = tt_text_format("%sValid-Until: 2020-01-01\n", beta);
    char *cut TT_CLEANUP(tt_free_cleanup) = strndup(beta, strlen(beta) - 30);
    char *headless TT_CLEANUP(tt_free_cleanup) = strndup(beta, (size_t)(strrchr(cut, '\n') + 1 - cut));
    char *small TT_CLEANUP(tt_free_cleanup) = strdup(public_text("small"));
    char *curve TT_CLEANUP(tt_free_cleanup) = strdup(public_text("curve"));
    char *large TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%*s", beta, TRUST_FILE_LIMIT, "");
    doubt("stations/7/x.pem", odd, "none of Valid-From");
    doubt("stations/7/x.pem", turned, "none of Valid-From");
    doubt("stations/7/x.pem", twice, "twice");
    doubt("stations/7/x.pem", never, "at no time");
    doubt("stations/7/x.pem", time, "a time that is none");
    doubt("stations/7/x.pem", two, "more than one thing");
    doubt("stations/7/x.pem", after, "after what it is for");
    doubt("stations/7/x.pem", cut, "ends in the middle");
    doubt("stations/7/x.pem", headless, "ends in the middle");
    doubt("stations/7/x.pem", small, "a size outside 2048");
    doubt("stations/7/x.pem", curve, "not an RSA key");
    doubt("stations/7/x.pem", large, "too long");
    doubt("stations/7/x.pem", "", "neither a public key nor a certificate");
    doubt("stations/7/x.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
          "is not a PEM public key");
    doubt("stations/7/x.pem", "-----BEGIN X-----\nAAAA\n-----END X-----\n", "neither a public key nor");
    doubt("stations/7/x.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "that is none");
    doubt("stations/7/x.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "a private key");
    doubt("stations/7/other.pem", alpha, "have the same key");
    doubt("stations/7/x.txt", beta, "NAME.pem");
    doubt("stations/7/x", beta, "NAME.pem");
    doubt("stations/7/.pem", beta, NULL);       /* hidden */
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

/* What is no file of anybody's: a socket cannot be opened, a pipe can. */
static void odd_files_are_doubt(void)
{
    make_store();
    put("stations/7/a.pem", "%s", public_text("alpha"));
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/stations/7/x.pem", root);
    CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
    STATION("7", "alpha", NOW, "x.pem is no regular file");
    unlink(path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listening TT_CLEANUP(tt_close_cleanup) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(listening, (const struct sockaddr *)&address, sizeof address), 0);
    STATION("7", "alpha", NOW, "x.pem cannot be opened");
    unlink(path);
    STATION("7", "alpha", NOW, NULL);
    char name[400] = "/tmp/";
    memset(name + 5, 'x', sizeof name - 6);
    struct tt_trust *trust = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_trust_open(name, &trust, &err), TT_UNTRUSTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "cannot be opened"));
    /* Who does not want to know what is wrong is told that something is. */
    put("stations/7/x.pem", "nothing");
    CU_ASSERT_EQUAL(tt_trust_open(root, &trust, NULL), TT_UNTRUSTED);
    end_store();
}

/* As somebody who is not root, where root runs this. */
static enum tt_status ask_as(uid_t user, const EVP_PKEY *key, struct tt_error *err)
{
    struct tt_trust *trust TT_CLEANUP(tt_trust_free_cleanup) = NULL;
    bool is_root = geteuid() == 0;
    if (is_root)
        CU_ASSERT_EQUAL_FATAL(seteuid(user), 0);
    enum tt_status status = tt_trust_open(root, &trust, err);
    if (is_root)
        CU_ASSERT_EQUAL_FATAL(seteuid(0), 0);
    return status == TT_OK ? tt_trust_check(trust, TT_TRUST_STATION, "7", key, NOW, err) : status;
}

static void roots_and_ones_own_files_count(void)
{
    enum { ME = 65534, ANOTHER = 12345 };
    static const char *const places[] = {"/stations/7/a.pem", "/stations/7", "/stations", ""};
    struct tt_error err = TT_ERROR_INIT;
    EVP_PKEY *key TT_CLEANUP(tt_evp_pkey_cleanup) = read_key("alpha");
    make_store();
    chmod(root, 0755);
    put("stations/7/a.pem", "%s", public_text("alpha"));
    CU_ASSERT_EQUAL(ask_as(ME, key, &err), TT_OK);
    for (size_t i = 0; geteuid() == 0 && i < sizeof places / sizeof places[0]; i++) {
        char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%s", root, places[i]);
        CU_ASSERT_EQUAL(chown(path, ANOTHER, ANOTHER), 0);
        CU_ASSERT_EQUAL(ask_as(ME, key, &err), TT_UNTRUSTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "belongs to user 12345, neither to root nor to user 65534"));
        CU_ASSERT_EQUAL(chown(path, ME, ME), 0);
        CU_ASSERT_EQUAL(ask_as(ME, key, &err), TT_OK);
        /* And root believes no user. */
        CU_ASSERT_EQUAL(ask_as(0, key, &err), TT_UNTRUSTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "belongs to user 65534, neither to root nor to user 0"));
    }
    char *path TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/stations/7/a.pem", root);
    chmod(path, 0);
    CU_ASSERT_EQUAL(ask_as(ME, key, &err), TT_UNTRUSTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "cannot be opened"));
    end_store();
}

/* --- a store that changes as it is read --- */

static const char *vanishing; /* what is gone as soon as its name was read */
static const char *unlisted;  /* where reading ends with an error */

struct dirent *__real_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir);
struct dirent *__wrap_readdir64(DIR *dir)
{
    struct dirent *entry = __real_readdir64(dir);
    if (entry && vanishing && strcmp(entry->d_name, vanishing) == 0) {
        char *command TT_CLEANUP(tt_free_cleanup) =
            tt_text_format("rm -r /proc/%d/fd/%d/%s", getpid(), dirfd(dir), vanishing);
        CU_ASSERT_EQUAL(system(command), 0);
        vanishing = NULL;
    }
    if (entry && unlisted && strcmp(entry->d_name, unlisted) == 0) {
        errno = EIO;
        return NULL;
    }
    return entry;
}

/* A bound may be in what was not read. */
static void a_folder_that_cannot_be_listed_is_doubt(void)
{
    static const char *const places[] = {"a.pem", "7", "stations"};
    make_store();
    put("stations/7/a.pem", "%s", public_text("alpha"));
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        unlisted = places[i];
        STATION("7", "alpha", NOW, "cannot be read");
    }
    unlisted = NULL;
    STATION("7", "alpha", NOW, NULL);
    end_store();
}

static void what_is_removed_meanwhile_is_not_there(void)
{
    static const char *const places[] = {"x.pem", "8", "creators"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        make_store();
        put("stations/7/a.pem", "%s", public_text("alpha"));
        put("stations/7/x.pem", "%s", public_text("beta"));
        put("stations/8/b.pem", "%s", public_text("beta"));
        put("creators/7/c.pem", "%s", public_text("beta"));
        vanishing = places[i];
        STATION("7", "alpha", NOW, NULL);
        CU_ASSERT_PTR_NULL(vanishing);
        expect(TT_TRUST_STATION, "8", "beta", NOW, i == 1 ? "nothing is known" : NULL);
        expect(TT_TRUST_CREATOR, "7", "beta", NOW, i == 2 ? "nothing is known" : NULL);
        end_store();
    }
}

static struct trust_file understood; /* what every file is, while there is something in it: reading takes long */

enum tt_status __real_trust_file_parse(const void *text, size_t length, enum trust_form form, const char *what,
                                       struct trust_file *ret_file, struct tt_error *err);
enum tt_status __wrap_trust_file_parse(const void *text, size_t length, enum trust_form form, const char *what,
                                       struct trust_file *ret_file, struct tt_error *err);
enum tt_status __wrap_trust_file_parse(const void *text, size_t length, enum trust_form form, const char *what,
                                       struct trust_file *ret_file, struct tt_error *err)
{
    if (!understood.key)
        return __real_trust_file_parse(text, length, form, what, ret_file, err);
    EVP_PKEY_up_ref(understood.key);
    X509_up_ref(understood.certificate);
    *ret_file = understood;
    return TT_OK;
}

/* Ten thousand names of one file. */
static void stores_have_a_limit(void)
{
    const char *text = certificate(&authority);
    struct trust_file file TT_CLEANUP(trust_file_clear) = {0};
    CU_ASSERT_EQUAL_FATAL(trust_file_parse(text, strlen(text), TRUST_FILE_OURS, "it", &file, NULL), TT_OK);
    make_store();
    put("authorities/0.pem", "%s", text);
    char *first TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s/authorities/0.pem", root);
    for (int i = 1; i < TRUST_STORE_LIMIT; i++) {
        char path[100];
        snprintf(path, sizeof path, "%s/authorities/%d.pem", root, i);
        if (link(first, path) != 0)
            CU_FAIL_FATAL("cannot make a link");
    }
    understood = file;
    STATION("7", "alpha", NOW, "nothing is known");
    put("stations/7/a.pem", "%s", text);
    STATION("7", "alpha", NOW, "has more than 10000 files");
    understood = (struct trust_file){0};
    end_store();
}

/* --- certificates --- */

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
    wish.alternative = "URI:urn:traintoken:station:8,URI:urn:traintoken:station:7,URI:urn:traintoken:station:9";
    try_leaf(&wish, NULL);
}

/* Ids that look alike are others: each has one spelling in a certificate. */
static void ids_are_not_confused(void)
{
    static const struct {
        const char *uri, *id, *words;
    } cases[] = {
        {"urn:traintoken:station:a%2Fb", "a/b", NULL},
        {"urn:traintoken:station:a%2fb", "a/b", "nothing is known"},
        {"urn:traintoken:station:a/b", "a/b", "nothing is known"},
        {"urn:traintoken:station:a%2Fb", "a%2Fb", "nothing is known"},
        {"urn:traintoken:station:a%252Fb", "a%2Fb", NULL},
        {"urn:traintoken:station:a:b", "a:b", "nothing is known"},
        {"urn:traintoken:station:a%3Ab", "a:b", NULL},
        {"urn:traintoken:station:.a", ".a", "nothing is known"},
        {"urn:traintoken:station:%2Ea", ".a", NULL},
        {"urn:traintoken:station:", "", "nothing is known"},
        {"urn:traintoken:creator:station:7", "station:7", "nothing is known"},
        {"urn:traintoken:station:7", "07", "nothing is known"},
        {"urn:traintoken:station:7#", "7", "nothing is known"},
        {"URN:traintoken:station:7", "7", "nothing is known"},
        {" urn:traintoken:station:7", "7", NULL}, /* the blank is the test's own: it separates */
        {"urn:traintoken:Station:7", "7", "nothing is known"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *uri TT_CLEANUP(tt_free_cleanup) = tt_text_format("URI:%s", cases[i].uri);
        struct wish wish = leaf("CN=whoever");
        wish.alternative = uri;
        make_store();
        put("authorities/root.pem", "%s", certificate(&authority));
        put("certificates/leaf.pem", "%s", certificate(&wish));
        STATION(cases[i].id, "alpha", NOW, cases[i].words);
        end_store();
    }
}

/* --- what a name is written in --- */

static void add_name(X509 *certificate, int type, const char *bytes, int length)
{
    CU_ASSERT_EQUAL_FATAL(X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, type,
                                                     (const unsigned char *)bytes, length, -1, 0),
                          1);
}

static void in_utf16(X509 *certificate)
{
    add_name(certificate, V_ASN1_BMPSTRING, "\0007", 2);
}

static void in_bits(X509 *certificate)
{
    add_name(certificate, V_ASN1_BIT_STRING, "7", 1);
}

static void with_a_nul(X509 *certificate)
{
    add_name(certificate, V_ASN1_UTF8STRING, "7\0x", 3);
}

static void with_a_nul_at_the_end(X509 *certificate)
{
    add_name(certificate, V_ASN1_UTF8STRING, "7", 2);
}

static void add_alternative(X509 *certificate, const char *uri, int length)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, uri, length);
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    sk_GENERAL_NAME_push(names, name);
    CU_ASSERT_EQUAL_FATAL(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND), 1);
    GENERAL_NAMES_free(names);
}

static void uri_with_a_nul(X509 *certificate)
{
    add_alternative(certificate, "urn:traintoken:station:7\0.example", 33);
}

static void a_uri(X509 *certificate)
{
    add_alternative(certificate, "urn:traintoken:station:7", 24);
}

static void two_extensions(X509 *certificate)
{
    a_uri(certificate);
    add_alternative(certificate, "urn:traintoken:station:8", 24);
}

static void a_name_is_its_text(void)
{
    struct wish wish = leaf("OU=station");
    wish.spoil = in_utf16;
    try_leaf(&wish, NULL);
    wish.spoil = in_bits;
    try_leaf(&wish, "nothing is known");
    wish.spoil = with_a_nul;
    try_leaf(&wish, "nothing is known");
    wish.spoil = with_a_nul_at_the_end;
    try_leaf(&wish, "nothing is known");
    wish.spoil = a_uri;
    try_leaf(&wish, NULL);
    wish.spoil = uri_with_a_nul;
    try_leaf(&wish, "nothing is known");
    wish.spoil = two_extensions; /* X.509 has one of each kind */
    try_leaf(&wish, "nothing is known");
}

/* --- certificates that are none --- */

static void key_of_no_kind(X509 *certificate)
{
    unsigned char *bits = OPENSSL_malloc(3);
    memcpy(bits, "key", 3);
    CU_ASSERT_EQUAL_FATAL(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(certificate), OBJ_txt2obj("1.2.3.4", 1),
                                                 V_ASN1_NULL, NULL, bits, 3),
                          1);
}

static void no_beginning(X509 *certificate)
{
    ASN1_STRING_set(X509_getm_notBefore(certificate), "yesterday", 9);
}

static void no_end(X509 *certificate)
{
    ASN1_STRING_set(X509_getm_notAfter(certificate), "tomorrow", 8);
}

static bool no_start; /* libcrypto finds no notBefore */

const ASN1_TIME *__real_X509_get0_notBefore(const X509 *certificate);
const ASN1_TIME *__wrap_X509_get0_notBefore(const X509 *certificate);
const ASN1_TIME *__wrap_X509_get0_notBefore(const X509 *certificate)
{
    return no_start ? NULL : __real_X509_get0_notBefore(certificate);
}

static void a_time_that_is_not_there_is_none(void)
{
    struct wish wish = leaf("CN=x");
    make_store();
    put("stations/7/x.pem", "%s", certificate(&wish));
    no_start = true; /* not the time that it is, as ASN1_TIME_to_tm takes it */
    STATION("7", "alpha", NOW, "is at no time valid");
    no_start = false;
    STATION("7", "alpha", NOW, NULL);
    end_store();
}

static void what_is_no_certificate_of_a_key_is_doubt(void)
{
    static const struct {
        void (*spoil)(X509 *certificate);
        const char *key, *words;
    } cases[] = {
        {NULL, "alpha", NULL},
        {key_of_no_kind, "alpha", "a certificate whose key cannot be read"},
        {NULL, "curve", "is not an RSA key"},
        {NULL, "small", "a size outside 2048"},
        {no_beginning, "alpha", "trusts nobody"}, /* it is no certificate, or one of no time: libcrypto says which */
        {no_end, "alpha", "trusts nobody"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wish wish = leaf("CN=7,OU=station");
        wish.spoil = cases[i].spoil;
        wish.key = cases[i].key;
        wish.issuer_key = "beta"; /* nobody's */
        make_store();
        put("stations/7/x.pem", "%s", certificate(&wish));
        STATION("7", "alpha", NOW, cases[i].words);
        end_store();
    }
}

/* PEM that says it is encrypted asks nobody for a passphrase, and is no certificate. */
static void certificates_are_in_the_clear(void)
{
    struct wish wish = leaf("");
    const char *text = certificate(&wish);
    const char *second = strchr(text, '\n') + 1;
    make_store();
    put("stations/7/x.pem", "%s", text); /* also where it names nobody at all */
    STATION("7", "alpha", NOW, NULL);
    put("stations/7/x.pem", "%.*sProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n%s", (int)(second - text), text,
        second);
    STATION("7", "alpha", NOW, "a certificate that is none");
    end_store();
    char *large TT_CLEANUP(tt_free_cleanup) = tt_text_format("%s%*s", text, TRUST_FILE_LIMIT, "");
    struct trust_file file TT_CLEANUP(trust_file_clear) = {0};
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(trust_file_parse(large, strlen(large), TRUST_FILE_OTHERS, "it", &file, &err), TT_MALFORMED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "it is too long"));
    CU_ASSERT_EQUAL(trust_file_parse(large, TRUST_FILE_LIMIT, TRUST_FILE_OTHERS, "it", &file, &err), TT_OK);
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

/* A station's certificate by way of another authority's: what each of them is like decides. */
struct chain {
    struct wish root, middle, leaf;
    const char *words;
};

static struct chain good_chain(void)
{
    struct chain chain = {.root = authority, .leaf = leaf("O=Hospital,CN=7,OU=station")};
    chain.root.subject = chain.root.issuer = "O=Hospital,CN=root";
    chain.middle = (struct wish){.subject = "O=Hospital,CN=middle", .key = "beta", .issuer_key = "creator", .ca = true};
    chain.middle.issuer = chain.root.subject;
    chain.leaf.issuer = chain.middle.subject;
    chain.leaf.issuer_key = chain.middle.key;
    return chain;
}

static void try_chain(const struct chain *chain)
{
    make_store();
    put("authorities/root.pem", "%s", certificate(&chain->root));
    put("certificates/x.pem", "%s%s", certificate(&chain->leaf), certificate(&chain->middle));
    STATION("7", "alpha", NOW, chain->words);
    end_store();
}

static void an_authority_says_whom_it_stands_for(void)
{
    struct chain chains[12];
    size_t count = 0;
    for (; count < sizeof chains / sizeof chains[0]; count++)
        chains[count] = good_chain();
    count = 1;
    chains[count].root.constraints = "critical,CA:TRUE,pathlen:0";
    chains[count++].words = "path length constraint exceeded";
    chains[count++].root.constraints = "critical,CA:TRUE,pathlen:1";
    chains[count].middle.extension = "keyUsage";
    chains[count].middle.value = "critical,digitalSignature";
    chains[count++].words = "invalid CA certificate";
    chains[count].middle.extension = "keyUsage";
    chains[count++].middle.value = "critical,keyCertSign";
    chains[count].middle.constraints = "";
    chains[count++].words = "invalid CA certificate";
    chains[count].root.extension = "nameConstraints";
    chains[count++].root.value = "critical,permitted;dirName:here";
    chains[count].root.extension = "nameConstraints";
    chains[count].root.value = "critical,permitted;dirName:here";
    chains[count].leaf.subject = "O=Clinic,CN=7,OU=station";
    chains[count++].words = "permitted subtree violation";
    chains[count].root.extension = "nameConstraints";
    chains[count].root.value = "critical,excluded;dirName:here";
    chains[count++].words = "excluded subtree violation";
    chains[count].middle.extension = "1.2.3.4";
    chains[count].middle.value = "critical,DER:05:00";
    chains[count++].words = "unhandled critical extension";
    chains[count].leaf.extension = "1.2.3.4";
    chains[count].leaf.value = "critical,DER:05:00";
    chains[count++].words = "unhandled critical extension";
    chains[count].leaf.extension = "1.2.3.4";
    chains[count++].leaf.value = "DER:05:00";
    for (size_t i = 0; i < count; i++)
        try_chain(&chains[i]);
}

static void every_link_of_a_chain_holds(void)
{
    struct chain chain = good_chain();
    chain.middle.until = NOW - 1;
    chain.words = "certificate has expired";
    try_chain(&chain);
    chain.middle.until = 0;
    chain.middle.from = NOW + 1;
    chain.words = "certificate is not yet valid";
    try_chain(&chain);
    chain = good_chain();
    chain.root.until = NOW - 1;
    chain.words = "unable to get";
    try_chain(&chain);
    chain.root.until = 0;
    chain.root.from = NOW + 1;
    try_chain(&chain);
    chain = good_chain();
    chain.middle.digest = EVP_sha1();
    chain.words = "digest algorithm too weak";
    try_chain(&chain);
    chain.middle.digest = NULL;
    chain.leaf.digest = EVP_sha1();
    try_chain(&chain);
    chain = good_chain();
    chain.root.digest = EVP_sha1(); /* nobody relies on what it says of itself */
    try_chain(&chain);
}

/* An authority's certificate may be what a key of the protocol may not: its place in the chain decides. */
static void weak_authorities_stand_for_nobody(void)
{
    struct chain chain = good_chain();
    chain.middle.key = chain.leaf.issuer_key = "curve";
    try_chain(&chain);
    chain.middle.key = chain.leaf.issuer_key = "small";
    chain.words = "key too weak";
    try_chain(&chain);
    chain = good_chain();
    chain.root.key = chain.root.issuer_key = chain.middle.issuer_key = "curve";
    try_chain(&chain);
    chain.root.key = chain.root.issuer_key = chain.middle.issuer_key = "small";
    chain.words = "key too weak";
    try_chain(&chain);
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

static void entries_have_an_order(void)
{
    static const char *const paths[] = {"creators/7/a.pem",  "creators/8/a.pem",   "stations/10/a.pem",
                                        "stations/7/a.pem",  "stations/7/b.pem",   "authorities/a.pem",
                                        "authorities/b.pem", "certificates/a.pem", "certificates/b.pem"};
    size_t count = sizeof paths / sizeof paths[0];
    make_store();
    for (size_t i = count; i-- > 0;) {
        struct wish wish = leaf("CN=x");
        wish.ca = strncmp(paths[i], "auth", 4) == 0;
        bool bare = strchr(paths[i], '/') != strrchr(paths[i], '/');
        put(paths[i], "%s", bare ? public_text(strstr(paths[i], "b.pem") ? "alpha" : "beta") : certificate(&wish));
    }
    struct tt_trust *trust TT_CLEANUP(tt_trust_free_cleanup) = NULL;
    CU_ASSERT_EQUAL_FATAL(tt_trust_open(root, &trust, NULL), TT_OK);
    CU_ASSERT_EQUAL_FATAL(tt_trust_count(trust), count);
    for (size_t i = 0; i < count; i++)
        CU_ASSERT_STRING_EQUAL(tt_trust_entry(trust, i)->path, paths[i]);
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
        {"odd files are doubt", odd_files_are_doubt},
        {"root's and one's own files count", roots_and_ones_own_files_count},
        {"what is removed meanwhile is not there", what_is_removed_meanwhile_is_not_there},
        {"a folder that cannot be listed is doubt", a_folder_that_cannot_be_listed_is_doubt},
        {"stores have a limit", stores_have_a_limit},
        {"a certificate that names id and role is enough", a_certificate_that_names_id_and_role_is_enough},
        {"ids are not confused", ids_are_not_confused},
        {"a name is its text", a_name_is_its_text},
        {"what is no certificate of a key is doubt", what_is_no_certificate_of_a_key_is_doubt},
        {"a time that is not there is none", a_time_that_is_not_there_is_none},
        {"certificates are in the clear", certificates_are_in_the_clear},
        {"a certificate must hold", a_certificate_must_hold},
        {"an authority says whom it stands for", an_authority_says_whom_it_stands_for},
        {"every link of a chain holds", every_link_of_a_chain_holds},
        {"weak authorities stand for nobody", weak_authorities_stand_for_nobody},
        {"chains go by way of others", chains_go_by_way_of_others},
        {"a certificate in an id's folder is its key", a_certificate_in_an_ids_folder_is_its_key},
        {"an authority is one", an_authority_is_one},
        {"entries have an order", entries_have_an_order},
        {"what is added is there", what_is_added_is_there},
        {"what cannot be added makes nothing", what_cannot_be_added_makes_nothing},
    };
    return SUITE_RUN("trust", tests);
}
