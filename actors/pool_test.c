#include "pool.h"

#include <stdlib.h>

#include <criterion/criterion.h>

#include <dcontext/runtime.h>

static long blocks; /* out, by atomic additions */

static void *count_in(size_t size)
{
    __atomic_add_fetch(&blocks, 1, __ATOMIC_SEQ_CST);
    return malloc(size);
}

static void count_out(void *block)
{
    if (block != NULL)
        __atomic_sub_fetch(&blocks, 1, __ATOMIC_SEQ_CST);
    free(block);
}

static void set_up(void)
{
    static const dctx_allocator_t allocator = {.allocate = count_in, .release = count_out};
    dctx_set_allocator(&allocator);
}

Test(pool, cells_go_from_thread_to_thread_and_none_is_lost, .init = set_up)
{
    enum { COUNT = 10 * DCTX_POOL_BATCH };
    static void *cells[COUNT];
    dctx_pool_t pool;
    dctx_pool_cache_t maker = {0}, breaker = {0};
    dctx_pool_init(&pool);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            cells[i] = dctx_pool_take(&pool, &maker);
            cr_assert_not_null(cells[i]);
            *(int *)cells[i] = i;
        }
        for (int i = 0; i < COUNT; i++) {
            cr_assert_eq(*(int *)cells[i], i, "two have the same cell");
            dctx_pool_give(&pool, &breaker, cells[i]);
        }
        cr_assert_leq(blocks, COUNT + 4 * DCTX_POOL_BATCH, "cells are not used again");
    }
    dctx_pool_cache_finish(&maker);
    dctx_pool_cache_finish(&breaker);
    dctx_pool_finish(&pool);
    cr_assert_eq(blocks, 0);
}

static void *take_and_give(void *arg)
{
    dctx_pool_t *pool = arg;
    void *cells[100];
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 100; i++) {
            cells[i] = dctx_pool_take(pool, NULL);
            cr_assert_not_null(cells[i]);
            *(void **)cells[i] = cells[i];
        }
        for (int i = 0; i < 100; i++) {
            cr_assert_eq(*(void **)cells[i], cells[i]);
            dctx_pool_give(pool, NULL, cells[i]);
        }
    }
    return NULL;
}

Test(pool, threads_from_outside_share, .init = set_up, .timeout = 60)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    dctx_pool_t pool;
    dctx_pool_init(&pool);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_and_give, &pool), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    dctx_pool_finish(&pool);
    cr_assert_eq(blocks, 0);
}

static void *count_no_magazines(size_t size)
{
    return size == sizeof(dctx_magazine_t) ? NULL : count_in(size);
}

Test(pool, without_memory_to_keep_them_cells_are_freed)
{
    enum { COUNT = 5 * DCTX_POOL_BATCH };
    static const dctx_allocator_t some = {.allocate = count_in, .release = count_out};
    static const dctx_allocator_t none = {.allocate = count_no_magazines, .release = count_out};
    static void *cells[COUNT];
    dctx_pool_t pool;
    dctx_pool_cache_t cache = {0};
    dctx_set_allocator(&none);
    dctx_pool_init(&pool);
    /* First without any magazine, then without more than a few. */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            cells[i] = dctx_pool_take(&pool, &cache);
            cr_assert_not_null(cells[i]);
            *(void **)cells[i] = cells[i];
        }
        for (int i = 0; i < COUNT; i++) {
            if (round == 1)
                dctx_set_allocator(i < DCTX_POOL_BATCH + 1 ? &some : &none);
            cr_assert_eq(*(void **)cells[i], cells[i]);
            dctx_pool_give(&pool, round < 2 && i % 2 == 1 ? NULL : &cache, cells[i]);
        }
        cr_assert_leq(blocks, 5 * (DCTX_POOL_BATCH + 1));
    }
    dctx_pool_cache_finish(&cache);
    dctx_pool_finish(&pool);
    cr_assert_eq(blocks, 0);
}

/* More than the pool keeps are freed, and no magazine is lost for it. */
Test(pool, keeps_no_more_than_it_should, .init = set_up)
{
    enum { COUNT = (DCTX_POOL_SHARED + 40) * DCTX_POOL_BATCH };
    static void *cells[COUNT];
    dctx_pool_t pool;
    dctx_pool_cache_t cache = {0};
    dctx_pool_init(&pool);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++)
            cr_assert_not_null(cells[i] = dctx_pool_take(&pool, &cache));
        for (int i = 0; i < COUNT; i++)
            dctx_pool_give(&pool, &cache, cells[i]);
        cr_assert_leq(blocks, (DCTX_POOL_SHARED + 2) * (DCTX_POOL_BATCH + 1));
    }
    dctx_pool_cache_finish(&cache);
    dctx_pool_finish(&pool);
    cr_assert_eq(blocks, 0);
}
