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

/* Nonzero if one of the eight bytes is a control character (below 0x20, or 0x7f). */
static inline uint64_t dctx_name_controls8_(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t del = x ^ (ones * 0x7f);
    return (((x - ones * 0x20) & ~x) | ((del - ones) & ~del)) & (ones * 0x80);
}

/* True if the name has no control character. Says nothing of its length; "" is clean. */
static inline bool dctx_name_is_clean_(const void *name, size_t size)
{
    const uint8_t *p = name;
    uint64_t word;
    if (size >= 8) {
        uint64_t bad = 0;
        size_t i = 0;
        for (; i + 8 <= size; i += 8) {
            memcpy(&word, p + i, 8);
            bad |= dctx_name_controls8_(word);
        }
        memcpy(&word, p + size - 8, 8); /* the rest, overlapping what was seen */
        return (bad | dctx_name_controls8_(word)) == 0;
    }
    if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, 4);
        memcpy(&tail, p + size - 4, 4);
        return dctx_name_controls8_((uint64_t)head << 32 | tail) == 0;
    }
    for (size_t i = 0; i < size; i++)
        if (p[i] < 0x20 || p[i] == 0x7f)
            return false;
    return true;
}

/* Room for a shown name: 48 bytes of it, "...", NUL. */
#define DCTX_NAME_SHOWN_SIZE 52

/* Writes a printable form of the name to `buffer` (control and non-ASCII bytes as '?', cut with
 * "...") and returns it: dctx_fail_(DCTX_ERR_LIMIT, "key '%s' ...", dctx_name_show_(p, n, shown)).
 */
const char *dctx_name_show_(const void *name, size_t size, char buffer[DCTX_NAME_SHOWN_SIZE]);

#endif
