/*
 * msgpack item heads, for the parts of the wire form that are this library's own: the envelope and
 * the chain. Writing gives the shortest form, as msgpack-c does.
 */
#ifndef DCTX_MSGPACK_HEAD_H
#define DCTX_MSGPACK_HEAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DCTX_HEAD_MAX 9

static inline size_t dctx_head_put1_(uint8_t *out, uint8_t tag, uint64_t value)
{
    out[0] = tag;
    out[1] = (uint8_t)value;
    return 2;
}

static inline size_t dctx_head_put2_(uint8_t *out, uint8_t tag, uint64_t value)
{
    uint16_t big = __builtin_bswap16((uint16_t)value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    big = (uint16_t)value;
#endif
    out[0] = tag;
    memcpy(out + 1, &big, 2);
    return 3;
}

static inline size_t dctx_head_put4_(uint8_t *out, uint8_t tag, uint64_t value)
{
    uint32_t big = __builtin_bswap32((uint32_t)value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    big = (uint32_t)value;
#endif
    out[0] = tag;
    memcpy(out + 1, &big, 4);
    return 5;
}

/* Each writes at most DCTX_HEAD_MAX bytes and returns how many; sizes and counts are below 2^32. */
static inline size_t dctx_head_str_(uint8_t *out, size_t size)
{
    if (size < 32) {
        out[0] = (uint8_t)(0xa0 | size);
        return 1;
    }
    if (size < 256)
        return dctx_head_put1_(out, 0xd9, size);
    if (size < 65536)
        return dctx_head_put2_(out, 0xda, size);
    return dctx_head_put4_(out, 0xdb, size);
}

static inline size_t dctx_head_bin_(uint8_t *out, size_t size)
{
    if (size < 256)
        return dctx_head_put1_(out, 0xc4, size);
    if (size < 65536)
        return dctx_head_put2_(out, 0xc5, size);
    return dctx_head_put4_(out, 0xc6, size);
}

static inline size_t dctx_head_array_(uint8_t *out, size_t count)
{
    if (count < 16) {
        out[0] = (uint8_t)(0x90 | count);
        return 1;
    }
    if (count < 65536)
        return dctx_head_put2_(out, 0xdc, count);
    return dctx_head_put4_(out, 0xdd, count);
}

static inline size_t dctx_head_uint_(uint8_t *out, uint64_t value)
{
    if (value < 128) {
        out[0] = (uint8_t)value;
        return 1;
    }
    if (value < 256)
        return dctx_head_put1_(out, 0xcc, value);
    if (value < 65536)
        return dctx_head_put2_(out, 0xcd, value);
    if (value <= UINT32_MAX)
        return dctx_head_put4_(out, 0xce, value);
    uint64_t big = __builtin_bswap64(value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    big = value;
#endif
    out[0] = 0xcf;
    memcpy(out + 1, &big, 8);
    return 9;
}

#endif
