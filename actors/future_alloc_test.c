/* Each allocation of promises, futures and executors fails once, in turn: what was asked for then
 * fails whole, what was given stays the caller's, and it can be asked for again. */
#include "future.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

static long fails_at = -1, made;
static _Thread_local bool armed;

/* Only those of the thread that asks: what others allocate meanwhile would hide one. */
static void *fail_one(size_t size)
{
    if (!armed)
        return malloc(size);
    return ++made == fails_at ? NULL : malloc(size);
}

static void set_up(void)
{
    static const dctx_allocator_t allocator = {.allocate = fail_one, .release = free};
    dctx_set_allocator(&allocator);
    fixture_init();
    /* The thread has its memory for contexts. */
    DCTX_SCOPE("warm");
}

static void arm(long nth)
{
    made = 0;
    fails_at = nth;
    armed = true;
}

/* True if the allocation that fails was reached. */
static bool disarm(void)
{
    armed = false;
    return made >= fails_at;
}

static void check(dctx_error_t error, bool reached, long nth)
{
    cr_assert_lt(nth, 50);
    cr_assert_eq(error, reached ? DCTX_ERR_NOMEM : DCTX_OK, "%s", dctx_error_name(error));
    if (error != DCTX_OK)
        cr_assert_str_neq(dctx_error_detail(), "");
}

static char text_200[200];

Test(future_alloc, making_and_completing_a_promise, .init = set_up)
{
    bool reached = true;
    memset(text_200, 'x', sizeof text_200 - 1);
    for (long nth = 1; reached; nth++) {
        dctx_promise_t *promise = NULL;
        dctx_future_t *future = NULL;
        arm(nth);
        dctx_error_t error = dctx_promise_new(&promise, &future);
        if (error == DCTX_OK)
            error = dctx_promise_complete(&promise, DCTX_TYPE_STRING, text_200);
        reached = disarm();
        check(error, reached, nth);
        cr_assert_eq(promise != NULL, error != DCTX_OK && future != NULL, "still the caller's");
        if (promise != NULL)
            cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_STRING, text_200), DCTX_OK);
        dctx_future_unref(&future);
    }
    /* A reason is left out. */
    dctx_promise_t *promise = NULL;
    dctx_future_t *future = NULL;
    dctx_result_t result;
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    arm(1);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_IO, "why"), DCTX_OK);
    cr_assert(disarm());
    cr_assert_eq(dctx_future_result(future, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_IO);
    cr_assert_str_eq(result.reason, "");
    dctx_future_unref(&future);
}

static dctx_error_t nothing(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)promise_p;
    ++*(int *)arg;
    return result->error;
}

