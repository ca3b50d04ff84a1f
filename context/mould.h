/*
 * Moulds: what a thread knows of the stamps that it decoded lately. A peer's stamps mostly have the
 * same entries in the same places, and other values in them. A stamp that equals an earlier one but
 * for the bytes inside its values is as well-formed as that one was, is within the same limits, and
 * its parts lie in the same places: so it is compared, and then cast, instead of parsed.
 *
 * A stamp that was cast goes back to its mould when it dies on the same thread, with all that is
 * the same in the next one; there is one at most in each.
 *
 * Bounded: a few moulds a thread, of stamps of a bounded size, made only of shapes that came more
 * than once, replaced by those that come.
 */
#ifndef DCTX_MOULD_H
#define DCTX_MOULD_H

#include "chain.h"
#include "registry.h"
#include "stamp.h"

#define DCTX_MOULDS        4
#define DCTX_MOULD_BYTES   512
#define DCTX_MOULD_ENTRIES 16

typedef struct dctx_mould_value {
    const dctx_key_t *key;
    uint32_t offset;
    uint32_t size;
} dctx_mould_value_t;

typedef struct dctx_mould {
    uint64_t registry; /* its serial; 0: nothing was learnt yet */
    uint32_t size;     /* of the stamp */
    uint32_t missed;   /* how often in a row another shape came here */
    uint32_t value_count;
    uint32_t extra_count;
    unsigned reaches;
    uint64_t shape;      /* never used again; 0: stamps do not come back */
    dctx_stamp_t *spare; /* that came back, with nothing in it that is its own; NULL: none */
    dctx_chain_t *chain; /* with a reference */
    dctx_mould_value_t values[DCTX_MOULD_ENTRIES];
    dctx_extra_t extras[DCTX_MOULD_ENTRIES];
    uint8_t bytes[DCTX_MOULD_BYTES]; /* the stamp */
    uint8_t mask[DCTX_MOULD_BYTES];  /* 0 where a value's bytes are */
} dctx_mould_t;

/* True if it is the shape of those bytes. */
bool dctx_mould_fits_(const dctx_mould_t *mould, const dctx_registry_t *registry,
                      const uint8_t *data, size_t size);

/* Where the shape of a stamp of that size would be; NULL where none is kept.
 * `moulds` may be NULL. */
static inline dctx_mould_t *dctx_mould_place_(dctx_mould_t *moulds, size_t size)
{
    return moulds != NULL && size <= DCTX_MOULD_BYTES ? &moulds[size % DCTX_MOULDS] : NULL;
}

/* After a stamp was decoded that did not fit. `moulds_p` is the thread's; memory that is not there
 * is no failure. */
void dctx_mould_learn_(dctx_mould_t **moulds_p, const dctx_registry_t *registry,
                       const dctx_stamp_t *stamp, size_t size, dctx_chain_t *chain);

/* A stamp that nobody refers to, whose values are not decoded. False: it is to be freed. */
static inline bool dctx_mould_take_back_(dctx_mould_t *moulds, dctx_stamp_t *stamp)
{
    if (stamp->shape == 0 || moulds == NULL)
        return false;
    dctx_mould_t *mould = &moulds[stamp->shape % DCTX_MOULDS];
    if (mould->shape != stamp->shape || mould->spare != NULL)
        return false;
    mould->spare = stamp;
    return true;
}

/* NULL is fine. */
void dctx_moulds_free_(dctx_mould_t *moulds);

#endif
