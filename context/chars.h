/* What a character may be part of, in the headers' grammars. */
#ifndef DCTX_CHARS_H
#define DCTX_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DCTX_CHAR_TOKEN = 1, /* RFC 7230 */
    DCTX_CHAR_BAGGAGE =
        2, /* W3C baggage: a value's octet, the percent sign of an escape included */
    DCTX_CHAR_STATE_KEY = 4,      /* W3C tracestate */
    DCTX_CHAR_DIGIT_OR_LOWER = 8, /* what its key may begin with */
    DCTX_CHAR_LOWER = 16,         /* what its key's part behind the @ may begin with */
    DCTX_CHAR_STATE_VALUE = 32,
};

/* By byte; all from 0x80 on are part of nothing. chars_test.c has the grammars in words. */
extern const uint8_t dctx_chars_[256];

static inline bool dctx_char_is_(char c, unsigned classes)
{
    return (dctx_chars_[(unsigned char)c] & classes) != 0;
}

/* How many characters at the beginning are of the classes. */
static inline size_t dctx_chars_span_(const char *text, size_t size, unsigned classes)
{
    size_t i = 0;
    while (i < size && dctx_char_is_(text[i], classes))
        i++;
    return i;
}

#endif
