#include "base64.h"

#include <stdint.h>

#include "fail.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t dctx_base64_length_(dctx_base64_t form, size_t size)
{
    /* An object is at most PTRDIFF_MAX bytes, so this cannot wrap. */
    if (form == DCTX_BASE64)
        return (size + 2) / 3 * 4;
    return size / 3 * 4 + (size % 3 == 0 ? 0 : size % 3 + 1);
}

void dctx_base64_encode_(dctx_base64_t form, const void *data, size_t size, char *ret_text)
{
    const char *digits = form == DCTX_BASE64 ? standard : url_safe;
    const uint8_t *in = data;
    char *out = ret_text;
    for (; size >= 3; size -= 3, in += 3, out += 4) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        out[0] = digits[bits >> 18];
        out[1] = digits[bits >> 12 & 63];
        out[2] = digits[bits >> 6 & 63];
        out[3] = digits[bits & 63];
    }
    if (size > 0) {
        uint32_t bits = (uint32_t)in[0] << 16 | (size == 2 ? (uint32_t)in[1] << 8 : 0);
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        if (size == 2)
            *out++ = digits[bits >> 6 & 63];
        for (size_t i = size; form == DCTX_BASE64 && i < 3; i++)
            *out++ = '=';
    }
    *out = '\0';
}

/* What the characters from '+' to 'z' stand for, in either alphabet. */
#define NO_DIGIT 64
static const uint8_t digits_from_plus[80] = {
    /* clang-format off */
    62, 64, 62, 64, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64,
    64, 64,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,
    18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 63, 64, 26, 27, 28, 29, 30, 31,
    32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
    /* clang-format on */
};

static uint32_t digit(char c)
{
    unsigned index = (unsigned)(unsigned char)c - '+';
    return index < sizeof(digits_from_plus) ? digits_from_plus[index] : NO_DIGIT;
}

dctx_error_t dctx_base64_decode_(const char *text, size_t length, void *data, size_t *ret_size)
{
    size_t digits = length;
    if (length > 0 && length % 4 == 0)
        for (int i = 0; i < 2 && text[digits - 1] == '='; i++)
            digits--;
    if (digits % 4 == 1)
        return dctx_fail_(DCTX_ERR_MALFORMED, "%zu characters are no whole base64 text", length);
    uint8_t *out = data;
    uint32_t bits = 0;
    for (size_t i = 0; i < digits; i++) {
        uint32_t value = digit(text[i]);
        if (value == NO_DIGIT)
            return dctx_fail_(DCTX_ERR_MALFORMED, "character %zu of %zu is not base64", i + 1,
                              length);
        bits = bits << 6 | value;
        if (i % 4 == 3) {
            *out++ = (uint8_t)(bits >> 16);
            *out++ = (uint8_t)(bits >> 8);
            *out++ = (uint8_t)bits;
        }
    }
    /* One text for one value: the bits that do not make a byte are zero. */
    size_t rest = digits % 4;
    if ((rest == 2 && (bits & 0x0f) != 0) || (rest == 3 && (bits & 0x03) != 0))
        return dctx_fail_(DCTX_ERR_MALFORMED, "the last base64 character has stray bits");
    if (rest >= 2)
        *out++ = (uint8_t)(rest == 2 ? bits >> 4 : bits >> 10);
    if (rest == 3)
        *out++ = (uint8_t)(bits >> 2);
    *ret_size = (size_t)(out - (uint8_t *)data);
    return DCTX_OK;
}
