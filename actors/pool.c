#include "pool.h"

#include <stdbool.h>

#include <dcontext/internal.h>

/* AddressSanitizer should see each message as a block of its own. */
#if defined(__SANITIZE_ADDRESS__)
#define RECYCLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RECYCLE 0
#endif
#endif
#ifndef RECYCLE
#define RECYCLE 1
#endif

void dctx_pool_init(dctx_pool_t *pool)
{
    *pool = (dctx_pool_t){0};
    pthread_mutex_init(&pool->lock, NULL);
    for (int i = 0; i < DCTX_POOL_OUTSIDE; i++)
        atomic_flag_clear(&pool->outside[i].busy);
}

static void release_chain(dctx_pool_cell_t *cell)
{
    while (cell != NULL) {
        dctx_pool_cell_t *next = cell->next;
        dctx_release_(cell);
        cell = next;
    }
}

void dctx_pool_finish(dctx_pool_t *pool)
{
    for (int i = 0; i < DCTX_POOL_OUTSIDE; i++)
        dctx_pool_cache_finish(&pool->outside[i].cache);
    while (pool->batches != NULL) {
        dctx_pool_cell_t *batch = pool->batches;
        pool->batches = batch->next_batch;
        release_chain(batch);
    }
    pthread_mutex_destroy(&pool->lock);
}

/* A batch that other threads gave back; NULL if there is none. */
static dctx_pool_cell_t *take_batch(dctx_pool_t *pool)
{
    if (atomic_load_explicit(&pool->batch_count, memory_order_relaxed) == 0)
        return NULL;
    pthread_mutex_lock(&pool->lock);
    dctx_pool_cell_t *batch = pool->batches;
    if (batch != NULL) {
        pool->batches = batch->next_batch;
        atomic_fetch_sub_explicit(&pool->batch_count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
    return batch;
}

static void give_batch(dctx_pool_t *pool, dctx_pool_cell_t *batch)
{
    bool room = false;
    pthread_mutex_lock(&pool->lock);
    if (atomic_load_explicit(&pool->batch_count, memory_order_relaxed) < DCTX_POOL_SHARED) {
        room = true;
        batch->next_batch = pool->batches;
        pool->batches = batch;
        atomic_fetch_add_explicit(&pool->batch_count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!room)
        release_chain(batch);
}

static void *take(dctx_pool_t *pool, dctx_pool_cache_t *cache)
{
    dctx_pool_cell_t *cell = cache->cells;
    if (__builtin_expect(cell == NULL, 0)) {
        cell = cache->full != NULL ? cache->full : take_batch(pool);
        cache->full = NULL;
        if (cell == NULL)
            return dctx_alloc_(DCTX_POOL_CELL);
        cache->count = DCTX_POOL_BATCH;
    }
    cache->cells = cell->next;
    cache->count--;
    return cell;
}

static void give(dctx_pool_t *pool, dctx_pool_cache_t *cache, dctx_pool_cell_t *cell)
{
    /* Two batches before one goes: a thread that takes and gives around the edge passes none on. */
    if (__builtin_expect(cache->count == DCTX_POOL_BATCH, 0)) {
        if (cache->full != NULL)
            give_batch(pool, cache->full);
        cache->full = cache->cells;
        cache->cells = NULL;
        cache->count = 0;
    }
    cell->next = cache->cells;
    cache->cells = cell;
    cache->count++;
}

/* A cache for a thread from outside, locked; NULL if others are at work on it. */
static dctx_pool_outside_t *lock_outside(dctx_pool_t *pool)
{
    /* Which one is a matter of speed only: the stack's address tells threads apart well enough. */
    static _Thread_local char here;
    unsigned number = (unsigned)(((uintptr_t)&here >> 12) * 2654435761u >> 16);
    dctx_pool_outside_t *outside = &pool->outside[number % DCTX_POOL_OUTSIDE];
    if (atomic_flag_test_and_set_explicit(&outside->busy, memory_order_acquire))
        return NULL;
    return outside;
}

void *dctx_pool_take(dctx_pool_t *pool, dctx_pool_cache_t *cache)
{
    if (!RECYCLE)
        return dctx_alloc_(DCTX_POOL_CELL);
    if (cache != NULL)
        return take(pool, cache);
    dctx_pool_outside_t *outside = lock_outside(pool);
    if (outside == NULL)
        return dctx_alloc_(DCTX_POOL_CELL);
    void *cell = take(pool, &outside->cache);
    atomic_flag_clear_explicit(&outside->busy, memory_order_release);
    return cell;
}

void dctx_pool_give(dctx_pool_t *pool, dctx_pool_cache_t *cache, void *cell)
{
    if (!RECYCLE) {
        dctx_release_(cell);
        return;
    }
    if (cache != NULL) {
        give(pool, cache, cell);
        return;
    }
    dctx_pool_outside_t *outside = lock_outside(pool);
    if (outside == NULL) {
        dctx_release_(cell);
        return;
    }
    give(pool, &outside->cache, cell);
    atomic_flag_clear_explicit(&outside->busy, memory_order_release);
}

void dctx_pool_cache_finish(dctx_pool_cache_t *cache)
{
    release_chain(cache->cells);
    release_chain(cache->full);
    *cache = (dctx_pool_cache_t){0};
}
