#include <criterion/criterion.h>

#include <stdint.h>
#include <string.h>

#include "base64.h"

static void check(const char *data, const char *padded, const char *bare)
{
    char text[64];
    char back[64];
    size_t size = strlen(data);
    const char *const forms[2] = {padded, bare};
    for (int form = 0; form < 2; form++) {
        dctx_base64_encode_((dctx_base64_t)form, data, size, text);
        cr_assert_str_eq(text, forms[form]);
        cr_assert_eq(dctx_base64_length_((dctx_base64_t)form, size), strlen(forms[form]));
        size_t back_size = 99;
        cr_assert_leq(size, dctx_base64_bound_(strlen(text)));
        cr_assert_eq(dctx_base64_decode_(text, strlen(text), back, &back_size), DCTX_OK);
        cr_assert_eq(back_size, size);
        cr_assert_arr_eq(back, data, size);
    }
}

Test(base64, vectors_of_rfc_4648)
{
    check("", "", "");
    check("f", "Zg==", "Zg");
    check("fo", "Zm8=", "Zm8");
    check("foo", "Zm9v", "Zm9v");
    check("foob", "Zm9vYg==", "Zm9vYg");
    check("fooba", "Zm9vYmE=", "Zm9vYmE");
    check("foobar", "Zm9vYmFy", "Zm9vYmFy");
    check("\xfb\xff\xbf", "+/+/", "-_-_");
}

Test(base64, every_byte_at_every_length_comes_back)
{
    uint8_t data[256], back[260];
    char text[400];
    for (int i = 0; i < 256; i++)
        data[i] = (uint8_t)(i * 167 + 13);
    for (size_t size = 0; size <= sizeof(data); size++)
        for (int form = 0; form < 2; form++) {
            size_t back_size;
            dctx_base64_encode_((dctx_base64_t)form, data, size, text);
            cr_assert_eq(strlen(text), dctx_base64_length_((dctx_base64_t)form, size));
            cr_assert_eq(dctx_base64_decode_(text, strlen(text), back, &back_size), DCTX_OK);
            cr_assert_eq(back_size, size);
            cr_assert_arr_eq(back, data, size);
        }
}

static void refuse(const char *text, size_t length)
{
    uint8_t data[64];
    size_t size = 77;
    cr_assert_eq(dctx_base64_decode_(text, length, data, &size), DCTX_ERR_MALFORMED, "'%s'", text);
    cr_assert_eq(size, 77);
    cr_assert_str_neq(dctx_error_detail(), "");
}

Test(base64, garbage_is_refused)
{
    const char *const texts[] = {
        "A",
        "Zg=",
        "Zg===",
        "Z===",
        "====",
        "=",
        "Zm8==",
        "Zm9v=",
        "Zm9v====",
        "Zm 9v",
        "Zm9v ",
        "\nZm9v",
        "Zm9*",
        "Z=g=",
        "Zg==Zg==",
        "Zm=v",
        "Zm9vY",
        "Zm9\xc3\xbc",
        /* Stray bits: one value, two texts. */
        "Zh==",
        "Zh",
        "Zm9=",
        "Zm9",
        "Zv",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        refuse(texts[i], strlen(texts[i]));
    refuse("Zm\0v", 4);
    refuse("\xff\xff\xff\xff", 4);
}

Test(base64, both_alphabets_are_read)
{
    uint8_t data[8];
    size_t size;
    cr_assert_eq(dctx_base64_decode_("+_-/", 4, data, &size), DCTX_OK);
    cr_assert_eq(size, 3);
    cr_assert_arr_eq(data, "\xfb\xff\xbf", 3);
}

Test(base64, exactly_256_two_character_texts_stand_for_a_byte)
{
    int accepted = 0;
    for (int a = 1; a < 256; a++)
        for (int b = 1; b < 256; b++) {
            char text[2] = {(char)a, (char)b};
            uint8_t data[4];
            size_t size;
            if (dctx_base64_decode_(text, 2, data, &size) == DCTX_OK)
                accepted++;
        }
    /* 64 first digits and 4 second ones without stray bits; 62 and 63 have two spellings in first
     * place, none of the four second ones (A Q g w) has. */
    cr_assert_eq(accepted, 66 * 4);
}