Test(future_alloc, attaching_and_combining, .init = set_up)
{
    dctx_executor_t *loop = NULL;
    cr_assert_eq(dctx_loop_executor_new(NULL, &loop), DCTX_OK);
    for (int what = 0; what < 5; what++) {
        bool reached = true;
        for (long nth = 1; reached; nth++) {
            dctx_promise_t *promise = NULL;
            dctx_future_t *future = NULL, *after = NULL, *futures[2];
            dctx_error_t error = DCTX_OK;
            int calls = 0;
            cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
            futures[0] = futures[1] = future;
            DCTX_WITH_SCOPE("attaching") {
                cr_assert_eq(tenant_set("acme"), DCTX_OK);
                arm(nth);
                error = what == 0   ? dctx_future_then(future, NULL, nothing, &calls, &after)
                        : what == 1 ? dctx_future_map(future, loop, nothing, &calls, &after)
                        : what == 2 ? dctx_future_all(futures, 2, &after)
                        : what == 3 ? dctx_future_any(futures, 2, &after)
                                    : dctx_future_timeout(future, loop, 1000, &after);
                reached = disarm();
            }
            check(error, reached, nth);
            cr_assert_eq(after != NULL, error == DCTX_OK);
            cr_assert(!dctx_future_is_done(future));
            /* Completing needs no memory. */
            arm(1);
            cr_assert_eq(dctx_promise_complete(&promise, NULL, NULL), DCTX_OK);
            (void)dctx_loop_executor_run(loop);
            cr_assert(!disarm());
            cr_assert_eq(calls, error == DCTX_OK && what < 2);
            cr_assert(after == NULL || dctx_future_is_done(after));
            dctx_future_unref(&after);
            dctx_future_unref(&future);
        }
    }
    dctx_executor_destroy(&loop);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

static void tick(uint64_t missed, void *arg)
{
    (void)missed;
    ++*(int *)arg;
}

Test(future_alloc, submitting_and_setting_timers, .init = set_up)
{
    dctx_executor_t *loop = NULL;
    cr_assert_eq(dctx_loop_executor_new(NULL, &loop), DCTX_OK);
    for (int what = 0; what < 3; what++) {
        bool reached = true;
        for (long nth = 1; reached; nth++) {
            int runs = 0, released = 0;
            dctx_future_t *future = NULL;
            dctx_executor_timer_t *timer = NULL;
            dctx_error_t error = DCTX_OK;
            dctx_work_t work = {.run = count, .arg = &runs, .scope = "task"};
            dctx_executor_timer_options_t options = {.call = tick, .arg = &runs, .scope = "tick"};
            DCTX_WITH_SCOPE("submitting") {
                cr_assert_eq(tenant_set("acme"), DCTX_OK);
                arm(nth);
                error = what == 0   ? dctx_executor_submit(loop, &work, NULL)
                        : what == 1 ? dctx_executor_submit(loop, &work, &future)
                                    : dctx_executor_timer_set(loop, &options, &timer);
                reached = disarm();
            }
            check(error, reached, nth);
            cr_assert_eq(future != NULL, what == 1 && error == DCTX_OK);
            cr_assert_eq(timer != NULL, what == 2 && error == DCTX_OK);
            arm(1);
            (void)dctx_loop_executor_run(loop);
            cr_assert(!disarm(), "running needs no memory");
            cr_assert_eq(runs, error == DCTX_OK);
            cr_assert_eq(released, 0);
            (void)dctx_executor_timer_cancel(&timer);
            dctx_future_unref(&future);
        }
    }
    dctx_executor_destroy(&loop);
}

Test(future_alloc, making_executors, .init = set_up)
{
    for (int what = 0; what < 2; what++) {
        bool reached = true;
        for (long nth = 1; reached; nth++) {
            dctx_executor_t *executor = NULL;
            arm(nth);
            dctx_error_t error =
                what == 0 ? dctx_loop_executor_new(NULL, &executor)
                          : dctx_taskpool_new(&(dctx_taskpool_options_t){.threads = 2}, &executor);
            reached = disarm();
            check(error, reached, nth);
            cr_assert_eq(executor != NULL, error == DCTX_OK);
            dctx_executor_destroy(&executor);
        }
    }
}

/* ---- with actors ----------------------------------------------------------------------------- */

typedef struct going_on {
    dctx_future_t *future;
    gate_t attached, done;
    long nth;
    dctx_error_t error;
    bool reached;
} going_on_t;

static void on_result(dctx_actor_t *self, const dctx_result_t *result, void *state, void *arg)
{
    (void)self;
    (void)result;
    (void)arg;
    gate_pass(&((going_on_t *)state)->done);
}

static dctx_error_t go_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    going_on_t *on = state;
    if (dctx_message_is_ask(message))
        return dctx_reply(message, DCTX_TYPE_STRING, text_200);
    arm(on->nth);
    on->error = dctx_future_then_actor(self, on->future, on_result, NULL);
    on->reached = disarm();
    gate_pass(&on->attached);
    return DCTX_OK;
}

Test(future_alloc, asking_for_a_future_and_going_on_as_an_actor, .init = set_up, .timeout = 60)
{
    bool reached = true, attached = true;
    memset(text_200, 'x', sizeof text_200 - 1);
    for (long nth = 1; reached || attached; nth++) {
        going_on_t on = {.attached = GATE_INIT, .done = GATE_INIT, .nth = nth};
        dctx_future_t *reply = NULL;
        dctx_promise_t *promise = NULL;
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_ref_t ref = spawn(system, "x", go_on, &on);
        arm(nth);
        dctx_error_t error =
            dctx_ask_future(ref, DCTX_TYPE_STRING, text_200, DCTX_TYPE_STRING, 0, &reply);
        reached = disarm();
        check(error, reached, nth);
        cr_assert_eq(reply != NULL, error == DCTX_OK);
        if (reply != NULL)
            cr_assert_eq(dctx_future_wait(reply, WAIT_MS, NULL), DCTX_OK);
        dctx_future_unref(&reply);

        cr_assert_eq(dctx_promise_new(&promise, &on.future), DCTX_OK);
        DCTX_WITH_SCOPE("telling") {
            cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK);
        }
        cr_assert(gate_wait(&on.attached, 1));
        attached = on.reached;
        cr_assert_eq(on.error, attached ? DCTX_ERR_NOMEM : DCTX_OK);
        dctx_promise_destroy(&promise);
        if (!attached)
            cr_assert(gate_wait(&on.done, 1));
        dctx_future_unref(&on.future);
        finish(&system);
    }
}
