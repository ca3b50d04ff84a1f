#include "record.h"

#include <string.h>

static const uint8_t magic[3] = {'D', 'C', 'L'};

static void put16(uint8_t *out, size_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static void put32(uint8_t *out, size_t value)
{
    uint32_t big = __builtin_bswap32((uint32_t)value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    big = (uint32_t)value;
#endif
    memcpy(out, &big, sizeof(big));
}

static void put64(uint8_t *out, uint64_t value)
{
    uint64_t big = __builtin_bswap64(value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    big = value;
#endif
    memcpy(out, &big, sizeof(big));
}

static size_t get16(const uint8_t *at)
{
    return (size_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t big;
    memcpy(&big, at, sizeof(big));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return big;
#else
    return __builtin_bswap32(big);
#endif
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t big;
    memcpy(&big, at, sizeof(big));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return big;
#else
    return __builtin_bswap64(big);
#endif
}

void dctx_frame_begin_(uint8_t out[DCTX_FRAME_HEAD])
{
    memcpy(out, magic, sizeof(magic));
    out[3] = DCTX_FRAME_VERSION;
}

static uint8_t *append(uint8_t *out, dctx_bytes_t bytes)
{
    if (bytes.size > 0)
        memcpy(out, bytes.data, bytes.size);
    return out + bytes.size;
}

void dctx_record_write_(const dctx_record_t *record, uint8_t *out)
{
    put32(out, dctx_record_size_(record));
    out[4] = record->kind;
    out[5] = record->flags;
    out[6] = record->code;
    out[7] = 0;
    put64(out + 8, record->sequence);
    put64(out + 16, record->acknowledged);
    put64(out + 24, record->correlation);
    put16(out + 32, record->target.size);
    put16(out + 34, record->type.size);
    put32(out + 36, record->stamp.size);
    out = append(out + DCTX_RECORD_HEAD, record->target);
    out = append(out, record->type);
    out = append(out, record->stamp);
    append(out, record->payload);
}

void dctx_record_acknowledge_(uint8_t *record, uint64_t acknowledged)
{
    put64(record + 16, acknowledged);
}

/* What depends on the kind. `payload` is the payload's size. */
static bool check_kind(const uint8_t *at, size_t payload, size_t stamp, bool first)
{
    uint8_t kind = at[4], flags = at[5];
    if (kind >= DCTX_KIND_SKIPPED)
        return true;
    if ((flags & ~DCTX_SAME_CONTEXT) != 0)
        return false;
    if ((flags & DCTX_SAME_CONTEXT) != 0 && (first || stamp != 0))
        return false;
    if (kind >= DCTX_KIND_MESSAGE) {
        /* 19 is ERROR; the enum of messages is the public header's. */
        return kind <= DCTX_KIND_MESSAGE_LAST && get64(at + 8) != 0 &&
               (kind != 19 || payload <= DCTX_REASON_MAX);
    }
    if (kind == DCTX_KIND_PING || kind == DCTX_KIND_PONG)
        return payload <= DCTX_PING_MAX;
    return kind >= DCTX_KIND_HELLO && kind <= DCTX_KIND_ACK;
}

dctx_error_t dctx_frame_check_(const void *frame, size_t size, size_t record_limit)
{
    const uint8_t *at = frame;
    if (size < DCTX_FRAME_HEAD || memcmp(at, magic, sizeof(magic)) != 0)
        return DCTX_ERR_MALFORMED;
    if (at[3] != DCTX_FRAME_VERSION)
        return DCTX_ERR_VERSION;
    size_t left = size - DCTX_FRAME_HEAD;
    at += DCTX_FRAME_HEAD;
    bool first = true;
    do {
        if (left < DCTX_RECORD_HEAD)
            return DCTX_ERR_MALFORMED;
        size_t length = get32(at);
        size_t target = get16(at + 32), type = get16(at + 34), stamp = get32(at + 36);
        if (length < DCTX_RECORD_HEAD || length > left || length > record_limit)
            return DCTX_ERR_MALFORMED;
        size_t body = length - DCTX_RECORD_HEAD;
        /* Each is below 2^32, so their sum cannot overflow where size_t has 64 bits; where it has
         * 32, the comparison of `stamp` alone comes first. */
        if (target > DCTX_TARGET_MAX || type > DCTX_TARGET_MAX || stamp > body ||
            target + type > body - stamp)
            return DCTX_ERR_MALFORMED;
        if (!check_kind(at, body - stamp - target - type, stamp, first))
            return DCTX_ERR_MALFORMED;
        at += length;
        left -= length;
        first = false;
    } while (left > 0);
    return DCTX_OK;
}

static const uint8_t *take(const uint8_t *at, size_t size, dctx_bytes_t *ret_bytes)
{
    *ret_bytes = (dctx_bytes_t){at, size};
    return at + size;
}

size_t dctx_record_read_(const uint8_t *at, dctx_record_t *ret_record)
{
    size_t length = get32(at);
    const uint8_t *end = at + length;
    ret_record->kind = at[4];
    ret_record->flags = at[5];
    ret_record->code = at[6];
    ret_record->sequence = get64(at + 8);
    ret_record->acknowledged = get64(at + 16);
    ret_record->correlation = get64(at + 24);
    size_t target = get16(at + 32), type = get16(at + 34), stamp = get32(at + 36);
    at = take(at + DCTX_RECORD_HEAD, target, &ret_record->target);
    at = take(at, type, &ret_record->type);
    at = take(at, stamp, &ret_record->stamp);
    take(at, (size_t)(end - at), &ret_record->payload);
    return length;
}
