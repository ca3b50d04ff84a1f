/* Names compare without regard to ASCII case: folding, comparing and hashing them. */
#ifndef DCTX_FOLD_H
#define DCTX_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Eight bytes at once; bytes past 0x7f stay as they are. */
static inline uint64_t dctx_fold8_(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low = x & (ones * 0x7f);
    uint64_t past_z = low + ones * (0x7f - 'Z');
    uint64_t from_a = low + ones * (0x80 - 'A');
    uint64_t upper = (from_a ^ past_z) & ~x & (ones * 0x80);
    return x | upper >> 2;
}

static inline uint8_t dctx_fold1_(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* The last bytes of a name, folded: eight of them, or all if there are fewer. Equal names give
 * equal words; names of one size below eight that give equal words are equal. */
static inline uint64_t dctx_fold_tail_(const uint8_t *p, size_t size)
{
    uint64_t word;
    if (size >= 8) {
        memcpy(&word, p + size - 8, 8);
    } else if (size >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, 4);
        memcpy(&tail, p + size - 4, 4);
        word = (uint64_t)head << 32 | tail;
    } else {
        word = size == 0 ? 0 : (uint64_t)p[0] << 16 | (uint64_t)p[size / 2] << 8 | p[size - 1];
    }
    return dctx_fold8_(word);
}

static inline uint64_t dctx_fold_load_(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return dctx_fold8_(word);
}

/* Not proof against chosen collisions, and need not be: only registered names are ever stored under
 * it. */
static inline uint32_t dctx_fold_hash_(const void *name, size_t size)
{
    const uint8_t *p = name;
    uint64_t hash = size * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i + 8 < size; i += 8)
        hash = (hash ^ dctx_fold_load_(p + i)) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ dctx_fold_tail_(p, size)) * UINT64_C(0xff51afd7ed558ccd);
    return (uint32_t)(hash >> 32);
}

static inline bool dctx_fold_equal_(const void *a, const void *b, size_t size)
{
    const uint8_t *p = a;
    const uint8_t *q = b;
    for (size_t i = 0; i + 8 < size; i += 8)
        if (dctx_fold_load_(p + i) != dctx_fold_load_(q + i))
            return false;
    return dctx_fold_tail_(p, size) == dctx_fold_tail_(q, size);
}

/* As memcmp() of the folded names; of a name and its extension the shorter comes first. */
static inline int dctx_fold_compare_(const void *a, size_t a_size, const void *b, size_t b_size)
{
    const uint8_t *p = a;
    const uint8_t *q = b;
    size_t size = a_size < b_size ? a_size : b_size;
    for (size_t i = 0; i < size; i++) {
        uint8_t x = dctx_fold1_(p[i]);
        uint8_t y = dctx_fold1_(q[i]);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a_size == b_size ? 0 : a_size < b_size ? -1 : 1;
}

#endif
