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

static void release_magazines(dctx_magazine_t *magazine)
{
    while (magazine != NULL) {
        dctx_magazine_t *next = magazine->next;
        while (magazine->count > 0)
            dctx_release_(magazine->cells[--magazine->count]);
        dctx_release_(magazine);
        magazine = next;
    }
}

void dctx_pool_finish(dctx_pool_t *pool)
{
    for (int i = 0; i < DCTX_POOL_OUTSIDE; i++)
        dctx_pool_cache_finish(&pool->outside[i].cache);
    release_magazines(pool->full);
    release_magazines(pool->empty);
    pthread_mutex_destroy(&pool->lock);
}

static void push(dctx_magazine_t **stack, dctx_magazine_t *magazine)
{
    magazine->next = *stack;
    *stack = magazine;
}

static dctx_magazine_t *pop(dctx_magazine_t **stack)
{
    dctx_magazine_t *magazine = *stack;
    if (magazine != NULL) {
        *stack = magazine->next;
        magazine->next = NULL;
    }
    return magazine;
}

/* A full one that other threads gave back, for an empty one or none; NULL if there is none. */
static dctx_magazine_t *exchange_for_full(dctx_pool_t *pool, dctx_magazine_t **empty_p)
{
    if (atomic_load_explicit(&pool->full_count, memory_order_relaxed) == 0)
        return NULL;
    dctx_magazine_t *spilled = NULL;
    pthread_mutex_lock(&pool->lock);
    dctx_magazine_t *full = pop(&pool->full);
    if (full != NULL) {
        atomic_fetch_sub_explicit(&pool->full_count, 1, memory_order_relaxed);
        if (*empty_p != NULL && pool->empty_count == DCTX_POOL_SHARED) {
            spilled = *empty_p;
        } else if (*empty_p != NULL) {
            push(&pool->empty, *empty_p);
            pool->empty_count++;
        }
        *empty_p = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    dctx_release_(spilled);
    return full;
}

/* An empty one for a full one, or none. Where the pool has enough it is the same, emptied. NULL
 * without memory; only if there was none to give. */
static dctx_magazine_t *exchange_for_empty(dctx_pool_t *pool, dctx_magazine_t *full)
{
    pthread_mutex_lock(&pool->lock);
    bool room = atomic_load_explicit(&pool->full_count, memory_order_relaxed) < DCTX_POOL_SHARED;
    dctx_magazine_t *empty = room || full == NULL ? pop(&pool->empty) : NULL;
    if (empty != NULL)
        pool->empty_count--;
    if (full != NULL && empty != NULL) {
        push(&pool->full, full);
        atomic_fetch_add_explicit(&pool->full_count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->lock);
    if (empty != NULL)
        return empty;
    empty = room || full == NULL ? dctx_calloc_(1, sizeof *empty) : NULL;
    if (full == NULL)
        return empty;
    if (empty == NULL) {
        while (full->count > 0)
            dctx_release_(full->cells[--full->count]);
        return full;
    }
    pthread_mutex_lock(&pool->lock);
    push(&pool->full, full);
    atomic_fetch_add_explicit(&pool->full_count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&pool->lock);
    return empty;
}

static void swap(dctx_pool_cache_t *cache)
{
    dctx_magazine_t *loaded = cache->loaded;
    cache->loaded = cache->spare;
    cache->spare = loaded;
}

static void *take(dctx_pool_t *pool, dctx_pool_cache_t *cache)
{
    if (cache->loaded == NULL || cache->loaded->count == 0) {
        if (cache->spare == NULL || cache->spare->count == 0) {
            dctx_magazine_t *full = exchange_for_full(pool, &cache->spare);
            if (full == NULL)
                return dctx_alloc_(DCTX_POOL_CELL);
            cache->spare = full;
        }
        swap(cache);
    }
    return cache->loaded->cells[--cache->loaded->count];
}

static void give(dctx_pool_t *pool, dctx_pool_cache_t *cache, void *cell)
{
    if (cache->loaded == NULL || cache->loaded->count == DCTX_POOL_BATCH) {
        if (cache->spare == NULL || cache->spare->count > 0)
            cache->spare = exchange_for_empty(pool, cache->spare);
        if (cache->spare == NULL) {
            dctx_release_(cell);
            return;
        }
        swap(cache);
    }
    cache->loaded->cells[cache->loaded->count++] = cell;
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
    release_magazines(cache->loaded);
    release_magazines(cache->spare);
    *cache = (dctx_pool_cache_t){0};
}
