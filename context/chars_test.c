#include "fixture.h"

#include "chars.h"

/* The grammars in words. */
static unsigned classes_of(int c)
{
    bool lower = c >= 'a' && c <= 'z';
    bool upper = c >= 'A' && c <= 'Z';
    bool digit = c >= '0' && c <= '9';
    unsigned is = 0;
    if (lower || upper || digit || (c != 0 && c < 0x80 && strchr("!#$%&'*+-.^_`|~", c) != NULL))
        is |= DCTX_CHAR_TOKEN;
    if (c > 0x20 && c < 0x7f && strchr("\",;\\", c) == NULL)
        is |= DCTX_CHAR_BAGGAGE;
    if (lower || digit || (c != 0 && c < 0x80 && strchr("_-*/", c) != NULL))
        is |= DCTX_CHAR_STATE_KEY;
    if (lower || digit)
        is |= DCTX_CHAR_DIGIT_OR_LOWER;
    if (lower)
        is |= DCTX_CHAR_LOWER;
    if (c >= 0x20 && c < 0x7f && c != ',' && c != '=')
        is |= DCTX_CHAR_STATE_VALUE;
    return is;
}

Test(chars, are_what_the_grammars_say)
{
    for (int c = 0; c < 256; c++)
        cr_assert_eq(dctx_chars_[c], classes_of(c), "0x%02x", c);
}

Test(chars, spans_end_at_the_first_other)
{
    cr_assert_eq(dctx_chars_span_("abc def", 7, DCTX_CHAR_TOKEN), 3);
    cr_assert_eq(dctx_chars_span_("abc", 2, DCTX_CHAR_TOKEN), 2);
    cr_assert_eq(dctx_chars_span_("", 0, DCTX_CHAR_TOKEN), 0);
}
