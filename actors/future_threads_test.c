/* Futures between threads: everybody does everything with everything, and it adds up in the end. */
#include "future.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { THREADS = 4, SLOTS = 32, STEPS = 10000 };

typedef struct counts {
    _Atomic(uint64_t) attached, called, wrong, promised, told;
} counts_t;

static struct {
    pthread_mutex_t lock; /* of the slots */
    dctx_future_t *futures[SLOTS];
    counts_t counts;
    dctx_executor_t *pool;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

typedef struct player {
    uint64_t seed, number;
    pthread_t thread;
} player_t;

static unsigned chance(player_t *self, unsigned below)
{
    self->seed ^= self->seed << 13;
    self->seed ^= self->seed >> 7;
    self->seed ^= self->seed << 17;
    return (unsigned)(self->seed % below);
}

/* A reference to one that somebody made; NULL if there is none yet. */
static dctx_future_t *pick(player_t *self)
{
    pthread_mutex_lock(&world.lock);
    dctx_future_t *future = dctx_future_ref(world.futures[chance(self, SLOTS)]);
    pthread_mutex_unlock(&world.lock);
    return future;
}

static void put(player_t *self, dctx_future_t *future)
{
    unsigned slot = chance(self, SLOTS);
    pthread_mutex_lock(&world.lock);
    dctx_future_t *before = world.futures[slot];
    world.futures[slot] = future;
    pthread_mutex_unlock(&world.lock);
    dctx_future_unref(&before);
}

/* It must see the context of who attached it. */
static dctx_error_t on_end(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    world.counts.called++;
    if (request_get_or(0) != (uint64_t)(uintptr_t)arg)
        world.counts.wrong++;
    if (result->error == DCTX_OK && result->type == DCTX_TYPE_UINT64)
        return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, result->value);
    return result->error;
}

static dctx_error_t on_value(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)arg;
    return result->type == DCTX_TYPE_UINT64
               ? dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, result->value)
               : DCTX_OK;
}

static void attach(player_t *self, dctx_future_t *future)
{
    dctx_executor_t *executor = chance(self, 2) == 0 ? world.pool : NULL;
    dctx_future_t *after = NULL;
    if (chance(self, 3) == 0) {
        cr_assert_eq(dctx_future_map(future, executor, on_value, NULL, &after), DCTX_OK);
    } else {
        uint64_t number = chance(self, 1000) + 1;
        world.counts.attached++;
        DCTX_WITH_SCOPE("attach") {
            cr_assert_eq(request_set(number), DCTX_OK);
            cr_assert_eq(
                dctx_future_then(future, executor, on_end, (void *)(uintptr_t)number, &after),
                DCTX_OK);
        }
    }
    put(self, after);
}

static void combine(player_t *self)
{
    dctx_future_t *futures[3], *one = NULL;
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        futures[count] = pick(self);
        count += futures[count] != NULL;
    }
    cr_assert_eq(chance(self, 2) == 0 ? dctx_future_all(futures, count, &one)
                                      : dctx_future_any(futures, count, &one),
                 DCTX_OK);
    for (size_t i = 0; i < count; i++)
        dctx_future_unref(&futures[i]);
    put(self, one);
}

static void on_cancel(void *arg)
{
    (void)arg;
    world.counts.told++;
}

/* Whatever is done to its future meanwhile, the promise is used by one. */
static dctx_error_t answer(dctx_promise_t **promise_p, void *arg)
{
    uint64_t value = (uint64_t)(uintptr_t)arg;
    if (value % 3 == 0)
        return DCTX_ERR_REJECTED;
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &value);
}

static void begin(player_t *self)
{
    dctx_future_t *future = NULL, *bounded = NULL;
    dctx_promise_t *promise = NULL;
    uint64_t value = chance(self, 100);
    if (chance(self, 2) == 0) {
        dctx_work_t work = {.call = answer, .arg = (void *)(uintptr_t)value};
        cr_assert_eq(dctx_executor_submit(world.pool, &work, &future), DCTX_OK);
        put(self, future);
        return;
    }
    /* Older than the promise, so that nothing waits for itself. */
    dctx_future_t *other = chance(self, 4) == 0 ? pick(self) : NULL;
    world.counts.promised++;
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(promise, on_cancel, NULL), DCTX_OK);
    cr_assert_eq(dctx_future_timeout(future, world.pool, chance(self, 2), &bounded), DCTX_OK);
    put(self, future);
    put(self, bounded);
    if (other == NULL || dctx_promise_follow(&promise, other) != DCTX_OK)
        cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_UINT64, &value), DCTX_OK);
    dctx_future_unref(&other);
}

static void *play(void *arg)
{
    player_t *self = arg;
    for (int i = 0; i < STEPS; i++) {
        unsigned what = chance(self, 8);
        dctx_future_t *future = pick(self);
        int fd;
        if (what <= 1 || future == NULL)
            begin(self);
        else if (what <= 4)
            attach(self, future);
        else if (what == 5)
            combine(self);
        else if (what == 6)
            dctx_future_cancel(future, "player");
        else if (chance(self, 8) == 0)
            cr_assert_eq(dctx_future_fd(future, &fd), DCTX_OK);
        else
            (void)!dctx_future_wait(future, 0, NULL);
        dctx_future_unref(&future);
    }
    return NULL;
}

