/*
 * A slab: numbered slots of one size whose memory stays what it is until the slab is finished. So a
 * stale number leads to a slot of the same kind, never to freed memory, and a generation in the
 * slot tells the user of the number that it is stale.
 *
 * Taking and giving back are lock-free: a stack of free slots whose head carries a tag against ABA.
 * Only growing takes a lock.
 */
#ifndef DCTX_SLAB_H
#define DCTX_SLAB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>

enum {
    DCTX_SLAB_CHUNK_BITS = 8, /* slots a chunk, as a power of two */
    DCTX_SLAB_CHUNK = 1 << DCTX_SLAB_CHUNK_BITS,
    DCTX_SLAB_PAGE_BITS = 10, /* chunks a directory page */
    DCTX_SLAB_PAGE = 1 << DCTX_SLAB_PAGE_BITS,
    DCTX_SLAB_PAGES = 64 /* 16 million slots in all */
};

/* Each slot begins with this. */
typedef struct dctx_slab_slot {
    _Atomic(uint32_t)
        next_free;  /* number + 1 of the free slot below; written by whoever gives it back */
    uint32_t index; /* its own number; never changes */
} dctx_slab_slot_t;

typedef struct dctx_slab_page {
    _Atomic(unsigned char *) chunks[DCTX_SLAB_PAGE];
} dctx_slab_page_t;

/* Memory for chunks. */
typedef struct dctx_slab_block {
    struct dctx_slab_block *next;
    void *memory; /* as it was allocated */
} dctx_slab_block_t;

typedef struct dctx_slab {
    size_t slot_size;
    void (*init)(void *slot); /* for each new slot, zeroed but for its number */
    _Atomic(uint64_t) free;   /* tag << 32 | number + 1; any thread, by compare-and-swap */
    _Atomic(uint32_t) count;  /* slots that there are; grows under the lock */
    pthread_mutex_t grow_lock;
    dctx_slab_block_t *blocks; /* under the lock, as what follows */
    unsigned char *rest;       /* of the last block: room for so many chunks */
    unsigned rest_chunks;
    _Atomic(dctx_slab_page_t *) pages[DCTX_SLAB_PAGES]; /* set once, under the lock */
} dctx_slab_t;

/* slot_size: a multiple of 64, to which slots are aligned. `init` must not fail. */
void dctx_slab_init(dctx_slab_t *slab, size_t slot_size, void (*init)(void *slot));
void dctx_slab_finish(dctx_slab_t *slab);

/* A free slot; NULL when there is no memory, or no number left. */
void *dctx_slab_take(dctx_slab_t *slab);
void dctx_slab_give(dctx_slab_t *slab, void *slot);

static inline uint32_t dctx_slab_count(dctx_slab_t *slab)
{
    return atomic_load_explicit(&slab->count, memory_order_acquire);
}

/* The slot of a number; NULL for one that was never in use. */
static inline void *dctx_slab_at(dctx_slab_t *slab, uint32_t index)
{
    uint32_t chunk = index >> DCTX_SLAB_CHUNK_BITS;
    if (chunk >> DCTX_SLAB_PAGE_BITS >= DCTX_SLAB_PAGES)
        return NULL;
    /* Acquire pairs with the release that published page and chunk,
     * which may be news to this thread. */
    dctx_slab_page_t *page =
        atomic_load_explicit(&slab->pages[chunk >> DCTX_SLAB_PAGE_BITS], memory_order_acquire);
    if (page == NULL)
        return NULL;
    unsigned char *slots =
        atomic_load_explicit(&page->chunks[chunk & (DCTX_SLAB_PAGE - 1)], memory_order_acquire);
    return slots == NULL ? NULL : slots + (index & (DCTX_SLAB_CHUNK - 1)) * slab->slot_size;
}

#endif
