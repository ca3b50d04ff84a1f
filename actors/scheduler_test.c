/* That nothing runnable is ever left lying, however workers sleep, wake and steal;
 * and that idling is free. */
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { ACTORS = 64 };

typedef struct hops {
    dctx_ref_t refs[ACTORS];
    gate_t done;
} hops_t;

static unsigned mix(uint64_t number)
{
    number *= 0x9e3779b97f4a7c15u;
    return (unsigned)(number >> 40);
}

/* Passes what is left of a journey to anybody; how long it takes,
 * and so who sleeps meanwhile, varies. */
static dctx_error_t hop(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    hops_t *hops = state;
    uint64_t left = *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
    if (left % 100 == 0) {
        gate_pass(&hops->done);
        return DCTX_OK;
    }
    unsigned chance = mix(left + (uintptr_t)self);
    for (volatile unsigned i = 0; i < chance % 400; i++) {
    }
    tell_uint(hops->refs[chance % ACTORS], left - 1);
    return DCTX_OK;
}

static void check_hops(unsigned workers)
{
    hops_t hops = {.done = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = workers});
    for (unsigned i = 0; i < ACTORS; i++)
        hops.refs[i] = spawn(system, NULL, hop, &hops);
    unsigned chance = workers;
    long journeys = 0;
    /* Between two rounds all of them fall asleep, or are about to. */
    for (unsigned round = 0; round < 3000; round++) {
        chance = mix(chance + round);
        for (unsigned i = 0; i < 1 + chance % 5; i++, journeys++)
            tell_uint(hops.refs[(chance + i) % ACTORS], (uint64_t)round * 100 + chance % 20);
        cr_assert(gate_wait(&hops.done, journeys), "round %u: something is left lying", round);
    }
    finish(&system);
}

Test(scheduler, one_worker, .init = fixture_init, .timeout = 60)
{
    check_hops(1);
}

Test(scheduler, two_workers, .init = fixture_init, .timeout = 60)
{
    check_hops(2);
}

Test(scheduler, more_workers_than_cores, .init = fixture_init, .timeout = 60)
{
    check_hops(7);
}

/* ---- what a worker that does not come back has in its slot ----------------------------------- */

typedef struct caught {
    dctx_ref_t other;
    int pipe[2];
    gate_t other_ran;
} caught_t;

static dctx_error_t note(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(&((caught_t *)state)->other_ran);
    return DCTX_OK;
}

static dctx_error_t tell_and_block(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    caught_t *caught = state;
    char byte;
    tell_uint(caught->other, 0);
    ssize_t got = read(caught->pipe[0], &byte, 1);
    (void)got;
    return DCTX_OK;
}

Test(scheduler, what_waits_behind_a_blocked_handler_is_taken_by_another_worker,
     .init = fixture_init, .timeout = 30)
{
    caught_t caught = {.other_ran = GATE_INIT};
    cr_assert_eq(pipe(caught.pipe), 0);
    dctx_system_t *system = start(NULL);
    caught.other = spawn(system, "other", note, &caught);
    tell_uint(spawn(system, "blocks", tell_and_block, &caught), 0);
    cr_assert(gate_wait(&caught.other_ran, 1), "the other waits for a handler that blocks");
    close(caught.pipe[1]);
    finish(&system);
}

/* ---- fairness -------------------------------------------------------------------------------- */

static dctx_error_t again(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    if (!__atomic_load_n((bool *)state, __ATOMIC_RELAXED))
        tell_uint(dctx_self(self), 0);
    return DCTX_OK;
}

Test(scheduler, one_that_is_always_busy_does_not_starve_the_others, .init = fixture_init,
     .timeout = 30)
{
    bool over = false;
    caught_t caught = {.other_ran = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .quantum = 8});
    for (int i = 0; i < 3; i++) {
        dctx_ref_t busy = spawn(system, NULL, again, &over);
        for (int j = 0; j < 3; j++)
            tell_uint(busy, 0);
    }
    dctx_ref_t other = spawn(system, "other", note, &caught);
    for (int i = 1; i <= 100; i++) {
        tell_uint(other, 0);
        cr_assert(gate_wait(&caught.other_ran, i));
    }
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
    finish(&system);
}

/* ---- idling ---------------------------------------------------------------------------------- */

static int64_t cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void no_answer(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    cr_assert_eq(status, DCTX_ERR_TIMEOUT);
    gate_pass(arg);
}

static dctx_error_t keep(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    return dctx_reply_defer(message, state);
}

Test(scheduler, an_idle_system_uses_no_cpu, .init = fixture_init, .timeout = 30)
{
    gate_t over = GATE_INIT;
    dctx_reply_to_t *kept = NULL;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 4});
    dctx_ref_t ref = spawn(system, NULL, keep, &kept);
    /* The end of an ask that nobody answers is the event that we wait for;
     * half a second is its time. */
    cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 500, no_answer, &over), DCTX_OK);
    int64_t before = cpu_us();
    cr_assert(gate_wait(&over, 1));
    int64_t used = cpu_us() - before;
    cr_assert_lt(used, 25000, "%ld us of CPU in half a second of nothing", (long)used);
    dctx_reply_to_destroy(&kept);
    finish(&system);
}
