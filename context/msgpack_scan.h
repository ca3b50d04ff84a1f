/* Looking at msgpack bytes in place: item heads, and stepping over whole items. Trusts nothing. */
#ifndef DCTX_MSGPACK_SCAN_H
#define DCTX_MSGPACK_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/type.h>

#define DCTX_NESTING_MAX 16 /* of a reader, and within a stamp */

/* What stands at the beginning of an item. */
typedef struct dctx_head {
    dctx_item_t item;
    bool negative;  /* INT: value is the two's complement of a number below zero */
    bool canonical; /* the shortest form of this number or length */
    uint8_t size;   /* of the head in bytes: the whole item but for what value counts */
    uint64_t value; /* BOOL, INT: itself; STR, BIN, EXT: bytes that follow; ARRAY: items; MAP: pairs
                       that follow; DOUBLE: its bits, of a float if size is 5 */
} dctx_head_t;

/* For the tags 0xc0 to 0xdf, whose heads are longer than a byte or no number: at < end. */
bool dctx_head_read_long_(const uint8_t *at, const uint8_t *end, dctx_head_t *ret_head);

/* False if the head is cut short or of no defined form. Bytes and items that follow are claims: not
 * checked. */
static inline bool dctx_head_read_(const uint8_t *at, const uint8_t *end, dctx_head_t *ret_head)
{
    if (at >= end)
        return false;
    uint8_t tag = *at;
    dctx_head_t head = {.size = 1, .canonical = true};
    if (tag < 0x80) {
        head.item = DCTX_ITEM_INT;
        head.value = tag;
    } else if (tag < 0xa0) {
        head.item = tag < 0x90 ? DCTX_ITEM_MAP : DCTX_ITEM_ARRAY;
        head.value = tag & 0x0f;
    } else if (tag < 0xc0) {
        head.item = DCTX_ITEM_STR;
        head.value = tag & 0x1f;
    } else if (tag < 0xe0) {
        return dctx_head_read_long_(at, end, ret_head);
    } else {
        head.item = DCTX_ITEM_INT;
        head.negative = true;
        head.value = (uint64_t)(int64_t)(int8_t)tag;
    }
    *ret_head = head;
    return true;
}

/* Steps over one item with all it holds. DCTX_ERR_MALFORMED, or DCTX_ERR_LIMIT if nested deeper
 * than max_depth (at most 32); without a detail, the caller knows what it was looking at. Time is
 * linear in the bytes stepped over, whatever they claim. */
dctx_error_t dctx_item_skip_(const uint8_t *at, const uint8_t *end, unsigned max_depth,
                             const uint8_t **ret_next);

#endif
