/*
 * Long random sequences of every operation, held against the reference model after each step, on
 * one thread and on several that exchange snapshots; every now and then an allocation fails, and
 * then nothing may have changed.
 *
 * DCTX_SEED repeats a failure (of the single-threaded test exactly; with several threads the order
 * of exchanges is the machine's), DCTX_STEPS makes it longer.
 */
#include <criterion/criterion.h>

#include <time.h>

#include "model_run.h"

enum { THREADS = 4, STEPS = 20000 };

static const struct {
    const char *name;
    void (*step)(run_t *run);
    unsigned weight;
} steps[] = {
    {"set", step_set, 14},
    {"set from itself", step_set_from_itself, 4},
    {"set wrongly", step_set_wrongly, 1},
    {"take", step_take, 5},
    {"update", step_update, 6},
    {"unset", step_unset, 6},
    {"set many", step_set_many, 6},
    {"clear", step_clear, 1},
    {"push", step_push, 16},
    {"pop", step_pop, 16},
    {"pop any", step_pop_any, 3},
    {"pop spent", step_pop_spent, 2},
    {"capture or fork", step_capture, 9},
    {"broadcast", step_broadcast, 3},
    {"empty", step_empty, 1},
    {"attach", step_attach, 9},
    {"merge", step_merge, 3},
    {"inspect", step_inspect, 4},
    {"drop", step_drop, 4},
    {"hop", step_hop, 6},
    {"receive", step_receive, 5},
    {"send", step_send, 5},
    {"exchange", step_exchange, 3},
    {"share", step_share, 3},
    {"wrong thread", step_wrong_thread, 2},
};

static void any_step(run_t *run)
{
    unsigned all = 0, i = 0;
    for (size_t n = 0; n < sizeof(steps) / sizeof(steps[0]); n++)
        all += steps[n].weight;
    unsigned at = below(run, all);
    while (at >= steps[i].weight)
        at -= steps[i++].weight;
    run->doing = steps[i].name;
    steps[i].step(run);
}

static void *run_thread(void *arg)
{
    run_t *run = arg;
    run->doing = "begin";
    run->random = run->seed;
    run->thread = calloc(1, sizeof(*run->thread));
    CHECK(run, run->thread != NULL);
    wire_init(&run->wire);
    mstate_init(&run->thread->state, 0);
    check_thread(run);
    for (run->step = 0; run->step < run->steps; run->step++) {
        any_step(run);
        check_thread(run);
    }
    run->doing = "end";
    if (run->board != NULL)
        (void)pthread_barrier_wait(
            &run->board->end); /* tokens on the board are of living threads */
    for (int i = 0; i < HELD; i++)
        drop(&run->held[i]);
    /* Half the time the thread ends with everything open. */
    while (run->seed % 2 == 0 && run->thread->depth > 0) {
        pop_frame(run, run->thread->depth - 1);
        check_thread(run);
    }
    wire_finish(&run->wire);
    free(run->thread);
    return NULL;
}

static unsigned long setting(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 0) : otherwise;
}

static uint64_t any_seed(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return setting("DCTX_SEED", (unsigned long)t.tv_nsec / 1000 * 2);
}

static void init(void)
{
    watch_install();
    model_open(false);
}

static void init_padded(void)
{
    watch_install();
    model_open(true);
}

/* Each seed on a thread of its own, one after the other, so that what thread exit releases counts. */
static void one_after_the_other(void)
{
    uint64_t seed = any_seed();
    for (unsigned i = 0; i < 3; i++) {
        size_t blocks = watch_live_blocks();
        pthread_t thread;
        run_t run = {.seed = seed + i, .steps = (unsigned)setting("DCTX_STEPS", STEPS)};
        cr_assert_eq(pthread_create(&thread, NULL, run_thread, &run), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(watch_live_blocks(), blocks, "DCTX_SEED=%llu: %zu blocks left",
                     (unsigned long long)run.seed, watch_live_blocks() - blocks);
        cr_assert_eq(things_alive(), 0, "DCTX_SEED=%llu: %zu values left",
                     (unsigned long long)run.seed, things_alive());
        if (getenv("DCTX_SEED") != NULL)
            break;
    }
    model_close();
}

Test(model, alone, .init = init, .timeout = 600)
{
    one_after_the_other();
}

Test(model, alone_among_many_keys, .init = init_padded, .timeout = 600)
{
    one_after_the_other();
}

Test(model, together, .init = init, .timeout = 600)
{
    static run_t runs[THREADS];
    static board_t board;
    pthread_t threads[THREADS];
    uint64_t seed = any_seed();
    size_t blocks = watch_live_blocks();
    cr_assert_eq(pthread_mutex_init(&board.lock, NULL), 0);
    cr_assert_eq(pthread_barrier_init(&board.end, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        runs[i] = (run_t){.seed = seed + i * 1000003,
                          .board = &board,
                          .steps = (unsigned)setting("DCTX_STEPS", STEPS / 2)};
        cr_assert_eq(pthread_create(&threads[i], NULL, run_thread, &runs[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < BOARD; i++)
        drop(&board.held[i]);
    pthread_barrier_destroy(&board.end);
    cr_assert_eq(watch_live_blocks(), blocks, "DCTX_SEED=%llu: %zu blocks left",
                 (unsigned long long)seed, watch_live_blocks() - blocks);
    cr_assert_eq(things_alive(), 0, "DCTX_SEED=%llu", (unsigned long long)seed);
    model_close();
}
