/*
 * The pool of a system's message cells. Cells are made in one thread and end in another, which is
 * what allocators are slowest at; so each thread of the system keeps some, and hands them to the
 * others by the batch. Threads from outside share a few caches that they try to lock and never wait
 * for.
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
    DCTX_POOL_SHARED = 1024, /* full magazines the pool keeps; the cells of more are freed */
    DCTX_POOL_OUTSIDE = 8    /* caches for threads from outside */
};

/* Free cells. Their addresses stand in an array and not in the cells: these are in the cache of
 * whoever gave them back, and a list through them would be waited for cell by cell. So the next
 * ones are fetched while one is in use. */
typedef struct dctx_magazine {
    struct dctx_magazine *next; /* in the pool */
    unsigned count;
    void *cells[DCTX_POOL_BATCH];
} dctx_magazine_t;

/* One thread's. Two, so that a thread that takes and gives around the edge of one passes none
 * on. */
typedef struct dctx_pool_cache {
    dctx_magazine_t *loaded; /* NULL: none yet */
    dctx_magazine_t *spare;  /* full or empty; NULL: none */
} dctx_pool_cache_t;

typedef struct dctx_pool_outside {
    _Alignas(64) atomic_flag busy; /* acquire to set, release to clear: guards the cache */
    dctx_pool_cache_t cache;
} dctx_pool_outside_t;

typedef struct dctx_pool {
    pthread_mutex_t lock;
    dctx_magazine_t *full, *empty; /* under the lock */
    unsigned empty_count;          /* the same */
    _Atomic(unsigned) full_count;  /* written under the lock; read without it as a hint */
    dctx_pool_outside_t outside[DCTX_POOL_OUTSIDE];
} dctx_pool_t;

void dctx_pool_init(dctx_pool_t *pool);
void dctx_pool_finish(dctx_pool_t *pool); /* what is out then stays out: nobody may give it back */

/* A cell of DCTX_POOL_CELL bytes, not initialised; NULL without memory. `cache` is the calling
 * thread's; NULL for a thread from outside. */
void *dctx_pool_take(dctx_pool_t *pool, dctx_pool_cache_t *cache);
void dctx_pool_give(dctx_pool_t *pool, dctx_pool_cache_t *cache, void *cell);

/* Has a cache line fetched that is going to be written. What only says "fetch" leaves the line with
 * whoever wrote to it last, so that the write has to wait after all. Compilers say the right thing
 * only when told that the processor knows it; all that do not know it take it for no
 * instruction. */
static inline void dctx_fetch_to_write(const char *address)
{
#ifdef __x86_64__
    __asm__ volatile("prefetchw %0" : : "m"(*address));
#else
    __builtin_prefetch(address, 1);
#endif
}

/* The same two without a call where the cache has what it takes. Of a thread of the system. */
static inline void *dctx_pool_take_(dctx_pool_t *pool, dctx_pool_cache_t *cache)
{
    enum { LINE = 64, AHEAD = 6 };
    dctx_magazine_t *loaded = cache->loaded;
    if (__builtin_expect(loaded == NULL || loaded->count == 0, 0))
        return dctx_pool_take(pool, cache);
    unsigned left = --loaded->count;
    if (left >= AHEAD) {
        const char *soon = loaded->cells[left - AHEAD];
        dctx_fetch_to_write(soon);
        dctx_fetch_to_write(soon + LINE);
    }
    return loaded->cells[left];
}

static inline void dctx_pool_give_(dctx_pool_t *pool, dctx_pool_cache_t *cache, void *cell)
{
    dctx_magazine_t *loaded = cache->loaded;
    if (__builtin_expect(loaded == NULL || loaded->count == DCTX_POOL_BATCH, 0))
        dctx_pool_give(pool, cache, cell);
    else
        loaded->cells[loaded->count++] = cell;
}

/* Frees what a cache holds, when its thread ends. */
void dctx_pool_cache_finish(dctx_pool_cache_t *cache);

#endif
