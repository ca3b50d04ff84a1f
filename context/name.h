/* Names of keys and scopes: what they may hold, and how to show one that came from a stranger. */
#ifndef DCTX_NAME_H
#define DCTX_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What no configuration can pass: dctx_limits_t fields have these as their upper bound. */
#define DCTX_KEY_BYTES_MAX  128
#define DCTX_NAME_BYTES_MAX 64

/* Eight bytes at once: the high bit of a byte of the result is set just if that byte is a control
 * character (below 0x20, or 0x7f). On the lower seven bits, which no carry leaves, adding 1 sets
 * the high bit for 0x7f only, and adding 0x60 for all from 0x20 up. The other bits of the result
 * mean nothing. */
static inline uint64_t dctx_name_controls8_(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low = x & (ones * 0x7f);
    return ((low + ones) | ~(low + ones * 0x60)) & ~x;
}

/* True if the name has no control character. Says nothing of its length; "" is clean. */
static inline bool dctx_name_is_clean_(const void *name, size_t size)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    const uint8_t *p = name;
    uint64_t word, last;
    if (size >= 8) {
        memcpy(&last, p + size - 8, 8); /* overlaps what the words before it cover */
        uint64_t bad = dctx_name_controls8_(last);
        for (size_t i = 0; i + 8 < size; i += 8) {
            memcpy(&word, p + i, 8);
            bad |= dctx_name_controls8_(word);
        }
        return (bad & high) == 0;
    }
    if (size >= 4) {
        uint32_t first4, last4;
        memcpy(&first4, p, 4);
        memcpy(&last4, p + size - 4, 4);
        return (dctx_name_controls8_((uint64_t)first4 << 32 | last4) & high) == 0;
    }
    for (size_t i = 0; i < size; i++)
        if (p[i] < 0x20 || p[i] == 0x7f)
            return false;
    return true;
}

/* As memcmp(), for names and the like: short, never empty, and a call would cost more than
 * comparing. */
static inline bool dctx_name_same_(const void *a, const void *b, size_t size)
{
    const uint8_t *p = a;
    const uint8_t *q = b;
    uint64_t x, y;
    if (size >= 8) {
        for (size_t i = 0; i < size - 8; i += 8) {
            memcpy(&x, p + i, 8);
            memcpy(&y, q + i, 8);
            if (x != y)
                return false;
        }
        memcpy(&x, p + size - 8, 8);
        memcpy(&y, q + size - 8, 8);
        return x == y;
    }
    if (size >= 4) {
        uint32_t head[2], tail[2];
        memcpy(&head[0], p, 4);
        memcpy(&head[1], q, 4);
        memcpy(&tail[0], p + size - 4, 4);
        memcpy(&tail[1], q + size - 4, 4);
        return ((head[0] ^ head[1]) | (tail[0] ^ tail[1])) == 0;
    }
    return p[0] == q[0] && p[size / 2] == q[size / 2] && p[size - 1] == q[size - 1];
}

/* Room for a shown name: 48 bytes of it, "...", NUL. */
#define DCTX_NAME_SHOWN_SIZE 52

/* Writes a printable form of the name to `buffer` (control and non-ASCII bytes as '?', cut with
 * "...") and returns it: dctx_fail_(DCTX_ERR_LIMIT, "key '%s' ...", dctx_name_show_(p, n, shown)).
 */
const char *dctx_name_show_(const void *name, size_t size, char buffer[DCTX_NAME_SHOWN_SIZE]);

#endif
