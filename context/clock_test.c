#include "fixture.h"

#include <pthread.h>
#include <time.h>

#include "trace.h"

static int64_t monotonic_now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

Test(clock, the_system_has_both_and_a_boot_id)
{
    static const uint8_t unknown[16];
    const dctx_clocks_t *clocks = dctx_clocks_system();
    int64_t before = monotonic_now();
    int64_t between = clocks->monotonic(clocks->arg);
    cr_assert_leq(before, between);
    cr_assert_leq(between, monotonic_now());
    cr_assert_gt(clocks->wall(clocks->arg), INT64_C(1600000000000000000));
    cr_assert_neq(memcmp(clocks->boot_id, unknown, 16), 0);
    cr_assert_eq(dctx_clocks_system(), clocks);
    cr_assert_eq(dctx_registry_clocks(NULL), clocks);
}

static int64_t nine(void *arg)
{
    (void)arg;
    return 9;
}

Test(clock, a_registry_has_its_own_until_the_freeze)
{
    dctx_registry_t *registry = NULL;
    OK(dctx_registry_new(&registry));
    FAILS(dctx_registry_set_clocks(registry, &(dctx_clocks_t){.wall = nine}), DCTX_ERR_INVALID);
    FAILS(dctx_registry_set_clocks(registry,
                                   &(dctx_clocks_t){.wall = nine, .monotonic = nine, .skew = -1}),
          DCTX_ERR_INVALID);
    OK(dctx_registry_set_clocks(registry, &(dctx_clocks_t){.wall = nine, .monotonic = nine}));
    cr_assert_eq(dctx_registry_clocks(registry)->wall(NULL), 9);
    OK(dctx_registry_set_clocks(registry, NULL));
    cr_assert_eq(dctx_registry_clocks(registry), dctx_clocks_system());
    OK(dctx_registry_freeze(registry));
    FAILS(dctx_registry_set_clocks(registry, NULL), DCTX_ERR_FROZEN);
    dctx_registry_destroy(&registry);
}

Test(clock, the_coarse_one_runs)
{
    cr_assert_leq(dctx_coarse_clock_now(), monotonic_now());
    OK(dctx_coarse_clock_start());
    OK(dctx_coarse_clock_start());
    int64_t first = dctx_coarse_clock_now();
    cr_assert_leq(first, monotonic_now());
    dctx_coarse_clock_stop();
    while (dctx_coarse_clock_now() == first)
        (void)sched_yield();
    cr_assert_gt(dctx_coarse_clock_now(), first);
    dctx_coarse_clock_stop();
    dctx_coarse_clock_stop();
    int64_t before = monotonic_now();
    cr_assert_leq(before, dctx_coarse_clock_now());
}

static void *start_and_stop(void *arg)
{
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(dctx_coarse_clock_start(), DCTX_OK);
        cr_assert_gt(dctx_coarse_clock_now(), 0);
        dctx_coarse_clock_stop();
    }
    return arg;
}

Test(clock, the_coarse_one_starts_and_stops_from_many_threads)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, start_and_stop, NULL), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    int64_t before = monotonic_now();
    cr_assert_leq(before, dctx_coarse_clock_now(), "none is left running");
}

Test(clock, the_same_seed_draws_the_same)
{
    dctx_random_t a, b, c;
    dctx_random_seed(&a, 42);
    dctx_random_seed(&b, 42);
    dctx_random_seed(&c, 43);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t drawn = dctx_random_next(&a);
        cr_assert_eq(drawn, dctx_random_next(&b));
        differs |= drawn != dctx_random_next(&c);
    }
    cr_assert(differs);
}

static void *draw_one(void *ret_id)
{
    const dctx_id_source_t *ids = dctx_id_source_of_thread_();
    *(uint64_t *)ret_id = ids->next(ids->arg);
    return NULL;
}

Test(clock, threads_draw_from_sources_of_their_own)
{
    uint64_t ids[2] = {0, 0};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, draw_one, &ids[0]), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    (void)draw_one(&ids[1]);
    cr_assert_neq(ids[0], ids[1]);
}
