#include <stdlib.h>
#include <string.h>

#include "pkcs11/station_key.h"
#include "pkcs11/uri.h"
#include "suite.h"

static void refused(const char *text, const char *expected_in_message)
{
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_pkcs11_uri_check(text, &err), TT_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, expected_in_message));
    if (!strstr(err.message, expected_in_message))
        printf("\n  '%s': %s\n", text, err.message);
    CU_ASSERT_PTR_NULL(strstr(err.message, "4711")); /* the PIN of these tests */
}

static struct tt_pkcs11_uri *parse(const char *text)
{
    struct tt_pkcs11_uri *uri = NULL;
    struct tt_error err = TT_ERROR_INIT;
    CU_ASSERT_EQUAL(tt_uri_parse(text, &uri, &err), TT_OK);
    if (!uri)
        printf("\n  '%s': %s\n", text, err.message);
    return uri;
}

static void every_attribute_is_taken(void)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) =
        parse("pkcs11:token=a%20token;serial=1;manufacturer=m;model=x;slot-id=7;slot-description=d;"
              "slot-manufacturer=s;object=train:;id=%01%00;type=private;library-manufacturer=l;"
              "library-description=e;library-version=2.6?pin-value=47%31%31&module-path=/m.so&x-vendor=any");
    CU_ASSERT_PTR_NOT_NULL_FATAL(uri);
    CU_ASSERT_STRING_EQUAL(tt_uri_module_path(uri), "/m.so");
    CU_ASSERT_PTR_NULL(tt_uri_module_name(uri));
    CU_ASSERT_PTR_NULL(tt_uri_pin_source(uri));
    CU_ASSERT_PTR_NOT_NULL_FATAL(tt_uri_pin_value(uri));
    CU_ASSERT_STRING_EQUAL((const char *)tt_uri_pin_value(uri)->data, "4711");
    CU_ASSERT_EQUAL(tt_uri_pin_value(uri)->length, 4);
    CU_ASSERT_FALSE(tt_uri_pin_is_misplaced(uri));
    CU_ASSERT_TRUE(tt_uri_names_library(uri));
    CU_ASSERT_TRUE(tt_uri_matches_object(uri, "train:", (const unsigned char *)"\1\0", 2));
    CU_ASSERT_FALSE(tt_uri_matches_object(uri, "train:", (const unsigned char *)"\1", 1));
    CU_ASSERT_FALSE(tt_uri_matches_object(uri, "train", (const unsigned char *)"\1\0", 2));
    CU_ASSERT_FALSE(tt_uri_matches_object(uri, NULL, NULL, 0));
}

static void what_is_left_out_matches_everything(void)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = parse("PKCS11:");
    CU_ASSERT_PTR_NOT_NULL_FATAL(uri);
    CU_ASSERT_TRUE(tt_uri_matches_object(uri, NULL, NULL, 0));
    CU_ASSERT_TRUE(tt_uri_matches_object(uri, "any", (const unsigned char *)"x", 1));
    CU_ASSERT_FALSE(tt_uri_names_library(uri));
    CU_ASSERT_PTR_NULL(tt_uri_pin_value(uri));
}

static void a_pin_in_the_path_is_noticed(void)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = parse("pkcs11:token=a;pin-value=4711;object=b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(uri);
    CU_ASSERT_TRUE(tt_uri_pin_is_misplaced(uri));
    CU_ASSERT_STRING_EQUAL((const char *)tt_uri_pin_value(uri)->data, "4711");
    CU_ASSERT_TRUE(tt_uri_matches_object(uri, "b", NULL, 0));
}

static void module_names_and_pin_sources(void)
{
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) =
        parse("pkcs11:token=a?module-name=softhsm2&pin-source=file:/run/pin%3fx");
    CU_ASSERT_PTR_NOT_NULL_FATAL(uri);
    CU_ASSERT_STRING_EQUAL(tt_uri_module_name(uri), "softhsm2");
    CU_ASSERT_STRING_EQUAL(tt_uri_pin_source(uri), "file:/run/pin?x");
}

