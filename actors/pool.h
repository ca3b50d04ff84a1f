/*
 * The pool of a system's message cells. Cells are made in one thread and end in another, which is what
 * allocators are slowest at; so each thread of the system keeps some, and hands them to the others by
 * the batch. Threads from outside share a few caches that they try to lock and never wait for.
 */
#ifndef DCTX_POOL_H
#define DCTX_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DCTX_POOL_CELL = 128,    /* bytes */
    DCTX_POOL_BATCH = 64,    /* cells handed over at once */
    DCTX_POOL_SHARED = 1024, /* batches the pool keeps; more are freed */
    DCTX_POOL_OUTSIDE = 8    /* caches for threads from outside */
};

/* A free cell. */
typedef struct dctx_pool_cell {
    struct dctx_pool_cell *next;
    struct dctx_pool_cell *next_batch; /* of the first cell of a batch in the pool */
} dctx_pool_cell_t;

/* One thread's. */
typedef struct dctx_pool_cache {
    dctx_pool_cell_t *cells; /* at most two batches: `fresh` counts those on top of a full one */
    dctx_pool_cell_t *full;  /* a whole batch, or NULL */
    unsigned count;          /* in `cells` */
} dctx_pool_cache_t;

typedef struct dctx_pool_outside {
    _Alignas(64) atomic_flag busy; /* acquire to set, release to clear: guards the cache */
    dctx_pool_cache_t cache;
} dctx_pool_outside_t;

typedef struct dctx_pool {
    pthread_mutex_t lock;
    dctx_pool_cell_t
        *batches; /* under the lock, as the count is written; read without it as a hint */
    _Atomic(unsigned) batch_count;
    dctx_pool_outside_t outside[DCTX_POOL_OUTSIDE];
} dctx_pool_t;

void dctx_pool_init(dctx_pool_t *pool);
void dctx_pool_finish(dctx_pool_t *pool); /* what is out then stays out: nobody may give it back */

/* A cell of DCTX_POOL_CELL bytes, not initialised; NULL without memory. `cache` is the calling thread's;
 * NULL for a thread from outside. */
void *dctx_pool_take(dctx_pool_t *pool, dctx_pool_cache_t *cache);
void dctx_pool_give(dctx_pool_t *pool, dctx_pool_cache_t *cache, void *cell);

/* The same two without a call where the cache has what it takes. Of a thread of the system. */
static inline void *dctx_pool_take_(dctx_pool_t *pool, dctx_pool_cache_t *cache)
{
    dctx_pool_cell_t *cell = cache->cells;
    if (__builtin_expect(cell == NULL, 0))
        return dctx_pool_take(pool, cache);
    cache->cells = cell->next;
    cache->count--;
    return cell;
}

static inline void dctx_pool_give_(dctx_pool_t *pool, dctx_pool_cache_t *cache, void *cell)
{
    dctx_pool_cell_t *given = cell;
    if (__builtin_expect(cache->cells == NULL || cache->count == DCTX_POOL_BATCH, 0)) {
        dctx_pool_give(pool, cache, cell);
        return;
    }
    given->next = cache->cells;
    cache->cells = given;
    cache->count++;
}

/* Frees what a cache holds, when its thread ends. */
void dctx_pool_cache_finish(dctx_pool_cache_t *cache);

#endif
