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

/* False if the head is cut short or of no defined form. Bytes and items that follow are claims: not
 * checked. */
bool dctx_head_read_(const uint8_t *at, const uint8_t *end, dctx_head_t *ret_head);

/* Steps over one item with all it holds. DCTX_ERR_MALFORMED, or DCTX_ERR_LIMIT if nested deeper
 * than max_depth (at most 32); without a detail, the caller knows what it was looking at. Time is
 * linear in the bytes stepped over, whatever they claim. */
dctx_error_t dctx_item_skip_(const uint8_t *at, const uint8_t *end, unsigned max_depth,
                             const uint8_t **ret_next);

#endif
