/*
 * A stamp: the bytes of a wire form, and in the same allocation the values that lie encoded in them
 * and the places of those entries that this process does not know. The latter travel on byte for
 * byte.
 *
 * A stamp is an owner of values; a reference on one of them, or on the unknown entries, is one on
 * it all.
 */
#ifndef DCTX_STAMP_H
#define DCTX_STAMP_H

#include "chain.h"
#include "value.h"

/* An entry passing through, in the stamp's bytes. */
typedef struct dctx_extra {
    uint32_t offset;
    uint32_t size;
    uint8_t name_at; /* from offset */
    uint8_t name_size;
} dctx_extra_t;

typedef struct dctx_stamp {
    dctx_owner_t owner;
    uint32_t extra_count;
    unsigned reaches;     /* of the values' keys, a bit for each dctx_reach_t */
    uint64_t shape;       /* that of the mould it was cast in, mould.h; 0: none */
    dctx_chain_t *chain;  /* of such a stamp, its snapshot's, with the one reference for both */
    dctx_extra_t *extras; /* in the order of folded names, each name once */
    uint8_t *bytes;
    /* Memory for values that are decoded, so that reading one allocates nothing: each takes of it
     * what it needs and never gives back. Any reader; relaxed, as it is no more than a number. */
    uint8_t *room;
    size_t room_size;
    size_t room_used;
    dctx_value_t values[];
} dctx_stamp_t;

/* With one reference, no values and no extras yet, and `bytes` not filled. NULL: no memory. */
dctx_stamp_t *dctx_stamp_new_(size_t values, size_t extras, size_t bytes);

static inline dctx_stamp_t *dctx_stamp_of_(const dctx_value_t *value)
{
    return (dctx_stamp_t *)value->owner;
}

/* Aligned for any type. NULL: there is not enough. */
static inline void *dctx_stamp_take_room_(dctx_stamp_t *stamp, size_t size)
{
    if (size > stamp->room_size)
        return NULL;
    size = (size + 15) & ~(size_t)15;
    size_t used = __atomic_fetch_add(&stamp->room_used, size, __ATOMIC_RELAXED);
    return used <= stamp->room_size && size <= stamp->room_size - used ? stamp->room + used : NULL;
}

static inline bool dctx_stamp_is_room_(const dctx_stamp_t *stamp, const void *data)
{
    return (uintptr_t)data - (uintptr_t)stamp->room < stamp->room_size;
}

static inline dctx_stamp_t *dctx_stamp_ref_(dctx_stamp_t *stamp)
{
    if (stamp != NULL)
        dctx_refcount_add(&stamp->owner.refs, 1);
    return stamp;
}

static inline void dctx_stamp_drop_(dctx_stamp_t *stamp, dctx_grave_t *grave)
{
    if (stamp != NULL)
        dctx_owner_drop_(&stamp->owner, 1, grave);
}

static inline dctx_bytes_t dctx_extra_name_(const dctx_stamp_t *stamp, const dctx_extra_t *extra)
{
    return (dctx_bytes_t){stamp->bytes + extra->offset + extra->name_at, extra->name_size};
}

/* Puts the extras in order. If two have the same name, one of them; else NULL. */
const dctx_extra_t *dctx_stamp_sort_(dctx_stamp_t *stamp);

/* The extras of both, those of `over` in place of those of `under` with the same name. Either may
 * be NULL. Gives a reference, on one of the two when that is all. DCTX_ERR_NOMEM. */
dctx_error_t dctx_stamp_merge_(dctx_stamp_t *under, dctx_stamp_t *over, dctx_stamp_t **ret_merged);

#endif