static void malformed_uris_are_refused(void)
{
    refused("pkcs11:token=%zz", "malformed");
    refused("pkcs11:token", "without '='");
    refused("pkcs11:slot-id=12x", "malformed");
    refused("pkcs11:library-version=x", "malformed");
    refused("pkcs11:token=a;token=b", "'token' twice");
    refused("pkcs11:token=a?pin-value=4711&pin-value=4711", "'pin-value' twice");
    refused("pkcs11:token=a;pin-value=4711?pin-value=4711", "'pin-value' twice");
    refused("pkcs11:token=a;colour=red", "unknown path attribute 'colour'");
    refused("pkcs11:token=a;x-colour=red", "unknown path attribute 'x-colour'");
    refused("pkcs11:token=a?colour=red", "unknown query attribute 'colour'");
    refused("pkcs11:token=a?pin-valeu=4711", "unknown query attribute 'pin-valeu'");
    refused("pkcs11:token=a?object=b", "unknown query attribute 'object'");
    refused("pkcs11:token=a;module-path=/m.so", "unknown path attribute 'module-path'");
    refused("pkcs11:token=0123456789012345678901234567890123456789", "too long value");
    refused("pkcs11:token=a%00b", "NUL in 'token'");
    refused("pkcs11:object=a%00b", "NUL in 'object'");
    refused("pkcs11:type=nonsense", "unknown or too long");
    refused("pkcs11:type=public", "private key");
    refused("pkcs11:type=cert", "private key");
    refused("pkcs11:?module-path=m.so", "not absolute");
    refused("pkcs11:?module-name=../m", "plain name");
    refused("pkcs11:?module-name=m&module-path=/m", "both a module-name");
    refused("pkcs11:?pin-value=4711&pin-source=/f", "both a pin-value");
    refused("pkcs11:?pin-value=", "empty");
    refused("pkcs11:?pin-value=4711%00", "NUL");
    refused("pkcs11:?pin-value=4711%2", "percent-encoded");
    refused("pkcs11:?pin-value=4711 ", "percent-encoded");
    char long_pin[400] = "pkcs11:?pin-value=";
    memset(long_pin + strlen(long_pin), '1', 256);
    refused(long_pin, "longer than 255");
    char *long_uri = calloc(1, 5000);
    memset(long_uri, ';', 4999);
    memcpy(long_uri, "pkcs11:", 7);
    refused(long_uri, "longer than 4096");
    free(long_uri);
}

static void files_are_refused_with_advice(void)
{
    refused("/etc/hostname", "traintoken key import");
    refused("keys/station.pem", "'keys/station.pem' is a file");
    refused("station.KEY", "traintoken token init");
    refused("-----BEGIN PRIVATE KEY-----\n4711\n", "is PEM text");
    refused("station", "not a pkcs11: URI");
    refused("", "not a pkcs11: URI");
    refused("pkcs11;token=a?pin-value=4711", "not a pkcs11: URI");
    refused("pkcs11//token=a?pin-value=4711", "not a pkcs11: URI");
}

static void a_pin_can_be_hidden_in_place(void)
{
    char query[] = "pkcs11:token=a;object=b?module-name=m&pin-value=4711;?x&x-a=b";
    tt_pkcs11_uri_hide_pin(query);
    CU_ASSERT_STRING_EQUAL(query, "pkcs11:token=a;object=b?module-name=m&pin-value=xxxxxxx&x-a=b");
    char path[] = "pkcs11:pin-value=4711;object=b?module-name=m";
    tt_pkcs11_uri_hide_pin(path);
    CU_ASSERT_STRING_EQUAL(path, "pkcs11:pin-value=xxxx;object=b?module-name=m");
    char last[] = "pkcs11:pin-value=4711";
    tt_pkcs11_uri_hide_pin(last);
    CU_ASSERT_STRING_EQUAL(last, "pkcs11:pin-value=xxxx");
    char none[] = "/a/file?pin";
    tt_pkcs11_uri_hide_pin(none);
    CU_ASSERT_STRING_EQUAL(none, "/a/file?pin");
}

static void formatted_uris_parse_again(void)
{
    PKCS11_TOKEN token = {.label = "a token; 'x'", .manufacturer = "m", .model = "o", .serialnr = "12"};
    unsigned char id[] = {0, 255};
    PKCS11_KEY key = {.label = "tr/in", .id = id, .id_len = 2};
    char *text TT_CLEANUP(tt_free_cleanup) = tt_uri_format(&token, &key, true);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "token=a%20token%3B%20%27x%27"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "model=o"));
    struct tt_pkcs11_uri *uri TT_CLEANUP(tt_uri_free_cleanup) = parse(text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(uri);
    CU_ASSERT_TRUE(tt_uri_matches_object(uri, "tr/in", id, 2));
    char *shorter TT_CLEANUP(tt_free_cleanup) = tt_uri_format(&token, NULL, false);
    CU_ASSERT_PTR_NULL(strstr(shorter, "model="));
    CU_ASSERT_PTR_NOT_NULL(strstr(shorter, "serial=12"));
}

int main(void)
{
    static const struct suite_test tests[] = {
        {"every attribute is taken", every_attribute_is_taken},
        {"what is left out matches everything", what_is_left_out_matches_everything},
        {"a PIN in the path is noticed", a_pin_in_the_path_is_noticed},
        {"module names and PIN sources", module_names_and_pin_sources},
        {"malformed URIs are refused", malformed_uris_are_refused},
        {"files are refused with advice", files_are_refused_with_advice},
        {"a PIN can be hidden in place", a_pin_can_be_hidden_in_place},
        {"formatted URIs parse again", formatted_uris_parse_again},
    };
    return SUITE_RUN("uri", tests);
}