Test(future_threads, everybody_does_everything, .init = fixture_init, .timeout = 110)
{
    player_t players[THREADS];
    cr_assert_eq(dctx_taskpool_new(&(dctx_taskpool_options_t){.threads = 2}, &world.pool), DCTX_OK);
    for (uint64_t i = 0; i < THREADS; i++) {
        players[i] = (player_t){.seed = 0x9e3779b97f4a7c15u * (i + 1), .number = i};
        cr_assert_eq(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(players[i].thread, NULL);
    for (int i = 0; i < SLOTS; i++) {
        dctx_future_cancel(world.futures[i], "the end");
        dctx_future_unref(&world.futures[i]);
    }
    char *report = NULL;
    cr_assert_eq(dctx_executor_stop(world.pool, WAIT_MS, &report), DCTX_OK, "%s", report);
    dctx_free(report);
    dctx_executor_counters_t c;
    dctx_executor_counters_read(world.pool, &c);
    cr_assert_eq(c.submitted, c.run + c.cancelled + c.dropped);
    cr_assert_eq(c.queued + c.running + c.timers, 0);
    dctx_executor_destroy(&world.pool);
    cr_assert_eq(world.counts.called, world.counts.attached, "%lu of %lu",
                 (unsigned long)world.counts.called, (unsigned long)world.counts.attached);
    cr_assert_eq(world.counts.wrong, 0);
    cr_assert_leq(world.counts.told, world.counts.promised);
}

/* ---- completing and cancelling at the same moment -------------------------------------------- */

typedef struct race {
    pthread_barrier_t barrier;
    dctx_future_t *future;
    dctx_promise_t *promise;
    _Atomic(int) told, alive; /* alive: what on_cancel may touch */
} race_t;

static void check_alive(void *arg)
{
    race_t *race = arg;
    cr_assert_eq(race->alive, 1, "on_cancel after the promise was used");
    race->told++;
}

static void *cancel_at_once(void *arg)
{
    race_t *race = arg;
    pthread_barrier_wait(&race->barrier);
    dctx_future_cancel(race->future, NULL);
    return NULL;
}

Test(future_threads, one_of_completing_and_cancelling_wins, .init = fixture_init, .timeout = 110)
{
    int cancelled = 0;
    for (int i = 0; i < 300; i++) {
        race_t race = {.alive = 1};
        pthread_t thread;
        dctx_result_t result;
        uint64_t value = 1;
        pthread_barrier_init(&race.barrier, NULL, 2);
        cr_assert_eq(dctx_promise_new(&race.promise, &race.future), DCTX_OK);
        cr_assert_eq(dctx_promise_on_cancel(race.promise, check_alive, &race), DCTX_OK);
        cr_assert_eq(pthread_create(&thread, NULL, cancel_at_once, &race), 0);
        pthread_barrier_wait(&race.barrier);
        cr_assert_eq(dctx_promise_complete(&race.promise, DCTX_TYPE_UINT64, &value), DCTX_OK);
        race.alive = 0;
        pthread_join(thread, NULL);
        cr_assert_eq(dctx_future_result(race.future, &result), DCTX_OK);
        cr_assert(result.error == DCTX_OK || result.error == DCTX_ERR_CANCELLED);
        /* Told or not: the promise may have been used between the end and the call. */
        cr_assert_leq(race.told, result.error == DCTX_ERR_CANCELLED);
        cancelled += result.error == DCTX_ERR_CANCELLED;
        dctx_future_unref(&race.future);
        pthread_barrier_destroy(&race.barrier);
    }
    cr_assert_leq(cancelled, 300);
}

typedef struct waiting {
    dctx_future_t *future;
    uint64_t value;
} waiting_t;

static void *wait_for_it(void *arg)
{
    waiting_t *waiting = arg;
    dctx_result_t result;
    if (dctx_future_wait(waiting->future, WAIT_MS, &result) == DCTX_OK && result.error == DCTX_OK)
        waiting->value = *(const uint64_t *)result.value;
    return NULL;
}

Test(future_threads, many_threads_wait_for_one, .init = fixture_init, .timeout = 60)
{
    pthread_t threads[THREADS];
    waiting_t waiting[THREADS];
    dctx_future_t *future = NULL;
    dctx_promise_t *promise = NULL;
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    for (int i = 0; i < THREADS; i++) {
        waiting[i] = (waiting_t){.future = future};
        cr_assert_eq(pthread_create(&threads[i], NULL, wait_for_it, &waiting[i]), 0);
    }
    const uint64_t nine = 9;
    cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_UINT64, &nine), DCTX_OK);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(waiting[i].value, 9);
    }
    dctx_future_unref(&future);
}

/* on_cancel in one thread, and the promise used in another: the use waits for the call. */
typedef struct slow_hook {
    gate_t entered, leave;
    _Atomic(bool) over;
    dctx_future_t *future;
} slow_hook_t;

static void hook(void *arg)
{
    slow_hook_t *slow = arg;
    gate_pass(&slow->entered);
    cr_assert(gate_wait(&slow->leave, 1));
    slow->over = true;
}

static void *cancel_it(void *arg)
{
    dctx_future_cancel(((slow_hook_t *)arg)->future, NULL);
    return NULL;
}

static void *let_leave(void *arg)
{
    gate_pass(&((slow_hook_t *)arg)->leave);
    return NULL;
}

Test(future_threads, using_a_promise_waits_for_on_cancel, .init = fixture_init, .timeout = 60)
{
    slow_hook_t slow = {.entered = GATE_INIT, .leave = GATE_INIT};
    pthread_t canceller, releaser;
    dctx_promise_t *promise = NULL;
    cr_assert_eq(dctx_promise_new(&promise, &slow.future), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(promise, hook, &slow), DCTX_OK);
    cr_assert_eq(pthread_create(&canceller, NULL, cancel_it, &slow), 0);
    cr_assert(gate_wait(&slow.entered, 1));
    cr_assert_eq(pthread_create(&releaser, NULL, let_leave, &slow), 0);
    dctx_promise_destroy(&promise);
    cr_assert(slow.over);
    pthread_join(canceller, NULL);
    pthread_join(releaser, NULL);
    dctx_future_unref(&slow.future);
}
