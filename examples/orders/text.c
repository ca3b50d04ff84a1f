#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How many bytes the UTF-8 sequence at `p` has; 0 if there is none, or one that is overlong or a
 * surrogate. */
static size_t sequence_length(const unsigned char *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xc2 && p[0] < 0xe0   ? 2
                    : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                    : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                  : 0;
    if (length == 0 || length > left)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

static bool is_control(const unsigned char *p, size_t length)
{
    if (length == 1)
        return p[0] < 0x20 || p[0] == 0x7f;
    return length == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}

bool text_is_clean(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    while (size > 0) {
        size_t length = sequence_length(p, size);
        if (length == 0 || is_control(p, length))
            return false;
        p += length;
        size -= length;
    }
    return true;
}

bool text_put(char *field, size_t capacity, const char *text, size_t size)
{
    if (size >= capacity || !text_is_clean(text, size))
        return false;
    if (size > 0)
        memcpy(field, text, size);
    field[size] = '\0';
    return true;
}

void text_cut(char *field, size_t capacity, const char *text)
{
    size_t size = strnlen(text, capacity - 1);
    /* Not in the middle of a character. */
    while (text[size] != '\0' && size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    memcpy(field, text, size);
    field[size] = '\0';
}

const char *text_count(char *buffer, uint64_t count)
{
    char digits[TEXT_COUNT_SIZE];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    char *out = buffer;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *out++ = ',';
        *out++ = digits[i];
    }
    *out = '\0';
    return buffer;
}

const char *text_money(char *buffer, const char *currency, int64_t cents)
{
    snprintf(buffer, TEXT_MONEY_SIZE, "%.8s %" PRId64 ".%02d", currency, cents / 100,
             (int)(cents % 100));
    return buffer;
}
